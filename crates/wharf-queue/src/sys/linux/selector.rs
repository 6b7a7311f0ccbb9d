//! epoll(7), eventfd(2) and timerfd(2): what the epoll selector is made of.

#![expect(unsafe_code)]
// UNSAFETY: system calls with pointers to locals and to a vector's spare room.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crate::sys::{Event, RawError, RawHandle, check, from_raw};

/// An epoll set.
pub(crate) struct EpollSet {
    fd: OwnedFd,
    raw: Vec<libc::epoll_event>,
    /// False once the kernel has said that it does not know epoll_pwait2(2) (before Linux 5.11).
    has_pwait2: bool,
}

/// How many events one wait takes in.
const BATCH: usize = 1024;

impl EpollSet {
    pub(crate) fn new() -> Result<EpollSet, RawError> {
        // SAFETY: a call with a number.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let raw = Vec::with_capacity(BATCH);
        Ok(EpollSet {
            fd: from_raw(fd as RawHandle),
            raw,
            has_pwait2: true,
        })
    }

    pub(crate) fn raw(&self) -> RawHandle {
        self.fd.as_raw_fd()
    }

    fn control(
        &self,
        operation: i32,
        fd: RawHandle,
        events: i32,
        key: u64,
    ) -> Result<(), RawError> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: key,
        };
        // SAFETY: the event is valid for reading.
        check(unsafe { libc::epoll_ctl(self.raw(), operation, fd, &raw mut event) }).map(drop)
    }

    /// Adds a descriptor for both directions, edge-triggered. If it is ready now, the next wait
    /// says so.
    pub(crate) fn add(&self, fd: RawHandle, key: u64) -> Result<(), RawError> {
        let readable = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI;
        let events = readable | libc::EPOLLOUT | libc::EPOLLET;
        self.control(libc::EPOLL_CTL_ADD, fd, events, key)
    }

    /// Adds a descriptor for reading only, edge-triggered: a counter, a timer, a process.
    pub(crate) fn add_readable(&self, fd: RawHandle, key: u64) -> Result<(), RawError> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN | libc::EPOLLET, key)
    }

    /// Adds a descriptor for the direction of reading, edge-triggered.
    #[cfg(wharf_kqueue)]
    pub(crate) fn add_input(&self, fd: RawHandle, key: u64) -> Result<(), RawError> {
        let events = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;
        self.control(libc::EPOLL_CTL_ADD, fd, events, key)
    }

    /// Adds a descriptor for the direction of writing, edge-triggered.
    #[cfg(wharf_kqueue)]
    pub(crate) fn add_output(&self, fd: RawHandle, key: u64) -> Result<(), RawError> {
        let events = libc::EPOLLOUT | libc::EPOLLET;
        self.control(libc::EPOLL_CTL_ADD, fd, events, key)
    }

    /// Adds a descriptor for reading, of which one event tells.
    #[cfg(wharf_kqueue)]
    pub(crate) fn add_once(&self, fd: RawHandle, key: u64) -> Result<(), RawError> {
        self.control(
            libc::EPOLL_CTL_ADD,
            fd,
            libc::EPOLLIN | libc::EPOLLONESHOT,
            key,
        )
    }

    /// Adds a descriptor for reading, reported for as long as it is readable.
    #[cfg(wharf_kqueue)]
    pub(crate) fn add_level(&self, fd: RawHandle, key: u64) -> Result<(), RawError> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, key)
    }

    /// Takes a descriptor out. It must still be open (epoll(7), question 6).
    pub(crate) fn remove(&self, fd: RawHandle) {
        let removed = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
        debug_assert!(
            removed.is_ok(),
            "only registered descriptors are removed: {removed:?}"
        );
    }

    /// Waits for events and appends them to `events`; `None` waits for ever.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> Result<(), RawError> {
        self.raw.clear();
        let count = match self.wait_once(timeout) {
            // An interrupted wait is one that found nothing; the queue looks at the clock.
            Err(libc::EINTR) => 0,
            other => other?,
        };
        // SAFETY: the kernel has filled this many entries of the spare room.
        unsafe { self.raw.set_len(count) };
        events.extend(self.raw.iter().map(|raw| {
            let bits = raw.events as i32;
            let failed = bits & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            Event {
                key: raw.u64,
                readable: failed || bits & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
                writable: failed || bits & libc::EPOLLOUT != 0,
                closed: failed || bits & (libc::EPOLLRDHUP | libc::EPOLLPRI) != 0,
            }
        }));
        Ok(())
    }

    fn wait_once(&mut self, timeout: Option<Duration>) -> Result<usize, RawError> {
        let (fd, room) = (self.raw(), self.raw.spare_capacity_mut());
        let (pointer, len) = (
            room.as_mut_ptr().cast::<libc::epoll_event>(),
            room.len() as i32,
        );
        if let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero() && self.has_pwait2) {
            let timeout = libc::timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(timeout.subsec_nanos()),
            };
            // SAFETY: the room is valid for writing for its length, the time for reading; no
            // signal mask is given.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    fd,
                    pointer,
                    len,
                    &raw const timeout,
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            };
            match check(result) {
                // A filter may refuse what it does not know with EPERM.
                Err(libc::ENOSYS | libc::EPERM) => self.has_pwait2 = false,
                result => return result.map(|count| count as usize),
            }
        }
        let millis = match timeout {
            None => -1,
            // Rounded up, so that no timer fires early.
            Some(timeout) => {
                i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
            }
        };
        // SAFETY: the room is valid for writing for its length.
        check(unsafe { libc::epoll_wait(fd, pointer, len, millis) }).map(|count| count as usize)
    }
}

/// A timer as a descriptor, on the monotonic clock.
pub(crate) struct TimerFd(OwnedFd);

impl TimerFd {
    pub(crate) fn new() -> Result<TimerFd, RawError> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: a call with numbers.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        Ok(TimerFd(from_raw(fd as RawHandle)))
    }

    pub(crate) fn raw(&self) -> RawHandle {
        self.0.as_raw_fd()
    }

    /// Makes it readable at a moment of the clock, in nanoseconds; `None` takes that back.
    pub(crate) fn set(&self, at: Option<u64>) -> Result<(), RawError> {
        // All zeros disarms, so a moment in the distant past is the first nanosecond.
        let at = at.map_or(0, |at| at.max(1));
        let value = libc::timespec {
            tv_sec: (at / 1_000_000_000) as i64,
            tv_nsec: (at % 1_000_000_000) as i64,
        };
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = libc::itimerspec {
            it_interval: zero,
            it_value: value,
        };
        let (fd, flags) = (self.raw(), libc::TFD_TIMER_ABSTIME);
        // SAFETY: the specification is valid for reading.
        check(unsafe { libc::timerfd_settime(fd, flags, &raw const spec, std::ptr::null_mut()) })
            .map(drop)
    }
}
