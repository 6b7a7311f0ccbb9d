//! Timers: none fires early, and one that nobody waits for at the time is not missed.

use std::future::{Pending, pending};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use wharf::time::{
    Instant, Interval, Sleep, Timeout, interval_at, sleep, sleep_until, timeout, timeout_at,
};

use super::Kind;
use crate::handles::{After, BoxFuture, Fate, Scene};

/// How far ahead a timer is set when something is brought.
const SOON: Duration = Duration::from_micros(150);

/// A timer that is set to fire, once for each time that it is set.
trait Timer: Send + 'static {
    fn set(&mut self, deadline: Instant);
    /// Has it fire never.
    fn unset(&mut self);
    fn fired(&mut self) -> BoxFuture<'_, ()>;
}

/// It is set for `deadline` and has not fired, or it is not set.
struct Firing<T> {
    timer: T,
    deadline: Option<Instant>,
}

impl<T: Timer> Firing<T> {
    fn scene(timer: T) -> Box<dyn Scene> {
        let deadline = None;
        Box::new(Firing { timer, deadline })
    }
}

impl<T: Timer> Scene for Firing<T> {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            self.timer.fired().await;
            let deadline = self.deadline.take().expect("it was set");
            assert!(Instant::now() >= deadline, "never early");
            self.timer.unset();
            Ok(())
        })
    }

    fn bring(&mut self) {
        // Set again before it has fired, it fires once.
        let deadline = Instant::now() + SOON;
        self.deadline = Some(deadline);
        self.timer.set(deadline);
    }

    fn is_outstanding(&self) -> bool {
        self.deadline.is_some()
    }

    fn fate(&self) -> Fate {
        Fate::GoesOn
    }

    fn close(self: Box<Self>) -> After {
        // It fires for nobody.
        Box::new(|| {})
    }
}

impl Timer for Sleep {
    fn set(&mut self, deadline: Instant) {
        self.reset(deadline);
    }

    fn unset(&mut self) {
        self.reset(Instant::now() + Duration::MAX);
    }

    fn fired(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self)
    }
}

/// It has no way to be set anew, so that another one takes its place.
struct OneAfterTheOther<F>(Pin<Box<F>>);

impl Timer for OneAfterTheOther<Timeout<Pending<()>>> {
    fn set(&mut self, deadline: Instant) {
        self.0 = Box::pin(timeout_at(deadline, pending()));
    }

    fn unset(&mut self) {
        self.0 = Box::pin(timeout(Duration::MAX, pending()));
    }

    fn fired(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let elapsed = self.0.as_mut().await;
            assert!(elapsed.is_err(), "what it waits for is never ready");
        })
    }
}

impl Timer for OneAfterTheOther<Sleep> {
    fn set(&mut self, deadline: Instant) {
        self.0 = Box::pin(sleep_until(deadline));
    }

    fn unset(&mut self) {
        self.0 = Box::pin(sleep(Duration::MAX));
    }

    fn fired(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.as_mut())
    }
}

/// Ticks are brought by time alone. Each is counted, those too that were missed.
struct Ticking {
    interval: Interval,
    start: Instant,
    got: u32,
    brought: u32,
}

impl Ticking {
    fn scene() -> Box<dyn Scene> {
        let start = Instant::now() + SOON;
        Box::new(Ticking {
            interval: interval_at(start, SOON),
            start,
            got: 0,
            brought: 0,
        })
    }
}

impl Scene for Ticking {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let tick = self.interval.tick().await;
            assert!(Instant::now() >= tick, "never early");
            assert_eq!(tick, self.start + SOON * self.got, "each tick once");
            self.got += 1;
            Ok(())
        })
    }

    fn bring(&mut self) {
        self.brought = self.brought.max(self.got) + 1;
    }

    fn is_outstanding(&self) -> bool {
        self.got < self.brought
    }

    fn must_wait(&self) -> bool {
        false
    }

    fn fate(&self) -> Fate {
        Fate::GoesOn
    }

    fn close(self: Box<Self>) -> After {
        Box::new(|| {})
    }
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "sleep",
        make: || {
            Box::pin(async { Firing::scene(OneAfterTheOther(Box::pin(sleep(Duration::MAX)))) })
        },
    },
    Kind {
        name: "sleep_that_is_reset",
        make: || Box::pin(async { Firing::scene(sleep(Duration::MAX)) }),
    },
    Kind {
        name: "timeout",
        make: || {
            let never = timeout(Duration::MAX, pending());
            Box::pin(async { Firing::scene(OneAfterTheOther(Box::pin(never))) })
        },
    },
    Kind {
        name: "interval",
        make: || Box::pin(async { Ticking::scene() }),
    },
];
