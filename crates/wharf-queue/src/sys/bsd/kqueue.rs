//! kqueue(2): what the kqueue selector is made of.
//!
//! Owns the descriptor, the room for events, and how changes and events are written. What they mean
//! is the selector's.

#![expect(unsafe_code)]
// UNSAFETY: system calls with pointers to locals and to a vector's spare room.

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use crate::sys::{RawError, RawHandle, check, from_raw};

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
    /// Nothing for the queue's own events: it was woken, or its timer has fired.
    pub(crate) filter: Option<Filter>,
    pub(crate) key: u64,
    /// The peer has closed its side, or there is an error.
    pub(crate) end: bool,
}

/// A process that has exited and was not waited for: macOS takes no filter for it (`ESRCH`).
pub(crate) const GONE: RawError = libc::ESRCH;

/// How many events one wait takes in.
const BATCH: usize = 1024;
/// The longest sleep; macOS refuses one of more than 100,000,000 seconds. The queue looks at its
/// clock after each.
const LONGEST: Duration = Duration::from_secs(1_000_000);
/// The numbers of the one user event and the one timer.
const WAKE: usize = 0;
const TIMER: usize = 0;

/// A kernel event queue.
pub(crate) struct Kqueue {
    fd: Arc<OwnedFd>,
    raw: Vec<libc::kevent>,
}

fn number(filter: Filter) -> i16 {
    match filter {
        Filter::Read => libc::EVFILT_READ,
        Filter::Write => libc::EVFILT_WRITE,
        Filter::Process => libc::EVFILT_PROC,
    }
}

fn change(ident: usize, filter: i16, flags: u16) -> libc::kevent {
    // SAFETY: all zeros is a valid event.
    let mut event: libc::kevent = unsafe { std::mem::zeroed() };
    event.ident = ident;
    event.filter = filter;
    event.flags = flags;
    event
}

/// Makes changes, and asks for the result of each. They are not cut short by a signal: with room for
/// all results the call does not wait (kqueue(2), `EV_RECEIPT`).
fn apply(fd: RawHandle, changes: &mut [libc::kevent]) -> Result<(), RawError> {
    for change in &mut *changes {
        change.flags |= libc::EV_RECEIPT;
    }
    let (pointer, count) = (changes.as_mut_ptr(), changes.len() as i32);
    // SAFETY: the changes are valid for reading, and for writing the results over them.
    let result = unsafe { libc::kevent(fd, pointer, count, pointer, count, null()) };
    check(result).map(drop)
}

/// The result of a change that was made with `EV_RECEIPT`: an error of 0 is none.
fn receipt(change: &libc::kevent) -> Result<(), RawError> {
    match change.data {
        0 => Ok(()),
        error => Err(error as RawError),
    }
}

impl Kqueue {
    pub(crate) fn new() -> Result<Kqueue, RawError> {
        // SAFETY: a call without arguments.
        let fd = from_raw(check(unsafe { libc::kqueue() })? as RawHandle);
        // A fork does not inherit it, but a call that only executes would.
        // SAFETY: a call with numbers.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
        let raw = Vec::with_capacity(BATCH);
        let fd = Arc::new(fd);
        Ok(Kqueue { fd, raw })
    }

    pub(crate) fn raw(&self) -> RawHandle {
        self.fd.as_raw_fd()
    }

    /// Adds a descriptor in both directions, edge-triggered. If it is ready now, the next wait says
    /// so. Some things have one direction only, so that there are two results.
    pub(crate) fn add(
        &self,
        fd: RawHandle,
        key: u64,
    ) -> (Result<(), RawError>, Result<(), RawError>) {
        let flags = libc::EV_ADD | libc::EV_CLEAR;
        let mut changes = [Filter::Read, Filter::Write].map(|filter| {
            let mut change = change(fd as usize, number(filter), flags);
            change.udata = key as usize as *mut _;
            change
        });
        match apply(self.raw(), &mut changes) {
            Ok(()) => (receipt(&changes[0]), receipt(&changes[1])),
            Err(error) => (Err(error), Err(error)),
        }
    }

    /// Takes a descriptor out, in whatever directions it is in.
    pub(crate) fn remove(&self, fd: RawHandle) {
        let mut changes = [Filter::Read, Filter::Write]
            .map(|filter| change(fd as usize, number(filter), libc::EV_DELETE));
        let removed = apply(self.raw(), &mut changes);
        debug_assert!(removed.is_ok(), "the queue is open: {removed:?}");
    }

