//! Bytes in general: received pieces, buffered reading, copying.

mod buffered;
pub(crate) mod conduit;
mod copy;
pub(crate) mod incoming;
pub(crate) mod spare;
pub(crate) mod traits;
pub(crate) mod write_all;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

pub use crate::buf::PoolBuf;
pub use buffered::Buffered;
pub use copy::{copy, copy_bidirectional};
pub use wharf_queue::{AlignedBuf, IoBuf, IoBufMut};

/// What an operation with an owned buffer gives: its result, and the buffer in any case.
pub type BufResult<T, B> = (io::Result<T>, B);

/// What gives received bytes without copying them: every stream of this crate that can be read.
pub trait RecvPooled {
    /// Takes the next bytes as they came; `None` at the end of the stream.
    ///
    /// # Errors
    /// That of the stream.
    fn poll_recv(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Option<PoolBuf>>>;
}
