//! `Core`: what happens in a turn, and what follows from a completion.
//!
//! Owns the backend, the ledger and the pool, and the order of a turn: take in, sleep, report,
//! expire. It does not know the types of operations; `queue` makes their results.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, Imp, Sleep};
use crate::completion::Ready;
use crate::ledger::{Followup, Ledger};
use crate::notify::{Posted, Shared};
use crate::op::{Deadline, Op, OpKind, Support, Target};
use crate::pool::Pool;
use crate::slot::{CancelReason, Slot, State, Token};
use crate::stats::Stats;
use crate::sys;
use crate::time::Moment;

/// What the queue and its handles share.
pub(crate) struct Core {
    pub(super) ledger: Ledger,
    pub(super) backend: RefCell<Imp>,
    pub(super) shared: Arc<Shared>,
    pub(super) pool: Pool,
    pub(super) support: [Support; OpKind::ALL.len()],
    pub(super) max_in_flight: usize,
    pub(super) teardown_timeout: Duration,
    pub(super) reason: String,
}

impl Core {
    pub(crate) fn is_closing(&self, handle: u32) -> bool {
        self.ledger.handles.is_closing(handle)
    }

    /// Whether reads of a handle go past the page cache; `None` if nobody knows.
    pub(crate) fn is_direct(&self, handle: u32) -> Option<bool> {
        self.ledger.handles.is_direct(handle)
    }

    pub(crate) fn control(&self, target: Target, control: sys::Control) -> io::Result<sys::Reply> {
        self.backend.borrow_mut().control(Some(target), control)
    }

    /// The last reference to a handle is gone.
    pub(crate) fn release(&self, index: u32, raw: sys::RawHandle, open: bool) {
        if open {
            let mut backend = self.backend.borrow_mut();
            backend.forget(&self.ledger, Target { raw, index });
            backend.close(raw);
        }
        self.ledger.handles.remove(index);
    }

    pub(super) fn set_deadline(&self, slot: u32, deadline: Moment) {
        if deadline != Moment::NEVER {
            self.ledger
                .timers
                .borrow_mut()
                .insert(&self.ledger.slots, slot, deadline);
        }
    }

    /// Starts a HELD operation.
    #[inline(always)]
    pub(super) fn start(&self, record: &Slot) {
        record.state.set(State::InFlight);
        let slot = record.index();
        match *record.op() {
            Op::Known { result } => self.ledger.complete(slot, result),
            Op::Timer { due } => {
                let due = match due {
                    Deadline::None => Moment::NEVER,
                    Deadline::After(duration) => self.backend.borrow().now() + duration,
                    Deadline::At(moment) => moment,
                };
                self.set_deadline(slot, due);
            }
            Op::Close { fd } => {
                if self.ledger.handles.begin_close(fd.index, slot) {
                    self.backend.borrow_mut().submit(&self.ledger, record);
                } else {
                    self.cancel_all(fd.index);
                }
            }
            Op::Accept { fd } | Op::AcceptMulti { fd } => self.start_accept(record, fd),
            // The operation is not copied here: it was written just now, in parts.
            _ => match self.support[record.route.get() as usize] {
                Support::Pool => {
                    if !self
                        .backend
                        .borrow_mut()
                        .answer_at_once(&self.ledger, record)
                    {
                        self.pool.submit(slot, *record.op());
                    }
                }
                _ => self.backend.borrow_mut().submit(&self.ledger, record),
            },
        }
    }

    /// Starts an accept, unless the listener rests because descriptors had run out.
    pub(super) fn start_accept(&self, record: &Slot, fd: Target) {
        let after = self.ledger.handles.accept_after(fd.index);
        let mut backend = self.backend.borrow_mut();
        match after.filter(|&after| after > backend.now()) {
            Some(after) => self.ledger.delay(record.index(), after),
            None => backend.submit(&self.ledger, record),
        }
    }

    /// Asks an operation that is not completed to end.
    pub(super) fn cancel(&self, slot: u32, reason: CancelReason) {
        let record = self.ledger.slots.get(slot);
        if record.kind.get() == OpKind::Close {
            return;
        }
        if record.cancel.get() == CancelReason::None {
            record.cancel.set(reason);
        }
        if record.state.get() == State::Placing {
            return;
        }
        let here = record.state.get() == State::Held
            || record.kind.get() == OpKind::Timer
            || matches!(self.support[record.route.get() as usize], Support::Pool)
                && self.pool.cancel(slot);
        if here {
            self.ledger.complete_cancelled(slot);
        } else if !matches!(self.support[record.route.get() as usize], Support::Pool) {
            self.backend.borrow_mut().cancel(&self.ledger, slot);
        }
    }

