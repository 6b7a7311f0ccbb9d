//! Measures wharf against the bare system interfaces, in one run and in one table.
//!
//! This crate owns the baselines (loops written straight on the `io-uring` crate and on epoll), the load
//! that drives echo servers, and the two small harnesses: [`compare`] for servers in processes of their own
//! and [`contest`] for loops inside one process. The library does not depend on any wharf crate, so that
//! every one of them can use it from its benches; programs that need the runtime are behind a feature.
//!
//! ```text
//! echo_compare ──> programs (builds)
//!         └──────> compare ──> server (a process each) ──> uring_echo | epoll_echo | wharf echo
//!                     ├──────> load (verifies every byte) ──> drive
//!                     └──────> syscalls (counts system calls of the server)
//! serve_compare ─> the same, with http_load ──────────────────> drive
//! cargo bench ───> contest ──> bare (loops on the ring) beside the loops of the caller
//! idle_memory ───> counting (bytes on the heap of a server with many connections)
//! ```
//!
//! What noise cannot change (system calls, allocations, context switches) is counted; what noise can change
//! (time) is taken in rounds that alternate between the contestants, and shown as a median and a minimum.
//! All of it runs on Linux only.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "wharf-bench measures interfaces of Linux; check the other crates one by one on this system"
);

pub mod args;
pub mod bare;
pub mod buffer_ring;
pub mod compare;
pub mod contest;
pub mod counting;
pub mod drive;
pub mod epoll_echo;
pub mod http_load;
pub mod load;
pub mod programs;
pub mod server;
pub mod sys;
pub mod syscalls;
pub mod table;
pub mod uring_echo;
