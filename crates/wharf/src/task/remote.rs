//! The output of a task on another thread: a cell that is filled once and awaited once.
//!
//! Owns the hand-over of one value, and of the request to abort. The lock is held for a few
//! instructions on either side, never while something is waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use super::JoinError;
use crate::runtime::home::Home;
use crate::slab::Key;

enum State<T> {
    Waiting(Option<Waker>),
    Delivered(Result<T, JoinError>),
    Taken,
}

/// The cell, shared by the one who waits and the task.
pub(crate) struct Remote<T> {
    state: Mutex<State<T>>,
    aborter: Arc<Aborter>,
}

/// The way to abort a task that may not have arrived at its worker yet.
#[derive(Default)]
pub(super) struct Aborter {
    state: Mutex<AbortState>,
    target: OnceLock<(Arc<Home>, Key)>,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum AbortState {
    #[default]
    Wanted,
    Aborted,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Aborter {
    pub(super) fn abort(&self) {
        *lock(&self.state) = AbortState::Aborted;
        if let Some((home, key)) = self.target.get() {
            home.abort(*key);
        }
    }
}

impl<T> Remote<T> {
    pub(crate) fn new() -> Arc<Remote<T>> {
        Arc::new(Remote {
            state: Mutex::new(State::Waiting(None)),
            aborter: Arc::default(),
        })
    }

    /// The task's side.
    pub(crate) fn deliver(self: Arc<Self>) -> Deliver<T> {
        Deliver { remote: Some(self) }
    }

    /// The output; the task is aborted if this is dropped before.
    pub(crate) fn output(self: Arc<Self>) -> Awaiting<T> {
        Awaiting(self)
    }

    /// The task exists from now on; it may have been aborted before.
    pub(super) fn set_abort(&self, home: &Arc<Home>, key: Key) {
        // The task is new: nobody else has set it.
        let _first = self.aborter.target.set((home.clone(), key));
        if *lock(&self.aborter.state) == AbortState::Aborted {
            home.abort(key);
        }
    }

    pub(super) fn abort(&self) {
        self.aborter.abort();
    }

    pub(super) fn aborter(&self) -> Arc<Aborter> {
        self.aborter.clone()
    }

    pub(super) fn is_finished(&self) -> bool {
        !matches!(*lock(&self.state), State::Waiting(_))
    }

    fn fill(&self, output: Result<T, JoinError>) {
        let previous = std::mem::replace(&mut *lock(&self.state), State::Delivered(output));
        if let State::Waiting(Some(waker)) = previous {
            waker.wake();
        }
    }

    pub(super) fn poll_output(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Waiting(Some(waker)) => waker.clone_from(cx.waker()),
            State::Waiting(none) => *none = Some(cx.waker().clone()),
            State::Delivered(_) => {
                if let State::Delivered(output) = std::mem::replace(&mut *state, State::Taken) {
                    return Poll::Ready(output);
                }
            }
            State::Taken => panic!("a task gives its output once"),
        }
        Poll::Pending
    }
}

/// Awaits the output of a task on another thread; aborts the task when it is dropped before.
pub(crate) struct Awaiting<T>(Arc<Remote<T>>);

impl<T> Future for Awaiting<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_output(cx)
    }
}

impl<T> Drop for Awaiting<T> {
    fn drop(&mut self) {
        if !self.0.is_finished() {
            self.0.abort();
        }
    }
}

/// The task's side of a [`Remote`]. If it is dropped without an output, the task was cancelled.
pub(crate) struct Deliver<T> {
    remote: Option<Arc<Remote<T>>>,
}

impl<T> Deliver<T> {
    pub(super) fn remote(&self) -> &Arc<Remote<T>> {
        self.remote
            .as_ref()
            .expect("present until it has delivered")
    }

    pub(crate) fn deliver(mut self, output: Result<T, JoinError>) {
        if let Some(remote) = self.remote.take() {
            remote.fill(output);
        }
    }
}

impl<T> Drop for Deliver<T> {
    fn drop(&mut self) {
        if let Some(remote) = self.remote.take() {
            remote.fill(Err(JoinError::cancelled()));
        }
    }
}
