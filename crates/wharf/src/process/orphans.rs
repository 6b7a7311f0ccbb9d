//! Children that nobody waits for any more: so that no zombie is left, they are waited for here.
//!
//! While there is a runtime, one of its tasks waits. Owns what comes after: a list, and a thread with
//! a completion queue of its own that waits for all of them at once. It is started when the first
//! child outlives its runtime, and ends when there is none left.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use wharf_queue::{Notifier, Queue, Token, op};

use super::child::{Shared, lock};
use crate::engine;

/// How long the thread waits before it tries again what the system refused.
const PAUSE: Duration = Duration::from_secs(1);

struct Orphans {
    left: Vec<Shared>,
    /// Wakes the thread, if there is one.
    reaper: Option<Notifier>,
}

static ORPHANS: Mutex<Orphans> = Mutex::new(Orphans {
    left: Vec::new(),
    reaper: None,
});

fn orphans() -> MutexGuard<'static, Orphans> {
    ORPHANS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has_ended(child: &Shared) -> bool {
    // An error says that there is nothing to wait for.
    !matches!(lock(child).try_wait(), Ok(None))
}

/// Waits for those that have ended. It is called now and then, for the case that there is no thread
/// because the system refused it.
pub(super) fn sweep() {
    orphans().left.retain(|child| !has_ended(child));
}

/// A child without its handle. Dropping this leaves it to the thread.
pub(super) struct Orphan {
    child: Option<Shared>,
}

impl Orphan {
    pub(super) fn new(child: Shared) -> Orphan {
        Orphan { child: Some(child) }
    }

    /// Waits for its end on the current worker.
    pub(super) async fn wait(mut self) {
        let Some(child) = self.child.clone() else {
            return;
        };
        let Ok(exit) = engine::submit(op::ChildExit::new(child)) else {
            return;
        };
        if exit.await.0.into_result().is_ok() {
            self.child = None;
        }
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(child) = self.child.take().filter(|child| !has_ended(child)) {
            adopt(child);
        }
    }
}

fn adopt(child: Shared) {
    let mut orphans = orphans();
    orphans.left.push(child);
    if let Some(reaper) = &orphans.reaper {
        return reaper.notify();
    }
    drop(orphans);
    let builder = thread::Builder::new().name("wharf-orphans".to_owned());
    // Without a thread they stay on the list, which is looked at again.
    let _refused = builder.spawn(reap);
}

/// What the thread does.
fn reap() {
    let Ok(queue) = Queue::new() else { return };
    {
        let mut orphans = orphans();
        if orphans.reaper.is_some() {
            return;
        }
        orphans.reaper = Some(queue.notifier());
    }
    let mut waiting = HashMap::new();
    let mut failed: Vec<Shared> = Vec::new();
    loop {
        let mut more = std::mem::take(&mut orphans().left);
        more.append(&mut failed);
        for child in more.into_iter().filter(|child| !has_ended(child)) {
            match queue.submit(op::ChildExit::new(child)) {
                Ok(token) => drop(waiting.insert(token.erase(), token)),
                Err(refused) => failed.push(refused.into_op().into_child()),
            }
        }
        if waiting.is_empty() && failed.is_empty() {
            let mut orphans = orphans();
            if orphans.left.is_empty() {
                orphans.reaper = None;
                return;
            }
            continue;
        }
        let pause = (!failed.is_empty()).then_some(PAUSE);
        failed.append(&mut wait(&queue, &mut waiting, pause));
    }
}

type Waiting = HashMap<Token, Token<op::ChildExit<Shared>>>;

/// Waits for an exit or for more children. Gives those whose wait was refused.
fn wait(queue: &Queue, waiting: &mut Waiting, pause: Option<Duration>) -> Vec<Shared> {
    let mut failed = Vec::new();
    let Ok(batch) = queue.wait(pause) else {
        return failed;
    };
    for completion in batch {
        let Some(token) = waiting.remove(&completion.token()) else {
            continue;
        };
        if let Ok((outcome, child)) = completion.take(token) {
            if outcome.into_result().is_err() {
                failed.push(child);
            }
        }
    }
    failed
}
