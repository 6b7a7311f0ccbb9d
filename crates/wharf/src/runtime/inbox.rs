//! The way in from other threads: a queue of things, and a flag that says it has been announced.
//!
//! Owns the protocol by which a storm of hand-ins wakes the owner once. It does not own the wake
//! itself, nor what the things mean.
//!
//! ```text
//!   other threads:  1 push the item   2 set ANNOUNCED; whoever finds it clear wakes the owner
//!   owner:          3 clear ANNOUNCED 4 take what is there
//! ```
//!
//! An item is pushed before the flag is set, and the flag is cleared before items are taken: an item
//! that 4 does not find was pushed after 3, so its 2 finds the flag clear and wakes the owner again.
//! A wake is never lost, because the queue's own wait refuses to sleep after one (its `notify`).

use concurrent_queue::{ConcurrentQueue, PushError};

use crate::primitive::{AtomicBool, Ordering};

pub(crate) struct Inbox<T> {
    items: ConcurrentQueue<T>,
    announced: AtomicBool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Inbox<T> {
        Inbox {
            items: ConcurrentQueue::unbounded(),
            announced: AtomicBool::new(false),
        }
    }

    /// Hands an item in, and calls `wake` if the owner may not know of it.
    ///
    /// # Errors
    /// The item itself, if the owner has closed the inbox.
    pub(crate) fn push(&self, item: T, wake: impl FnOnce()) -> Result<(), T> {
        match self.items.push(item) {
            Ok(()) => {
                if !self.announced.swap(true, Ordering::AcqRel) {
                    wake();
                }
                Ok(())
            }
            Err(PushError::Closed(item) | PushError::Full(item)) => Err(item),
        }
    }

    /// Takes what is there now; what comes meanwhile stays for the next time. Only the owner calls
    /// this.
    pub(crate) fn take_all(&self, mut take: impl FnMut(T)) {
        if !self.announced.load(Ordering::Relaxed) {
            return;
        }
        self.announced.swap(false, Ordering::AcqRel);
        for _ in 0..self.items.len() {
            let Ok(item) = self.items.pop() else { return };
            take(item);
        }
    }

    /// Whether items are refused.
    pub(crate) fn is_closed(&self) -> bool {
        self.items.is_closed()
    }

    /// Refuses items from now on. What is there can still be taken.
    pub(crate) fn close(&self) {
        self.items.close();
        // So that `take_all` looks once more.
        self.announced.store(true, Ordering::Release);
    }
}
