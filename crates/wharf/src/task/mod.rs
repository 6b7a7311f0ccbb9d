//! Tasks: spawning, joining, aborting, names.
//!
//! Owns the handles to tasks and what a task's future is wrapped in. The list of those to run, and
//! when they run, is the worker's; the cells of tasks are `async-task`'s.

pub(crate) mod coop;
mod error;
mod join_set;
mod local;
mod remote;

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_task::FallibleTask;
use pin_project_lite::pin_project;
use wharf_queue::op;

pub use error::JoinError;
pub use join_set::JoinSet;
pub use local::{LocalKey, Scope};
pub(crate) use remote::Remote;

use self::error::Payload;
use crate::engine;
use crate::runtime::home::Home;
use crate::runtime::worker::{self, Worker};
use crate::slab::Key;

/// What lies beside each task.
pub(crate) struct Meta {
    pub(crate) key: Key,
}

/// Spawns a task on the current worker. It runs whether or not its handle is awaited, always on
/// this thread, so the future need not be `Send`.
///
/// It begins to run when the current task next waits. A panic in it ends the task alone; see
/// [`JoinError`]. When the runtime ends, the future is dropped.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let shared = std::rc::Rc::new(20);
/// let clone = shared.clone();
/// let task = wharf::spawn(async move { *clone + 22 });
/// assert_eq!(task.await.unwrap(), 42);
/// # });
/// ```
///
/// # Panics
/// Outside a runtime.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_in(&worker::expect_current(), None, future)
}

/// As [`spawn`], with a name that [`name`] and the hooks give.
///
/// # Panics
/// Outside a runtime.
#[track_caller]
pub fn spawn_named<F>(name: impl Into<Rc<str>>, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_in(&worker::expect_current(), Some(name.into()), future)
}

