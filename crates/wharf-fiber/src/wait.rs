//! Waiting: how a fiber awaits a future, and what a cancel does to that.
//!
//! Owns the one primitive, [`try_wait`], and what is said in its terms. The switch is `switch`'s.
//!
//! ```text
//!             pending, may suspend
//!        +------------------------------+
//!        v                              |
//!   poll the future --- ready ---> its output
//!        ^
//!        | the last time, and without a budget
//!   cancelled or unwinding --- pending ---> Err(Cancelled), the future is dropped
//! ```

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wharf::seam;

use crate::switch::{Control, with_current};

/// The fiber was cancelled, or is unwinding, so it does not wait any more.
///
/// Calls of [`net`](crate::net) and [`fs`](crate::fs) give it as an [`io::Error`] of kind
/// [`Other`](io::ErrorKind::Other) with this inside: a kind that nobody repeats a call for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fiber was cancelled")
    }
}

impl Error for Cancelled {}

impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> io::Error {
        io::Error::other(cancelled)
    }
}

/// What the unwinding of a cancelled fiber carries.
pub(crate) struct Unwinding;

impl Control {
    /// Whether a wait that is not ready may suspend the fiber.
    #[inline]
    pub(crate) fn may_wait(&self) -> bool {
        !self.is_cancelled() && !self.is_unwinding()
    }
}

/// Calls `f` with the fiber that is running.
///
/// # Panics
/// Outside a fiber.
#[inline]
#[track_caller]
pub(crate) fn expect_current<R>(f: impl FnOnce(&Control) -> R) -> R {
    with_current(|control| match control {
        Some(control) => f(control),
        None => panic!("{NEEDS_A_FIBER}"),
    })
}

const NEEDS_A_FIBER: &str = "this needs a fiber: call it from within wharf_fiber::spawn or \
                             wharf_fiber::block_on; in a task, await instead";

/// Waits for a future, and gives its output. Meanwhile the fiber is suspended, and the worker runs
/// other fibers and tasks.
///
/// When the fiber is cancelled, it does not return: it unwinds the fiber, as a panic would that
/// prints nothing, so that everything on the stack is dropped. See
/// [the crate's documentation](crate#cancellation).
///
/// ```
/// # let runtime = wharf::Runtime::new().unwrap();
/// # wharf_fiber::block_on(&runtime, || {
/// use wharf_fiber as fiber;
/// let task = wharf::spawn(async { 20 });
/// assert_eq!(fiber::wait(task).unwrap() + 22, 42);
/// # });
/// ```
///
/// # Panics
/// Outside a fiber; with the future's own panic; as described, when the fiber is cancelled. In a
/// destructor that runs because of a panic or a cancel, where nothing may be waited for, that ends
/// the process: use [`try_wait`] in destructors.
#[track_caller]
pub fn wait<F: IntoFuture>(future: F) -> F::Output {
    match try_wait(future) {
        Ok(output) => output,
        Err(Cancelled) => resume_unwind(Box::new(Unwinding)),
    }
}

/// As [`wait`], and tells of a cancel instead of unwinding.
///
/// A fiber that was cancelled, or that is unwinding, is not suspended any more: from then on each
/// wait polls its future once, and fails if that is not ready. So a fiber that goes on in spite of
/// its cancel is not held back by anything, and ends soon.
///
/// ```
/// # let runtime = wharf::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// use wharf_fiber as fiber;
/// let sleeper = fiber::spawn(|| fiber::try_wait(std::future::pending::<()>()));
/// wharf::task::yield_now().await;
/// sleeper.abort();
/// assert_eq!(sleeper.await.unwrap(), Err(fiber::Cancelled::default()));
/// # });
/// ```
///
/// # Errors
/// [`Cancelled`]. The future was dropped, which does what dropping it does elsewhere.
///
/// # Panics
/// Outside a fiber; with the future's own panic.
#[track_caller]
pub fn try_wait<F: IntoFuture>(future: F) -> Result<F::Output, Cancelled> {
    expect_current(|control| {
        let mut future = pin!(future.into_future());
        let mut cx = Context::from_waker(control.waker());
        while control.may_wait() {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Ok(output);
            }
            control.suspend();
        }
        // There is no later poll, so this one is not put off.
        match seam::without_budget(|| future.as_mut().poll(&mut cx)) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Err(Cancelled),
        }
    })
}

/// Waits for a future of an I/O operation; a cancel is an error like any other.
#[track_caller]
pub(crate) fn wait_io<T>(future: impl IntoFuture<Output = io::Result<T>>) -> io::Result<T> {
    try_wait(future)?
}

pub(crate) fn is_fiber() -> bool {
    with_current(|control| control.is_some())
}

/// As [`wait_io`], for what destructors do, and they may run anywhere: outside a fiber it does what can
/// be done at once, and fails if that is not enough.
#[track_caller]
pub(crate) fn wait_or_try<T>(future: impl IntoFuture<Output = io::Result<T>>) -> io::Result<T> {
    if is_fiber() {
        return wait_io(future);
    }
    let mut future = pin!(future.into_future());
    let mut cx = Context::from_waker(Waker::noop());
    match seam::without_budget(|| future.as_mut().poll(&mut cx)) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::Error::other(NEEDS_A_FIBER)),
    }
}

/// Whether this error came because the fiber waits for nothing any more, or came to such a fiber: what
/// repeats a call after errors would do so for ever.
pub(crate) fn ends_waiting(error: &io::Error) -> bool {
    let inner = error.get_ref();
    is_cancelled() || inner.is_some_and(|inner| inner.is::<Cancelled>())
}

/// Waits for a future to its end, whether or not the fiber is cancelled meanwhile. It must not be
/// unwinding.
pub(crate) fn wait_in_any_case<F: Future>(control: &Control, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(control.waker());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        control.suspend_in_any_case();
    }
}

/// Lets every other fiber and task that is ready run before this one goes on.
///
/// # Panics
/// As [`wait`].
#[track_caller]
pub fn yield_now() {
    wait(wharf::task::yield_now());
}

/// Waits for `duration`, by the worker's clock.
///
/// # Panics
/// As [`wait`].
#[track_caller]
pub fn sleep(duration: Duration) {
    wait(wharf::time::sleep(duration));
}

/// Whether the running fiber has been cancelled: something to ask in a long computation. False
/// outside a fiber.
#[must_use]
pub fn is_cancelled() -> bool {
    with_current(|control| control.is_some_and(Control::is_cancelled))
}

/// How many bytes of its stack the running fiber has left, its guard pages not counted. `None` outside
/// a fiber.
///
/// ```
/// # let runtime = wharf::Runtime::new().unwrap();
/// # wharf_fiber::block_on(&runtime, || {
/// fn depth(of: u32) -> u32 {
///     if wharf_fiber::stack_left().is_some_and(|bytes| bytes < 32 * 1024) {
///         return of;
///     }
///     depth(std::hint::black_box(of + 1))
/// }
/// assert!(depth(0) > 10);
/// # });
/// ```
#[must_use]
pub fn stack_left() -> Option<usize> {
    with_current(|control| {
        let lowest = control?.guard().end;
        let here = 0u8;
        let address = std::ptr::from_ref(&here).addr();
        Some(address.saturating_sub(lowest))
    })
}
