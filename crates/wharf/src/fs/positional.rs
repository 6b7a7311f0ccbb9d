//! Reading and writing at an offset.
//!
//! Owns the two ways: on the file's own worker the buffer itself is lent to the system, elsewhere its
//! bytes are copied and the file's worker does the rest.

use std::io;

use wharf_queue::{AlignedBuf, Handle, IoBuf, IoBufMut, op};

use super::File;
use crate::engine::{self, OpFuture, Refused};
use crate::io::chunk::{Place, Single};
use crate::io::incoming::LONGEST;
use crate::io::write_all::{Finish, WriteAll, carry};
use crate::io::{BufResult, spare};
use crate::runtime::worker;

/// What direct I/O wants of the memory of a buffer, on every device that is known.
pub(super) const ALIGNMENT: usize = 4096;

/// The longest read for another worker, in bytes.
pub(super) const LONGEST_ELSEWHERE: usize = 1024 * 1024;

/// What became of a read with a lent buffer.
enum Begun<B: IoBufMut> {
    Here(OpFuture<op::ReadAt<B>>),
    Elsewhere(B),
    Failed(io::Error, B),
}

impl File {
    /// Reads at `offset`, in bytes from the beginning, into `buf` and returns how many bytes that
    /// were: 0 past the end, or for an empty `buf`. At most 262,144 are read at a time. The cursor
    /// does not move.
    ///
    /// # Errors
    /// That of the system; `InvalidInput` for an offset above its limit; `NotSeekable` for a pipe, a
    /// terminal and the like; `NotConnected` if the runtime has ended.
    pub async fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.conduit.pumped().await;
        let len = buf.len().min(LONGEST);
        let part = spare::take(len).slice(..len);
        let begin = move |handle: &Handle| op::ReadAt::new(handle, part, offset);
        let started = self.conduit.handle().start(begin)?;
        let (outcome, part) = started.await?;
        let bytes = part.into_inner();
        let count = outcome.into_result()?;
        buf[..count].copy_from_slice(&bytes[..count]);
        spare::give(bytes);
        Ok(count)
    }

    /// Reads at `offset` until `buf` is full.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; else as [`read_at`](File::read_at).
    pub async fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            let at = offset.saturating_add(filled as u64);
            match self.read_at(&mut buf[filled..], at).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }

    /// Reads at `offset` into a buffer that is lent and comes back, with its length set. For a `Vec`,
    /// the room is its capacity; for a part of a buffer, [`IoBuf::slice`]. On the file's own worker
    /// nothing is copied and, in steady state, nothing allocated.
    ///
    /// Dropping the future cancels the read, and drops the buffer when the system lets go of it.
    ///
    /// # Errors
    /// As [`read_at`](File::read_at); the buffer comes back in any case.
    pub async fn read_at_owned<B: IoBufMut + Send>(
        &self,
        buf: B,
        offset: u64,
    ) -> BufResult<usize, B> {
        self.conduit.pumped().await;
        match self.begin_read_at(buf, offset) {
            Begun::Here(operation) => {
                let (outcome, buf) = operation.await;
                (outcome.into_result(), buf)
            }
            Begun::Elsewhere(mut buf) => match self.read_at_elsewhere(&mut buf, offset).await {
                Ok(count) => (Ok(count), buf),
                Err(error) => {
                    buf.fill(&[]);
                    (Err(error), buf)
                }
            },
            Begun::Failed(error, buf) => (Err(error), buf),
        }
    }

    fn begin_read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> Begun<B> {
        let here = worker::here(self.conduit.handle().home().id);
        let (Some(worker), Some(handle)) = (here, self.conduit.handle().get()) else {
            return Begun::Elsewhere(buf);
        };
        match engine::submit_to(&worker, op::ReadAt::new(&handle, buf, offset)) {
            Ok(operation) => Begun::Here(operation),
            Err(Refused { op, error }) => Begun::Failed(error, op.into_buf()),
        }
    }

    async fn read_at_elsewhere<B: IoBufMut>(&self, buf: &mut B, offset: u64) -> io::Result<usize> {
        let room = buf.as_uninit().len().min(LONGEST_ELSEWHERE);
        let copy = AlignedBuf::new(room, ALIGNMENT);
        let begin = move |handle: &Handle| op::ReadAt::new(handle, copy, offset);
        let started = self.conduit.handle().start(begin)?;
        let (outcome, copy) = started.await?;
        let count = outcome.into_result()?;
        Ok(buf.fill(&copy[..count]))
    }

    /// Writes bytes of `buf` at `offset`, in bytes from the beginning, and returns how many: at most
    /// 262,144 at a time. The cursor does not move; a file that was opened for appending is written
    /// at its end, whatever the offset.
    ///
    /// Dropping the future before it has begun writes nothing; after, what it would have returned is
    /// written, and an error of that is told to the next write, flush or sync. It begins when it is
    /// first polled, or when writes at the cursor are done.
    ///
    /// # Errors
    /// As [`read_at`](File::read_at); `StorageFull`, `FileTooLarge`, ...
    pub async fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let len = buf.len().min(LONGEST);
        let mut copy = spare::take(len);
        copy.extend_from_slice(&buf[..len]);
        let (result, copy) = self.write_at_owned(copy, offset).await;
        spare::give(copy);
        result
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// Dropping the future leaves what was written before, and finishes what it has begun.
    ///
    /// # Errors
    /// As [`write_at`](File::write_at).
    pub async fn write_all_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let count = self.write_at(buf, offset).await?;
            buf = &buf[count..];
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }

    /// Writes all of a buffer at `offset`; it is lent and comes back. On the file's own worker
    /// nothing is copied and, in steady state, nothing allocated.
    ///
    /// Dropping the future before it has begun writes nothing; after, the buffer is written whole, and
    /// an error of that is told to the next write, flush or sync. It begins when it is first polled,
    /// or when writes at the cursor are done.
    ///
    /// # Errors
    /// As [`write_at`](File::write_at), and `WriteZero`; a part may have been written then. The
    /// buffer comes back in any case.
    pub async fn write_at_owned<B: IoBuf + Send>(
        &self,
        buf: B,
        offset: u64,
    ) -> BufResult<usize, B> {
        self.conduit.pumped().await;
        self.write_whole(buf, Place::At(offset)).await
    }

    pub(super) async fn write_whole<B: IoBuf + Send>(
        &self,
        buf: B,
        place: Place,
    ) -> BufResult<usize, B> {
        if self.conduit.handle().get().is_some() {
            let write = WriteAll::new(self.conduit.clone(), Single::new(buf, place));
            return Finish::new(write).await;
        }
        let bytes = buf.as_bytes();
        let mut copy = AlignedBuf::new(bytes.len(), ALIGNMENT);
        copy.copy_from_slice(bytes);
        (carry(&self.conduit, copy, place).await, buf)
    }

    /// Whether it can be read at an offset, and sought in: it is no pipe, terminal or the like.
    #[must_use]
    pub fn has_offsets(&self) -> bool {
        self.conduit.is_file()
    }

    /// Reads from the beginning to the end, which may be before or behind `expected` bytes.
    pub(super) async fn read_whole(&self, expected: u64) -> io::Result<Vec<u8>> {
        /// Files that do not tell their length are read by this.
        const UNKNOWN: usize = 8 * 1024;
        let expected = usize::try_from(expected).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        // One more, so that the end is found without growing.
        let room = expected.saturating_add(1).max(UNKNOWN);
        bytes.try_reserve_exact(room)?;
        loop {
            let begin = bytes.len();
            let part = bytes.slice(begin..);
            let (result, part) = self.read_at_owned(part, begin as u64).await;
            bytes = part.into_inner();
            if result? == 0 {
                return Ok(bytes);
            }
            if bytes.len() == bytes.capacity() {
                bytes.try_reserve(bytes.len())?;
            }
        }
    }
}
