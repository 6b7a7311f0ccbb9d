//! Cancels in the ring, and what becomes of one that does not find its operation.
//!
//! The kernel looks for an operation where it waits: in its table of polls, with its worker threads,
//! among its timers (io_uring_cancelation(7)). It is in none of those places between two entries of
//! ours, and while the kernel itself is about to try it again: a large send that finds the socket
//! writable each time is tried more than a hundred times in turn, one time an enter, and then goes to
//! a worker thread, where it would wait for ever (measured on Linux 6.18). So a cancel that was
//! answered with "not found" is repeated until the operation has ended: a few times at once, then
//! after pauses that grow.

use std::time::Duration;

use io_uring::opcode;
use io_uring::squeue::Flags;

use super::{CANCEL, IN_RING, Uring};
use crate::backend::{Backend, Sleep};
use crate::ledger::Ledger;
use crate::slot::{State, Token};
use crate::time::Moment;

/// In a slot's `backend_word`: how often a cancel was answered with "not found".
const MISSED: u32 = 1 << 8;
const MISSED_MASK: u32 = 0xff;
/// So often it is repeated at once.
const MISSED_AT_ONCE: u32 = 8;
/// The pauses after that double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const DOUBLINGS: u32 = 6;

/// Cancels that are to be repeated after a pause.
#[derive(Default)]
pub(super) struct Missed {
    tokens: Vec<Token>,
    due: Option<Moment>,
}

impl Uring {
    pub(super) fn push_cancel(&mut self, ledger: &Ledger, bits: u64) {
        let entry = opcode::AsyncCancel::new(bits)
            .build()
            .user_data(bits | CANCEL);
        let entry = match self.ring.params().is_feature_skip_cqe_on_success() {
            true => entry.flags(Flags::SKIP_SUCCESS),
            false => entry,
        };
        self.push_urgent(ledger, entry);
    }

    /// A cancel was answered. Only "not found" asks for something.
    pub(super) fn cancel_answered(&mut self, ledger: &Ledger, bits: u64, result: i32) {
        if result != -libc::ENOENT {
            return;
        }
        let token: Token = Token::from_bits(bits);
        let Some(record) = ledger.slots.lookup(token) else {
            return;
        };
        let word = record.backend_word.get();
        if record.state.get() != State::InFlight || word & IN_RING == 0 {
            return;
        }
        let missed = (word / MISSED) & MISSED_MASK;
        if missed < MISSED_AT_ONCE + DOUBLINGS {
            record.backend_word.set(word + MISSED);
        }
        if missed < MISSED_AT_ONCE {
            self.push_cancel(ledger, bits);
        } else if !self.missed.tokens.contains(&token) {
            self.missed.tokens.push(token);
            let due = self.now() + FIRST_PAUSE * (1 << (missed - MISSED_AT_ONCE));
            self.missed.due = Some(self.missed.due.map_or(due, |other| other.min(due)));
        }
    }

    /// When a cancel is to be repeated.
    pub(super) fn next_cancel(&self) -> Option<Moment> {
        self.missed.due
    }

    /// Repeats cancels whose pause is over, and shortens a sleep that would last longer than it.
    #[inline]
    pub(super) fn repeat_cancels(&mut self, ledger: &Ledger, sleep: Sleep) -> Sleep {
        match self.missed.due {
            None => sleep,
            Some(due) => self.repeat_cancels_due(ledger, due, sleep),
        }
    }

    #[cold]
    fn repeat_cancels_due(&mut self, ledger: &Ledger, due: Moment, sleep: Sleep) -> Sleep {
        let left = due.saturating_duration_since(self.now());
        if left.is_zero() {
            self.missed.due = None;
            for token in std::mem::take(&mut self.missed.tokens) {
                let record = ledger.slots.lookup(token);
                if record.is_some_and(|record| record.state.get() == State::InFlight) {
                    self.push_cancel(ledger, token.to_bits());
                }
            }
            return sleep;
        }
        match sleep {
            Sleep::Forever => Sleep::For(left),
            Sleep::For(duration) => Sleep::For(duration.min(left)),
            Sleep::Not => Sleep::Not,
        }
    }
}
