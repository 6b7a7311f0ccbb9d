//! The clock of the worker that a server runs on, counted from the server's start.

use std::time::Duration;

use wharf::time::{Instant, sleep_until};

pub(crate) use wharf::time::Sleep;

/// Counts from the moment it was made. It reads the worker's clock, so it may be asked only while
/// that worker runs: not from a drop, which can come later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        Instant::now().duration_since(self.start)
    }

    pub(crate) fn ms(time: Duration) -> u64 {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn ns(time: Duration) -> u64 {
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn sleep_until(&self, at_ms: u64) -> Sleep {
        sleep_until(self.start + Duration::from_millis(at_ms))
    }
}
