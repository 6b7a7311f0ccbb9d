//! The descriptor by which a foreign loop waits for the ring.
//!
//! It is an event counter that the kernel signals for the ring (io_uring_register_eventfd(3)), and
//! not the ring's own descriptor: under `IORING_SETUP_DEFER_TASKRUN` a completion is made only when
//! the owner enters the kernel, and work that waits for that does not wake a poll of the ring, while
//! it does signal the counter. Measured on Linux 6.18: an epoll set with the ring in it slept past
//! a timer that the ring had.
//!
//! A completion that the write to another event counter brings about signals this one a moment
//! later, and for one registration only once (measured on Linux 6.18, whose note that such a signal
//! is under way is never taken back). So the counter is registered anew each time, and the
//! notifiers' counter needs no completion: an epoll set of the two is what is shown.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{opcode, types};

use super::{Sleep, TIMER, TIMER_REMOVED, Uring};
use crate::ledger::Ledger;
use crate::sys::selector::EpollSet;
use crate::sys::{self, RawHandle, native};
use crate::time::Moment;

/// What `arm` has set up.
pub(super) struct Embedding {
    /// From the first `arm` on.
    shown: Option<Shown>,
    /// The deadline that the ring has a timer for.
    armed: Option<Moment>,
    /// Read by the kernel when the timer's entry is submitted.
    timer: Box<types::Timespec>,
}

/// The counter that the kernel signals, and the set of it and the notifiers' counter.
struct Shown {
    set: EpollSet,
    readable: OwnedFd,
}

impl Embedding {
    pub(super) fn new() -> Embedding {
        Embedding {
            shown: None,
            armed: None,
            timer: Box::new(types::Timespec::new()),
        }
    }

    /// The timer has fired.
    pub(super) fn timer_fired(&mut self) {
        self.armed = None;
    }
}

impl Uring {
    /// The counter and the set, which are made when they are first asked for. Both counters are
    /// silent afterwards; the poll that wakes the ring is for edges and does not mind.
    fn silent(&mut self) -> io::Result<(RawHandle, RawHandle)> {
        let wake = self.wake.as_ref().map(|wake| wake.as_raw_fd());
        if let Some(shown) = &self.embedding.shown {
            self.ring.submitter().unregister_eventfd()?;
            native::drain_event(shown.readable.as_raw_fd());
        } else {
            let set = EpollSet::new().map_err(sys::error_from_raw)?;
            let readable = native::event_fd().map_err(sys::error_from_raw)?;
            // The set is looked at and never waited on, so that its keys mean nothing.
            for raw in [Some(readable.as_raw_fd()), wake].into_iter().flatten() {
                set.add_readable(raw, 0).map_err(sys::error_from_raw)?;
            }
            self.embedding.shown = Some(Shown { set, readable });
        }
        if let Some(wake) = wake {
            native::drain_event(wake);
        }
        let shown = self.embedding.shown.as_ref().expect("made above");
        let readable = shown.readable.as_raw_fd();
        self.ring.submitter().register_eventfd(readable)?;
        Ok((readable, shown.set.raw()))
    }

    /// Sets the ring's timer to a deadline, or removes it.
    fn set_timer(&mut self, ledger: &Ledger, deadline: Option<Moment>) {
        if self.embedding.armed == deadline {
            return;
        }
        if self.embedding.armed.is_some() {
            let remove = opcode::TimeoutRemove::new(TIMER).build();
            self.push_urgent(ledger, remove.user_data(TIMER_REMOVED));
        }
        self.embedding.armed = deadline;
        let Some(deadline) = deadline else { return };
        let nanos = deadline.as_nanos();
        *self.embedding.timer = types::Timespec::new()
            .sec(nanos / 1_000_000_000)
            .nsec((nanos % 1_000_000_000) as u32);
        let entry = opcode::Timeout::new(&raw const *self.embedding.timer)
            .flags(types::TimeoutFlags::ABS)
            .build();
        self.push_urgent(ledger, entry.user_data(TIMER));
    }

    /// See `Backend::arm`. A deadline at the clock's beginning means that there is something already.
    pub(super) fn arm_embedding(
        &mut self,
        ledger: &Ledger,
        deadline: Option<Moment>,
    ) -> io::Result<RawHandle> {
        // First what has been told so far, then the look: what comes after it is told again.
        let (readable, set) = self.silent()?;
        let is_due = deadline == Some(Moment::from_nanos(0));
        if !is_due {
            self.set_timer(ledger, deadline);
        }
        let entered = self.enter(ledger, Sleep::Not, true);
        entered.map_err(sys::error_from_raw)?;
        if is_due || !self.ring.completion().is_empty() {
            native::signal_event(readable);
        }
        Ok(set)
    }
}
