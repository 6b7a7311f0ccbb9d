//! hyper on wharf: `hyper::rt::{Timer, Sleep, Executor}`.
//!
//! The streams of [`net`](crate::net) implement `hyper::rt::{Read, Write}` themselves, without a box
//! and without an adapter. Everything here is for the current worker.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::runtime::worker;
use crate::time::{self, Sleep};

/// hyper's timer on the worker's clock.
#[derive(Clone, Copy, Default, Debug)]
pub struct WharfTimer(());

impl WharfTimer {
    /// The timer.
    #[must_use]
    pub fn new() -> WharfTimer {
        WharfTimer(())
    }
}

thread_local! {
    /// One moment on both clocks, so that each can be told by the other: the worker's may be a
    /// simulated one.
    static ANCHOR: OnceCell<(Instant, time::Instant, u64)> = const { OnceCell::new() };
}

/// A moment that both clocks know. The standard clock is read once for each worker.
fn anchor() -> (Instant, time::Instant) {
    let worker = worker::expect_current();
    ANCHOR.with(|anchor| {
        let now = || (Instant::now(), time::Instant::now(), worker.home.id);
        let (standard, ours, id) = *anchor.get_or_init(now);
        match id == worker.home.id {
            true => (standard, ours),
            // A second runtime on this thread: its clock may be another.
            false => (Instant::now(), time::Instant::now()),
        }
    })
}

impl hyper::rt::Timer for WharfTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(time::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let (standard, ours) = anchor();
        let after = deadline.saturating_duration_since(standard);
        Box::pin(time::sleep_until(ours + after))
    }

    fn now(&self) -> Instant {
        let (standard, ours) = anchor();
        standard + ours.elapsed()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, new_deadline: Instant) {
        let (standard, ours) = anchor();
        let after = new_deadline.saturating_duration_since(standard);
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            // The box stays: no allocation for a deadline that is put off.
            Some(sleep) => sleep.get_mut().reset(ours + after),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

impl hyper::rt::Sleep for Sleep {}

/// hyper's executor: [`spawn`](crate::spawn). Futures need not be `Send`.
#[derive(Clone, Copy, Default, Debug)]
pub struct WharfExecutor(());

impl WharfExecutor {
    /// The executor.
    #[must_use]
    pub fn new() -> WharfExecutor {
        WharfExecutor(())
    }
}

impl<F> hyper::rt::Executor<F> for WharfExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(crate::spawn(future));
    }
}
