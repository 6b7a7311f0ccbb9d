//! Asking a server to stop, from anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use event_listener::{Event, EventListener};

// A stop begins at 0: nothing has been asked for.
const DRAINING: u8 = 1;
const ENDING: u8 = 2;

/// Asks servers to stop: clone it, keep one end, and hand the other to each
/// [`Server`](crate::Server) that shall stop with it.
///
/// Dropping it asks for nothing.
///
/// ```
/// let stop = wharf_http::Stop::new();
/// let end = stop.clone();
/// assert!(!end.is_asked());
/// stop.ask();
/// assert!(end.is_asked());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    changed: Event,
}

impl Stop {
    /// A stop that nobody has asked for.
    #[must_use]
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks for an orderly stop: no more connections, and those that are there end with the
    /// exchange that is under way. Asking again changes nothing.
    pub fn ask(&self) {
        self.advance(DRAINING);
    }

    /// Whether a stop has been asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.phase() >= DRAINING
    }

    /// Waits until a stop is asked for.
    pub async fn asked(&self) {
        self.reached(DRAINING).await;
    }

    /// Ends the connections that are still there, in the middle of whatever they do.
    pub(crate) fn end(&self) {
        self.advance(ENDING);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.phase() >= ENDING
    }

    /// Waits for the next change; look at the phase after this call and before waiting.
    pub(crate) fn listen(&self) -> EventListener {
        self.shared.changed.listen()
    }

    fn phase(&self) -> u8 {
        self.shared.phase.load(Ordering::SeqCst)
    }

    fn advance(&self, to: u8) {
        if self.shared.phase.fetch_max(to, Ordering::SeqCst) < to {
            self.shared.changed.notify(usize::MAX);
        }
    }

    async fn reached(&self, phase: u8) {
        while self.phase() < phase {
            let change = self.listen();
            if self.phase() >= phase {
                return;
            }
            change.await;
        }
    }
}

/// The connections of one server, counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    shared: Arc<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    open: AtomicUsize,
    emptied: Event,
}

impl Census {
    /// Counts one more, until what is given is dropped.
    pub(crate) fn enter(&self) -> Present {
        self.shared.open.fetch_add(1, Ordering::SeqCst);
        Present(self.clone())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until none is left.
    pub(crate) async fn empty(&self) {
        while self.count() > 0 {
            let emptied = self.shared.emptied.listen();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// One connection of a [`Census`].
#[derive(Debug)]
pub(crate) struct Present(Census);

impl Drop for Present {
    fn drop(&mut self) {
        let shared = &self.0.shared;
        if shared.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            shared.emptied.notify(usize::MAX);
        }
    }
}
