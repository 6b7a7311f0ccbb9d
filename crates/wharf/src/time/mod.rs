//! Time: sleeping, deadlines for any future, intervals.
//!
//! Every moment is one of the current worker's clock, so that a simulated clock moves it. Nothing
//! fires early; how late is the machine's matter. A timer costs no system call of its own: the
//! worker sleeps until the earliest. Dropping any of these futures cancels its timer.
//!
//! ```
//! use std::time::Duration;
//! # wharf::Runtime::new().unwrap().block_on(async {
//! let slow = std::future::pending::<()>();
//! assert!(wharf::time::timeout(Duration::from_millis(5), slow).await.is_err());
//! # });
//! ```

mod heap;
mod interval;
mod timeout;

use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use wharf_queue::Moment;

pub(crate) use heap::Timers;
pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

use crate::runtime::home::Home;
use crate::runtime::worker;
use crate::slab::Key;
use crate::task::coop;

/// A moment of the worker's clock.
///
/// It differs from [`std::time::Instant`] in that the clock may be a simulated one. Arithmetic
/// saturates: adding [`Duration::MAX`] gives a moment that never comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Moment);

impl Instant {
    /// The present moment.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    #[track_caller]
    pub fn now() -> Instant {
        Instant(worker::expect_current().now())
    }

    /// The time from `earlier` to this; zero if `earlier` is the later one.
    #[must_use]
    pub fn duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// The time since this; zero if it lies ahead.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    #[track_caller]
    pub fn elapsed(self) -> Duration {
        Instant::now().duration_since(self)
    }

    #[allow(dead_code, reason = "for operations with a deadline of their own")]
    pub(crate) fn moment(self) -> Moment {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0 + duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// Saturates at the beginning of the clock; the moment that never comes stays so.
impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0 - duration)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({:?})", Duration::from_nanos(self.0.as_nanos()))
    }
}

/// Waits for `duration`. [`Duration::ZERO`] is over at once, [`Duration::MAX`] never.
///
/// # Panics
/// Outside a runtime.
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        timer: None,
    }
}

/// Waits for a moment; made by [`sleep`] and [`sleep_until`].
///
/// # Panics
/// When it is polled outside a runtime.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    deadline: Instant,
    timer: Option<(Arc<Home>, Key)>,
}

impl Sleep {
    /// When it is over.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether that has come.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        worker::current().is_some_and(|worker| worker.now() >= self.deadline.0)
    }

    /// Waits for another moment instead. It must be polled again for that to take effect.
    pub fn reset(&mut self, deadline: Instant) {
        self.cancel();
        self.deadline = deadline;
    }

    fn cancel(&mut self) {
        if let Some((home, key)) = self.timer.take() {
            home.run(move |worker| {
                let waker = worker.timers.borrow_mut().remove(key);
                drop(waker);
            });
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = worker::expect_current();
        if worker.now() >= self.deadline.0 {
            // Ticks that were missed, and time-outs of nothing, never have to wait.
            ready!(coop::proceed(cx));
            self.cancel();
            return Poll::Ready(());
        }
        if let Some((home, key)) = &self.timer {
            let here = home.id == worker.home.id;
            if here && worker.timers.borrow_mut().set_waker(*key, cx.waker()) {
                return Poll::Pending;
            }
            // It was moved to another worker, or its timer has fired for an earlier clock.
            self.cancel();
        }
        let deadline = self.deadline.0;
        let key = worker
            .timers
            .borrow_mut()
            .insert(deadline, cx.waker().clone());
        self.timer = Some((worker.home.clone(), key));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish()
    }
}
