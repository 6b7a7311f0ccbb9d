//! A child process as a descriptor.

#![expect(unsafe_code)]
// UNSAFETY: pidfd_open(2) has no wrapper in the C library that we could count on.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Child;

use crate::sys::{RawError, RawHandle, check, from_raw};

/// A descriptor that becomes readable when a process has exited (pidfd_open(2)); close-on-exec.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    pub(crate) fn open(child: &Child) -> Result<PidFd, RawError> {
        // SAFETY: a call with two numbers. The child has not been waited for, so that its number
        // is still its own.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0) };
        check(fd).map(|fd| PidFd(from_raw(fd as RawHandle)))
    }

    pub(crate) fn raw(&self) -> RawHandle {
        self.0.as_raw_fd()
    }
}
