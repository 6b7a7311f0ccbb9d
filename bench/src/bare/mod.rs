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

/// Builds a ring for one thread, with the completions deferred to `io_uring_enter(2)` and, where the kernel
/// knows that (Linux 6.6), without the array between the submission ring and its entries. These are the flags
/// of wharf's own ring, so that a comparison is one of programs.
///
/// # Errors
/// The error of `io_uring_setup(2)`.
pub fn build_ring(entries: u32, completion_entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_cqsize(completion_entries)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun();
    match builder.clone().setup_no_sqarray().build(entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(entries),
        built => built,
    }
}
