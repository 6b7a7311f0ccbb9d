//! What the ring's completion entries mean.
//!
//! Owns the way from an entry to the end of its operation, or to the operation's next entry: what was
//! sent in part, is armed again, came back with `EAGAIN`, or was given up by the kernel unasked. Which
//! entry comes next is `prep`'s business, and how it gets into the ring that of the parent module.

use io_uring::{cqueue, opcode, types};

use super::direct::is_spliced_here;
use super::{CANCEL, IN_RING, POLLING, TIMER, TIMER_REMOVED, Uring, WAKE, prep};
use crate::backend::Backend;
use crate::completion::{BufferRef, Ready};
use crate::ledger::Ledger;
use crate::op::{Op, OpKind};
use crate::slot::{CancelReason, Slot, State, Token};
use crate::sys::{self, RawError, call};

/// Added to a slot's `backend_word` each time that the kernel gives the operation up unasked, and how
/// often it may; `cancel` has the bits between.
const GIVEN_UP: u32 = 1 << 16;
const MAX_GIVEN_UP: u32 = 10;

/// The kernel's own "interrupted, start again", which splice(2) in a ring lets out: the work of an
/// entry that was cancelled before it slept. User space knows it from tracers only (signal(7)).
const ERESTARTSYS: RawError = 512;

impl Uring {
    /// Reports what the kernel has completed.
    pub(super) fn reap(&mut self, ledger: &Ledger) {
        // Those that come meanwhile are for the next turn.
        let count = self.ring.completion().len();
        for _ in 0..count {
            let Some(entry) = self.ring.completion().next() else {
                return;
            };
            self.take_in(ledger, &entry);
        }
    }

    #[inline]
    fn take_in(&mut self, ledger: &Ledger, entry: &cqueue::Entry) {
        let token: Token = Token::from_bits(entry.user_data());
        let Some(record) = ledger.slots.lookup(token) else {
            return self.take_in_other(ledger, entry);
        };
        if record.state.get() != State::InFlight {
            return;
        }
        if !cqueue::more(entry.flags()) {
            let word = record.backend_word.get();
            record.backend_word.set(word & !(IN_RING | POLLING));
            if word & POLLING != 0 {
                return self.polled(ledger, record, entry.result());
            }
        }
        self.completed(ledger, record, entry);
    }

    /// An entry that is no operation's: none of our own numbers is the token of a slot.
    #[inline(never)]
    fn take_in_other(&mut self, ledger: &Ledger, entry: &cqueue::Entry) {
        match entry.user_data() {
            WAKE => self.wake_armed &= cqueue::more(entry.flags()),
            TIMER if entry.result() == -libc::ETIME => self.embedding.timer_fired(),
            TIMER | TIMER_REMOVED => {}
            bits if bits & CANCEL != 0 => {
                self.cancel_answered(ledger, bits & !CANCEL, entry.result());
            }
            // Of an operation that has been completed: it is not followed.
            _ => {}
        }
    }

    /// The readiness that an operation lacked is there, or its poll was cancelled.
    #[inline(never)]
    fn polled(&mut self, ledger: &Ledger, record: &Slot, result: i32) {
        if record.cancel.get() != CancelReason::None {
            ledger.complete_cancelled(record.index());
        } else if result < 0 {
            ledger.complete(record.index(), result.into());
        } else if is_spliced_here(ledger, record.op()) {
            self.splice(ledger, record);
        } else {
            self.push_operation(ledger, record);
        }
    }

    /// An entry of an operation's own.
    #[inline]
    fn completed(&mut self, ledger: &Ledger, record: &Slot, entry: &cqueue::Entry) {
        let (op, result) = (record.op(), i64::from(entry.result()));
        if result < 0 && self.goes_on_or_is_cut(ledger, record, -entry.result()) {
            return;
        }
        match *op {
            Op::RecvMulti { pool, .. } | Op::RecvFromMulti { pool, .. } => {
                self.received(ledger, record, pool, entry);
            }
            Op::Accept { .. } | Op::AcceptMulti { .. } => self.accepted(ledger, record, op, entry),
            Op::Send { buf, flags, .. } if flags.all && result >= 0 => {
                let sent = record.transferred.get() + result as usize;
                self.sent(ledger, record, sent, sent >= buf.len);
            }
            Op::SendMessage { scratch, flags, .. } if flags.all && result >= 0 => {
                let rest = sys::Scratch::advance(scratch, result as usize);
                self.sent(
                    ledger,
                    record,
                    record.transferred.get() + result as usize,
                    rest == 0,
                );
            }
            Op::SendFile { .. } if result >= 0 => self.send_file(ledger, record),
            Op::ChildExit { .. } if result >= 0 => ledger.complete(record.index(), 0),
            _ => ledger.complete_with(record, result, 0, BufferRef::default()),
        }
    }

