//! Unix sockets: listeners, streams, datagrams, by paths or abstract names.
//!
//! A path that is bound stays in the file system when its socket is closed: remove it, before the
//! next bind or after the last.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use wharf_queue::{Address, Handle, OwnedHandle, PeerCredentials, SocketOption, UnixAddress, op};

use super::connect::Connecting;
use super::datagram::{Datagram, DatagramRef};
use super::listener::{Accepted, ListenerRef};
use super::stream::methods::{impl_halves, impl_read, impl_splice, impl_write};
use super::stream::{StreamRef, moved};
use crate::runtime::worker;

/// What a Unix socket is bound or connected to: a path, or a [`UnixAddress`] for an abstract name.
pub trait ToUnixAddress {
    /// The address.
    #[doc(hidden)]
    fn unix_address(&self) -> Address;
}

macro_rules! paths {
    ($($type:ty),*) => {$(
        impl ToUnixAddress for $type {
            fn unix_address(&self) -> Address {
                Address::from(AsRef::<Path>::as_ref(self))
            }
        }
    )*};
}

paths!(str, String, Path, PathBuf);

impl ToUnixAddress for UnixAddress {
    fn unix_address(&self) -> Address {
        Address::from(self.clone())
    }
}

impl ToUnixAddress for Address {
    fn unix_address(&self) -> Address {
        self.clone()
    }
}

impl<T: ToUnixAddress + ?Sized> ToUnixAddress for &T {
    fn unix_address(&self) -> Address {
        (**self).unix_address()
    }
}

/// A Unix socket that listens; else as [`TcpListener`](super::TcpListener).
pub struct UnixListener {
    inner: ListenerRef,
    local: Address,
}

impl UnixListener {
    /// Listens on a path, which must not exist, or an abstract name.
    ///
    /// # Errors
    /// `AddrInUse` if the path exists; that of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn bind(address: impl ToUnixAddress) -> io::Result<UnixListener> {
        let worker = worker::expect_current();
        let socket = worker.queue.listen(address.unix_address())?;
        let local = socket.local_addr()?;
        let inner = ListenerRef::new(&worker, socket);
        Ok(UnixListener { inner, local })
    }

    /// Takes over a listening socket of the system's, such as one that was inherited.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn from_handle(handle: impl Into<OwnedHandle>) -> io::Result<UnixListener> {
        let worker = worker::expect_current();
        let socket = worker.queue.attach(handle)?;
        let local = socket.local_addr()?;
        let inner = ListenerRef::new(&worker, socket);
        Ok(UnixListener { inner, local })
    }

    /// Accepts a connection; gives it and its peer's address, most often
    /// [`Unnamed`](Address::Unnamed). Dropping the future loses no connection.
    ///
    /// # Errors
    /// As [`TcpListener::accept`](super::TcpListener::accept).
    pub async fn accept(&self) -> io::Result<(UnixStream, Address)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`accept`](UnixListener::accept), for a poll function.
    ///
    /// # Errors
    /// As [`accept`](UnixListener::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, Address)>> {
        self.inner.poll_accept(cx).map_ok(|accepted| {
            let Accepted { stream, peer, .. } = accepted;
            (UnixStream { stream }, peer)
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> &Address {
        &self.local
    }

    /// Stops listening, closes the connections that nobody took, and waits until the socket is given
    /// back: as dropping does, but telling when it is done. Dropping the future leaves it to be done
    /// in the background.
    ///
    /// # Errors
    /// `NotConnected` if the runtime has ended.
    pub async fn close(self) -> io::Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixListener({})", self.local)
    }
}

/// A connection between two processes of a machine; else as [`TcpStream`](super::TcpStream).
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::net::{UnixAddress, UnixListener, UnixStream};
/// let name = UnixAddress::abstract_name(b"wharf-example-of-a-unix-stream");
/// let listener = UnixListener::bind(name.clone())?;
/// let mut client = UnixStream::connect(name).await?;
/// let (mut stream, _) = listener.accept().await?;
/// client.write_all(b"hello").await?;
/// let mut buf = [0; 16];
/// assert_eq!(stream.read(&mut buf).await?, 5);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct UnixStream {
    stream: StreamRef,
}