    pub(super) fn cancel_all(&self, handle: u32) -> usize {
        let mut in_flight = Vec::new();
        self.ledger
            .handles
            .in_flight(&self.ledger.slots, handle, &mut in_flight);
        for &slot in &in_flight {
            // An earlier cancel may have ended a later one: a chain on one handle.
            let state = self.ledger.slots.get(slot).state.get();
            if matches!(state, State::Placing | State::Held | State::InFlight) {
                self.cancel(slot, CancelReason::Request);
            }
        }
        in_flight.len()
    }

    /// Carries out what completions have set in motion, until nothing more follows.
    #[inline]
    pub(super) fn run_followups(&self) {
        if !self.ledger.followups.borrow().is_empty() {
            self.run_all_followups();
        }
    }

    fn run_all_followups(&self) {
        loop {
            let Some(followup) = self.ledger.followups.borrow_mut().pop() else {
                return;
            };
            match followup {
                Followup::Close(slot) => {
                    let record = self.ledger.slots.get(slot);
                    self.backend.borrow_mut().submit(&self.ledger, record);
                }
                Followup::Chain { token, go_on } => {
                    let slot = token.index() as u32;
                    let record = self.ledger.slots.lookup(token);
                    match record.filter(|record| record.state.get() == State::Held) {
                        Some(record) if go_on => self.start(record),
                        Some(_) => self.ledger.complete_cancelled(slot),
                        None => {}
                    }
                }
            }
        }
    }

    /// When a wait is over at the latest.
    pub(super) fn until(&self, timeout: Option<Duration>) -> Moment {
        match timeout {
            None => Moment::NEVER,
            Some(Duration::ZERO) => Moment::from_nanos(0),
            Some(timeout) => self.backend.borrow().now() + timeout,
        }
    }

    /// One turn: sleeps if nothing is ready. Returns whether it was notified; `None` if it has to
    /// be called again, because there is something to drop first.
    pub(super) fn turn(&self, until: Moment) -> io::Result<Option<bool>> {
        loop {
            self.collect();
            // What another thread brought and nobody wants is dropped before this one sleeps.
            if self.ledger.littered.get() {
                return Ok(None);
            }
            let nothing = self.ledger.ready.borrow().is_empty() && !self.shared.has_notified();
            let sleep = match nothing.then(|| self.sleep_until(until)) {
                None | Some(Sleep::Not) => Sleep::Not,
                Some(sleep) if self.shared.park() => sleep,
                Some(_) => Sleep::Not,
            };
            self.backend.borrow_mut().wait(&self.ledger, sleep)?;
            self.collect();
            self.expire();
            if self.ledger.littered.get() {
                return Ok(None);
            }
            let notified = self.shared.take_notified();
            if notified || !self.ledger.ready.borrow().is_empty() {
                return Ok(Some(notified));
            }
            if until == Moment::from_nanos(0)
                || until != Moment::NEVER && self.backend.borrow().now() >= until
            {
                return Ok(Some(false));
            }
        }
    }

    /// How long to sleep: until the caller's time is up or something is due.
    pub(super) fn sleep_until(&self, until: Moment) -> Sleep {
        let due = self.next_due().unwrap_or(Moment::NEVER).min(until);
        if due == Moment::NEVER {
            return Sleep::Forever;
        }
        if due == Moment::from_nanos(0) {
            return Sleep::Not;
        }
        match due.saturating_duration_since(self.backend.borrow().now()) {
            Duration::ZERO => Sleep::Not,
            duration => Sleep::For(duration),
        }
    }

    /// When something is due next that the kernel does not know of.
    pub(super) fn next_due(&self) -> Option<Moment> {
        let timer = self.ledger.timers.borrow().next_deadline();
        let delayed = self
            .ledger
            .delayed
            .borrow()
            .iter()
            .map(|delayed| delayed.due)
            .min();
        [timer, delayed].into_iter().flatten().min()
    }

    /// Takes in what other threads brought, and starts what has waited for it.
    #[inline]
    pub(super) fn collect(&self) {
        if self.shared.awake() {
            self.take_posted();
        }
        self.feed_pools();
        self.run_followups();
    }

    fn take_posted(&self) {
        // Those that come meanwhile are for the next turn, however fast other threads post.
        for _ in 0..self.shared.posted() {
            let Some(Posted { user_data, value }) = self.shared.pop() else {
                break;
            };
            let (kind, buffer) = (OpKind::Nop, Default::default());
            let ready = Ready::new(Token::POSTED, user_data, kind, value, 0, buffer);
            self.ledger.ready.borrow_mut().push(ready);
        }
        self.pool
            .take_done(|slot, result| self.ledger.complete(slot, result));
    }

