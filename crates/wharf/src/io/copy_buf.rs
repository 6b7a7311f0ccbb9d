//! Copying from a reader with a buffer to any writer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncWrite};

/// Copies everything from `reader`, out of its buffer, to `writer`, and flushes the writer. Gives the
/// number of bytes.
///
/// Dropping the future loses nothing: what was not written is still in the reader's buffer.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let mut reader = wharf::io::BufReader::new(&b"some bytes"[..]);
/// let mut writer = Vec::new();
/// assert_eq!(wharf::io::copy_buf(&mut reader, &mut writer).await?, 10);
/// assert_eq!(writer, b"some bytes");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Errors
/// The first of either; `WriteZero` if the writer takes nothing any more.
pub async fn copy_buf<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: AsyncBufRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut copied = 0;
    poll_fn(|cx| poll(cx, reader, writer, &mut copied)).await
}

fn poll<R, W>(
    cx: &mut Context<'_>,
    reader: &mut R,
    writer: &mut W,
    copied: &mut u64,
) -> Poll<io::Result<u64>>
where
    R: AsyncBufRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    loop {
        let there = match Pin::new(&mut *reader).poll_fill_buf(cx)? {
            Poll::Ready(there) => there,
            Poll::Pending => {
                // While there is nothing to read, nothing may be left behind.
                let _flushed = Pin::new(&mut *writer).poll_flush(cx)?;
                return Poll::Pending;
            }
        };
        if there.is_empty() {
            ready!(Pin::new(&mut *writer).poll_flush(cx))?;
            return Poll::Ready(Ok(*copied));
        }
        let count = ready!(Pin::new(&mut *writer).poll_write(cx, there))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Pin::new(&mut *reader).consume(count);
        *copied += count as u64;
    }
}
