//! The options of a queue.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, Queue};
use crate::backend::{Backend, BackendKind, Config, Imp};
use crate::ledger::Ledger;
use crate::notify::Shared;
use crate::op::OpKind;
use crate::pool::Pool;

/// Makes a [`Queue`] with options; from [`Queue::builder`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let queue = wharf_queue::Queue::builder()
///     .backend(wharf_queue::BackendKind::Epoll)
///     .max_in_flight(1000)
///     .build()?;
/// assert_eq!(queue.backend().name(), "epoll");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    backend: Option<BackendKind>,
    ring_entries: u32,
    max_in_flight: usize,
    blocking_threads: usize,
    teardown_timeout: Duration,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            backend: None,
            ring_entries: 256,
            max_in_flight: 1 << 20,
            blocking_threads: 64,
            teardown_timeout: Duration::from_secs(10),
        }
    }
}

impl Builder {
    /// Chooses the backend. If it cannot be had, [`build`](Builder::build) fails with the reason.
    /// If none is chosen, `WHARF_BACKEND` is looked at, whose values are `auto` and the names of
    /// [`BackendKind`]; `auto` takes the best that works.
    pub fn backend(mut self, kind: BackendKind) -> Builder {
        self.backend = Some(kind);
        self
    }

    /// Entries of the submission ring, where there is one; raised to a power of two. 256 if not
    /// set. It is a tuning knob and not a limit: what does not fit waits in the queue.
    pub fn ring_entries(mut self, entries: u32) -> Builder {
        self.ring_entries = entries.clamp(1, 1 << 15);
        self
    }

    /// How many operations may be in the queue at a time, submitted and not taken; one more gives
    /// [`SubmitError::Full`](crate::SubmitError::Full). 1,048,576 if not set.
    pub fn max_in_flight(mut self, operations: usize) -> Builder {
        self.max_in_flight = operations.min(u32::MAX as usize / 2);
        self
    }

    /// How many threads the pool for blocking calls may have; they are started on demand, and what
    /// finds none free waits. At least 1; 64 if not set.
    pub fn blocking_threads(mut self, threads: usize) -> Builder {
        self.blocking_threads = threads.max(1);
        self
    }

    /// How long the drop of the queue waits for cancelled operations to end. Past that, memory that
    /// the kernel may still write is leaked, and a line on standard error says so. 10 seconds if
    /// not set.
    pub fn teardown_timeout(mut self, timeout: Duration) -> Builder {
        self.teardown_timeout = timeout;
        self
    }

    /// Makes the queue.
    ///
    /// # Errors
    /// `InvalidInput` for an unknown name in `WHARF_BACKEND`; else the reason why the chosen
    /// backend, or with `auto` every backend, cannot be had.
    pub fn build(self) -> io::Result<Queue> {
        let config = Config {
            ring_entries: self.ring_entries,
        };
        let (mut imp, reason) = match self.backend {
            Some(kind) => (Imp::by_name(kind, config)?, format!("{kind} was asked for")),
            None => match std::env::var("WHARF_BACKEND").as_deref() {
                Err(_) | Ok("" | "auto") => Imp::automatic(config)?,
                Ok(name) => {
                    let imp = Imp::by_name(name.parse()?, config)?;
                    (imp, format!("WHARF_BACKEND asks for {name}"))
                }
            },
        };
        let shared = Arc::new(Shared::new(imp.waker()?));
        Ok(Queue::from_core(Core {
            ledger: Ledger::new(),
            support: OpKind::ALL.map(|kind| imp.support(kind)),
            backend: RefCell::new(imp),
            pool: Pool::new(self.blocking_threads, shared.clone()),
            shared,
            max_in_flight: self.max_in_flight,
            teardown_timeout: self.teardown_timeout,
            reason,
        }))
    }
}
