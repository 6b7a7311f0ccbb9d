//! Operations that do nothing, in batches, on the bare ring: what the mechanism costs by itself.
// UNSAFETY: pushing a submission entry is unsafe in the `io-uring` crate.
#![expect(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode};

/// Submits a batch, waits for all of it, takes all completions, and begins again.
pub struct NopLoop {
    ring: IoUring,
    batch: usize,
}

impl NopLoop {
    /// Sets up a ring that a batch fits into.
    ///
    /// # Errors
    /// The error of `io_uring_setup(2)`.
    pub fn new(batch: usize) -> io::Result<Self> {
        let entries = u32::try_from(batch).map_err(io::Error::other)?.max(8);
        Ok(Self {
            ring: super::build_ring(entries, 2 * entries)?,
            batch,
        })
    }

    /// Runs at least `operations`, in whole batches; returns how many, and the time of the loop.
    ///
    /// # Errors
    /// The error of `io_uring_enter(2)`, or a completion that does not match its submission.
    pub fn run(&mut self, operations: u64) -> io::Result<(u64, Duration)> {
        let batch = self.batch as u64;
        let operations = operations.div_ceil(batch) * batch;
        let (mut submitter, mut submissions, mut completions) = self.ring.split();
        submitter.register_ring_fd()?;
        let (mut submitted, mut taken, mut sum) = (0_u64, 0_u64, 0_u64);
        let start = Instant::now();
        while submitted < operations {
            for _ in 0..batch {
                let entry = opcode::Nop::new().build().user_data(submitted);
                // SAFETY: the operation refers to no memory.
                unsafe { submissions.push(&entry) }.map_err(io::Error::other)?;
                submitted += 1;
            }
            submissions.sync();
            submitter.submit_and_wait(self.batch)?;
            submissions.sync();
            completions.sync();
            for completion in &mut completions {
                if completion.result() != 0 {
                    return Err(io::Error::from_raw_os_error(-completion.result()));
                }
                sum = sum.wrapping_add(completion.user_data());
                taken += 1;
            }
            completions.sync();
        }
        let elapsed = start.elapsed();
        submitter.unregister_ring_fd()?;
        let expected = (operations * (operations - 1)) / 2;
        if taken != operations || sum != expected {
            return Err(io::Error::other(
                "the completions do not match the submissions",
            ));
        }
        Ok((operations, elapsed))
    }
}
