//! Loops on the bare interfaces, to run beside the same loops on wharf in one process.
//!
//! It owns the baselines only: [`nop`] for what a submission and a completion cost by themselves, [`read`] for
//! reads from the page cache. Each loop sets up once and then is a `run(operations) -> Duration`, which times
//! its inner loop alone, so that [`crate::contest`] can alternate it with others.
//!
//! Each loop is written as well as the interface allows: the ring's own descriptor is registered, completions
//! are deferred to the waiting call, a batch costs one system call.

pub mod nop;
pub mod read;

use std::io;

use io_uring::IoUring;

/// Builds a ring for one thread, with the completions deferred to `io_uring_enter(2)`.
///
/// # Errors
/// The error of `io_uring_setup(2)`.
pub fn build_ring(entries: u32, completion_entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_cqsize(completion_entries)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .build(entries)
}