impl UnixStream {
    /// Connects to a path or an abstract name. Dropping the future closes what was begun.
    ///
    /// # Errors
    /// `NotFound` if there is no such path, `ConnectionRefused` if nobody listens.
    ///
    /// # Panics
    /// Outside a runtime.
    pub async fn connect(address: impl ToUnixAddress) -> io::Result<UnixStream> {
        let mut connecting = Connecting::start(address.unix_address())?;
        let stream = poll_fn(|cx| connecting.poll(cx)).await?;
        Ok(UnixStream { stream })
    }

    /// Makes two streams that are connected to each other.
    ///
    /// ```
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// let (mut one, mut other) = wharf::net::UnixStream::pair()?;
    /// one.write_all(b"hello").await?;
    /// let mut buf = [0; 5];
    /// other.read_exact(&mut buf).await?;
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// That of the system; `Unsupported` where it has no such pairs.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let worker = worker::expect_current();
        let kind = op::Socket::stream_for(&Address::Unnamed);
        let (one, other) = worker.queue.socket_pair(&kind)?;
        let stream = |socket| UnixStream {
            stream: StreamRef::new(&worker, socket),
        };
        Ok((stream(one), stream(other)))
    }

    /// Takes over a connected socket of the system's, such as one that was inherited.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn from_handle(handle: impl Into<OwnedHandle>) -> io::Result<UnixStream> {
        let worker = worker::expect_current();
        let socket = worker.queue.attach(handle)?;
        let stream = StreamRef::new(&worker, socket);
        Ok(UnixStream { stream })
    }

    /// This side's address; [`Unnamed`](Address::Unnamed) on most sides that have connected.
    ///
    /// # Errors
    /// That of the system; `Unsupported` on another worker than its own; `NotConnected` if the runtime
    /// has ended.
    pub fn local_addr(&self) -> io::Result<Address> {
        self.socket()?.local_addr()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// As [`local_addr`](UnixStream::local_addr); `NotConnected` if the peer has gone.
    pub fn peer_addr(&self) -> io::Result<Address> {
        self.socket()?.peer_addr()
    }

    /// Who the peer is, as the system knows it: the user and the group of the process that connected,
    /// listened or made the pair. It cannot pretend to be another.
    ///
    /// ```
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// let (one, _other) = wharf::net::UnixStream::pair()?;
    /// let peer = one.peer_credentials()?;
    /// assert!(peer.pid.is_none_or(|pid| pid == std::process::id()));
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`local_addr`](UnixStream::local_addr); `Unsupported` where the system does not tell.
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        self.socket()?.peer_credentials()
    }

    fn socket(&self) -> io::Result<Handle> {
        self.stream.socket()?.ok_or_else(moved)
    }

    /// Sets an option.
    ///
    /// # Errors
    /// That of the system. On another worker than its own, it is done a moment later, and an error
    /// is not told.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.stream
            .with_socket(move |socket| socket.set_option(option))
    }

    /// Takes the socket out of the runtime, to be used elsewhere: by the standard library, or by
    /// [`from_handle`](UnixStream::from_handle) on another worker. It is in non-blocking mode.
    ///
    /// # Errors
    /// `WouldBlock` if something was received or is waited for, or something is not sent yet, which
    /// would be lost; `Unsupported` on another worker than its own.
    pub fn into_handle(self) -> io::Result<OwnedHandle> {
        let socket = self.stream.take_out()?;
        let detached = worker::expect_current().queue.detach(socket);
        detached.map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    /// Sends what was written, closes the connection, and waits until the socket is given back: as
    /// dropping does, but telling of errors. Dropping the future leaves it to be done in the
    /// background.
    ///
    /// If something was received that nobody has read, the peer may see a reset, as the system does
    /// it.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); the socket is closed in any case.
    pub async fn close(self) -> io::Result<()> {
        self.stream.close().await
    }

    /// The number of the worker that it lives on.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.stream.home().index
    }
}

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixStream({:?})", self.stream)
    }
}

impl_read!(UnixStream, |this| this.stream);
impl_write!(UnixStream, |this| this.stream);
impl_splice!(UnixStream, |this| this.stream);
impl_halves!(UnixStream);

/// A Unix socket for datagrams, which keep their order and are not lost; else as
/// [`UdpSocket`](super::UdpSocket).
#[derive(Debug)]
pub struct UnixDatagram {
    inner: DatagramRef,
}

