//! `Runtime`: workers, their threads, and how they begin and end.
//!
//! Owns the options, the threads and the order of shutting down. What a worker does is `worker`'s.

mod handle;
pub(crate) mod home;
mod inbox;
mod options;
pub(crate) mod worker;

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

pub use handle::Handle;
pub use options::Builder;
pub(crate) use options::Options;

use self::home::Home;
use self::worker::{TASKS_A_TURN, Worker, weight_of_a_poll};
use crate::task::{self, JoinHandle, coop};

/// The workers of one runtime, as they know each other.
pub(crate) struct Team {
    homes: OnceLock<Vec<Arc<Home>>>,
    /// How many workers have dropped their tasks at the end of the runtime.
    without_tasks: AtomicUsize,
}

impl Team {
    pub(crate) fn homes(&self) -> &[Arc<Home>] {
        self.homes.get().map_or(&[], Vec::as_slice)
    }

    /// A worker has dropped its tasks: none of them uses another worker's handles any more.
    pub(crate) fn tasks_are_dropped(&self) {
        self.without_tasks.fetch_add(1, Ordering::AcqRel);
        self.homes().iter().for_each(|home| home.notify());
    }

    /// Whether every worker has dropped its tasks.
    pub(crate) fn is_without_tasks(&self) -> bool {
        self.without_tasks.load(Ordering::Acquire) >= self.homes().len()
    }

    /// The worker of this number, modulo how many there are.
    pub(crate) fn home(&self, number: usize) -> &Arc<Home> {
        let homes = self.homes();
        &homes[number % homes.len()]
    }
}

/// How many workers the current runtime has.
///
/// # Panics
/// Outside a runtime.
#[must_use]
#[track_caller]
pub fn workers() -> usize {
    worker::expect_current().team.homes().len()
}

/// The number of the current worker: 0 is the one that [`Runtime::block_on`] runs on.
///
/// # Panics
/// Outside a runtime.
#[must_use]
#[track_caller]
pub fn worker() -> usize {
    worker::expect_current().home.index
}

/// The backend of the current worker's queue.
///
/// # Panics
/// Outside a runtime.
#[must_use]
#[track_caller]
pub fn backend() -> wharf_queue::BackendKind {
    worker::expect_current().queue.backend()
}

/// What the current worker's queue has done so far.
///
/// # Panics
/// Outside a runtime.
#[must_use]
#[track_caller]
pub fn stats() -> wharf_queue::Stats {
    worker::expect_current().queue.stats()
}

/// An async runtime: one or more workers, each a thread with a completion queue of its own.
///
/// Worker 0 is the thread that made the runtime, and works while it is in
/// [`block_on`](Runtime::block_on); the others have threads of their own. A task stays on the worker
/// that it was spawned on.
///
/// Dropping the runtime drops every task, sends what streams have accepted, cancels what is in
/// flight and waits for the kernel to let go of it; see [`Runtime::shutdown_timeout`].
///
/// ```
/// let runtime = wharf::Runtime::new()?;
/// let answer = runtime.block_on(async { wharf::spawn(async { 42 }).await.unwrap() });
/// assert_eq!(answer, 42);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    worker: Rc<Worker>,
    threads: Vec<WorkerThread>,
    /// Worker 0 belongs to this thread.
    not_send: PhantomData<*const ()>,
}

struct WorkerThread {
    home: Arc<Home>,
    thread: Option<thread::JoinHandle<()>>,
    /// Disconnected when the thread has closed its worker.
    ended: mpsc::Receiver<()>,
}