/// Spawns a task on another worker of the same runtime: `make` is sent there, and the future that it
/// makes lives there. So `make` must be `Send`, and the future need not be.
///
/// Workers are numbered from 0 to [`workers`](crate::runtime::workers)` - 1`; the number is taken
/// modulo that. If the worker has ended, the handle gives a cancelled [`JoinError`].
///
/// ```
/// # wharf::Runtime::builder().workers(2).build().unwrap().block_on(async {
/// let there = wharf::spawn_on(1, || async { std::rc::Rc::new(wharf::runtime::worker()).to_string() });
/// assert_eq!(there.await.unwrap(), "1");
/// # });
/// ```
///
/// # Panics
/// Outside a runtime.
#[track_caller]
pub fn spawn_on<F>(
    worker: usize,
    make: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: Send + 'static,
{
    spawn_at(worker::expect_current().team.home(worker), make)
}

/// Spawns a task on a worker, from any thread.
pub(crate) fn spawn_at<F>(
    home: &Arc<Home>,
    make: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: Send + 'static,
{
    if let Some(here) = worker::running(home.id) {
        return spawn_in(&here, None, CallThenAwait::new(make));
    }
    let remote = Remote::new();
    let guard = remote.clone().deliver();
    // If the worker has ended, the message comes back and the guard in it says so.
    home.run(move |worker| spawn_remote(worker, guard, make));
    JoinHandle {
        inner: Inner::Remote(remote),
    }
}

/// Runs a closure that blocks on the current worker's bounded pool of threads.
///
/// It starts at once, or as soon as a thread is free. Dropping the handle leaves it running;
/// aborting takes effect only while it waits for a thread. A panic in it is the handle's
/// [`JoinError`]. The end of the runtime waits for closures that are running.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let sum = wharf::spawn_blocking(|| (1..=100).sum::<u32>()).await;
/// assert_eq!(sum.unwrap(), 5050);
/// # });
/// ```
///
/// # Panics
/// Outside a runtime.
#[track_caller]
pub fn spawn_blocking<T: Send + 'static>(
    closure: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let worker = worker::expect_current();
    let caught = move || catch_unwind(AssertUnwindSafe(closure));
    let Ok(running) = engine::submit_to(&worker, op::Blocking::new(caught)) else {
        return JoinHandle::cancelled();
    };
    spawn_in(&worker, None, async move {
        match running.await.into_result() {
            Ok(Ok(value)) => value,
            Ok(Err(payload)) => resume_unwind(payload),
            Err(error) => panic!("the closure could not be run: {error}"),
        }
    })
}

/// Lets every other task that is ready run before this one goes on.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The name of the task that is running, if it was given one.
#[must_use]
pub fn name() -> Option<Rc<str>> {
    let worker = worker::current()?;
    let key = worker.running.get()?;
    let names = worker.names.borrow();
    names.get(&key).cloned()
}

/// Spawns on a worker of this thread.
pub(crate) fn spawn_in<F>(
    worker: &Rc<Worker>,
    name: Option<Rc<str>>,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_with(worker, name, false, future)
}

/// Spawns a task that is not dropped when it is aborted, but ends itself; see `seam`.
pub(crate) fn spawn_unwinding_in<F>(
    worker: &Rc<Worker>,
    name: Option<Rc<str>>,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_with(worker, name, true, future)
}

fn spawn_with<F>(
    worker: &Rc<Worker>,
    name: Option<Rc<str>>,
    unwinds: bool,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    if worker.is_closing() {
        return JoinHandle::cancelled();
    }
    let key = worker.tasks.borrow_mut().insert(Waker::noop().clone());
    if let Some(name) = name {
        worker.names.borrow_mut().insert(key, name);
    }
    if unwinds {
        worker.unwinding.borrow_mut().insert(key);
    }
    let body = Body {
        future: CatchPanic {
            future: Some(future),
        },
        ended: Ended {
            worker: worker.clone(),
            key,
        },
    };
    let home = worker.home.clone();
    let (runnable, task) = async_task::Builder::new()
        .metadata(Meta { key })
        .spawn_local(move |_| body, move |runnable| home.schedule(runnable));
    let waker = runnable.waker();
    if let Some(entry) = worker.tasks.borrow_mut().get_mut(key) {
        *entry = waker;
    }
    worker.make_ready(runnable);
    if unwinds && worker.aborts_unwinding.get() {
        worker.abort(key);
    }
    JoinHandle {
        inner: Inner::Local {
            task: Some(task.fallible()),
            home: worker.home.clone(),
            key,
        },
    }
}

/// Spawns what `make` makes, and lets `guard` deliver its output to another thread.
pub(crate) fn spawn_remote<F>(
    worker: &Rc<Worker>,
    guard: remote::Deliver<F::Output>,
    make: impl FnOnce() -> F + 'static,
) where
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let remote = guard.remote().clone();
    let task = spawn_in(worker, None, async move {
        let caught = CatchPanic {
            future: Some(CallThenAwait::new(make)),
        };
        guard.deliver(caught.await);
    });
    if let Inner::Local { home, key, .. } = &task.inner {
        remote.set_abort(home, *key);
    }
}

pin_project! {
    /// Calls a closure when it is first polled, and awaits the future that it makes: so that a panic
    /// of the closure is a panic of the task.
    #[project = CallThenAwaitParts]
    enum CallThenAwait<C, F> {
        Call { make: Option<C> },
        Await { #[pin] future: F },
    }
}

impl<C: FnOnce() -> F, F: Future> CallThenAwait<C, F> {
    fn new(make: C) -> CallThenAwait<C, F> {
        CallThenAwait::Call { make: Some(make) }
    }
}

impl<C: FnOnce() -> F, F: Future> Future for CallThenAwait<C, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            match self.as_mut().project() {
                CallThenAwaitParts::Call { make } => {
                    let make = make.take().expect("the closure is called once");
                    let future = make();
                    self.set(CallThenAwait::Await { future });
                }
                CallThenAwaitParts::Await { future } => return future.poll(cx),
            }
        }
    }
}

