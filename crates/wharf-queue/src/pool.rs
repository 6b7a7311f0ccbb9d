//! The bounded pool of threads for calls that block.
//!
//! Owns the threads and the line of operations that wait for one. It knows an operation only as
//! data; `sys::call` carries it out. Threads are started on demand and end after a time without
//! work; a full pool queues, it never spins and never blocks the loop.

#![expect(unsafe_code)]
// UNSAFETY: operations lead to their slots by pointers, which are handed to another thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::notify::Shared;
use crate::op::Op;
use crate::sys;

/// How long a thread stays without work.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// Room that the lists have from their first use on, so that they do not grow at some later time
/// when more happens to come together.
const ROOM: usize = 64;

struct Job {
    slot: u32,
    op: Op,
}

// SAFETY: what the pointers of an operation lead to belongs to the queue until the operation is
// completed, and only the thread that carries it out uses it: bytes, plain records, and closures
// that are `Send`.
unsafe impl Send for Job {}

/// An operation that has been carried out: its slot, and its result as completions carry it.
#[derive(Clone, Copy)]
struct Done {
    slot: u32,
    result: i64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    done: Vec<Done>,
    threads: usize,
    /// Those of the threads that carry nothing out. They look at the line before they sleep.
    free: usize,
    /// Those of the free ones that sleep.
    asleep: usize,
    ended: bool,
}

struct Inner {
    state: Mutex<State>,
    work: Condvar,
    /// There is something in `done`; set before the owner is woken.
    has_done: AtomicBool,
    shared: Arc<Shared>,
    limit: usize,
}

/// The queue's side of the pool. Dropping it lets the threads end.
pub(crate) struct Pool {
    inner: Arc<Inner>,
    /// Changes places with the list of what is done, so that neither is allocated again.
    spare: RefCell<Vec<Done>>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a user's runs under the lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread of the pool does all its life.
    ///
    /// A result and the thread that is free again become known under one lock, before the owner is
    /// woken: so an owner with one operation at a time is always served by the same thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            let Some(job) = state.waiting.pop_front() else {
                if state.ended {
                    break;
                }
                state.asleep += 1;
                let (locked, timeout) = self
                    .work
                    .wait_timeout(state, IDLE_TIME)
                    .unwrap_or_else(PoisonError::into_inner);
                state = locked;
                state.asleep -= 1;
                if timeout.timed_out() && state.waiting.is_empty() {
                    break;
                }
                continue;
            };
            state.free -= 1;
            drop(state);
            let result = sys::call::blocking(&job.op);
            state = self.lock();
            state.free += 1;
            state.note(job.slot, result);
            drop(state);
            self.tell();
            state = self.lock();
        }
        state.free -= 1;
        state.threads -= 1;
    }

    /// Wakes the owner for what was noted.
    fn tell(&self) {
        self.has_done.store(true, Ordering::Release);
        self.shared.wake();
    }
}

impl State {
    fn note(&mut self, slot: u32, result: i64) {
        if self.done.capacity() == 0 {
            self.done.reserve(ROOM);
        }
        self.done.push(Done { slot, result });
    }
}

impl Pool {
    pub(crate) fn new(limit: usize, shared: Arc<Shared>) -> Pool {
        let (state, work) = (Mutex::default(), Condvar::new());
        Pool {
            inner: Arc::new(Inner {
                state,
                work,
                has_done: AtomicBool::new(false),
                shared,
                limit,
            }),
            spare: RefCell::default(),
        }
    }

    /// Gives `take` the slot and the result of everything that has been carried out since the last
    /// time, in that order.
    pub(crate) fn take_done(&self, mut take: impl FnMut(u32, i64)) {
        if !self.inner.has_done.swap(false, Ordering::Acquire) {
            return;
        }
        let mut done = self.spare.take();
        std::mem::swap(&mut done, &mut self.inner.lock().done);
        for Done { slot, result } in done.drain(..) {
            take(slot, result);
        }
        self.spare.replace(done);
    }

    /// Queues an operation; its result is there for `take_done`, after the queue has been woken.
    pub(crate) fn submit(&self, slot: u32, op: Op) {
        let mut state = self.inner.lock();
        if state.waiting.capacity() == 0 {
            state.waiting.reserve(ROOM);
        }
        state.waiting.push_back(Job { slot, op });
        if state.free >= state.waiting.len() || state.threads >= self.inner.limit {
            let asleep = state.asleep;
            // Whoever is woken under the lock only waits for it.
            drop(state);
            if asleep > 0 {
                self.inner.work.notify_one();
            }
            return;
        }
        state.threads += 1;
        state.free += 1;
        drop(state);
        let inner = self.inner.clone();
        let started = thread::Builder::new()
            .name("wharf-blocking".to_owned())
            .spawn(move || inner.work());
        if let Err(error) = started {
            self.could_not_start(slot, &error);
        }
    }

    /// The system gives no further thread. The operation waits for one that there is; without any,
    /// it fails.
    fn could_not_start(&self, slot: u32, error: &std::io::Error) {
        let mut state = self.inner.lock();
        state.threads -= 1;
        state.free -= 1;
        if state.threads > 0 {
            return;
        }
        let before = state.waiting.len();
        state.waiting.retain(|job| job.slot != slot);
        if state.waiting.len() < before {
            let error = error.raw_os_error().unwrap_or(sys::OUT_OF_THREADS);
            state.note(slot, -i64::from(error));
            drop(state);
            self.inner.tell();
        }
    }

    /// Takes an operation back that still waits for a thread. Returns false if it is being carried
    /// out: then its result comes in any case.
    pub(crate) fn cancel(&self, slot: u32) -> bool {
        let mut state = self.inner.lock();
        let Some(position) = state.waiting.iter().position(|job| job.slot == slot) else {
            return false;
        };
        state.waiting.remove(position);
        true
    }

    pub(crate) fn queued(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    pub(crate) fn threads(&self) -> usize {
        self.inner.lock().threads
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.lock().ended = true;
        self.inner.work.notify_all();
    }
}
