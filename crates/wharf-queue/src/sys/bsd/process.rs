//! A child process as something to wait for: its number, as `EVFILT_PROC` of kqueue(2) takes it.

use std::process::Child;

use crate::sys::{RawError, RawHandle};

/// The number of a child that has not been waited for, so that it is the child's own.
#[derive(Debug)]
pub(crate) struct PidFd(RawHandle);

impl PidFd {
    pub(crate) fn open(child: &Child) -> Result<PidFd, RawError> {
        RawHandle::try_from(child.id())
            .map(PidFd)
            .map_err(|_| libc::ESRCH)
    }

    pub(crate) fn raw(&self) -> RawHandle {
        self.0
    }
}