pin_project! {
    /// Turns a panic of a future, while it is polled or dropped, into a [`JoinError`].
    struct CatchPanic<F> {
        #[pin]
        future: Option<F>,
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let future = this.future.as_mut().as_pin_mut();
            future.expect("polled after its end").poll(cx)
        }));
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(payload),
        };
        // The future is dropped here, so that a panic of that is caught as well.
        let dropped = catch_unwind(AssertUnwindSafe(|| this.future.set(None)));
        Poll::Ready(match (output, dropped) {
            (Ok(output), Ok(())) => Ok(output),
            (Err(payload), _) | (Ok(_), Err(payload)) => Err(panicked(payload)),
        })
    }
}

#[cold]
fn panicked(payload: Payload) -> JoinError {
    if let Some(worker) = worker::current() {
        let hooks = &worker.options.hooks;
        if let Some(hook) = &hooks.on_task_panic {
            hook(name().as_deref());
        }
    }
    JoinError::panicked(payload)
}

pin_project! {
    /// What a task's cell holds. The fields are dropped in this order.
    struct Body<F> {
        #[pin]
        future: CatchPanic<F>,
        ended: Ended,
    }
}

impl<F: Future> Future for Body<F> {
    type Output = Result<F::Output, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx)
    }
}

/// Tells the worker that a task's future is gone, whether it ended or was dropped.
struct Ended {
    worker: Rc<Worker>,
    key: Key,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.worker.task_ended(self.key);
    }
}

/// A handle to a task; awaiting it gives the task's output.
///
/// Dropping it detaches the task, which goes on. It is `Send` if the output is, and may be awaited on
/// any thread.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let forever = wharf::spawn(std::future::pending::<()>());
/// forever.abort();
/// assert!(forever.await.unwrap_err().is_cancelled());
/// # });
/// ```
pub struct JoinHandle<T> {
    inner: Inner<T>,
}

enum Inner<T> {
    Local {
        task: Option<FallibleTask<Result<T, JoinError>, Meta>>,
        home: Arc<Home>,
        key: Key,
    },
    Remote(Arc<Remote<T>>),
    /// The runtime was ending when it was spawned.
    Cancelled,
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    fn cancelled() -> JoinHandle<T> {
        JoinHandle {
            inner: Inner::Cancelled,
        }
    }

    /// Asks for the end of the task: its future is dropped the next time it would run. A task that
    /// has finished by then keeps its output.
    pub fn abort(&self) {
        match &self.inner {
            Inner::Local { home, key, .. } => home.abort(*key),
            Inner::Remote(remote) => remote.abort(),
            Inner::Cancelled => {}
        }
    }

    /// What aborts the task, from anywhere, without this handle.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle {
            target: match &self.inner {
                Inner::Local { home, key, .. } => Target::Task(home.clone(), *key),
                Inner::Remote(remote) => Target::Remote(remote.aborter()),
                Inner::Cancelled => Target::Nothing,
            },
        }
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        match &self.inner {
            Inner::Local { task, .. } => task.as_ref().is_none_or(FallibleTask::is_finished),
            Inner::Remote(remote) => remote.is_finished(),
            Inner::Cancelled => true,
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            Inner::Local { task, .. } => {
                let running = task.as_mut().expect("a task gives its output once");
                let Poll::Ready(output) = Pin::new(running).poll(cx) else {
                    return Poll::Pending;
                };
                *task = None;
                Poll::Ready(output.unwrap_or_else(|| Err(JoinError::cancelled())))
            }
            Inner::Remote(remote) => remote.poll_output(cx),
            Inner::Cancelled => Poll::Ready(Err(JoinError::cancelled())),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Inner::Local { task, .. } = &mut self.inner {
            if let Some(task) = task.take() {
                task.detach();
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Aborts a task; made by [`JoinHandle::abort_handle`].
#[derive(Clone)]
pub struct AbortHandle {
    target: Target,
}

#[derive(Clone)]
enum Target {
    Task(Arc<Home>, Key),
    Remote(Arc<remote::Aborter>),
    Nothing,
}

impl AbortHandle {
    /// Asks for the end of the task; see [`JoinHandle::abort`].
    pub fn abort(&self) {
        match &self.target {
            Target::Task(home, key) => home.abort(*key),
            Target::Remote(aborter) => aborter.abort(),
            Target::Nothing => {}
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AbortHandle")
    }
}
