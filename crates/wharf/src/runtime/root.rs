//! The waker of the future that `block_on` runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use super::home::Home;
use super::worker;

/// Whether the future of `block_on` is to be polled.
pub(super) struct Root {
    home: Arc<Home>,
    woken: AtomicBool,
}

impl Root {
    pub(super) fn new(home: &Arc<Home>) -> Arc<Root> {
        Arc::new(Root {
            home: home.clone(),
            woken: AtomicBool::new(true),
        })
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }

    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    pub(super) fn take_woken(&self) -> bool {
        self.is_woken() && self.woken.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The flag is published before the worker is woken.
        let was_woken = self.woken.swap(true, Ordering::AcqRel);
        let here = worker::current().is_some_and(|worker| worker.home.id == self.home.id);
        if !was_woken && !here {
            self.home.notify();
        }
    }
}
