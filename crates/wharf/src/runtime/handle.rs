//! `Handle`: a runtime as other threads see it.
//!
//! Owns nothing but a reference to the workers' homes; it does not keep the runtime alive.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::Team;
use super::worker;
use crate::task::{self, JoinHandle};

/// A reference to a runtime that any thread may hold, and spawn tasks by. It does not keep the runtime
/// alive: tasks that are spawned when it has ended are cancelled.
///
/// A [`JoinHandle`] may be awaited anywhere, also by a thread that is in no runtime:
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use futures_lite::future::block_on;
/// let runtime = wharf::runtime::Handle::current();
/// let thread = std::thread::spawn(move || {
///     let task = runtime.spawn(|| async { wharf::runtime::worker() });
///     block_on(task)
/// });
/// # while !thread.is_finished() { wharf::task::yield_now().await; }
/// assert_eq!(thread.join().unwrap().unwrap(), 0);
/// # });
/// ```
#[derive(Clone)]
pub struct Handle {
    team: Arc<Team>,
    /// The worker that it was made on.
    worker: usize,
}

impl Handle {
    pub(super) fn new(team: &Arc<Team>, worker: usize) -> Handle {
        Handle {
            team: team.clone(),
            worker,
        }
    }

    /// That of the current worker.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    #[track_caller]
    pub fn current() -> Handle {
        let here = worker::expect_current();
        Handle::new(&here.team, here.home.index)
    }

    /// That of the current worker; `None` outside a runtime.
    #[must_use]
    pub fn try_current() -> Option<Handle> {
        let here = worker::current()?;
        Some(Handle::new(&here.team, here.home.index))
    }

    /// Spawns a task on the worker that this was made on: `make` is sent there, and the future that it
    /// makes lives there, and need not be `Send`.
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_on(self.worker, make)
    }

    /// As [`spawn`](Handle::spawn), on the worker of this number, modulo how many there are.
    pub fn spawn_on<F>(
        &self,
        worker: usize,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        task::spawn_at(self.team.home(worker), make)
    }

    /// How many workers the runtime has.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.team.homes().len()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("worker", &self.worker)
            .field("workers", &self.workers())
            .finish()
    }
}
