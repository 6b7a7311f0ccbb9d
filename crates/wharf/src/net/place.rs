//! What a worker fetches for other threads: a place that belongs to the resource.
//!
//! Owns what was fetched and not taken. A future that is dropped on another thread leaves nothing
//! behind but a waker: what was fetched for it is found by the next call, from any thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

pub(super) struct Place<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    ready: VecDeque<io::Result<T>>,
    wakers: Vec<Waker>,
    /// How many the home worker is fetching.
    asked: usize,
}

impl<T> Default for Place<T> {
    fn default() -> Place<T> {
        Place {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                wakers: Vec::new(),
                asked: 0,
            }),
        }
    }
}

/// Several tasks may wait for one resource: each leaves its waker, once.
pub(super) fn register(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

/// Wakes all who wait. Nothing is borrowed meanwhile, and the list keeps its memory.
pub(super) fn wake_all<S>(state: &RefCell<S>, wakers: impl Fn(&mut S) -> &mut Vec<Waker>) {
    let mut woken = std::mem::take(wakers(&mut state.borrow_mut()));
    woken.drain(..).for_each(Waker::wake);
    let mut state = state.borrow_mut();
    let list = wakers(&mut state);
    if list.is_empty() {
        *list = woken;
    }
}

/// What is to be done by one who finds nothing in the place.
pub(super) enum Step {
    /// Wait: enough is being fetched.
    Wait,
    /// Ask the home worker to fetch one more.
    Ask,
}

impl<T> Place<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the home worker: what was fetched for others and not taken is ours, now or when it comes.
    pub(super) fn poll_here(&self, cx: &Context<'_>) -> Option<io::Result<T>> {
        let mut state = self.lock();
        let ready = state.ready.pop_front();
        if ready.is_none() && state.asked > 0 {
            register(&mut state.wakers, cx);
        }
        ready
    }

    /// On another thread.
    pub(super) fn poll_abroad(&self, cx: &Context<'_>) -> Result<io::Result<T>, Step> {
        let mut state = self.lock();
        if let Some(ready) = state.ready.pop_front() {
            return Ok(ready);
        }
        register(&mut state.wakers, cx);
        if state.asked >= state.wakers.len() {
            return Err(Step::Wait);
        }
        state.asked += 1;
        Err(Step::Ask)
    }

    /// The home worker has fetched something, or could not.
    pub(super) fn put(&self, fetched: io::Result<T>) {
        let mut state = self.lock();
        state.asked = state.asked.saturating_sub(1);
        state.ready.push_back(fetched);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Whether something can be fetched, as a poll.
pub(super) fn ready<T>(result: Result<io::Result<T>, Step>) -> (Poll<io::Result<T>>, bool) {
    match result {
        Ok(ready) => (Poll::Ready(ready), false),
        Err(Step::Wait) => (Poll::Pending, false),
        Err(Step::Ask) => (Poll::Pending, true),
    }
}