    /// Deals with an error that is not the operation's result: it was cancelled, or has to be
    /// handed over again, or needs to wait for readiness. Returns false for any other.
    #[cold]
    fn goes_on_or_is_cut(&mut self, ledger: &Ledger, record: &Slot, error: RawError) -> bool {
        let cancelled = record.cancel.get() != CancelReason::None;
        match error {
            libc::ECANCELED if cancelled || record.native_link.get() => {
                ledger.complete_cancelled(record.index());
            }
            // Whoever brought an entry of his own knows what else may end it.
            libc::ECANCELED if record.kind.get() == OpKind::Raw => {
                ledger.complete_cancelled(record.index());
            }
            libc::ECANCELED => self.given_up(ledger, record),
            libc::EINTR | ERESTARTSYS if cancelled => ledger.complete_cancelled(record.index()),
            libc::EINTR | ERESTARTSYS => self.push_operation(ledger, record),
            libc::EAGAIN if !record.native_link.get() => {
                self.wait_for_readiness(ledger, record.index(), record.op());
            }
            _ => return false,
        }
        true
    }

    /// The kernel ended it unasked. It does so when it cannot start the thread that was to carry the
    /// operation out: for a moment, interrupted by signals, or because there may be no more threads.
    fn given_up(&mut self, ledger: &Ledger, record: &Slot) {
        let word = record.backend_word.get();
        if word / GIVEN_UP >= MAX_GIVEN_UP {
            return ledger.complete(record.index(), -i64::from(sys::OUT_OF_THREADS));
        }
        record.backend_word.set(word + GIVEN_UP);
        let due = self.now() + std::time::Duration::from_millis(1);
        ledger.delay(record.index(), due);
    }

    /// A part of a send that must send all.
    fn sent(&mut self, ledger: &Ledger, record: &Slot, sent: usize, all: bool) {
        record.transferred.set(sent);
        if all {
            ledger.complete_with(record, sent as i64, 0, BufferRef::default());
        } else if record.cancel.get() != CancelReason::None {
            ledger.complete_cancelled(record.index());
        } else {
            self.push_operation(ledger, record);
        }
    }

    pub(super) fn wait_for_readiness(&mut self, ledger: &Ledger, slot: u32, op: &Op) {
        if ledger.slots.get(slot).cancel.get() != CancelReason::None {
            return ledger.complete_cancelled(slot);
        }
        if let Op::Connect { .. } = op {
            // A Unix listener's queue is full, and nothing tells when it is not (connect(2)).
            return ledger.delay(slot, self.now() + std::time::Duration::from_millis(1));
        }
        let Some((fd, events)) = prep::wanted(op) else {
            return ledger.complete(slot, -i64::from(libc::EAGAIN));
        };
        let bits = ledger.slots.token(slot).to_bits();
        let poll = opcode::PollAdd::new(types::Fd(fd), events)
            .build()
            .user_data(bits);
        self.entered_ring(ledger.slots.get(slot), POLLING);
        self.push_urgent(ledger, poll);
    }

    /// An entry of a multishot receive.
    #[inline(never)]
    fn received(&mut self, ledger: &Ledger, record: &Slot, pool: u32, entry: &cqueue::Entry) {
        /// `IORING_CQE_F_BUF_MORE`: the buffer will be filled further.
        const BUFFER_MORE: u32 = 1 << 4;
        let slot = record.index();
        let pool = ledger.pool(pool);
        let (result, more) = (i64::from(entry.result()), cqueue::more(entry.flags()));
        if -result == i64::from(libc::ENOBUFS) {
            return ledger.starve(slot, &pool);
        }
        if result < 0 {
            return ledger.complete(slot, result);
        }
        let piece = cqueue::buffer_select(entry.flags()).map(|id| {
            let buffer_more = entry.flags() & BUFFER_MORE != 0;
            pool.filled(id, result as usize, buffer_more)
        });
        let flags = if piece.is_some() { Ready::BUFFER } else { 0 };
        let piece = piece.unwrap_or_default();
        if result == 0 {
            return ledger.complete_with(record, 0, flags, piece);
        }
        ledger.item(slot, result, flags, piece);
        if !more {
            self.arm_again(ledger, record);
        }
    }

    /// A multishot operation has ended although nothing is wrong: the completion ring was full, or
    /// the kernel lets others have their turn.
    fn arm_again(&mut self, ledger: &Ledger, record: &Slot) {
        if record.cancel.get() != CancelReason::None {
            ledger.complete_cancelled(record.index());
        } else {
            self.push_operation(ledger, record);
        }
    }

    #[inline(never)]
    fn accepted(&mut self, ledger: &Ledger, record: &Slot, op: &Op, entry: &cqueue::Entry) {
        let slot = record.index();
        let (result, more) = (i64::from(entry.result()), cqueue::more(entry.flags()));
        let multi = matches!(op, Op::AcceptMulti { .. });
        if result >= 0 {
            ledger.handles.resume_accept(record.handle.get());
            if !multi {
                return ledger.complete(slot, result);
            }
            ledger.item(slot, result, 0, BufferRef::default());
        } else if call::is_out_of_descriptors(-result as RawError) {
            return ledger.accept_starved(slot, result, self.now());
        } else if !call::client_left(-result as RawError) {
            return ledger.complete(slot, result);
        }
        if !more {
            self.arm_again(ledger, record);
        }
    }
}