impl Runtime {
    /// A runtime with one worker, this thread, on the backend that `WHARF_BACKEND` names or the
    /// best one.
    ///
    /// # Errors
    /// If no queue can be made; the message says why.
    pub fn new() -> io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// A runtime with options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(options: Options) -> io::Result<Runtime> {
        let team = Arc::new(Team {
            homes: OnceLock::new(),
            without_tasks: AtomicUsize::new(0),
        });
        let workers = options.workers;
        let worker = Worker::new(0, &team, Rc::new(options.clone()))?;
        let mut runtime = Runtime {
            worker,
            threads: Vec::new(),
            not_send: PhantomData,
        };
        let mut starts = Vec::new();
        for index in 1..workers {
            // On an error the runtime is dropped, which stops the threads that are there.
            let (thread, start) = WorkerThread::spawn(index, &team, options.clone())?;
            runtime.threads.push(thread);
            starts.push(start);
        }
        let homes = runtime.threads.iter().map(|thread| thread.home.clone());
        let homes = std::iter::once(runtime.worker.home.clone()).chain(homes);
        // Nothing else sets it.
        let _first = team.homes.set(homes.collect());
        // The threads wait until their team is complete.
        drop(starts);
        Ok(runtime)
    }

    /// Runs a future on this thread until it is ready, and with it the tasks of worker 0.
    ///
    /// Tasks that are not finished when it returns stay, and go on in the next `block_on`.
    ///
    /// # Panics
    /// With the future's panic; from within a runtime; if the completion queue itself fails.
    pub fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        let _entered = self.worker.enter();
        let home = &self.worker.home;
        let waker = Waker::from(home.clone());
        waker.wake_by_ref();
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future.into_future());
        loop {
            let mut left = TASKS_A_TURN;
            while left > 0 {
                // The future takes its turn behind the tasks that were ready before it.
                let woken = home.take_root_woken();
                if woken {
                    coop::refill();
                    if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                        // What was written goes to the kernel now, though nobody waits for it.
                        self.worker.look(false);
                        return output;
                    }
                    left = left.saturating_sub(weight_of_a_poll());
                }
                let weight = self.worker.run_tasks(left);
                if weight == 0 && !home.is_root_woken() {
                    break;
                }
                left = left.saturating_sub(weight);
            }
            self.worker.look(true);
        }
    }

    /// Spawns a task on worker 0; it runs in [`block_on`](Runtime::block_on).
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        task::spawn_in(&self.worker, None, future)
    }

    /// A reference to it that other threads may hold. Its [`Handle::spawn`] is for worker 0.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(&self.worker.team, 0)
    }

    /// How many workers it has.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    /// Lets the tasks of all workers go on until all have ended or the time is up, then ends the
    /// runtime as its drop does. Returns whether all had ended.
    ///
    /// Tell the tasks to finish before, by a channel for example: what waits for ever uses up the
    /// time.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> bool {
        let until = self.worker.now() + timeout;
        let (sender, receiver) = mpsc::channel();
        for thread in &self.threads {
            let sender = sender.clone();
            thread.home.run(move |worker| {
                let deadline = worker.now() + timeout;
                let drained = worker.drain_tasks(deadline) == 0;
                // Nobody listens any more if the time is up.
                let _unheard = sender.send(drained);
            });
        }
        drop(sender);
        let entered = self.worker.enter();
        let mut drained = self.worker.drain_tasks(until) == 0;
        drop(entered);
        for _ in &self.threads {
            drained &= receiver.recv().unwrap_or(false);
        }
        self.end();
        drained
    }

    fn end(&mut self) {
        for thread in &self.threads {
            thread.home.stop();
        }
        self.worker.close();
        for thread in &mut self.threads {
            thread.join(self.worker.options.teardown_timeout * 2);
        }
        self.threads.clear();
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.worker.is_closing() {
            self.end();
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("workers", &self.workers())
            .field("queue", &self.worker.queue)
            .finish()
    }
}

impl WorkerThread {
    /// Starts a worker's thread. It waits with its work until the returned sender is dropped.
    fn spawn(
        index: usize,
        team: &Arc<Team>,
        options: Options,
    ) -> io::Result<(WorkerThread, mpsc::Sender<()>)> {
        let (start, started) = mpsc::channel::<()>();
        let (made, made_receiver) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let team = team.clone();
        let name = format!("{}-{index}", options.thread_name);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let options = Rc::new(options);
            let worker = match Worker::new(index, &team, options.clone()) {
                Ok(worker) => worker,
                Err(error) => return drop(made.send(Err(error))),
            };
            if made.send(Ok(worker.home.clone())).is_err() {
                return worker.close();
            }
            // Only the end of the channel is of interest.
            let _ended = started.recv();
            options.hooks.call(&options.hooks.on_thread_start);
            worker.run_until_stopped();
            worker.close();
            options.hooks.call(&options.hooks.on_thread_stop);
            drop(ending);
        })?;
        let home = made_receiver
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a worker's thread ended at its start")))?;
        let thread = WorkerThread {
            home,
            thread: Some(thread),
            ended,
        };
        Ok((thread, start))
    }

    /// Waits for the thread to end. One that does not, because a task blocks it, is left alone.
    fn join(&mut self, patience: Duration) {
        if self.ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!(
                "wharf: worker {} did not end within {patience:?}; its thread is left behind",
                self.home.index
            );
            return;
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the worker's own was printed when it happened.
            drop(thread.join());
        }
    }
}
