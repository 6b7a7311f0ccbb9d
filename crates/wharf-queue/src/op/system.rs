//! Operations that are neither on sockets nor on files: nothing, time, closures, names, children.

#![expect(unsafe_code)]
// UNSAFETY: a closure runs on a pool thread, by a pointer into its slot.

use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Deadline, Done, Op, OpKind, Operation};
use crate::completion::{BufResult, Outcome};
use crate::handle::Handle;
use crate::slot::Slot;
use crate::sys;
use crate::time::Moment;

/// Does nothing but go through the queue: for tests and measurements.
///
/// Gives `Outcome<()>`.
#[derive(Clone, Copy, Default, Debug)]
pub struct Nop(());

impl Nop {
    /// An operation that does nothing.
    #[must_use]
    pub fn new() -> Nop {
        Nop(())
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Nop {
    type Output = Outcome<()>;
    const KIND: OpKind = OpKind::Nop;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [None, None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        Ok(Op::Nop)
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome().map(drop)
    }
}

/// Completes at a moment, never before it.
///
/// Gives `Outcome<()>`. A timer takes no deadline of its own.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    due: Deadline,
}

impl Timer {
    /// Completes when `duration` has passed since the submission. [`Duration::MAX`] never does.
    #[must_use]
    pub fn after(duration: Duration) -> Timer {
        Timer {
            due: Deadline::After(duration),
        }
    }

