//! TCP: listeners and streams.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use wharf::net::ToAddrs;

use super::patience::Patience;
use super::stream::{Stream, impl_stream};
use crate::wait::{ends_waiting, expect_current, wait_io};

/// A TCP socket that listens; see [`wharf::net::TcpListener`] for what it does with connections that
/// nobody has taken yet.
#[derive(Debug)]
pub struct TcpListener {
    inner: wharf::net::TcpListener,
}

impl TcpListener {
    /// Listens on the first of the addresses that can be bound.
    ///
    /// # Errors
    /// That of the system for the last address; that of the lookup; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn bind(addresses: impl ToAddrs) -> io::Result<TcpListener> {
        let inner = wait_io(wharf::net::TcpListener::bind(addresses))?;
        Ok(TcpListener { inner })
    }

    /// Takes over a listener of the runtime's.
    #[must_use]
    pub fn from_wharf(listener: wharf::net::TcpListener) -> TcpListener {
        TcpListener { inner: listener }
    }

    /// Waits for a connection; gives it and its peer's address. Several fibers may accept on one
    /// listener. A cancel loses no connection.
    ///
    /// # Errors
    /// As [`wharf::net::TcpListener::accept`]; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = wait_io(self.inner.accept())?;
        Ok((TcpStream::from_wharf(stream), peer))
    }

    /// The connections, one after the other. It ends when the fiber is cancelled or unwinds, and not
    /// before; errors are items.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address that it listens on, with the real port.
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.inner.local_addr())
    }
}

/// The connections of a listener; from [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "iterators do nothing unless consumed"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        let accepted = self.listener.accept();
        if accepted.as_ref().is_err_and(ends_waiting) {
            return None;
        }
        Some(accepted.map(|(stream, _)| stream))
    }
}

/// A TCP connection that reads and writes as one of the standard library's.
///
/// What is written in slices shorter than 32 KiB is sent in the background, as for
/// [`wharf::net::TcpStream`]: such a write waits only when 64 KiB are on their way, and `flush` waits
/// until the system has taken all. Longer slices are [lent](super).
pub struct TcpStream {
    stream: Stream<wharf::net::TcpStream>,
}

impl TcpStream {
    /// Connects; a name may stand for several addresses, which are tried as
    /// [`wharf::net::TcpStream::connect`] does.
    ///
    /// # Errors
    /// As there; a cancel, which closes what was begun.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn connect(addresses: impl ToAddrs) -> io::Result<TcpStream> {
        let stream = wait_io(wharf::net::TcpStream::connect(addresses))?;
        Ok(TcpStream::from_wharf(stream))
    }

    /// As [`connect`](TcpStream::connect) to one address, with a limit on how long that may take.
    ///
    /// # Errors
    /// `TimedOut`; `InvalidInput` for a time-out of zero; else as there.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        let patience = Patience::default();
        patience.set(Some(timeout))?;
        expect_current(|_| ());
        let stream = patience.wait(wharf::net::TcpStream::connect(*address))?;
        Ok(TcpStream::from_wharf(stream))
    }

    /// This side's address.
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.stream.get().local_addr())
    }

    /// The peer's address.
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.stream.get().peer_addr())
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As [`wharf::net::TcpStream::set_nodelay`].
    pub fn set_nodelay(&self, yes: bool) -> io::Result<()> {
        self.stream.get().set_nodelay(yes)
    }
}

impl_stream!(TcpStream, wharf::net::TcpStream);
