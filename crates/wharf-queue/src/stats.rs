//! Counters of what a queue has done.

use std::cell::Cell;

/// What a queue has done so far, from [`Queue::stats`](crate::Queue::stats).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Operations that have been submitted and not completed.
    pub in_flight: u64,
    /// Operations that have been submitted.
    pub submitted: u64,
    /// Operations that have had their final completion; cancelled ones too.
    pub completed: u64,
    /// Items that multishot operations have brought.
    pub items: u64,
    /// Operations that ended by a cancel or a deadline.
    pub cancelled: u64,
    /// System calls that the backend has made on the loop, without those of the pool's threads.
    pub system_calls: u64,
    /// How often a ring was full, and operations waited in the queue.
    pub ring_overflows: u64,
    /// How often a multishot receive rested for want of a buffer.
    pub pool_starved: u64,
    /// Operations that wait for a thread of the blocking pool.
    pub blocking_queued: u64,
    /// Threads of the blocking pool.
    pub blocking_threads: u64,
    /// Buffers of all buffer pools.
    pub pool_buffers: u64,
    /// Those of them that are ready to be filled.
    pub pool_available: u64,
}

/// The counters behind [`Stats`] that are counted where things happen.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) submitted: Cell<u64>,
    pub(crate) completed: Cell<u64>,
    pub(crate) items: Cell<u64>,
    pub(crate) cancelled: Cell<u64>,
    pub(crate) system_calls: Cell<u64>,
    pub(crate) ring_overflows: Cell<u64>,
    pub(crate) pool_starved: Cell<u64>,
}

/// Adds one to a counter.
pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