    /// Adds a child, by its number, of which one event tells that it has exited. `GONE` if it has.
    pub(crate) fn add_process(&self, process: RawHandle, key: u64) -> Result<(), RawError> {
        let flags = libc::EV_ADD | libc::EV_ONESHOT;
        let mut change = change(process as usize, libc::EVFILT_PROC, flags);
        change.fflags = libc::NOTE_EXIT;
        change.udata = key as usize as *mut _;
        let mut changes = [change];
        apply(self.raw(), &mut changes)?;
        receipt(&changes[0])
    }

    /// Takes a child out, if its event has not been reported.
    pub(crate) fn remove_process(&self, process: RawHandle) {
        let mut changes = [change(process as usize, libc::EVFILT_PROC, libc::EV_DELETE)];
        // One that has been reported is not there any more, which is as good.
        let _ = apply(self.raw(), &mut changes);
    }

    /// Wakes the queue after a time, once; `None` takes that back.
    pub(crate) fn set_timer(&self, after: Option<Duration>) -> Result<(), RawError> {
        let mut delete = [change(TIMER, libc::EVFILT_TIMER, libc::EV_DELETE)];
        // There need not be one.
        apply(self.raw(), &mut delete)?;
        let Some(after) = after else {
            return Ok(());
        };
        let flags = libc::EV_ADD | libc::EV_ONESHOT;
        let mut add = change(TIMER, libc::EVFILT_TIMER, flags);
        add.fflags = libc::NOTE_NSECONDS;
        // FreeBSD refuses a time of zero in some releases.
        add.data = after.min(LONGEST).as_nanos().max(1) as _;
        let mut add = [add];
        apply(self.raw(), &mut add)?;
        receipt(&add[0])
    }

    /// What wakes the queue from any thread. Asked for once.
    pub(crate) fn trigger(&self) -> Result<Trigger, RawError> {
        let flags = libc::EV_ADD | libc::EV_CLEAR;
        let mut add = [change(WAKE, libc::EVFILT_USER, flags)];
        apply(self.raw(), &mut add)?;
        receipt(&add[0])?;
        Ok(Trigger(self.fd.clone()))
    }

    /// Waits for events and appends them to `notes`; `None` waits for ever.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        notes: &mut Vec<Note>,
    ) -> Result<(), RawError> {
        self.raw.clear();
        let time = timeout.map(|timeout| {
            let timeout = timeout.min(LONGEST);
            libc::timespec {
                tv_sec: timeout.as_secs() as libc::time_t,
                tv_nsec: timeout.subsec_nanos().into(),
            }
        });
        let time = time.as_ref().map_or(null(), |time| &raw const *time);
        let (fd, room) = (self.raw(), self.raw.spare_capacity_mut());
        let (pointer, len) = (room.as_mut_ptr().cast(), room.len() as i32);
        // SAFETY: the room is valid for writing for its length, the time for reading, if there is
        // one.
        let count = match check(unsafe { libc::kevent(fd, null(), 0, pointer, len, time) }) {
            // An interrupted wait is one that found nothing; the queue looks at the clock.
            Err(libc::EINTR) => 0,
            other => other? as usize,
        };
        // SAFETY: the kernel has filled this many entries of the spare room.
        unsafe { self.raw.set_len(count) };
        notes.extend(self.raw.iter().map(|event| Note {
            filter: match event.filter {
                libc::EVFILT_READ => Some(Filter::Read),
                libc::EVFILT_WRITE => Some(Filter::Write),
                libc::EVFILT_PROC => Some(Filter::Process),
                _ => None,
            },
            key: event.udata as usize as u64,
            end: event.flags & libc::EV_EOF != 0,
        }));
        Ok(())
    }
}

/// Wakes a queue from any thread. It keeps the queue's descriptor open, so that a late wake reaches
/// no stranger.
#[derive(Clone)]
pub(crate) struct Trigger(Arc<OwnedFd>);

impl Trigger {
    pub(crate) fn wake(&self) {
        let mut wake = change(WAKE, libc::EVFILT_USER, 0);
        wake.fflags = libc::NOTE_TRIGGER;
        let fd = self.0.as_raw_fd();
        // SAFETY: one valid change, and no room for events.
        unsafe { libc::kevent(fd, &raw const wake, 1, null_mut(), 0, null()) };
    }
}
