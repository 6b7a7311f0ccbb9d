//! Buffered reading without a buffer: the bytes stay where they were received.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::{PoolBuf, RecvPooled};

/// Reads from a stream by looking at its received bytes in place: `futures_io::AsyncBufRead` without
/// a copy and without memory of its own.
///
/// ```
/// use futures_lite::io::AsyncBufReadExt;
/// # wharf::Runtime::new().unwrap().block_on(async {
/// # let listener = wharf::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let mut peer = wharf::net::TcpStream::connect(listener.local_addr()).await?;
/// # peer.write_all(b"one\ntwo\n").await?;
/// # let (stream, _) = listener.accept().await?;
/// let mut lines = wharf::io::Buffered::new(stream);
/// let mut line = String::new();
/// lines.read_line(&mut line).await?;
/// assert_eq!(line, "one\n");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct Buffered<S> {
    stream: S,
    piece: Option<PoolBuf>,
}

impl<S: RecvPooled + Unpin> Buffered<S> {
    /// Reads from `stream`.
    pub fn new(stream: S) -> Buffered<S> {
        Buffered {
            stream,
            piece: None,
        }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream itself. What was received and not consumed is not in it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, and what was received and not consumed.
    pub fn into_parts(self) -> (S, Option<PoolBuf>) {
        (self.stream, self.piece)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.piece.as_ref().is_none_or(|piece| piece.is_empty()) {
            self.piece = None;
            match Pin::new(&mut self.stream).poll_recv(cx) {
                Poll::Ready(Ok(Some(piece))) => self.piece = Some(piece),
                Poll::Ready(Ok(None)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: RecvPooled + Unpin> AsyncBufRead for Buffered<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        match this.poll_piece(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(this.piece.as_deref().unwrap_or_default())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        if let Some(piece) = &mut self.piece {
            piece.advance(count);
            if piece.is_empty() {
                self.piece = None;
            }
        }
    }
}

impl<S: RecvPooled + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let there = match self.as_mut().poll_fill_buf(cx) {
            Poll::Ready(Ok(there)) => there,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let count = there.len().min(buf.len());
        buf[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

impl<S: fmt::Debug> fmt::Debug for Buffered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered")
            .field("stream", &self.stream)
            .field("piece", &self.piece)
            .finish()
    }
}