    /// Lets multishot receives go on whose pools have buffers again, and lets go of pools that
    /// nobody else holds any more.
    pub(super) fn feed_pools(&self) {
        let count = self.ledger.pools.borrow().len();
        for index in 0..count {
            let pool = match &self.ledger.pools.borrow()[index] {
                // One reference is the ledger's.
                Some(pool) if pool.is_starving() || Arc::strong_count(pool) == 1 => pool.clone(),
                _ => continue,
            };
            // One reference is the ledger's, one is ours.
            if Arc::strong_count(&pool) == 2 {
                self.backend
                    .borrow_mut()
                    .unregister_pool(&self.ledger, &pool, index as u32);
                self.ledger.pools.borrow_mut()[index] = None;
                continue;
            }
            // Those that starve again at once must not keep the loop here.
            let mut budget = pool.available();
            while pool.is_starving() && budget > 0 {
                budget -= 1;
                let Some(token) = pool.next_to_feed() else {
                    break;
                };
                self.restart(token);
            }
        }
    }

    /// Starts an operation again that was put to rest, if it has not been cancelled since.
    pub(super) fn restart(&self, token: Token) {
        let record = self.ledger.slots.lookup(token);
        if let Some(record) = record.filter(|record| record.state.get() == State::Held) {
            self.start(record);
        }
    }

    /// Ends what is due: timers complete, operations past their deadline are cancelled, those that
    /// rested are started. This comes after the backend has reported, so that an operation that
    /// has completed by then wins over its deadline (race R7).
    pub(super) fn expire(&self) {
        if self.next_due().is_none() {
            return;
        }
        let now = self.backend.borrow().now();
        loop {
            let expired = self
                .ledger
                .timers
                .borrow_mut()
                .pop_expired(&self.ledger.slots, now);
            let Some(slot) = expired else { break };
            if self.ledger.slots.get(slot).kind.get() == OpKind::Timer {
                self.ledger.complete(slot, 0);
            } else {
                self.cancel(slot, CancelReason::Deadline);
            }
        }
        loop {
            let mut delayed = self.ledger.delayed.borrow_mut();
            let Some(position) = delayed.iter().position(|delayed| delayed.due <= now) else {
                break;
            };
            let token = delayed.swap_remove(position).token;
            drop(delayed);
            self.restart(token);
        }
        self.run_followups();
    }

    pub(super) fn arm(&self) -> io::Result<sys::RawHandle> {
        self.backend.borrow_mut().wait(&self.ledger, Sleep::Not)?;
        self.collect();
        let parked = self.shared.park();
        let waiting =
            !parked || !self.ledger.ready.borrow().is_empty() || self.shared.has_notified();
        let due = if waiting {
            Some(Moment::from_nanos(0))
        } else {
            self.next_due()
        };
        self.backend.borrow_mut().arm(&self.ledger, due)
    }

    pub(super) fn stats(&self) -> Stats {
        let counters = &self.ledger.counters;
        let pools = self.ledger.pools.borrow();
        let pools = || pools.iter().flatten();
        Stats {
            in_flight: counters.submitted.get() - counters.completed.get(),
            submitted: counters.submitted.get(),
            completed: counters.completed.get(),
            items: counters.items.get(),
            cancelled: counters.cancelled.get(),
            system_calls: counters.system_calls.get(),
            ring_overflows: counters.ring_overflows.get(),
            pool_starved: counters.pool_starved.get(),
            blocking_queued: self.pool.queued() as u64,
            blocking_threads: self.pool.threads() as u64,
            pool_buffers: pools().map(|pool| u64::from(pool.count())).sum(),
            pool_available: pools().map(|pool| u64::from(pool.available())).sum(),
        }
    }

    /// Cancels everything and reaps until nothing is in flight, or the time is up. Returns how many
    /// operations are left.
    pub(super) fn reap_all(&self) -> usize {
        let live: Vec<_> = self
            .ledger
            .slots
            .iter_live()
            .map(|(index, _)| index)
            .collect();
        for slot in live {
            let state = self.ledger.slots.get(slot).state.get();
            if matches!(state, State::Held | State::InFlight) {
                self.cancel(slot, CancelReason::Request);
            }
        }
        self.run_followups();
        let until = self.backend.borrow().now() + self.teardown_timeout;
        // Results that are ready are put aside: with them on the list a backend would not sleep.
        let mut ready = Vec::new();
        // Without any time there is still one look, which hands the cancels over.
        let mut looked = false;
        let left = loop {
            // First, so that what another thread has brought is not slept over.
            self.collect();
            ready.extend(std::iter::from_fn(|| self.ledger.ready.borrow_mut().pop()));
            let counters = &self.ledger.counters;
            let left = counters.submitted.get() - counters.completed.get();
            let now = self.backend.borrow().now();
            if left == 0 || looked && now >= until {
                break left;
            }
            looked = true;
            let sleep = if now < until && self.shared.park() {
                Sleep::For(until.saturating_duration_since(now))
            } else {
                Sleep::Not
            };
            let waited = self.backend.borrow_mut().wait(&self.ledger, sleep);
            if waited.is_err() {
                break left;
            }
        };
        for ready in ready {
            self.ledger.ready.borrow_mut().push(ready);
        }
        left as usize
    }
}
