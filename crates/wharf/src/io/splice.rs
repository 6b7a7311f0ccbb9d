//! Copying from one stream to another without the bytes passing through the process.
//!
//! Owns the public functions, and the choice between moving inside the kernel and copying. How bytes are
//! moved is the streams' matter: `net/stream/splice`.

use std::future::poll_fn;
use std::io;

use futures_io::AsyncWrite;

use super::RecvPooled;
use super::copy::{copy_bidirectional, copy_up_to};
use crate::net::stream::StreamRef;

/// A stream that [`splice`] may move bytes from and to: those of this crate, and their halves.
pub trait Spliceable {
    #[doc(hidden)]
    fn spliced(&self) -> Spliced<'_>;
}

/// The stream behind a handle.
#[derive(Debug)]
pub struct Spliced<'a>(pub(crate) &'a StreamRef);

/// Moves up to `len` bytes from `reader` to `writer`, until the reader ends, and gives how many it was.
/// For everything up to the end, `u64::MAX`.
///
/// As [`copy`](super::copy()), but where the system can do it the bytes do not pass through the process:
/// on Linux, if both streams live on the same worker, by splice(2) and a pipe of the worker's. Elsewhere
/// they are copied. What was received before comes first. It pays for many bytes at a time; for small
/// messages, which are received and sent with fewer calls, `copy` is better.
///
/// When it returns, all that it has moved was handed to the system. The writer is not closed.
///
/// Dropping the future loses nothing: it stops, and what has left the reader and not reached the writer
/// is the reader's again. The next read and the next write wait until that is done. A future that is
/// forgotten goes on, and keeps both streams to itself.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::net::UnixStream;
/// let (mut client, mut front) = UnixStream::pair()?;
/// let (mut back, mut server) = UnixStream::pair()?;
/// client.write_all(b"request, and more").await?;
/// assert_eq!(wharf::io::splice(&mut front, &mut back, 7).await?, 7);
/// let mut buf = [0; 16];
/// assert_eq!(server.read(&mut buf).await?, 7);
/// assert_eq!(&buf[..7], b"request");
/// assert_eq!(front.read(&mut buf).await?, 10); // the rest is still there
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Errors
/// The first of either stream.
pub async fn splice<R, W>(reader: &mut R, writer: &mut W, len: u64) -> io::Result<u64>
where
    R: RecvPooled + Spliceable + Unpin,
    W: AsyncWrite + Spliceable + Unpin,
{
    let moved = reader.spliced().0.splice(writer.spliced().0, len).await?;
    match moved {
        Some(moved) => Ok(moved),
        None => copy_up_to(reader, writer, len).await,
    }
}

/// Moves bytes both ways at once until both directions have ended; the end of one is passed on by closing
/// the sending direction of the other. Gives the bytes from `a` to `b` and from `b` to `a`.
///
/// As [`copy_bidirectional`], with what is said at [`splice`].
///
/// Dropping the future loses nothing; see [`splice`]. A direction that has ended stays so.
///
/// # Errors
/// The first of either stream.
pub async fn splice_bidirectional<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: RecvPooled + AsyncWrite + Spliceable + Unpin,
    B: RecvPooled + AsyncWrite + Spliceable + Unpin,
{
    let (left, right) = (a.spliced().0, b.spliced().0);
    let both = futures_lite::future::try_zip(to_end(left, right), to_end(right, left));
    match both.await? {
        (Some(there), Some(back)) => Ok((there, back)),
        _ => copy_bidirectional(a, b).await,
    }
}

/// Moves everything one way, and passes the end on.
async fn to_end(from: &StreamRef, to: &StreamRef) -> io::Result<Option<u64>> {
    let moved = from.splice(to, u64::MAX).await?;
    if moved.is_some() {
        poll_fn(|cx| to.poll_shutdown(cx)).await?;
    }
    Ok(moved)
}
