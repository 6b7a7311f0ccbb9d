//! `Moment`: the queue's clock, as a number.
//!
//! Owns the arithmetic of deadlines. It reads no clock: only a backend does, so that a simulated
//! one can stand in for it.

use std::time::Duration;

/// A point on the clock of one [`Queue`](crate::Queue), with a resolution of one nanosecond.
///
/// It is read with [`Queue::now`](crate::Queue::now) and is not comparable between queues. On real
/// backends the clock is `CLOCK_MONOTONIC`; on the simulator it is virtual time. It is not
/// [`std::time::Instant`], because an `Instant` cannot be made for a virtual clock.
///
/// Arithmetic saturates: adding [`Duration::MAX`] gives [`Moment::NEVER`], which no clock reaches.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
/// let queue = wharf_queue::Queue::new()?;
/// let start = queue.now();
/// assert!(start + Duration::from_millis(5) > start);
/// assert_eq!(start + Duration::MAX, wharf_queue::Moment::NEVER);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Moment(u64);

impl Moment {
    /// The beginning of the clock.
    pub const ZERO: Moment = Moment(0);
    /// The moment that never comes.
    pub const NEVER: Moment = Moment(u64::MAX);

    pub(crate) const fn from_nanos(nanos: u64) -> Moment {
        Moment(nanos)
    }

    /// Nanoseconds since the clock's own beginning.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }
}

/// Saturates at the beginning of the clock; [`Moment::NEVER`] stays what it is.
impl std::ops::Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, duration: Duration) -> Moment {
        if self == Moment::NEVER {
            return self;
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_sub(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_saturates_at_never() {
        assert_eq!(Moment::from_nanos(7) + Duration::MAX, Moment::NEVER);
        assert_eq!(Moment::NEVER + Duration::from_nanos(1), Moment::NEVER);
    }

    #[test]
    fn subtraction_saturates_and_leaves_never() {
        let moment = Moment::from_nanos(9);
        assert_eq!(moment - Duration::from_nanos(2), Moment::from_nanos(7));
        assert_eq!(moment - Duration::MAX, Moment::ZERO);
        assert_eq!(Moment::NEVER - Duration::from_secs(1), Moment::NEVER);
    }

    #[test]
    fn duration_since_a_later_moment_is_zero() {
        let (early, late) = (Moment::from_nanos(5), Moment::from_nanos(9));
        assert_eq!(early.saturating_duration_since(late), Duration::ZERO);
        assert_eq!(
            late.saturating_duration_since(early),
            Duration::from_nanos(4)
        );
    }
}
