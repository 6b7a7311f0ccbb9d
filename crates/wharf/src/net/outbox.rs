//! `Outbox`: datagrams that other threads have sent and the home worker has not taken yet.
//!
//! Owns what is on its way between two threads. A datagram is in here, and will be sent, or it is not
//! and a send that waits for room has done nothing: so a future that is dropped has sent nothing,
//! on whatever thread. The lock is held for a copy at most.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wharf_queue::Address;

use super::place::register;

/// A datagram, and where it goes if the socket is not connected.
pub(super) type Outgoing = (Vec<u8>, Option<Address>);

#[derive(Default)]
struct State {
    queue: VecDeque<Outgoing>,
    /// The home worker knows that there is something.
    is_announced: bool,
    /// What went wrong with a datagram, told to the next call.
    error: Option<io::Error>,
    wakers: Vec<Waker>,
}

#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On another thread: puts a datagram in if fewer than `limit` are there. Gives whether the home
    /// worker is to be told.
    ///
    /// # Errors
    /// What went wrong with one before.
    pub(super) fn poll_put(
        &self,
        cx: &Context<'_>,
        bytes: &[u8],
        to: Option<&Address>,
        limit: usize,
    ) -> Poll<io::Result<bool>> {
        let mut state = self.lock();
        if let Some(error) = state.error.take() {
            return Poll::Ready(Err(error));
        }
        if state.queue.len() >= limit {
            register(&mut state.wakers, cx);
            return Poll::Pending;
        }
        state.queue.push_back((bytes.to_vec(), to.cloned()));
        Poll::Ready(Ok(!std::mem::replace(&mut state.is_announced, true)))
    }

    /// On the home worker: takes up to `count`, the oldest first. What is left is asked for again
    /// when there is room.
    pub(super) fn take(&self, count: usize) -> VecDeque<Outgoing> {
        let mut state = self.lock();
        let count = count.min(state.queue.len());
        let rest = state.queue.split_off(count);
        let taken = std::mem::replace(&mut state.queue, rest);
        state.is_announced = !state.queue.is_empty();
        if !taken.is_empty() {
            wake(state);
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Something went wrong with a datagram, and nobody has been told yet.
    pub(super) fn put_error(&self, error: io::Error) {
        let mut state = self.lock();
        state.error.get_or_insert(error);
        wake(state);
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    /// The socket is gone: those who wait for room look again.
    pub(super) fn close(&self) {
        wake(self.lock());
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let wakers = std::mem::take(&mut state.wakers);
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}
