//! What the Unix systems share: handles, errors, addresses, and the calls that all of them have.
//!
//! What they do differently is `sys::native`, one file a system, and so is what they tell readiness
//! by, `sys::selector`.

#![expect(unsafe_code)]
// UNSAFETY: system calls, and raw descriptors that become owned ones.

mod address;
#[cfg(any(all(test, target_os = "linux"), target_os = "macos"))]
pub(crate) mod beneath;
pub(crate) mod call;
pub(crate) mod control;
pub(crate) mod datagram;
mod file;
mod scratch;
pub(crate) mod signal;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::address::{Address, SocketKind, UnixAddress};
use super::control_call::{Control, Reply};
pub(crate) use address::{RawAddress, SOCK_DGRAM, SOCK_STREAM, domain_of, path_of_name};
pub(crate) use file::{OpenOptions, Path, RawPath, time};
pub(crate) use scratch::Scratch;

/// The system's handle: a file descriptor.
pub type RawHandle = RawFd;
/// A handle that is closed when it is dropped.
pub type OwnedHandle = OwnedFd;
/// A handle that somebody else closes.
pub type BorrowedHandle<'a> = BorrowedFd<'a>;
/// What has a handle that can be looked at and duplicated.
pub use std::os::fd::AsFd as AsHandle;
/// A code of errno(3), positive.
pub(crate) type RawError = i32;

pub(crate) const POLL_READ: u16 = libc::POLLIN as u16;
pub(crate) const POLL_WRITE: u16 = libc::POLLOUT as u16;
pub(crate) const POLL_ERROR: u16 = libc::POLLERR as u16;
pub(crate) const POLL_INVALID: u16 = libc::POLLNVAL as u16;

/// The longest read or write that Linux makes in one call (read(2), NOTES). The others refuse more
/// than `INT_MAX` bytes, which is a little more.
pub(crate) const MAX_TRANSFER: usize = 0x7fff_f000;

pub(crate) fn raw_of(owned: &OwnedFd) -> RawHandle {
    owned.as_raw_fd()
}

pub(crate) fn into_raw(owned: OwnedFd) -> RawHandle {
    owned.into_raw_fd()
}

/// A second descriptor for what the first one is for; close-on-exec (fcntl(2), `F_DUPFD_CLOEXEC`).
pub(crate) fn duplicate(resource: &impl AsHandle) -> io::Result<OwnedFd> {
    resource.as_fd().try_clone_to_owned()
}

/// Makes a descriptor owned again that [`into_raw`] gave up, or that the kernel has just made.
pub(crate) fn from_raw(raw: RawHandle) -> OwnedFd {
    // SAFETY: the queue passes each descriptor that it owns here at most once.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// The descriptor that a completion's result is.
pub(crate) fn raw_from_result(result: usize) -> RawHandle {
    result as RawHandle
}

/// Lends a descriptor that `_owner` keeps open.
pub(crate) fn borrow_raw<T>(_owner: &T, raw: RawHandle) -> BorrowedFd<'_> {
    // SAFETY: the owner is borrowed for as long and keeps the descriptor open.
    unsafe { BorrowedFd::borrow_raw(raw) }
}

/// Closes a descriptor. Its errors mean nothing to us: it is gone in any case (close(2)).
pub(crate) fn close(raw: RawHandle) {
    drop(from_raw(raw));
}

/// The error of a positive errno, with its kind and the raw code.
pub(crate) fn error_from_raw(raw: RawError) -> io::Error {
    io::Error::from_raw_os_error(raw)
}

/// The errno of the calling thread, after a call that failed.
pub(crate) fn last_error() -> RawError {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

/// Turns the result of a C call into a count, or the errno.
pub(crate) fn check(result: impl Into<i64>) -> Result<i64, RawError> {
    match result.into() {
        -1 => Err(last_error()),
        result => Ok(result),
    }
}

/// The monotonic clock in nanoseconds (clock_gettime(2)).
pub(crate) fn monotonic_nanos() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is valid for writing; the call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A length or an offset that no file can have.
pub(crate) const FILE_TOO_LARGE: RawError = libc::EFBIG;

/// Whether an error means that the process or the system has run out of descriptors or memory for
/// the moment (accept(2)): it may be over soon.
#[must_use]
pub fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// What it means when no thread can be started and the system says no more (pthread_create(3)).
pub(crate) const OUT_OF_THREADS: RawError = libc::EAGAIN;

/// What a selector reports of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed its side, or there is an error: the next call tells which. Or there are
    /// urgent bytes.
    pub(crate) closed: bool,
}
