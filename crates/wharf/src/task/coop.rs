//! The cooperative budget: how much a task may do before it lets others have their turn.
//!
//! Owns a counter. The worker fills it before each poll of a task; each thing that turns out to be
//! ready takes one from it. When it is empty, what would be ready says `Pending` and wakes the task
//! at once, so that a task whose sockets never run dry does not starve the rest of its worker.

use std::cell::Cell;
use std::task::{Context, Poll};

const BUDGET: u32 = 128;

thread_local! {
    /// Outside a worker's tasks nothing takes from it for long: it is then unlimited.
    static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Fills the budget: a task is about to be polled.
#[inline]
pub(crate) fn refill() {
    LEFT.set(BUDGET);
}

/// Whether the task that was polled last has used up its budget.
#[inline]
pub(crate) fn is_used_up() -> bool {
    LEFT.get() == 0
}

/// Takes one from the budget; `Pending`, with the task woken, if there is none.
#[inline]
pub(crate) fn proceed(cx: &mut Context<'_>) -> Poll<()> {
    LEFT.with(|left| match left.get() {
        0 => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        u32::MAX => Poll::Ready(()),
        some => {
            left.set(some - 1);
            Poll::Ready(())
        }
    })
}

/// Takes what the system did at once, on this thread: opening by its cache, copying what is in memory.
/// It is as much as several things that were only taken from where they lay.
#[inline]
pub(crate) fn spend_on_work() {
    const COST: u32 = 7;
    LEFT.with(|left| match left.get() {
        u32::MAX => {}
        some => left.set(some.saturating_sub(COST)),
    });
}

/// Calls `f` with an unlimited budget: for what is polled once, and cannot come back later.
pub(crate) fn without_limit<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(u32);
    impl Drop for Restore {
        fn drop(&mut self) {
            LEFT.set(self.0);
        }
    }
    let _restore = Restore(LEFT.replace(u32::MAX));
    f()
}
