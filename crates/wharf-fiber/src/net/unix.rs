//! Unix sockets: listeners and streams, which the runtime has on every system or refuses.

use std::io;

use wharf::net::unix::ToUnixAddress;

use super::stream::{Stream, impl_stream};
use crate::wait::{ends_waiting, wait_io};

/// A Unix socket that listens; else as [`TcpListener`](super::TcpListener).
#[derive(Debug)]
pub struct UnixListener {
    inner: wharf::net::UnixListener,
}

impl UnixListener {
    /// Listens on a path or an abstract name.
    ///
    /// # Errors
    /// As [`wharf::net::UnixListener::bind`].
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn bind(address: impl ToUnixAddress) -> io::Result<UnixListener> {
        let inner = wharf::net::UnixListener::bind(address)?;
        Ok(UnixListener { inner })
    }

    /// Waits for a connection. A cancel loses none.
    ///
    /// # Errors
    /// As [`wharf::net::UnixListener::accept`]; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = wait_io(self.inner.accept())?;
        Ok(UnixStream::from_wharf(stream))
    }

    /// The connections, one after the other. It ends when the fiber is cancelled or unwinds, and not
    /// before; errors are items.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }
}

/// The connections of a listener; from [`UnixListener::incoming`].
#[derive(Debug)]
#[must_use = "iterators do nothing unless consumed"]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        let accepted = self.listener.accept();
        match accepted.as_ref().is_err_and(ends_waiting) {
            true => None,
            false => Some(accepted),
        }
    }
}

/// A Unix connection; else as [`TcpStream`](super::TcpStream).
pub struct UnixStream {
    stream: Stream<wharf::net::UnixStream>,
}

impl UnixStream {
    /// Connects to a path or an abstract name.
    ///
    /// # Errors
    /// As [`wharf::net::UnixStream::connect`]; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn connect(address: impl ToUnixAddress) -> io::Result<UnixStream> {
        let stream = wait_io(wharf::net::UnixStream::connect(address))?;
        Ok(UnixStream::from_wharf(stream))
    }

    /// Two streams that are connected with each other.
    ///
    /// # Errors
    /// As [`wharf::net::UnixStream::pair`].
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = wharf::net::UnixStream::pair()?;
        Ok((UnixStream::from_wharf(one), UnixStream::from_wharf(other)))
    }
}

impl_stream!(UnixStream, wharf::net::UnixStream);
