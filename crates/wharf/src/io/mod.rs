//! Bytes in general: received pieces, buffered reading and writing, copying, the standard streams, and
//! descriptors that wharf does not know.
//!
//! Everything here that reads and writes has the traits of `futures-io`. What those need on top
//! (buffers, lines, adaptors) is taken from `futures-lite` and named here, with one thing to know
//! about each:
//!
//! | name | what it is | when a future of it is dropped |
//! |---|---|---|
//! | [`BufReader`], [`BufWriter`] | a buffer around any reader or writer | what is in the buffer stays; a `BufWriter` that is dropped without a flush loses it |
//! | [`AsyncBufReadExt::lines`], [`split`](AsyncBufReadExt::split) | streams of lines and pieces | nothing is lost: what has come of a line is the stream's |
//! | [`AsyncBufReadExt::read_until`] | reads up to a byte, appending to a `Vec` | what has come is in the `Vec` |
//! | [`AsyncBufReadExt::read_line`] | as much, to a `String` | what has come of the line is **lost**: use `lines` where it may be dropped |
//! | [`Stdin::read_line`], [`StdinLines::next_line`] | as much | nothing is lost: no byte is taken before the line is whole |
//! | `read_to_end` | reads to the end, appending to a `Vec` | what has come is in the `Vec` |
//! | `read_to_string` | as much, to a `String` | what has come is **lost**, and the `String` is as it was |
//! | [`AsyncFd::ready`], [`readable`](AsyncFd::readable), [`writable`](AsyncFd::writable) | wait for readiness | nothing: it is asked for anew each time |
//! | [`AsyncFd::try_io`] | calls a closure when it is ready | the closure is not called any more |
//! | [`copy_buf()`], [`copy()`], [`copy_bidirectional()`] | from a reader to a writer | nothing is lost: what was read and not yet written is the reader's |
//! | [`splice()`], [`splice_bidirectional()`] | the same inside the kernel, between streams of this crate | nothing is lost, as with `copy`; the next read and write wait until it has stopped |
//! | [`AsyncReadExt`], [`AsyncWriteExt`], [`AsyncSeekExt`] | the methods of readers and writers of any type | as the inherent methods |

mod async_fd;
mod buffered;
pub(crate) mod chunk;
pub(crate) mod conduit;
mod copy;
mod copy_buf;
pub(crate) mod incoming;
pub(crate) mod spare;
pub(crate) mod splice;
mod stdin;
mod stdout;
pub(crate) mod traits;
pub(crate) mod write_all;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

pub use crate::buf::PoolBuf;
pub use async_fd::{AsyncFd, Interest, Readiness};
pub use buffered::Buffered;
pub use copy::{copy, copy_bidirectional};
pub use copy_buf::copy_buf;
pub use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};
pub use futures_lite::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader, BufWriter, Lines, Split,
};
pub use splice::{Spliceable, splice, splice_bidirectional};
pub use stdin::{Stdin, StdinLines, stdin};
pub use stdout::{Stderr, Stdout, stderr, stdout};
pub use wharf_queue::{AlignedBuf, IoBuf, IoBufMut, IoVec, IoVecMut};

/// What an operation with an owned buffer gives: its result, and the buffer in any case.
pub type BufResult<T, B> = (io::Result<T>, B);

/// What gives received bytes without copying them: every stream of this crate that can be read.
pub trait RecvPooled {
    /// Takes the next bytes as they came; `None` at the end of the stream.
    ///
    /// # Errors
    /// That of the stream.
    fn poll_recv(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Option<PoolBuf>>>;

    /// Puts back what was received last, or the end of it: the next to read gets it first. It is for
    /// those who have received something and find that they cannot pass it on.
    fn put_back(self: Pin<&mut Self>, piece: PoolBuf);
}