    /// Completes at `moment` of the queue's clock.
    #[must_use]
    pub fn at(moment: Moment) -> Timer {
        Timer {
            due: Deadline::At(moment),
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Timer {
    type Output = Outcome<()>;
    const KIND: OpKind = OpKind::Timer;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [None, None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        Ok(Op::Timer { due: self.due })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome().map(drop)
    }
}

/// Runs a closure on the bounded pool of threads.
///
/// Gives `Outcome<T>`. If the closure panics, the outcome is an error of kind
/// [`Other`](io::ErrorKind::Other) with the panic's message, and the pool goes on. A cancel takes
/// effect only while the closure waits for a thread. When the completion is dropped, the value is
/// dropped by its type; a queue's teardown waits for a closure that is running.
pub struct Blocking<F, T> {
    state: BlockingState<F, T>,
}

enum BlockingState<F, T> {
    Ready(F),
    Returned(T),
    Panicked(String),
    Taken,
}

/// Runs the closure of a `Blocking` that lies where the pointer leads; see `Blocking::run`.
pub(crate) type BlockingFn = unsafe fn(*mut u8) -> bool;

impl<F, T> Blocking<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// Runs `closure` on a pool thread.
    pub fn new(closure: F) -> Blocking<F, T> {
        Blocking {
            state: BlockingState::Ready(closure),
        }
    }

    /// Called by a thread of the pool. Returns whether the closure has returned, and not panicked.
    ///
    /// # Safety
    /// `payload` points to a `Blocking<F, T>` that nobody else uses meanwhile.
    unsafe fn run(payload: *mut u8) -> bool {
        // SAFETY: the caller's promise.
        let this = unsafe { &mut *payload.cast::<Blocking<F, T>>() };
        let BlockingState::Ready(closure) = mem::replace(&mut this.state, BlockingState::Taken)
        else {
            return false;
        };
        this.state = match panic::catch_unwind(AssertUnwindSafe(closure)) {
            Ok(value) => BlockingState::Returned(value),
            Err(payload) => BlockingState::Panicked(panic_message(payload)),
        };
        matches!(this.state, BlockingState::Returned(_))
    }
}

fn panic_message(payload: Box<dyn std::any::Any + Send>) -> String {
    let message = match payload.downcast::<&'static str>() {
        Ok(message) => Ok(message.to_string()),
        Err(payload) => payload.downcast::<String>().map(|message| *message),
    };
    match message {
        Ok(message) => message,
        Err(payload) => {
            // The payload's own drop may panic again; nobody can be told of that one.
            mem::forget(payload);
            "a value that is not a string".to_owned()
        }
    }
}

impl<F, T> fmt::Debug for Blocking<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<F, T> Operation for Blocking<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Outcome<T>;
    const KIND: OpKind = OpKind::Blocking;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [None, None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let payload = (&raw mut *self).cast();
        Ok(Op::Blocking {
            run: Blocking::<F, T>::run,
            payload,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        match (done.outcome(), self.state) {
            (Outcome::Completed(Ok(_)), BlockingState::Returned(value)) => {
                Outcome::Completed(Ok(value))
            }
            (Outcome::Completed(_), BlockingState::Panicked(message)) => {
                let message = format!("the closure panicked: {message}");
                Outcome::Completed(Err(io::Error::other(message)))
            }
            (Outcome::Completed(Ok(_)), _) => unreachable!("the pool has run the closure"),
            (Outcome::Completed(Err(error)), _) => Outcome::Completed(Err(error)),
            (Outcome::Cancelled { transferred }, _) => Outcome::Cancelled { transferred },
            (Outcome::TimedOut { transferred }, _) => Outcome::TimedOut { transferred },
        }
    }
}

/// What the pool needs to look a name up, and where it puts what it found.
pub(crate) struct ResolveJob {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) found: Option<io::Result<Vec<SocketAddr>>>,
}

/// Looks up the addresses of a host, as the system's resolver does, off the loop.
///
/// Gives `Outcome<Vec<SocketAddr>>`, in the resolver's order, not empty.
///
/// Source: getaddrinfo(3), on the pool.
pub struct Resolve {
    job: ResolveJob,
}

impl Resolve {
    /// Looks up `host`, a name or an address in text; the addresses get `port`.
    pub fn new(host: impl Into<String>, port: u16) -> Resolve {
        Resolve {
            job: ResolveJob {
                host: host.into(),
                port,
                found: None,
            },
        }
    }
}

impl fmt::Debug for Resolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolve({}:{})", self.job.host, self.job.port)
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Resolve {
    type Output = Outcome<Vec<SocketAddr>>;
    const KIND: OpKind = OpKind::Resolve;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [None, None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        Ok(Op::Resolve {
            job: &raw mut self.job,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        match (done.outcome(), self.job.found) {
            (Outcome::Completed(_), Some(found)) => Outcome::Completed(found),
            (other, _) => other.map(|_| Vec::new()),
        }
    }
}

/// What leads to a child process: the [`Child`] itself, or a share in it.
///
/// With a share, the child can be killed while its exit is waited for. Nobody else may hold the
/// lock for long, since the queue's own thread takes it.
pub trait ChildRef: 'static {
    /// Calls `f` with the child.
    fn with_child<R>(&mut self, f: impl FnOnce(&mut Child) -> R) -> R;
}

impl ChildRef for Child {
    fn with_child<R>(&mut self, f: impl FnOnce(&mut Child) -> R) -> R {
        f(self)
    }
}

impl ChildRef for Arc<Mutex<Child>> {
    fn with_child<R>(&mut self, f: impl FnOnce(&mut Child) -> R) -> R {
        // A child has no invariant that a panic could have broken.
        f(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits until a child process has exited, without a thread.
///
/// Gives `BufResult<ExitStatus, C>`: the child comes back in any case. On completion it has been
/// waited for, and `Child::wait` gives the same status again.
///
/// Source: pidfd_open(2), waitid(2).
#[derive(Debug)]
pub struct ChildExit<C = Child> {
    child: C,
    pidfd: Option<sys::PidFd>,
}

impl<C: ChildRef> ChildExit<C> {
    /// Waits for `child` to exit.
    #[must_use]
    pub fn new(child: C) -> ChildExit<C> {
        ChildExit { child, pidfd: None }
    }

    /// Takes the child back from an operation that was not submitted, or was refused.
    pub fn into_child(self) -> C {
        self.child
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<C: ChildRef> Operation for ChildExit<C> {
    type Output = BufResult<ExitStatus, C>;
    const KIND: OpKind = OpKind::ChildExit;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [None, None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let pidfd = self.child.with_child(|child| match child.try_wait() {
            // A child that was waited for has no process any more: its status is known.
            Ok(Some(_)) => Ok(None),
            _ => sys::PidFd::open(child).map(Some),
        })?;
        let Some(pidfd) = pidfd else {
            return Ok(Op::Known { result: 0 });
        };
        let raw = pidfd.raw();
        self.pidfd = Some(pidfd);
        Ok(Op::ChildExit { pidfd: raw })
    }

    fn finish(mut self, done: Done<'_>) -> Self::Output {
        let outcome = match done.outcome() {
            // The process is a zombie by now, so that this does not wait.
            Outcome::Completed(Ok(_)) => Outcome::Completed(self.child.with_child(Child::wait)),
            other => other.map(|_| unreachable!("only a success carries a value")),
        };
        (outcome, self.child)
    }
}
