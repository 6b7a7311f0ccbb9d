//! A set of tasks that are joined in the order in which they end.
//!
//! Owns the handles and the list of those that were woken, so that joining N tasks polls each once
//! and not each of them each time.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::{AbortHandle, JoinError, JoinHandle, spawn, spawn_blocking, spawn_on};
use crate::slab::{Key, Slab};

/// Which tasks have something to say, and who wants to know.
#[derive(Default)]
struct Woken {
    state: Mutex<WokenState>,
}

#[derive(Default)]
struct WokenState {
    keys: VecDeque<Key>,
    waiting: Option<Waker>,
}

impl Woken {
    fn lock(&self) -> MutexGuard<'_, WokenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct MemberWaker {
    woken: Arc<Woken>,
    key: Key,
}

impl Wake for MemberWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.woken.lock();
        state.keys.push_back(self.key);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

struct Member<T> {
    handle: JoinHandle<T>,
    waker: Option<Waker>,
}

/// Tasks that belong together. Dropping the set aborts those that are left.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let mut set = wharf::task::JoinSet::new();
/// for number in 0..3 {
///     set.spawn(async move { number * 10 });
/// }
/// let mut sum = 0;
/// while let Some(output) = set.join_next().await {
///     sum += output.unwrap();
/// }
/// assert_eq!(sum, 30);
/// # });
/// ```
pub struct JoinSet<T> {
    members: Slab<Member<T>>,
    woken: Arc<Woken>,
}

impl<T: 'static> JoinSet<T> {
    /// An empty set.
    #[must_use]
    pub fn new() -> JoinSet<T> {
        JoinSet {
            members: Slab::new(),
            woken: Arc::default(),
        }
    }

    /// How many tasks are in it that have not been joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Spawns a task on the current worker, as [`crate::spawn`] does.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn spawn(&mut self, future: impl Future<Output = T> + 'static) -> AbortHandle {
        self.insert(spawn(future))
    }

    /// Spawns a task on another worker, as [`crate::spawn_on`] does.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn spawn_on<F>(
        &mut self,
        worker: usize,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
        T: Send,
    {
        self.insert(spawn_on(worker, make))
    }

    /// Runs a closure that blocks, as [`crate::spawn_blocking`] does.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn spawn_blocking(&mut self, closure: impl FnOnce() -> T + Send + 'static) -> AbortHandle
    where
        T: Send,
    {
        self.insert(spawn_blocking(closure))
    }

    /// Takes a task into the set.
    pub fn insert(&mut self, handle: JoinHandle<T>) -> AbortHandle {
        let abort = handle.abort_handle();
        let key = self.members.insert(Member {
            handle,
            waker: None,
        });
        if let Some(member) = self.members.get_mut(key) {
            let woken = self.woken.clone();
            member.waker = Some(Waker::from(Arc::new(MemberWaker { woken, key })));
        }
        // It may have ended already: its first poll registers its waker or finds its output.
        self.woken.lock().keys.push_back(key);
        abort
    }

    /// Waits for one task to end, and gives its output; `None` if the set is empty. Dropping the
    /// future loses nothing.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// The output of a task that has ended by now; `None` if there is none such, or no task.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        match self.poll_join_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => None,
        }
    }

    /// Waits for all tasks, and gives their outputs in the order in which they ended. Dropping the
    /// future aborts those that are left, and drops the outputs of the others.
    pub async fn join_all(mut self) -> Vec<Result<T, JoinError>> {
        let mut outputs = Vec::with_capacity(self.len());
        while let Some(output) = self.join_next().await {
            outputs.push(output);
        }
        outputs
    }

    /// Aborts every task and waits until all have ended. Dropping the future leaves them aborted, and
    /// to be joined.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// Takes every task out of the set, to go on without it.
    pub fn detach_all(&mut self) {
        let keys: Vec<Key> = self.members.iter().map(|(key, _)| key).collect();
        for key in keys {
            drop(self.members.remove(key));
        }
    }

    /// As [`join_next`](JoinSet::join_next), for a poll function.
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        loop {
            let mut state = self.woken.lock();
            let Some(key) = state.keys.pop_front() else {
                if self.members.is_empty() {
                    return Poll::Ready(None);
                }
                state.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            };
            drop(state);
            let Some(member) = self.members.get_mut(key) else {
                continue;
            };
            let Some(waker) = member.waker.clone() else {
                continue;
            };
            let polled = Pin::new(&mut member.handle).poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(output) = polled {
                self.members.remove(key);
                return Poll::Ready(Some(output));
            }
        }
    }

    /// Asks for the end of every task; they are still to be joined.
    pub fn abort_all(&self) {
        for (_, member) in self.members.iter() {
            member.handle.abort();
        }
    }
}

impl<T: 'static> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        for (_, member) in self.members.iter() {
            member.handle.abort();
        }
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("len", &self.members.len())
            .finish()
    }
}
