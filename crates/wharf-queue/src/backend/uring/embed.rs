//! The descriptor by which a foreign loop waits for the ring.
//!
//! It is an event counter that the kernel signals for the ring (io_uring_register_eventfd(3)), and
//! not the ring's own descriptor: under `IORING_SETUP_DEFER_TASKRUN` a completion is made only when
//! the owner enters the kernel, and work that waits for that does not wake a poll of the ring, while
//! it does signal the counter. Measured on Linux 6.18: an epoll set with the ring in it slept past
//! a timer that the ring had.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{opcode, types};

use super::{Sleep, TIMER, TIMER_REMOVED, Uring};
use crate::ledger::Ledger;
use crate::sys::{self, RawHandle, call};
use crate::time::Moment;

/// What `arm` has set up.
pub(super) struct Embedding {
    /// Signalled by the kernel, from the first `arm` on.
    readable: Option<OwnedFd>,
    /// The deadline that the ring has a timer for.
    armed: Option<Moment>,
    /// Read by the kernel when the timer's entry is submitted.
    timer: Box<types::Timespec>,
}

impl Embedding {
    pub(super) fn new() -> Embedding {
        Embedding {
            readable: None,
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
    /// The counter, which is made and registered when it is first asked for.
    fn readable(&mut self) -> io::Result<RawHandle> {
        if let Some(readable) = &self.embedding.readable {
            return Ok(readable.as_raw_fd());
        }
        let event = call::event_fd().map_err(sys::error_from_raw)?;
        let raw = event.as_raw_fd();
        self.ring.submitter().register_eventfd(raw)?;
        self.embedding.readable = Some(event);
        Ok(raw)
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
        let readable = self.readable()?;
        // First what has been told so far, then the look: what comes after it is told again.
        call::drain_event(readable);
        let is_due = deadline == Some(Moment::from_nanos(0));
        if !is_due {
            self.set_timer(ledger, deadline);
        }
        let entered = self.enter(ledger, Sleep::Not, true);
        entered.map_err(sys::error_from_raw)?;
        if is_due || !self.ring.completion().is_empty() {
            call::signal_event(readable);
        }
        Ok(readable)
    }
}
