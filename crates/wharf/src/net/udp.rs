//! UDP.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use wharf_queue::{Address, SocketOption, op};

use super::address::ToAddrs;
use super::datagram::{Datagram, DatagramRef};
use super::tcp::ip;
use crate::runtime::worker;

/// A UDP socket.
///
/// Datagrams are received as they come; up to 32 that nobody has taken wait in the process, the rest
/// in the system. Dropping the socket sends what was accepted for sending, and closes it.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::net::UdpSocket;
/// let server = UdpSocket::bind("127.0.0.1:0").await?;
/// let client = UdpSocket::bind("127.0.0.1:0").await?;
/// client.send_to(b"question", server.local_addr()).await?;
/// let mut buf = [0; 64];
/// let (len, from) = server.recv_from(&mut buf).await?;
/// assert_eq!((&buf[..len], from), (&b"question"[..], client.local_addr()));
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct UdpSocket {
    inner: DatagramRef,
    local: SocketAddr,
}

impl UdpSocket {
    /// Binds a socket to the first of the addresses that can be bound.
    ///
    /// # Errors
    /// That of the system for the last address; that of the lookup.
    ///
    /// # Panics
    /// Outside a runtime.
    pub async fn bind(addresses: impl ToAddrs) -> io::Result<UdpSocket> {
        let mut error = None;
        for address in addresses.target()?.resolve().await? {
            match UdpSocket::bind_to(address) {
                Ok(socket) => return Ok(socket),
                Err(refused) => error = Some(refused),
            }
        }
        Err(error.unwrap_or_else(|| io::ErrorKind::InvalidInput.into()))
    }

    fn bind_to(address: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind_with(address, &[])
    }

    /// Binds a socket to `address` after setting options, for those that must be set before: to share
    /// a port, above all.
    ///
    /// A member of a group of the local network, beside other programs:
    /// ```
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// use std::net::Ipv4Addr;
    /// use wharf::net::{MulticastV4, SocketOption, UdpSocket};
    /// let any = "0.0.0.0:0".parse().unwrap();
    /// let socket = UdpSocket::bind_with(any, &[SocketOption::ReuseAddress(true)])?;
    /// let (group, interface) = (Ipv4Addr::new(239, 255, 7, 7), Ipv4Addr::LOCALHOST);
    /// socket.set_option(SocketOption::JoinV4(MulticastV4 { group, interface }))?;
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn bind_with(address: SocketAddr, options: &[SocketOption]) -> io::Result<UdpSocket> {
        let worker = worker::expect_current();
        let address = Address::from(address);
        let socket = worker.queue.socket(&op::Socket::datagram_for(&address))?;
        for option in options {
            socket.set_option(*option)?;
        }
        worker.queue.bind(&socket, address)?;
        let local = ip(&socket.local_addr()?);
        let inner = DatagramRef::new(&worker, socket, false);
        Ok(UdpSocket { inner, local })
    }

    /// Takes over a socket of the standard library.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        let worker = worker::expect_current();
        let socket = worker.queue.attach(socket)?;
        let local = ip(&socket.local_addr()?);
        let inner = DatagramRef::new(&worker, socket, false);
        Ok(UdpSocket { inner, local })
    }

    /// Chooses the peer that [`send`](UdpSocket::send) sends to, and from which alone datagrams are
    /// received from now on.
    ///
    /// # Errors
    /// That of the system for the last address; that of the lookup.
    pub async fn connect(&self, addresses: impl ToAddrs) -> io::Result<()> {
        let mut result = Err(io::ErrorKind::InvalidInput.into());
        for address in addresses.target()?.resolve().await? {
            result = self.inner.connect(address.into()).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Receives a datagram; gives its length in `buf` and its sender. What does not fit is gone; use
    /// [`recv_datagram`](UdpSocket::recv_datagram) to have it whole.
    ///
    /// Dropping the future loses no datagram.
    ///
    /// # Errors
    /// That of the system, once: after it, go on receiving. On a connected socket
    /// `ConnectionRefused` says that nobody listens there.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let datagram = self.inner.recv().await?;
        let len = datagram.data.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram.data[..len]);
        Ok((len, ip(&datagram.from)))
    }

    /// As [`recv_from`](UdpSocket::recv_from), without the sender.
    ///
    /// # Errors
    /// As [`recv_from`](UdpSocket::recv_from).
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_from(buf).await?.0)
    }

    /// Receives a datagram as it came, without copying it.
    ///
    /// # Errors
    /// As [`recv_from`](UdpSocket::recv_from).
    pub async fn recv_datagram(&self) -> io::Result<Datagram> {
        self.inner.recv().await
    }

    /// Sends a copy of `buf` as one datagram. It returns when that is on its way, and its errors are
    /// told to the next call. While the future is pending nothing is sent: dropping it has no effect.
    ///
    /// # Errors
    /// Those of an earlier datagram.
    pub async fn send_to(&self, buf: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.inner.send(buf, Some(to.into())).await
    }

    /// Sends a copy of `buf` to the peer that the socket is connected to; else as
    /// [`send_to`](UdpSocket::send_to).
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

    /// The address that it is bound to, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sets an option: joins a group ([`SocketOption::JoinV4`]), allows broadcasts, ...
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

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UdpSocket({})", self.local)
    }
}
