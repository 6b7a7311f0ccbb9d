//! Reading and writing several buffers at an offset, by one operation.
//!
//! Owns the gathering and the scattering where the file lives on another worker: as for a single buffer,
//! bytes are copied then.

use std::io;

use wharf_queue::{AlignedBuf, Handle, IoVec, IoVecMut, op};

use super::File;
use super::positional::{ALIGNMENT, LONGEST_ELSEWHERE};
use crate::engine::{self, OpFuture, Refused};
use crate::io::BufResult;
use crate::io::chunk::{Place, Several};
use crate::io::write_all::{Finish, WriteAll, carry};
use crate::runtime::worker;

/// What became of a read with lent buffers.
enum Begun<V: IoVecMut> {
    Here(OpFuture<op::ReadVectoredAt<V>>),
    Elsewhere(V),
    Failed(io::Error, V),
}

impl File {
    /// Reads at `offset` into several buffers, in order, and returns how many bytes that were: a `Vec`
    /// or an array of buffers is lent and comes back. Each has its length set; for a `Vec<u8>`, the
    /// room is its capacity. Fewer bytes may come than there is room for, at the end of the file and
    /// for more than 1,024 buffers.
    ///
    /// Dropping the future cancels the read, and drops the buffers when the system lets go of them.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("wharf-doc-vectored-{}", std::process::id()));
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// let file = wharf::fs::File::create_new(&path).await?;
    /// let record = [b"head".to_vec(), b"and a body".to_vec()];
    /// let (written, _) = file.write_vectored_at_owned(record, 100).await;
    /// assert_eq!(written?, 14);
    ///
    /// let parts = [vec![0; 4], vec![0; 100]];
    /// let (read, [head, body]) = file.read_vectored_at_owned(parts, 100).await;
    /// assert_eq!((read?, &head[..], &body[..]), (14, &b"head"[..], &b"and a body"[..]));
    /// # wharf::fs::remove_file(&path).await?;
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`read_at`](File::read_at); the buffers come back in any case.
    pub async fn read_vectored_at_owned<V: IoVecMut + Send>(
        &self,
        bufs: V,
        offset: u64,
    ) -> BufResult<usize, V> {
        self.conduit.pumped().await;
        match self.begin_read_vectored(bufs, offset) {
            Begun::Here(operation) => {
                let (outcome, bufs) = operation.await;
                (outcome.into_result(), bufs)
            }
            Begun::Elsewhere(mut bufs) => {
                let result = self.read_vectored_elsewhere(&mut bufs, offset).await;
                if result.is_err() {
                    bufs.fill(&[]);
                }
                (result, bufs)
            }
            Begun::Failed(error, bufs) => (Err(error), bufs),
        }
    }

    fn begin_read_vectored<V: IoVecMut>(&self, bufs: V, offset: u64) -> Begun<V> {
        let here = worker::here(self.conduit.handle().home().id);
        let (Some(worker), Some(handle)) = (here, self.conduit.handle().get()) else {
            return Begun::Elsewhere(bufs);
        };
        match engine::submit_to(&worker, op::ReadVectoredAt::new(&handle, bufs, offset)) {
            Ok(operation) => Begun::Here(operation),
            Err(Refused { op, error }) => Begun::Failed(error, op.into_buf()),
        }
    }

    /// Reads as much as there is room for, up to a limit, by way of memory of its own.
    async fn read_vectored_elsewhere<V: IoVecMut>(
        &self,
        bufs: &mut V,
        offset: u64,
    ) -> io::Result<usize> {
        let mut room = 0;
        bufs.for_each_mut(&mut |region| room += region.len());
        let copy = AlignedBuf::new(room.min(LONGEST_ELSEWHERE), ALIGNMENT);
        let begin = move |handle: &Handle| op::ReadAt::new(handle, copy, offset);
        let started = self.conduit.handle().start(begin)?;
        let (outcome, copy) = started.await?;
        let count = outcome.into_result()?;
        Ok(bufs.fill(&copy[..count]))
    }

    /// Writes all of several buffers at `offset`, in order; a `Vec` or an array of buffers is lent and
    /// comes back. See [`read_vectored_at_owned`](File::read_vectored_at_owned) for an example.
    ///
    /// Dropping the future before it has begun writes nothing; after, all of them are written, and an
    /// error of that is told to the next write, flush or sync. It begins when it is first polled, or
    /// when writes at the cursor are done.
    ///
    /// # Errors
    /// As [`write_at_owned`](File::write_at_owned); the buffers come back in any case.
    pub async fn write_vectored_at_owned<V: IoVec + Send>(
        &self,
        bufs: V,
        offset: u64,
    ) -> BufResult<usize, V> {
        self.conduit.pumped().await;
        if self.conduit.handle().get().is_some() {
            let write = WriteAll::new(self.conduit.clone(), Several::new(bufs, offset));
            return Finish::new(write).await;
        }
        let mut len = 0;
        bufs.for_each(&mut |bytes| len += bytes.len());
        let mut copy = AlignedBuf::new(len, ALIGNMENT);
        let mut end = 0;
        bufs.for_each(&mut |bytes| {
            copy[end..end + bytes.len()].copy_from_slice(bytes);
            end += bytes.len();
        });
        (carry(&self.conduit, copy, Place::At(offset)).await, bufs)
    }
}
