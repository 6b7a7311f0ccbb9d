//! Waking a queue from another thread: the park protocol, the inbox, and the public `Notifier`.
//!
//! Owns the only state of a queue that other threads touch. It does not own the wake primitive (an
//! eventfd, a posted packet), which a backend supplies.
//!
//! ```text
//!            1 park                      3 wake (system call)
//!   AWAKE ------------> PARKED ------------------+
//!     ^ |                 |                      v
//!     | | 2 wake          | 4 awake          NOTIFIED
//!     | +-----------------|-------------------->  |
//!     +-------------------+<----------------------+  4 awake
//! ```
//!
//! 1 `Shared::park` by the owner, before it blocks. It refuses when the state is NOTIFIED.
//! 2, 3 `Shared::wake` by anyone. Only the one that finds PARKED makes a system call, so that a
//!   storm of wakes costs at most one per sleep.
//! 4 `Shared::awake` by the owner, when it takes in what others brought: after it has blocked, and
//!   before it thinks of blocking. It tells whether there may be something.
//!
//! A waker publishes what it brings *before* `wake`, and the owner looks for it *after* `awake`:
//! either the waker's swap comes before that of `awake`, and the owner sees what was published, or
//! it comes after, and the next `park` refuses. So nothing is lost.

use std::fmt;
use std::sync::Arc;

use concurrent_queue::ConcurrentQueue;

use crate::primitive::{AtomicBool, AtomicU8, Ordering};

/// What a backend gives to be woken by from any thread. It must not block and not fail.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;

/// A completion that another thread made, by [`Notifier::post`].
pub(crate) struct Posted {
    pub(crate) user_data: u64,
    pub(crate) value: i64,
}

/// The state that a queue shares with its notifiers and its pool.
pub(crate) struct Shared {
    state: AtomicU8,
    /// `notify` was called since the owner last asked; distinct from a wake for a posted completion.
    notified: AtomicBool,
    inbox: ConcurrentQueue<Posted>,
    waker: Box<dyn Wake>,
}

impl Shared {
    pub(crate) fn new(waker: Box<dyn Wake>) -> Shared {
        Shared {
            state: AtomicU8::new(AWAKE),
            notified: AtomicBool::new(false),
            inbox: ConcurrentQueue::unbounded(),
            waker,
        }
    }

    /// Announces that the owner is about to block. Returns false if it must not, because a wake
    /// came since the last `awake`.
    pub(crate) fn park(&self) -> bool {
        self.state
            .compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Ends a park, and tells whether a wake came since the last time: then what was published
    /// before it is there to be seen.
    #[inline]
    pub(crate) fn awake(&self) -> bool {
        // Most turns find AWAKE: a load keeps the cache line shared and saves a locked instruction.
        self.state.load(Ordering::Acquire) != AWAKE
            && self.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Makes the owner's current or next sleep end. Never blocks, never fails.
    pub(crate) fn wake(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            self.waker.wake();
        }
    }

    pub(crate) fn post(&self, posted: Posted) {
        // An unbounded queue refuses only when it is closed, which this one never is.
        let pushed = self.inbox.push(posted);
        debug_assert!(pushed.is_ok());
        self.wake();
    }

    pub(crate) fn pop(&self) -> Option<Posted> {
        self.inbox.pop().ok()
    }

    /// How many completions wait to be taken.
    pub(crate) fn posted(&self) -> usize {
        self.inbox.len()
    }

    /// Whether `notify` was called since `take_notified` last was.
    pub(crate) fn has_notified(&self) -> bool {
        self.notified.load(Ordering::Acquire)
    }

    /// Whether `notify` was called since the last time this was asked.
    pub(crate) fn take_notified(&self) -> bool {
        self.notified.load(Ordering::Acquire) && self.notified.swap(false, Ordering::AcqRel)
    }
}

/// Wakes a [`Queue`](crate::Queue) from any thread and posts completions to it.
///
/// It is made by [`Queue::notifier`](crate::Queue::notifier) and is cheap to clone. It may outlive
/// its queue; then it does nothing.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let queue = wharf_queue::Queue::new()?;
/// let notifier = queue.notifier();
/// std::thread::spawn(move || notifier.post(7, 42));
/// for completion in queue.wait(None)? {
///     assert_eq!(completion.user_data(), 7);
///     assert_eq!(completion.posted(), Some(42));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

impl Notifier {
    pub(crate) fn new(shared: Arc<Shared>) -> Notifier {
        Notifier { shared }
    }

    /// Makes the queue's current `wait`, or else its next one, return.
    ///
    /// It never blocks, never fails and is never lost. However often it is called while the queue
    /// sleeps, one system call is made.
    pub fn notify(&self) {
        // The flag is published before the wake. It is a swap and not a store: whoever takes the flag
        // answers for every notification that set it, and so must see what each of them published.
        self.shared.notified.swap(true, Ordering::AcqRel);
        self.shared.wake();
    }

    /// Gives the queue a completion that carries `user_data` and `value`, as
    /// `PostQueuedCompletionStatus` does. Completions of one thread arrive in their order.
    ///
    /// It never blocks and never fails. The inbox takes memory for each completion that the queue
    /// has not taken yet.
    pub fn post(&self, user_data: u64, value: i64) {
        self.shared.post(Posted { user_data, value });
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}