impl UnixDatagram {
    /// Binds a socket to a path, which must not exist, or an abstract name.
    ///
    /// # Errors
    /// `AddrInUse` if the path exists; that of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn bind(address: impl ToUnixAddress) -> io::Result<UnixDatagram> {
        let worker = worker::expect_current();
        let address = address.unix_address();
        let socket = worker.queue.socket(&op::Socket::datagram_for(&address))?;
        worker.queue.bind(&socket, address)?;
        let inner = DatagramRef::new(&worker, socket, true);
        Ok(UnixDatagram { inner })
    }

    /// Makes two sockets that are connected to each other.
    ///
    /// # Errors
    /// That of the system; `Unsupported` where it has no such pairs.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let worker = worker::expect_current();
        let kind = op::Socket::datagram_for(&Address::Unnamed);
        let (one, other) = worker.queue.socket_pair(&kind)?;
        let socket = |socket| UnixDatagram {
            inner: DatagramRef::new(&worker, socket, true),
        };
        Ok((socket(one), socket(other)))
    }

    /// Makes a socket that is bound to no name: it can send, and nobody can answer.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn unbound() -> io::Result<UnixDatagram> {
        let worker = worker::expect_current();
        let kind = op::Socket::datagram_for(&Address::Unnamed);
        let inner = DatagramRef::new(&worker, worker.queue.socket(&kind)?, true);
        Ok(UnixDatagram { inner })
    }

    /// Takes over a socket of the system's, such as one that was inherited.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn from_handle(handle: impl Into<OwnedHandle>) -> io::Result<UnixDatagram> {
        let worker = worker::expect_current();
        let socket = worker.queue.attach(handle)?;
        let inner = DatagramRef::new(&worker, socket, true);
        Ok(UnixDatagram { inner })
    }

    /// Chooses the peer that [`send`](UnixDatagram::send) sends to.
    ///
    /// # Errors
    /// That of the system.
    pub async fn connect(&self, address: impl ToUnixAddress) -> io::Result<()> {
        self.inner.connect(address.unix_address()).await
    }

    /// Receives a datagram; gives its length in `buf` and its sender. What does not fit is gone.
    /// Dropping the future loses no datagram.
    ///
    /// # Errors
    /// That of the system, once: after it, go on receiving.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, Address)> {
        let datagram = self.inner.recv().await?;
        let len = datagram.data.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram.data[..len]);
        Ok((len, datagram.from))
    }

    /// As [`recv_from`](UnixDatagram::recv_from), without the sender.
    ///
    /// # Errors
    /// As [`recv_from`](UnixDatagram::recv_from).
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_from(buf).await?.0)
    }

    /// Receives a datagram as it came, without copying it.
    ///
    /// # Errors
    /// As [`recv_from`](UnixDatagram::recv_from).
    pub async fn recv_datagram(&self) -> io::Result<Datagram> {
        self.inner.recv().await
    }

    /// Sends a copy of `buf` as one datagram; else as
    /// [`UdpSocket::send_to`](super::UdpSocket::send_to).
    ///
    /// # Errors
    /// Those of an earlier datagram.
    pub async fn send_to(&self, buf: &[u8], to: impl ToUnixAddress) -> io::Result<usize> {
        self.inner.send(buf, Some(to.unix_address())).await
    }

    /// Sends a copy of `buf` to the peer that the socket is connected to.
    ///
    /// # Errors
    /// Those of an earlier datagram.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.inner.send(buf, None).await
    }

    /// Waits until everything that was sent has been handed to the system.
    ///
    /// # Errors
    /// Those of a datagram that was sent before.
    pub async fn flush(&self) -> io::Result<()> {
        self.inner.flush().await
    }

    /// Sets an option.
    ///
    /// # Errors
    /// That of the system. On another worker than its own, it is done a moment later, and an error
    /// is not told.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.inner.set_option(option)
    }

    /// Sends what was accepted for sending, and closes the socket: as dropping does, but telling of
    /// errors. Dropping the future leaves it to be done in the background.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); the socket is closed in any case.
    pub async fn close(self) -> io::Result<()> {
        self.inner.close().await
    }
}
