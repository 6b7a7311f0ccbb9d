//! The wharf contract as tests, written once and generic over the backend.
//!
//! A [`Case`] states a promise and checks it on queues that a [`Factory`] makes. The test binary
//! runs every case on every backend that this machine has; a further backend costs one line there.

mod cases;
mod peer;

use std::time::Duration;

use wharf_queue::{BackendKind, Builder, Completion, Operation, Queue, Token};

/// Makes queues on one backend.
#[derive(Clone, Copy, Debug)]
pub struct Factory {
    /// The backend that is tested.
    pub kind: BackendKind,
}

impl Factory {
    /// Options for a queue on the backend.
    pub fn builder(&self) -> Builder {
        Queue::builder().backend(self.kind)
    }

    /// A queue on the backend.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.builder().build().expect("the backend was probed")
    }
}

/// One promise, and how it is checked.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `subject_behaviour`.
    pub name: &'static str,
    /// The promise or race of the contract that it is about.
    pub promise: &'static str,
    /// Panics if the promise is broken.
    pub run: fn(&Factory),
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases::all()
}

/// No operation of the suite takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for one operation and takes its result. Other completions are dropped.
fn finish<O: Operation>(queue: &Queue, token: Token<O>) -> O::Output {
    loop {
        if let Ok(output) = next(queue).take(token) {
            return output;
        }
    }
}

/// Waits for the next completion.
fn next(queue: &Queue) -> Completion<'_> {
    loop {
        let mut batch = queue.wait(PATIENCE).expect("the backend works");
        if let Some(completion) = batch.next() {
            return completion;
        }
        assert!(batch.notified(), "nothing has completed in {PATIENCE:?}");
    }
}
