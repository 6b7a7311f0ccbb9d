//! TCP: listeners and streams.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::task::{Context, Poll};

use wharf_queue::{Address, Handle, OwnedHandle, SocketOption};

use super::address::ToAddrs;
use super::connect;
use super::listener::{Accepted, ListenerRef};
use super::stream::StreamRef;
use super::stream::methods::{impl_halves, impl_read, impl_splice, impl_write};
use crate::runtime::home::Home;
use crate::runtime::worker::{self, Worker};

/// Connections that wait in the system to be accepted.
pub(super) const BACKLOG: u32 = 1024;

/// The address of a peer that has none any more.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

pub(super) fn ip(address: &Address) -> SocketAddr {
    address.ip().unwrap_or(NOWHERE)
}

/// A TCP socket that listens.
///
/// Connections are accepted as they come, by one operation for all of them; up to 128 that nobody has
/// taken wait in the process, the rest in the kernel. Dropping the listener closes it, and in order
/// those connections.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::net::{TcpListener, TcpStream};
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut client = TcpStream::connect(listener.local_addr()).await?;
/// let (mut stream, peer) = listener.accept().await?;
/// assert_eq!(peer, client.local_addr());
/// client.write_all(b"hello").await?;
/// let mut buf = [0; 16];
/// assert_eq!(stream.read(&mut buf).await?, 5);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct TcpListener {
    inner: ListenerRef,
    local: SocketAddr,
}

impl TcpListener {
    /// Listens on the first of the addresses that can be bound, with `SO_REUSEADDR` set, so that a
    /// port can be bound again while connections of an earlier listener linger.
    ///
    /// # Errors
    /// That of the system for the last address; that of the lookup.
    ///
    /// # Panics
    /// Outside a runtime.
    pub async fn bind(addresses: impl ToAddrs) -> io::Result<TcpListener> {
        let mut error = None;
        for address in addresses.target()?.resolve().await? {
            let worker = worker::expect_current();
            match worker.queue.listen(address) {
                Ok(socket) => return TcpListener::adopt(&worker, socket),
                Err(refused) => error = Some(refused),
            }
        }
        Err(error.unwrap_or_else(|| io::ErrorKind::InvalidInput.into()))
    }

    pub(super) fn adopt(worker: &Worker, socket: Handle) -> io::Result<TcpListener> {
        let local = ip(&socket.local_addr()?);
        let inner = ListenerRef::new(worker, socket);
        Ok(TcpListener { inner, local })
    }

    /// Takes over a listener of the standard library.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        let worker = worker::expect_current();
        let socket = worker.queue.attach(listener)?;
        TcpListener::adopt(&worker, socket)
    }

    /// Accepts a connection; gives it and its peer's address, which is unspecified if the peer is
    /// gone already.
    ///
    /// Several tasks may accept on one listener. Dropping the future loses no connection: one that
    /// was accepted waits for the next accept.
    ///
    /// # Errors
    /// That of the system. Out of descriptors, one accept is told so (`EMFILE`), the next are held
    /// back for a moment, and no connection is lost: go on accepting. `NotConnected` if the runtime
    /// has ended.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`accept`](TcpListener::accept), for a poll function.
    ///
    /// # Errors
    /// As [`accept`](TcpListener::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.inner.poll_accept(cx).map_ok(|accepted| {
            let stream = TcpStream::from_accepted(accepted);
            let peer = stream.peer_addr();
            (stream, peer)
        })
    }

    /// The address that it listens on, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
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

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpListener({})", self.local)
    }
}

/// A TCP connection.
///
/// Bytes are received as they come, into buffers that all connections of the worker share, up to a
/// limit that nobody has read ([`Builder::hoard`](crate::runtime::Builder::hoard)). Dropping the
/// stream sends what was written, in the background and in order, and then closes it.
pub struct TcpStream {
    stream: StreamRef,
    ends: Ends,
}

/// The addresses of a connection's two ends: 16 bytes for the commonest family, where two of
/// `SocketAddr` would take 64.
pub(super) enum Ends {
    V4(SocketAddrV4, SocketAddrV4),
    Other(Box<(SocketAddr, SocketAddr)>),
}

impl Ends {
    fn new(local: SocketAddr, peer: SocketAddr) -> Ends {
        match (local, peer) {
            (SocketAddr::V4(local), SocketAddr::V4(peer)) => Ends::V4(local, peer),
            both => Ends::Other(Box::new(both)),
        }
    }

