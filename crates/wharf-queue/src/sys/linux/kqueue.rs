//! A stand-in for kqueue(2), so that the kqueue selector and its emulation run on Linux.
//!
//! It is built with `--cfg wharf_kqueue` only, for the conformance suite: `cargo xtask kqueue`. It
//! behaves as the manual page says of the filters that wharf uses: an edge for each direction on its
//! own, an end of file with either, one event for a child, a user event and a timer that clear
//! themselves. What macOS and FreeBSD do beyond the page, and the calls in `sys::bsd`, it cannot show.
//!
//! ```text
//!            outer (what `arm` shows)
//!            /     |      |     \       \
//!        read    write  child  eventfd  timer
//!       (epoll sets, for each filter kind one)
//! ```

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::native;
use super::selector::{EpollSet, TimerFd};
use crate::sys::{Event, RawError, RawHandle, monotonic_nanos};

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filter {
    Read,
    Write,
    Process,
}

/// What kevent(2) reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Note {
    pub(crate) filter: Option<Filter>,
    pub(crate) key: u64,
    pub(crate) end: bool,
}

/// A process that has exited and was not waited for.
pub(crate) const GONE: RawError = libc::ESRCH;

const READ: u64 = 0;
const WRITE: u64 = 1;
const CHILD: u64 = 2;
const WAKE: u64 = 3;
const TIMER: u64 = 4;

/// The stand-in for a kernel event queue.
pub(crate) struct Kqueue {
    outer: EpollSet,
    read: EpollSet,
    write: EpollSet,
    child: EpollSet,
    wake: Arc<OwnedFd>,
    timer: TimerFd,
    found: Vec<Event>,
}

impl Kqueue {
    pub(crate) fn new() -> Result<Kqueue, RawError> {
        let kqueue = Kqueue {
            outer: EpollSet::new()?,
            read: EpollSet::new()?,
            write: EpollSet::new()?,
            child: EpollSet::new()?,
            wake: Arc::new(native::event_fd()?),
            timer: TimerFd::new()?,
            found: Vec::new(),
        };
        for (raw, key) in [
            (kqueue.read.raw(), READ),
            (kqueue.write.raw(), WRITE),
            (kqueue.child.raw(), CHILD),
            (kqueue.wake.as_raw_fd(), WAKE),
            (kqueue.timer.raw(), TIMER),
        ] {
            kqueue.outer.add_level(raw, key)?;
        }
        Ok(kqueue)
    }

    pub(crate) fn raw(&self) -> RawHandle {
        self.outer.raw()
    }

    pub(crate) fn add(
        &self,
        fd: RawHandle,
        key: u64,
    ) -> (Result<(), RawError>, Result<(), RawError>) {
        (self.read.add_input(fd, key), self.write.add_output(fd, key))
    }

    pub(crate) fn remove(&self, fd: RawHandle) {
        self.read.remove(fd);
        self.write.remove(fd);
    }

    /// Adds a child by its descriptor, which stands for its number. Like macOS, it takes none that
    /// has exited. Once: there is a second event when the child has been waited for, and while a
    /// program that is being started has a copy of the descriptor, it would be told of the next child
    /// whose descriptor has that number.
    pub(crate) fn add_process(&self, process: RawHandle, key: u64) -> Result<(), RawError> {
        if crate::sys::call::poll_now(process, crate::sys::POLL_READ)? != 0 {
            return Err(GONE);
        }
        self.child.add_once(process, key)
    }

    pub(crate) fn remove_process(&self, process: RawHandle) {
        self.child.remove(process);
    }

    pub(crate) fn set_timer(&self, after: Option<Duration>) -> Result<(), RawError> {
        self.timer.set(after.map(|after| {
            let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            monotonic_nanos().saturating_add(after)
        }))
    }

    pub(crate) fn trigger(&self) -> Result<Trigger, RawError> {
        Ok(Trigger(self.wake.clone()))
    }

    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        notes: &mut Vec<Note>,
    ) -> Result<(), RawError> {
        let mut sets = std::mem::take(&mut self.found);
        self.outer.wait(timeout, &mut sets)?;
        for set in sets.drain(..) {
            let (inner, filter) = match set.key {
                READ => (&mut self.read, Filter::Read),
                WRITE => (&mut self.write, Filter::Write),
                CHILD => (&mut self.child, Filter::Process),
                key => {
                    match key {
                        WAKE => native::drain_event(self.wake.as_raw_fd()),
                        _ => self.timer.set(None)?,
                    }
                    notes.push(Note {
                        filter: None,
                        key,
                        end: false,
                    });
                    continue;
                }
            };
            inner.wait(Some(Duration::ZERO), &mut self.found)?;
            notes.extend(self.found.drain(..).map(|event| Note {
                filter: Some(filter),
                key: event.key,
                end: event.closed,
            }));
        }
        self.found = sets;
        Ok(())
    }
}

/// Wakes a queue from any thread.
#[derive(Clone)]
pub(crate) struct Trigger(Arc<OwnedFd>);

impl Trigger {
    pub(crate) fn wake(&self) {
        native::signal_event(self.0.as_raw_fd());
    }
}
