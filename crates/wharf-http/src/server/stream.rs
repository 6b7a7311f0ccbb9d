//! A connection's stream as hyper sees it: with an account of its waits, and an orderly end.
//!
//! Owns finding out which version of HTTP a client speaks, and lingering at the end. It is generic
//! over the stream below, and knows nothing of requests.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::exchange::Connection;

/// What a client that speaks HTTP/2 without being asked sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is thrown away at most of what a client goes on sending after its last answer.
const LINGER_BYTES: usize = 1 << 20;

/// The two that this server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    Http1,
    Http2,
}

pub(crate) struct Stream<T> {
    inner: T,
    /// What was read to find out the version.
    prefix: Bytes,
    connection: Arc<Connection>,
    end: End,
}

/// ```text
/// Open --poll_shutdown--> Lingering --end of file, error, enough--> Closed
///   \---- nothing is left unread ------------------------------------^
/// ```
enum End {
    Open,
    Lingering { discarded: usize },
    Closed,
}

impl<T: Read + Write + Unpin> Stream<T> {
    pub(crate) fn new(inner: T, connection: Arc<Connection>) -> Stream<T> {
        Stream {
            inner,
            prefix: Bytes::new(),
            connection,
            end: End::Open,
        }
    }

    /// Reads until the version is certain: up to the first byte that differs from the preface.
    pub(crate) async fn version(&mut self) -> io::Result<Version> {
        let mut start = [0; PREFACE.len()];
        let mut filled_len = 0;
        while filled_len < start.len() && PREFACE.starts_with(&start[..filled_len]) {
            let mut buf = ReadBuf::new(&mut start[filled_len..]);
            poll_fn(|cx| Pin::new(&mut self.inner).poll_read(cx, buf.unfilled())).await?;
            let read_len = buf.filled().len();
            if read_len == 0 {
                break;
            }
            filled_len += read_len;
            self.connection.was_read();
        }
        self.prefix = Bytes::copy_from_slice(&start[..filled_len]);
        if start == *PREFACE {
            self.connection.patience.is_http2();
            return Ok(Version::Http2);
        }
        Ok(Version::Http1)
    }

    fn account<R>(&self, poll: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match &poll {
            Poll::Pending => self.connection.write_waits(),
            Poll::Ready(_) => self.connection.write_moves(),
        }
        poll
    }
}

impl<T: Read + Write + Unpin> Read for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let len = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..len]);
            self.prefix.advance(len);
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.connection.was_read();
        Poll::Ready(Ok(()))
    }
}

impl<T: Read + Write + Unpin> Write for Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.account(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.account(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        self.account(poll)
    }

    /// Ends our side. Where the client has not been heard out (a refused body, a head that is no
    /// head), what it still sends is read and thrown away for a while: closing over unread bytes
    /// would reset the connection, and the answer would be lost with it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let End::Open = this.end {
            let poll = Pin::new(&mut this.inner).poll_shutdown(cx);
            ready!(this.account(poll))?;
            this.end = match this.connection.has_unread() {
                true => End::Lingering { discarded: 0 },
                false => End::Closed,
            };
        }
        let End::Lingering { discarded } = &mut this.end else {
            return Poll::Ready(Ok(()));
        };
        this.connection.lingers();
        let mut space = [0; 4096];
        while *discarded < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut space);
            // An error says as much as an end here.
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, buf.unfilled()));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            *discarded += buf.filled().len();
        }
        this.end = End::Closed;
        Poll::Ready(Ok(()))
    }
}