    fn local(&self) -> SocketAddr {
        match self {
            Ends::V4(local, _) => (*local).into(),
            Ends::Other(both) => both.0,
        }
    }

    fn peer(&self) -> SocketAddr {
        match self {
            Ends::V4(_, peer) => (*peer).into(),
            Ends::Other(both) => both.1,
        }
    }
}

impl TcpStream {
    /// Connects. A name may stand for several addresses: they are tried in the order of the
    /// resolver, the families by turns, each 250 ms after the one before or when that has failed;
    /// the first connection wins (RFC 8305).
    ///
    /// Dropping the future closes what was begun.
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody listens; in general the error of the first address; that of the
    /// lookup.
    ///
    /// # Panics
    /// Outside a runtime.
    pub async fn connect(addresses: impl ToAddrs) -> io::Result<TcpStream> {
        let addresses = addresses.target()?.resolve().await?;
        TcpStream::from_connected(connect::connect(addresses).await?)
    }

    pub(super) fn from_connected(stream: StreamRef) -> io::Result<TcpStream> {
        let socket = stream.socket()?;
        let (local, peer) = match socket {
            // A connection that was reset meanwhile has no address any more; its first read says so.
            Some(socket) => (
                socket.local_addr().map_or(NOWHERE, |address| ip(&address)),
                socket.peer_addr().map_or(NOWHERE, |address| ip(&address)),
            ),
            None => (NOWHERE, NOWHERE),
        };
        Ok(TcpStream {
            stream,
            ends: Ends::new(local, peer),
        })
    }

    fn from_accepted(accepted: Accepted) -> TcpStream {
        let Accepted {
            stream,
            local,
            peer,
        } = accepted;
        TcpStream {
            stream,
            ends: Ends::new(ip(&local), ip(&peer)),
        }
    }

    /// Takes over a connected stream of the standard library.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        let worker = worker::expect_current();
        let socket = worker.queue.attach(stream)?;
        TcpStream::from_connected(StreamRef::new(&worker, socket))
    }

    /// This side's address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.ends.local()
    }

    /// The peer's address.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.ends.peer()
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// That of the system. On another worker than its own, it is done a moment later, and an error
    /// is not told.
    pub fn set_nodelay(&self, yes: bool) -> io::Result<()> {
        self.stream
            .with_socket(move |socket| socket.set_nodelay(yes))
    }

    /// Sets an option.
    ///
    /// # Errors
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.stream
            .with_socket(move |socket| socket.set_option(option))
    }

    /// Takes the socket out of the runtime, to be used elsewhere: by the standard library, or by
    /// [`from_std`](TcpStream::from_std) on another worker. It is in non-blocking mode.
    ///
    /// # Errors
    /// `WouldBlock` if something was received or is waited for, or something is not sent yet, which
    /// would be lost; `Unsupported` on another worker than its own.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        let (socket, _) = self.detach(&worker::expect_current())?;
        Ok(socket.into())
    }

    /// Takes the socket out of the worker, which is its own.
    pub(super) fn detach(self, worker: &Worker) -> io::Result<(OwnedHandle, Ends)> {
        let TcpStream { stream, ends } = self;
        let socket = stream.take_out()?;
        match worker.queue.detach(socket) {
            Ok(owned) => Ok((owned, ends)),
            Err(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn new(stream: StreamRef, ends: Ends) -> TcpStream {
        TcpStream { stream, ends }
    }

    pub(super) fn home(&self) -> &Arc<Home> {
        self.stream.home()
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

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TcpStream({} -> {})",
            self.ends.local(),
            self.ends.peer()
        )
    }
}

impl_read!(TcpStream, |this| this.stream);
impl_write!(TcpStream, |this| this.stream);
impl_splice!(TcpStream, |this| this.stream);
impl_halves!(TcpStream);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_takes_few_bytes_and_keeps_addresses_of_each_family() {
        assert!(size_of::<TcpStream>() <= 48, "{}", size_of::<TcpStream>());
        for (local, peer) in [
            ("127.0.0.1:1", "10.0.0.2:65535"),
            ("[::1]:1", "[fe80::2%3]:65535"),
            ("[::1]:1", "0.0.0.0:0"),
        ] {
            let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
            let ends = Ends::new(local, peer);
            assert_eq!((ends.local(), ends.peer()), (local, peer));
        }
    }
}
