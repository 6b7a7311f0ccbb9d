//! Ticks at equal distances, and what becomes of those that were missed.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::{Instant, Sleep, sleep_until};

/// What an [`Interval`] does when it was asked for a tick too late.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MissedTickBehavior {
    /// Each missed tick is given at once, until it has caught up.
    #[default]
    Burst,
    /// The next tick comes one period after the late one.
    Delay,
    /// Missed ticks are left out; the next one comes at the next multiple of the period.
    Skip,
}

/// Ticks every `period`; the first tick comes at once.
///
/// # Panics
/// If the period is zero, or outside a runtime.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks every `period`, the first time at `start`.
///
/// # Panics
/// If the period is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval's period is not zero");
    Interval {
        next: start,
        sleep: sleep_until(start),
        period,
        missed: MissedTickBehavior::default(),
    }
}

/// Ticks at equal distances; made by [`interval`] and [`interval_at`].
///
/// ```
/// use std::time::Duration;
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let mut ticks = wharf::time::interval(Duration::from_millis(2));
/// let first = ticks.tick().await;
/// assert!(ticks.tick().await - first >= Duration::from_millis(2));
/// # });
/// ```
#[derive(Debug)]
pub struct Interval {
    next: Instant,
    sleep: Sleep,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick, and gives the moment for which it was meant. Dropping the future
    /// loses no tick.
    ///
    /// # Panics
    /// Outside a runtime.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// As [`tick`](Interval::tick), for a poll function.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        if Pin::new(&mut self.sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        let tick = self.next;
        self.next = self.after(tick, Instant::now());
        self.sleep.reset(self.next);
        Poll::Ready(tick)
    }

    fn after(&self, tick: Instant, now: Instant) -> Instant {
        let next = tick + self.period;
        if now < next {
            return next;
        }
        match self.missed {
            MissedTickBehavior::Burst => next,
            MissedTickBehavior::Delay => now + self.period,
            MissedTickBehavior::Skip => {
                let late = now.duration_since(tick).as_nanos();
                let into_period = late % self.period.as_nanos();
                let rest = self.period.as_nanos() - into_period;
                now + Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX))
            }
        }
    }

    /// Starts the period anew: the next tick comes one period from now.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn reset(&mut self) {
        self.next = Instant::now() + self.period;
        self.sleep.reset(self.next);
    }

    /// What becomes of missed ticks.
    #[must_use]
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Chooses what becomes of missed ticks.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// The distance between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }
}

/// The ticks; it never ends.
impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }
}
