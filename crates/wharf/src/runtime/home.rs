//! `Home`: the part of a worker that any thread may touch.
//!
//! Owns the inbox and the identity of a worker, and what is sent to it. Tasks, streams and timers
//! belong to the worker itself, and only its thread sees them.

use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Wake;

use async_task::Runnable;
use wharf_queue::Notifier;

use super::inbox::Inbox;
use super::worker::{self, Worker};
use crate::slab::Key;
use crate::task::{self, Meta, Remote};

/// Something to be done on a worker's thread.
pub(crate) type Call = Box<dyn FnOnce(&Rc<Worker>) + Send>;

/// What another thread asks of a worker.
pub(crate) enum Message {
    /// A task was woken.
    Run(Runnable<Meta>),
    /// Something to be done on the worker's thread. It must not run users' code at length.
    Call(Call),
}

/// The part of a worker that any thread may touch.
pub(crate) struct Home {
    /// Distinguishes it from every other worker of the process.
    pub(crate) id: u64,
    /// Its place in its runtime.
    pub(crate) index: usize,
    inbox: Inbox<Message>,
    notifier: Notifier,
    /// The worker's thread is to end.
    stopping: AtomicBool,
    /// The future of `block_on` is to be polled.
    root_woken: AtomicBool,
    /// Connections that live there, for handing out new ones.
    pub(crate) connections: AtomicUsize,
}

impl Home {
    pub(crate) fn new(id: u64, index: usize, notifier: Notifier) -> Home {
        Home {
            id,
            index,
            inbox: Inbox::new(),
            notifier,
            stopping: AtomicBool::new(false),
            root_woken: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        }
    }

    /// Puts a task that was woken on the list of those to run.
    pub(crate) fn schedule(&self, runnable: Runnable<Meta>) {
        match worker::running(self.id) {
            Some(worker) => {
                worker.make_ready(runnable);
                if worker.is_waiting() {
                    self.notifier.notify();
                }
            }
            // A worker that has closed its inbox has no tasks any more, and what is woken then is
            // closed: nothing is lost.
            None => drop(self.send(Message::Run(runnable))),
        }
    }

    /// Sends a message. It never blocks, and costs a system call only if the worker sleeps.
    ///
    /// # Errors
    /// The message, if the worker has ended.
    pub(crate) fn send(&self, message: Message) -> Result<(), Message> {
        self.inbox.push(message, || self.notifier.notify())
    }

    /// Has something done on the worker's thread: at once if this is it. Does nothing if the worker
    /// has ended; then its things are gone anyway.
    ///
    /// A worker of this thread that is not running now, because `block_on` has returned, looks at its
    /// queue for this: a stream that is dropped then is sent to its end and closed, and does not wait
    /// until the runtime runs again.
    pub(crate) fn run(&self, call: impl FnOnce(&Rc<Worker>) + Send + 'static) {
        match worker::here(self.id) {
            Some(worker) => {
                call(&worker);
                if worker::running(self.id).is_none() {
                    worker.look_while_resting();
                }
            }
            None => drop(self.send(Message::Call(Box::new(call)))),
        }
    }

    /// Runs a future on the worker's thread and brings its output here.
    ///
    /// # Errors
    /// `NotConnected` if the worker has ended; the panic of the future as an error.
    pub(crate) async fn call<F, T>(
        &self,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<T>
    where
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let remote = Remote::new();
        let guard = remote.clone().deliver();
        self.send(Message::Call(Box::new(move |worker| {
            task::spawn_remote(worker, guard, make);
        })))
        .map_err(|_| gone())?;
        remote.output().await.map_err(io::Error::from)
    }

    #[inline]
    pub(crate) fn is_root_woken(&self) -> bool {
        self.root_woken.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn take_root_woken(&self) -> bool {
        self.is_root_woken() && self.root_woken.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn take_messages(&self, take: impl FnMut(Message)) {
        self.inbox.take_all(take);
    }

    /// Whether the worker has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    pub(crate) fn close_inbox(&self) {
        self.inbox.close();
    }

    /// Wakes the worker, to look at what has changed.
    pub(crate) fn notify(&self) {
        self.notifier.notify();
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.notifier.notify();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Asks for the end of a task.
    pub(crate) fn abort(&self, key: Key) {
        self.run(move |worker| worker.abort(key));
    }
}

/// Wakes the future of `block_on`. There is one at a time; a waker of an earlier one makes the later
/// one look in vain.
impl Wake for Home {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The flag is published before the worker is woken.
        let was_woken = self.root_woken.swap(true, Ordering::AcqRel);
        let is_looked_at = worker::running(self.id).is_some_and(|worker| !worker.is_waiting());
        if !was_woken && !is_looked_at {
            self.notifier.notify();
        }
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Home({})", self.index)
    }
}

/// The error of a handle whose worker has ended.
pub(crate) fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the runtime that this belongs to has ended",
    )
}
