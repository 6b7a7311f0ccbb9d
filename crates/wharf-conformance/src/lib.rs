//! The wharf contract as tests, written once and generic over the backend.
//!
//! There are two families. A [`Case`] states a promise and checks it on queues that a [`Factory`]
//! makes. A [`handles::Case`] does so on the handles of the runtime, and is a future, so that it can
//! be run by whatever can await one. A test binary runs them, with [`runner::main`], on every backend
//! that this machine has.

mod cases;
mod fixture;
pub mod handles;
mod peer;
pub mod program;
pub mod runner;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wharf_queue::op::OpKind;
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
    /// It changes the process (its limits, its signals, its filters), counts what belongs to the
    /// process, takes much memory for good, or looks at what it has closed, of which a child that
    /// another case starts has a copy for a moment: so that it needs a process of its own.
    pub alone: bool,
    /// Where alone it makes sense; `None` for everywhere.
    pub condition: Option<Condition>,
}

/// Where alone a case makes sense, and why not elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// On systems with Unix's descriptors, signals and names.
    Unix(&'static str),
    /// On Linux.
    Linux(&'static str),
    /// Everywhere but under Wine, which lacks something that Windows has.
    NotWine(&'static str),
}

impl Case {
    /// Why it makes no sense on this machine; `None` if it does.
    #[must_use]
    pub fn not_here(&self) -> Option<&'static str> {
        let (is_here, why) = match self.condition? {
            Condition::Unix(why) => (fixture::host::IS_UNIX, why),
            Condition::Linux(why) => (fixture::host::IS_LINUX, why),
            Condition::NotWine(why) => (!fixture::host::is_wine(), why),
        };
        (!is_here).then_some(why)
    }
}

/// What a process does that a case starts as its child; `None` if this process is none.
#[must_use]
pub fn be_the_child() -> Option<std::process::ExitCode> {
    fixture::child::be_one()
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases::all()
}

/// Every case of the queue, as checks for the runner.
#[must_use]
pub fn queue_checks(factory: Factory) -> Vec<runner::Check> {
    let check = |case: Case| runner::Check {
        name: case.name.to_owned(),
        promise: case.promise,
        alone: case.alone,
        not_here: case.not_here(),
        run: Arc::new(move || (case.run)(&factory)),
    };
    cases().into_iter().map(check).collect()
}

static NOT_RUN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes what a case could not check on this machine, and why: it is told in the run's last lines.
pub fn note_not_run(what: String) {
    let mut list = NOT_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    if !list.contains(&what) {
        list.push(what);
    }
}

/// What has been noted with [`note_not_run`].
#[must_use]
pub fn not_run() -> Vec<String> {
    let list = NOT_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    list.clone()
}

/// No operation of the suite takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A queue that is dropped does not take this long, unless something does not end: then it gives up
/// after ten seconds and leaks it.
const TEARDOWN: Duration = Duration::from_millis(9900);

/// Waits for one operation and takes its result. Other completions are dropped.
fn finish<O: Operation>(queue: &Queue, token: Token<O>) -> O::Output {
    loop {
        if let Ok(output) = next(queue).take(token) {
            return output;
        }
    }
}

/// As `finish`, but leaves what else completes to those who ask for it; nobody asks for a close.
fn finish_keeping<O: Operation>(queue: &Queue, token: Token<O>) -> O::Output {
    loop {
        if let Some(output) = queue.take(token) {
            return output;
        }
        let completion = next(queue);
        if completion.kind() != Some(OpKind::Close) {
            completion.keep().expect("final");
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

/// Lets the queue do what there is to do, and leaves what has completed where it is.
fn look(queue: &Queue) {
    queue.wait(Duration::ZERO).expect("the backend works");
}

/// Waits until nothing is in the queue any more, and drops what completes.
fn drain(queue: &Queue) {
    let mut begin = std::time::Instant::now();
    let mut left = queue.in_flight();
    while left > 0 {
        queue
            .wait(Duration::from_millis(1))
            .expect("the backend works")
            .for_each(drop);
        // However many there are, and however busy the machine: the next of them ends.
        if std::mem::replace(&mut left, queue.in_flight()) > left {
            begin = std::time::Instant::now();
        }
        assert!(begin.elapsed() < PATIENCE, "{left} operations did not end");
    }
}
