//! Unix sockets for datagrams.
//!
//! Owns the order of those who receive. Everything else is the runtime's socket's.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use wharf::net::Address;
use wharf::net::unix::ToUnixAddress;
use wharf::sync::lock::Mutex;

use super::patience::Patience;
use crate::wait::wait_io;

/// A Unix socket for datagrams; else as [`UdpSocket`](super::UdpSocket). On Linux and the other Unix
/// systems; refused as unsupported on Windows.
///
/// A cancel or a time-out loses no datagram. One that is longer than the buffer is cut off. Clones share
/// the socket, and fibers that receive take turns.
///
/// ```
/// # #[cfg(unix)] {
/// use wharf_fiber::{self as fiber, net::UnixDatagram};
/// # let runtime = wharf::Runtime::new().unwrap();
/// # fiber::block_on(&runtime, || {
/// let (one, other) = UnixDatagram::pair()?;
/// let echo = fiber::spawn(move || {
///     let mut buf = [0; 64];
///     let len = other.recv(&mut buf)?;
///     other.send(&buf[..len])
/// });
/// one.send(b"hello")?;
/// let mut buf = [0; 64];
/// assert_eq!(one.recv(&mut buf)?, 5);
/// assert_eq!(echo.join().unwrap()?, 5);
/// # std::io::Result::Ok(()) }).unwrap();
/// # }
/// ```
pub struct UnixDatagram {
    shared: Arc<Shared>,
}

struct Shared {
    socket: wharf::net::UnixDatagram,
    /// Whose turn it is to receive.
    receiving: Mutex<()>,
    read_timeout: Patience,
    write_timeout: Patience,
}

impl UnixDatagram {
    /// Binds a socket to a path or an abstract name.
    ///
    /// # Errors
    /// As [`wharf::net::UnixDatagram::bind`].
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn bind(address: impl ToUnixAddress) -> io::Result<UnixDatagram> {
        wharf::net::UnixDatagram::bind(address).map(UnixDatagram::from_wharf)
    }

    /// Two sockets that are connected with each other.
    ///
    /// # Errors
    /// As [`wharf::net::UnixDatagram::pair`].
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = wharf::net::UnixDatagram::pair()?;
        let wrap = UnixDatagram::from_wharf;
        Ok((wrap(one), wrap(other)))
    }

    /// A socket without an address, to send from.
    ///
    /// # Errors
    /// As [`wharf::net::UnixDatagram::unbound`].
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn unbound() -> io::Result<UnixDatagram> {
        wharf::net::UnixDatagram::unbound().map(UnixDatagram::from_wharf)
    }

    /// Takes over a socket of the runtime's.
    #[must_use]
    pub fn from_wharf(socket: wharf::net::UnixDatagram) -> UnixDatagram {
        UnixDatagram {
            shared: Arc::new(Shared {
                socket,
                receiving: Mutex::new(()),
                read_timeout: Patience::default(),
                write_timeout: Patience::default(),
            }),
        }
    }

    /// Another handle to the same socket, which is closed when all are gone.
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn try_clone(&self) -> io::Result<UnixDatagram> {
        Ok(UnixDatagram {
            shared: self.shared.clone(),
        })
    }

    /// Chooses the peer that [`send`](UnixDatagram::send) sends to.
    ///
    /// # Errors
    /// As [`wharf::net::UnixDatagram::connect`]; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn connect(&self, address: impl ToUnixAddress) -> io::Result<()> {
        wait_io(self.shared.socket.connect(address))
    }

    /// Waits for a datagram; gives its length in `buf` and its sender.
    ///
    /// # Errors
    /// As [`wharf::net::UnixDatagram::recv_from`]; `TimedOut`; a cancel.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, Address)> {
        let shared = &*self.shared;
        shared.read_timeout.wait(async {
            let _turn = shared.receiving.lock().await;
            shared.socket.recv_from(buf).await
        })
    }

    /// As [`recv_from`](UnixDatagram::recv_from), without the sender.
    ///
    /// # Errors
    /// As [`recv_from`](UnixDatagram::recv_from).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).map(|(len, _)| len)
    }

    /// Sends a copy of `buf` as one datagram to a path or an abstract name. It returns when that is on
    /// its way, and its errors are told to the next call; a cancel before that sends nothing.
    ///
    /// # Errors
    /// Those of an earlier datagram; `TimedOut`; a cancel.
    #[track_caller]
    pub fn send_to(&self, buf: &[u8], address: impl ToUnixAddress) -> io::Result<usize> {
        let shared = &*self.shared;
        shared
            .write_timeout
            .wait(shared.socket.send_to(buf, address))
    }

    /// Sends a copy of `buf` to the peer that the socket is connected to; else as
    /// [`send_to`](UnixDatagram::send_to).
    ///
    /// # Errors
    /// As [`send_to`](UnixDatagram::send_to).
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.shared.write_timeout.wait(self.shared.socket.send(buf))
    }

    /// Limits how long it waits for a datagram; `None` for ever, which is so if it is not set.
    ///
    /// # Errors
    /// `InvalidInput` for a time-out of zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.read_timeout.set(timeout)
    }

    /// Limits how long sending waits; else as [`set_read_timeout`](UnixDatagram::set_read_timeout).
    ///
    /// # Errors
    /// `InvalidInput` for a time-out of zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.write_timeout.set(timeout)
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.socket.fmt(f)
    }
}
