//! The ledger: what is in flight, what is ready, and what follows from a completion.
//!
//! Owns the slots, the handles' lists, the deadline heap, the buffer pools and the list of what is
//! ready. It is what a backend is given: the backend reads operations from it and reports to it,
//! and never calls the queue. It makes no system call and reads no clock.
//!
//! What a completion sets in motion (the next of a chain, a close that waited) is noted as a
//! `Followup`; the queue carries it out when the backend has returned.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use crate::bufpool::PoolCore;
use crate::completion::{BufferRef, Ready, ReadyList};
use crate::handle::Handles;
use crate::op::{Op, OpKind};
use crate::slot::{CancelReason, NONE, Slot, Slots, State, Token};
use crate::stats::{Counters, count};
use crate::sys;
use crate::time::Moment;
use crate::timer::Timers;

/// What the queue has to do after a backend has reported.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Followup {
    /// Nothing is in flight any more on a handle whose close waits in this slot.
    Close(u32),
    /// The next operation of a chain may start, or must not.
    Chain { token: Token, go_on: bool },
}

/// An operation that is to be started, or started again, at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delayed {
    pub(crate) due: Moment,
    pub(crate) token: Token,
}

pub(crate) struct Ledger {
    pub(crate) slots: Slots,
    pub(crate) handles: Handles,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) pools: RefCell<Vec<Option<Arc<PoolCore>>>>,
    pub(crate) counters: Counters,
    pub(crate) ready: RefCell<ReadyList>,
    /// Results that nobody wants, to be dropped by their types when nothing is borrowed.
    pub(crate) doomed: RefCell<VecDeque<Ready>>,
    /// There is something in `doomed`, or in `ready` for it.
    pub(crate) littered: Cell<bool>,
    /// Items of multishot operations that a user holds: their slots must not end before them.
    pub(crate) items_out: Cell<usize>,
    /// Slots whose final result has been taken while `items_out` was not zero.
    pub(crate) lingering: RefCell<Vec<u32>>,
    pub(crate) followups: RefCell<Vec<Followup>>,
    pub(crate) delayed: RefCell<Vec<Delayed>>,
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        Ledger {
            slots: Slots::new(),
            handles: Handles::default(),
            timers: RefCell::default(),
            pools: RefCell::default(),
            counters: Counters::default(),
            ready: RefCell::default(),
            doomed: RefCell::default(),
            littered: Cell::new(false),
            items_out: Cell::new(0),
            lingering: RefCell::default(),
            followups: RefCell::default(),
            delayed: RefCell::default(),
        }
    }

    /// The pool of a multishot receive. It lives as long as the receive does. It is lent, not
    /// cloned: a count that is shared with other threads costs two locked instructions.
    #[inline]
    pub(crate) fn pool(&self, index: u32) -> Ref<'_, PoolCore> {
        Ref::map(self.pools.borrow(), |pools| {
            let pool = pools[index as usize].as_ref();
            pool.expect("a receive holds its pool").as_ref()
        })
    }

    /// Reports the final result of an operation: a count or descriptor, or a negated raw error.
    #[inline(never)]
    pub(crate) fn complete(&self, slot: u32, result: i64) {
        self.complete_with(self.slots.get(slot), result, 0, BufferRef::default());
    }

    /// Reports that an operation has ended before its time. The reason that was noted in the slot
    /// decides whether it is `Cancelled` or `TimedOut`.
    pub(crate) fn complete_cancelled(&self, slot: u32) {
        let record = self.slots.get(slot);
        let timed_out = record.cancel.get() == CancelReason::Deadline;
        let flags = if timed_out {
            Ready::TIMED_OUT
        } else {
            Ready::CANCELLED
        };
        count(&self.counters.cancelled);
        self.complete_with(record, 0, flags, BufferRef::default());
    }

    /// Reports one item of a multishot operation, which goes on.
    pub(crate) fn item(&self, slot: u32, result: i64, flags: u8, buffer: BufferRef) {
        count(&self.counters.items);
        let record = self.slots.get(slot);
        self.push_ready(record, result, flags | Ready::MORE, buffer);
    }

    /// Reports the final result, with the flags and the piece of a pool that belong to it.
    #[inline(always)]
    pub(crate) fn complete_with(&self, record: &Slot, result: i64, flags: u8, buffer: BufferRef) {
        debug_assert!(matches!(record.state.get(), State::Held | State::InFlight));
        record.state.set(State::Done);
        count(&self.counters.completed);
        if record.has_deadline() {
            self.timers.borrow_mut().remove(&self.slots, record.index());
        }
        if record.handle.get() != NONE {
            self.leave_handles(record);
        }
        if record.chained.get() {
            self.go_on_after(record, result, flags);
        }
        self.push_ready(record, result, flags, buffer);
    }

    /// Takes a completed operation off the lists of its handles, on which a close may wait.
    #[inline(never)]
    fn leave_handles(&self, record: &Slot) {
        if let Some(close) = self.handles.unlink(&self.slots, record) {
            self.followups.borrow_mut().push(Followup::Close(close));
        }
        if let Some(second) = record.op().second() {
            if let Some(close) = self.handles.unlink_second(second.index, record.index()) {
                self.followups.borrow_mut().push(Followup::Close(close));
            }
        }
    }

    /// Notes what becomes of the next operation of a chain that the queue itself links.
    #[cold]
    fn go_on_after(&self, record: &Slot, result: i64, flags: u8) {
        let Some(token) = record.take_chained() else {
            return;
        };
        if record.native_link.get() {
            return;
        }
        let cut = flags & (Ready::CANCELLED | Ready::TIMED_OUT) != 0;
        let go_on = !cut && result >= 0 && was_whole(record.op(), result);
        self.followups
            .borrow_mut()
            .push(Followup::Chain { token, go_on });
    }

    #[inline(always)]
    fn push_ready(&self, record: &Slot, result: i64, flags: u8, buffer: BufferRef) {
        let (user_data, kind) = (record.user_data.get(), record.kind.get());
        let ready = Ready::new(record.token(), user_data, kind, result, flags, buffer);
        if record.abandoned.get() {
            return self.doom(ready);
        }
        self.ready.borrow_mut().push(ready);
    }

    #[cold]
    fn doom(&self, ready: Ready) {
        self.littered.set(true);
        self.doomed.borrow_mut().push_back(ready);
    }

    /// Moves what has been abandoned since it became ready to what is to be dropped, before what
    /// the same operation has brought later.
    pub(crate) fn sweep(&self) {
        let mut doomed = self.doomed.borrow_mut();
        let later = doomed.len();
        self.ready.borrow_mut().retain(|ready| {
            let wanted = ready.token == Token::POSTED
                || !self.slots.get(ready.token.index() as u32).abandoned.get();
            if !wanted {
                doomed.push_back(*ready);
            }
            wanted
        });
        doomed.rotate_left(later);
    }

    /// An item that a user held is gone. When it was the last, slots that waited for that end.
    pub(crate) fn item_is_gone(&self) {
        let out = self.items_out.get() - 1;
        self.items_out.set(out);
        if out == 0 {
            self.end_lingering();
        }
    }

    fn end_lingering(&self) {
        loop {
            let Some(slot) = self.lingering.borrow_mut().pop() else {
                return;
            };
            self.slots.retire(slot);
        }
    }

    /// Puts a multishot receive to rest until its pool has a buffer again. If a cancel was asked
    /// for meanwhile, that is the end of it.
    pub(crate) fn starve(&self, slot: u32, pool: &PoolCore) {
        if self.slots.get(slot).cancel.get() != CancelReason::None {
            return self.complete_cancelled(slot);
        }
        count(&self.counters.pool_starved);
        self.slots.get(slot).state.set(State::Held);
        pool.starve(self.slots.token(slot));
    }

    /// Puts an operation to rest until `due`; the queue then starts it (again).
    pub(crate) fn delay(&self, slot: u32, due: Moment) {
        if self.slots.get(slot).cancel.get() != CancelReason::None {
            return self.complete_cancelled(slot);
        }
        self.slots.get(slot).state.set(State::Held);
        self.delayed.borrow_mut().push(Delayed {
            due,
            token: self.slots.token(slot),
        });
    }

    /// An accept ran out of descriptors, or of memory for one. The error is reported: by a single
    /// accept as its result, by a multishot one as an item. The next attempt on the listener waits.
    pub(crate) fn accept_starved(&self, slot: u32, error: i64, now: Moment) {
        let record = self.slots.get(slot);
        let due = self.handles.pause_accept(record.handle.get(), now);
        if record.kind.get() == OpKind::AcceptMulti {
            self.item(slot, error, 0, BufferRef::default());
            self.delay(slot, due);
        } else {
            self.complete(slot, error);
        }
    }
}

/// Whether a chain goes on after this result: reads and writes of files, and sends that promise
/// all, break it when they come out short, as a linked entry does on io_uring
/// (io_uring_enter(2), `IOSQE_IO_LINK`).
fn was_whole(op: &Op, result: i64) -> bool {
    match *op {
        Op::Read { buf, .. } => result == buf.len as i64,
        Op::Write { buf, .. } => result == buf.len as i64,
        Op::ReadVectored { scratch, .. } | Op::WriteVectored { scratch, .. } => {
            result == sys::Scratch::total(scratch) as i64
        }
        _ => true,
    }
}
