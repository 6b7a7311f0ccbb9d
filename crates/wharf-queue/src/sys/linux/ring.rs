//! Entering an io_uring, and registering its descriptor with the thread.
//!
//! Owns the call itself and its argument block. What is in the ring belongs to the backend and the
//! `io-uring` crate, whose own way of entering knows no registered descriptor once its `Submitter`
//! is gone, nor a time-out together with other flags.
//!
//! Sources: io_uring_enter(2), io_uring_register(2).

#![expect(unsafe_code)]
// UNSAFETY: raw system calls.

use std::time::Duration;

use crate::sys::{RawError, RawHandle, check};

/// `IORING_ENTER_GETEVENTS`: completions that are due are made visible.
pub(crate) const GET_EVENTS: u32 = 1 << 0;
const EXT_ARG: u32 = 1 << 3;
const REGISTERED_RING: u32 = 1 << 4;
/// `IORING_ENTER_NO_IOWAIT` (Linux 6.15): a sleep is not counted as waiting for a disk.
pub(crate) const NO_IOWAIT: u32 = 1 << 7;

const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// A ring's descriptor as the kernel is given it: registered with the thread, which spares a look
/// into the table of descriptors on each call, or plain where that cannot be had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingFd {
    raw: RawHandle,
    registered: Option<u32>,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct Update {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEvents {
    signal_mask: u64,
    signal_mask_len: u32,
    min_wait_usec: u32,
    timeout: *const Timespec,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

impl RingFd {
    /// Registers the descriptor with this thread, which alone may then use it. A thread has room
    /// for 16 of them; any further ring goes without.
    pub(crate) fn register(raw: RawHandle) -> RingFd {
        let mut update = Update {
            offset: u32::MAX,
            reserved: 0,
            data: raw as u64,
        };
        let argument = &raw mut update;
        // SAFETY: the argument is one update, valid for reading and writing.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                raw,
                REGISTER_RING_FDS,
                argument,
                1,
            )
        };
        RingFd {
            raw,
            registered: (result == 1).then_some(update.offset),
        }
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Takes the registration back. Without this the ring would live as long as the thread.
    pub(crate) fn unregister(&mut self) {
        let Some(offset) = self.registered.take() else {
            return;
        };
        let mut update = Update {
            offset,
            reserved: 0,
            data: 0,
        };
        let (raw, argument) = (self.raw, &raw mut update);
        // SAFETY: the argument is one update, valid for reading and writing.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                raw,
                UNREGISTER_RING_FDS,
                argument,
                1,
            )
        };
        debug_assert_eq!(result, 1, "the descriptor was registered by this thread");
    }

    /// Hands over `submit` entries, and waits for `wait` completions, for `timeout` at most.
    #[inline]
    pub(crate) fn enter(
        &self,
        submit: u32,
        wait: u32,
        flags: u32,
        timeout: Option<Duration>,
    ) -> Result<u32, RawError> {
        let (fd, flags) = match self.registered {
            Some(index) => (index as RawHandle, flags | REGISTERED_RING),
            None => (self.raw, flags),
        };
        let Some(timeout) = timeout else {
            return call(fd, submit, wait, flags, std::ptr::null(), 0);
        };
        let timespec = Timespec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(timeout.subsec_nanos()),
        };
        let argument = GetEvents {
            signal_mask: 0,
            signal_mask_len: 0,
            min_wait_usec: 0,
            timeout: &raw const timespec,
        };
        let size = size_of::<GetEvents>();
        call(fd, submit, wait, flags | EXT_ARG, &raw const argument, size)
    }
}

#[inline]
fn call(
    fd: RawHandle,
    submit: u32,
    wait: u32,
    flags: u32,
    argument: *const GetEvents,
    size: usize,
) -> Result<u32, RawError> {
    // SAFETY: the argument is null or a valid block of that size. What the entries in the ring
    // point to is in the custody of whoever pushed them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            fd,
            submit,
            wait,
            flags,
            argument,
            size,
        )
    };
    check(result).map(|count| count as u32)
}
