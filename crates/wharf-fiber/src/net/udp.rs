//! UDP sockets.
//!
//! Owns the order of those who receive, and the datagram that somebody has looked at and nobody has
//! taken. Everything else is the runtime's socket's.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wharf::net::{Datagram, ToAddrs};
use wharf::sync::lock::Mutex;

use super::patience::Patience;
use crate::wait::wait_io;

/// A UDP socket in the manner of the standard library's.
///
/// Datagrams are received as they come; up to 32 that nobody has taken wait in the process, the rest in
/// the system. A cancel or a time-out loses none. One that is longer than the buffer is cut off, on
/// every system: what does not fit is gone. Clones share the socket, and fibers that receive take turns.
///
/// ```
/// use wharf_fiber::{self as fiber, net::UdpSocket};
/// # let runtime = wharf::Runtime::new().unwrap();
/// # fiber::block_on(&runtime, || {
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.connect(server.local_addr()?)?;
/// client.send(b"question")?;
/// let mut buf = [0; 64];
/// let (len, from) = server.recv_from(&mut buf)?;
/// server.send_to(&buf[..len], from)?;
/// assert_eq!(client.recv(&mut buf)?, 8);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct UdpSocket {
    shared: Arc<Shared>,
}

struct Shared {
    socket: wharf::net::UdpSocket,
    /// Whose turn it is to receive; what was only looked at.
    receiving: Mutex<Option<Datagram>>,
    read_timeout: Patience,
    write_timeout: Patience,
}

impl Shared {
    /// What somebody has looked at, or the next that comes.
    async fn next(&self, looked_at: &mut Option<Datagram>) -> io::Result<Datagram> {
        match looked_at.take() {
            Some(datagram) => Ok(datagram),
            None => self.socket.recv_datagram().await,
        }
    }
}

impl UdpSocket {
    /// Binds a socket to the first of the addresses that can be bound.
    ///
    /// # Errors
    /// That of the system for the last address; that of the lookup; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn bind(addresses: impl ToAddrs) -> io::Result<UdpSocket> {
        wait_io(wharf::net::UdpSocket::bind(addresses)).map(UdpSocket::from_wharf)
    }

    /// Takes over a socket of the runtime's; for one with options, see
    /// [`bind_with`](wharf::net::UdpSocket::bind_with) there.
    #[must_use]
    pub fn from_wharf(socket: wharf::net::UdpSocket) -> UdpSocket {
        UdpSocket {
            shared: Arc::new(Shared {
                socket,
                receiving: Mutex::new(None),
                read_timeout: Patience::default(),
                write_timeout: Patience::default(),
            }),
        }
    }

    /// Another handle to the same socket, which is closed when all are gone.
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn try_clone(&self) -> io::Result<UdpSocket> {
        Ok(UdpSocket {
            shared: self.shared.clone(),
        })
    }

    /// Chooses the peer that [`send`](UdpSocket::send) sends to, and from which alone datagrams are
    /// received from now on.
    ///
    /// # Errors
    /// That of the system for the last address; that of the lookup; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn connect(&self, addresses: impl ToAddrs) -> io::Result<()> {
        wait_io(self.shared.socket.connect(addresses))
    }

    /// Waits for a datagram; gives its length in `buf` and its sender.
    ///
    /// # Errors
    /// As [`wharf::net::UdpSocket::recv_from`]; `TimedOut`; a cancel.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let shared = &*self.shared;
        shared.read_timeout.wait(async {
            let mut looked_at = shared.receiving.lock().await;
            let datagram = shared.next(&mut looked_at).await?;
            Ok(copy(&datagram, buf))
        })
    }

    /// As [`recv_from`](UdpSocket::recv_from), without the sender.
    ///
    /// # Errors
    /// As [`recv_from`](UdpSocket::recv_from).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).map(|(len, _)| len)
    }

    /// As [`recv_from`](UdpSocket::recv_from), and leaves the datagram to the next who receives.
    ///
    /// # Errors
    /// As [`recv_from`](UdpSocket::recv_from).
    #[track_caller]
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let shared = &*self.shared;
        shared.read_timeout.wait(async {
            let mut looked_at = shared.receiving.lock().await;
            let datagram = shared.next(&mut looked_at).await?;
            let copied = copy(&datagram, buf);
            *looked_at = Some(datagram);
            Ok(copied)
        })
    }

    /// As [`peek_from`](UdpSocket::peek_from), without the sender.
    ///
    /// # Errors
    /// As [`recv_from`](UdpSocket::recv_from).
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.peek_from(buf).map(|(len, _)| len)
    }

    /// Sends a copy of `buf` as one datagram to the first of the addresses. It returns when that is on
    /// its way, and its errors are told to the next call; a cancel before that sends nothing.
    ///
    /// # Errors
    /// Those of an earlier datagram; that of the lookup; `TimedOut`; a cancel.
    #[track_caller]
    pub fn send_to(&self, buf: &[u8], addresses: impl ToAddrs) -> io::Result<usize> {
        let shared = &*self.shared;
        shared.write_timeout.wait(async {
            let found = wharf::net::lookup(addresses).await?;
            let to = *found.first().ok_or(io::ErrorKind::InvalidInput)?;
            shared.socket.send_to(buf, to).await
        })
    }

    /// Sends a copy of `buf` to the peer that the socket is connected to; else as
    /// [`send_to`](UdpSocket::send_to).
    ///
    /// # Errors
    /// As [`send_to`](UdpSocket::send_to).
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.shared.write_timeout.wait(self.shared.socket.send(buf))
    }

    /// The address that it is bound to, with the real port.
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.shared.socket.local_addr())
    }

    /// Limits how long it waits for a datagram; `None` for ever, which is so if it is not set.
    ///
    /// # Errors
    /// `InvalidInput` for a time-out of zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.read_timeout.set(timeout)
    }

    /// Limits how long sending waits; else as [`set_read_timeout`](UdpSocket::set_read_timeout).
    ///
    /// # Errors
    /// `InvalidInput` for a time-out of zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.write_timeout.set(timeout)
    }

    /// What was set by [`set_read_timeout`](UdpSocket::set_read_timeout).
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.shared.read_timeout.get())
    }

    /// What was set by [`set_write_timeout`](UdpSocket::set_write_timeout).
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.shared.write_timeout.get())
    }
}

/// As much of a datagram as fits, and its sender.
fn copy(datagram: &Datagram, buf: &mut [u8]) -> (usize, SocketAddr) {
    let len = datagram.data.len().min(buf.len());
    buf[..len].copy_from_slice(&datagram.data[..len]);
    // Senders have addresses; if a system gives none, nobody is there.
    let nobody = SocketAddr::from(([0; 4], 0));
    (len, datagram.from.ip().unwrap_or(nobody))
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.socket.fmt(f)
    }
}
