//! The contract on handles of the runtime: C4 to C7 and R1 to R8, through futures.
//!
//! Owns the list of cases and what they all use. A case is a future that knows nothing but handles,
//! so that whatever can await one can run it: [`in_task`] does so in a task, and a fiber can in the
//! same way. It needs a runtime with [`WORKERS`] workers.
//!
//! ```text
//!   kinds    everything that waits, as a `Scene`: how it waits, and how to bring what it waits for
//!   ways     what can happen to a wait: dropped, timed out, forgotten, aborted, moved, ..
//!   sinks    the same two tables for everything that is written to
//!   cases    every way with every kind; and races and faults that are not of this form
//! ```

mod copying;
mod kinds;
mod os;
mod proxies;
mod races;
mod sinks;
mod ways;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wharf::time::sleep;
use wharf_queue::BackendKind;

use crate::runner::Check;

/// How many workers the runtime of a case has.
pub const WORKERS: usize = 3;

/// No case takes this long.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A case as it runs.
pub type Running = Pin<Box<dyn Future<Output = ()>>>;

/// One promise, and how it is checked.
#[derive(Clone)]
pub struct Case {
    /// `subject_behaviour`, or `way::kind`.
    pub name: String,
    /// The promise or race of the contract that it is about.
    pub promise: &'static str,
    /// It counts or changes what belongs to the process, so that it needs one of its own.
    pub alone: bool,
    begin: Arc<dyn Fn() -> Running + Send + Sync>,
}

impl Case {
    /// The case as a future, to be awaited on worker 0 of a runtime with [`WORKERS`] workers. It
    /// panics if the promise is broken.
    #[must_use]
    pub fn begin(&self) -> Running {
        (self.begin)()
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({}: {})", self.promise, self.name)
    }
}

/// Lists the async functions of a module as its cases. `[alone]` gives a case a process of its own.
macro_rules! list_cases {
    ($($promise:literal $([$alone:ident])? $name:ident),* $(,)?) => {
        pub(super) fn cases() -> Vec<Case> {
            vec![$(Case {
                name: stringify!($name).to_owned(),
                promise: $promise,
                alone: !matches!(stringify!($($alone)?).as_bytes(), b""),
                begin: std::sync::Arc::new(|| Box::pin($name())),
            }),*]
        }
    };
}
use list_cases;

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        ways::cases(),
        sinks::cases(),
        races::cases(),
        copying::cases(),
        proxies::cases(),
        os::cases(),
    ]
    .concat()
}

/// Every case as a check for the runner, carried out by `carry` on a backend. `family` comes before
/// its name.
pub fn checks(family: &str, backend: BackendKind, carry: fn(BackendKind, &Case)) -> Vec<Check> {
    let check = |case: Case| Check {
        name: format!("{family}::{}", case.name),
        promise: case.promise,
        alone: case.alone,
        not_here: None,
        run: Arc::new(move || carry(backend, &case)),
    };
    let missing = |&(name, reason): &(&str, &'static str)| Check {
        name: format!("{family}::{name}"),
        promise: "C1",
        alone: false,
        not_here: Some(reason),
        run: Arc::new(|| unreachable!("it is not run here")),
    };
    let missing = os::missing().iter().map(missing);
    cases().into_iter().map(check).chain(missing).collect()
}

/// Runs a case in the first task of a runtime.
///
/// # Panics
/// If the promise is broken.
pub fn in_task(backend: BackendKind, case: &Case) {
    let builder = wharf::Runtime::builder().backend(backend).workers(WORKERS);
    let runtime = builder.build().expect("the backend was probed");
    let done = runtime.block_on(async { wharf::time::timeout(PATIENCE, case.begin()).await });
    done.unwrap_or_else(|_| panic!("not done in {PATIENCE:?}"));
}

/// What is awaited in a scene, on whatever worker.
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is left to be checked when a handle is closed.
type After = Box<dyn FnOnce() + Send>;

/// What a wait comes to that outlives its runtime.
enum Fate {
    /// It fails.
    Fails(io::ErrorKind),
    /// It belongs to no runtime, and goes on in another.
    GoesOn,
}

/// A handle that can be waited for, and the other side, which brings what it waits for.
trait Scene: Send {
    /// Waits, and accounts for what comes: it fails if that is not what was brought next.
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>>;

    /// Brings something, from outside of the runtime.
    fn bring(&mut self);

    /// Whether something was brought that nobody has got.
    fn is_outstanding(&self) -> bool;

    /// Whether a wait cannot be ready now.
    fn must_wait(&self) -> bool {
        !self.is_outstanding()
    }

    /// How often a wait of it is given up, where `many` is the number for what costs little to bring.
    fn rounds(&self, many: usize) -> usize {
        many
    }

    /// What becomes of a wait when the runtime has ended that the handle was made in.
    fn fate(&self) -> Fate {
        Fate::Fails(io::ErrorKind::NotConnected)
    }

    /// Closes the handle. What is given then brings something, when the close has taken effect, and
    /// checks that it is there for another handle of the same thing.
    fn close(self: Box<Self>) -> After;
}

/// Lets the worker have a whole turn: it looks at its queue, and reports what has completed. (After a
/// mere yield it may go on with the tasks that are ready.)
///
/// # Panics
/// Outside a runtime.
pub async fn turn() {
    let mut length = Duration::from_micros(1);
    // A sleep that is over before it is first looked at lets nobody run: a longer one, then.
    while !sleep_has_waited(length).await {
        length *= 2;
    }
}

async fn sleep_has_waited(length: Duration) -> bool {
    let mut slept = pin!(sleep(length));
    let mut waited = false;
    poll_fn(|cx| {
        let polled = slept.as_mut().poll(cx);
        // One that is over may have to wait for this task's next share, which is no turn.
        waited |= polled.is_pending() && !slept.is_elapsed();
        polled.map(|()| waited)
    })
    .await
}

/// Polls a future so many times, with a turn of the worker after each, and drops it if it is not
/// ready by then.
async fn poll_times<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        turn().await;
    }
    None
}

/// Gets everything that was brought.
async fn collect(scene: &mut dyn Scene) {
    while scene.is_outstanding() {
        scene.wait().await.expect("it was brought");
    }
}

/// Waits for a thread, which may be waiting for this worker.
async fn join<T: Send + 'static>(thread: std::thread::JoinHandle<T>) -> T {
    let joined = wharf::spawn_blocking(move || thread.join());
    joined.await.expect("no panic").expect("no panic")
}

/// What the current worker has in flight, to come back to with [`is_quiet`].
fn in_flight() -> u64 {
    wharf::runtime::stats().in_flight
}

/// Waits until the current worker has no more in flight than before: what was closed is closed.
///
/// What has completed is not in flight, although its socket may go on with the next one when it is
/// told so: a turn in which something was submitted is not quiet either.
async fn is_quiet(before: u64) {
    // What has just ended may have a task go on with the next.
    let (mut quiet, mut submitted) = (0, None);
    while quiet < 8 {
        let stats = wharf::runtime::stats();
        let rests = stats.in_flight <= before && submitted == Some(stats.submitted);
        quiet = if rests { quiet + 1 } else { 0 };
        submitted = Some(stats.submitted);
        turn().await;
    }
}
