//! Fibers as tasks: spawning, joining, aborting.
//!
//! Owns the future whose poll switches into the fiber, the builder and the handle. When it is polled
//! is the runtime's matter: a fiber has a task's place in the order, and a task's budget.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use wharf::task::{AbortHandle, JoinError};
use wharf::{Runtime, seam};

use crate::os;
use crate::stack::{self, DEFAULT_SIZE};
use crate::switch::{Body, Progress};
use crate::wait::{Unwinding, wait};

/// Spawns a fiber on the current worker: `closure` runs there, on a stack of its own, whether or not
/// its handle is joined.
///
/// It begins to run when the current fiber or task next waits. A panic in it ends the fiber alone.
/// When the runtime ends, the fiber is cancelled.
///
/// ```
/// # let runtime = wharf::Runtime::new().unwrap();
/// # wharf_fiber::block_on(&runtime, || {
/// use wharf_fiber as fiber;
/// let shared = std::rc::Rc::new(20); // a fiber stays on its thread
/// let clone = shared.clone();
/// let sum = fiber::spawn(move || *clone + 22);
/// assert_eq!(sum.join().unwrap(), 42);
/// # });
/// ```
///
/// # Panics
/// Outside a runtime; if the system gives no memory for a stack, which [`Builder::spawn`] tells of.
#[track_caller]
pub fn spawn<T: 'static>(closure: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    match Builder::new().spawn(closure) {
        Ok(handle) => handle,
        Err(error) => panic!("no stack for a fiber: {error}"),
    }
}

/// Runs a closure as a fiber of the runtime's worker 0, and returns what it returns.
///
/// ```
/// use wharf_fiber as fiber;
/// let runtime = wharf::Runtime::new()?;
/// let sum = fiber::block_on(&runtime, || fiber::spawn(|| 40).join().unwrap() + 2);
/// assert_eq!(sum, 42);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// With the closure's panic; from within a runtime; if there is no memory for a stack.
pub fn block_on<T: 'static>(runtime: &Runtime, closure: impl FnOnce() -> T + 'static) -> T {
    match runtime.block_on(async { spawn(closure).await }) {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(cancelled) => panic!("{cancelled}"),
        },
    }
}

/// The name of the fiber or task that is running, if it was given one.
#[must_use]
pub fn name() -> Option<Rc<str>> {
    wharf::task::name()
}

/// Makes fibers with options.
///
/// ```
/// # let runtime = wharf::Runtime::new().unwrap();
/// # wharf_fiber::block_on(&runtime, || {
/// use wharf_fiber as fiber;
/// let deep = fiber::Builder::new().name("parser").stack_size(1 << 20);
/// let name = deep.spawn(|| fiber::name().unwrap().to_string())?;
/// assert_eq!(name.join().unwrap(), "parser");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    name: Option<Rc<str>>,
    stack_size: usize,
    guard_size: usize,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// No name, and a stack of 256 KiB above one guard page.
    pub const fn new() -> Builder {
        Builder {
            name: None,
            stack_size: DEFAULT_SIZE,
            guard_size: 0,
        }
    }

    /// The fiber's name, for [`name`], the runtime's hooks and the report of an overflow.
    pub fn name(mut self, name: impl Into<Rc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The size of its stack in bytes, rounded up to whole pages; 256 KiB if not set, at least 4 KiB.
    /// Below it come [guard pages](Builder::guard_size), always.
    ///
    /// A stack is address space, of which there is plenty on 64-bit systems; memory is taken page by
    /// page, when it is first touched. On Linux before 6.13 each stack takes two of the 65,530 memory
    /// mappings that a process may have unless `vm.max_map_count` is raised; newer kernels need none for
    /// a guard page, and put stacks that lie side by side into one mapping.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = bytes;
        self
    }

    /// How many bytes below its stack are guard pages, rounded up to whole pages; one page if not set,
    /// and at least. What touches one ends the process, with [a report](crate#what-is-sound-and-why).
    ///
    /// One page is enough for Rust: a function with a large frame touches each page of it, in order,
    /// before it runs. C code does so only where it was built for it (`-fstack-clash-protection`; on
    /// Windows always). A frame of other C code that is larger than all guard pages may begin beyond
    /// them, and overwrite what lies there. A fiber that calls such code takes a guard as large as its
    /// largest frame; it costs address space, and no memory.
    ///
    /// ```
    /// # let runtime = wharf::Runtime::new().unwrap();
    /// # wharf_fiber::block_on(&runtime, || {
    /// use wharf_fiber as fiber;
    /// let careful = fiber::Builder::new().name("codec").guard_size(64 * 1024);
    /// let answer = careful.spawn(|| 42 /* calls into a C library */)?;
    /// assert_eq!(answer.join().unwrap(), 42);
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    pub fn guard_size(mut self, bytes: usize) -> Builder {
        self.guard_size = bytes;
        self
    }

    /// Spawns a fiber; see [`spawn`].
    ///
    /// # Errors
    /// That of the system, if it gives no memory for a stack; `InvalidInput` for a size that it can
    /// never give.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn spawn<T: 'static>(
        self,
        closure: impl FnOnce() -> T + 'static,
    ) -> io::Result<JoinHandle<T>> {
        os::report_overflows();
        let fiber = Fiber {
            body: Body::new(closure, stack::take(self.stack_size, self.guard_size)?),
        };
        Ok(JoinHandle {
            task: seam::spawn_unwinding(self.name, fiber),
        })
    }
}

/// The future of a fiber. Its output is `None` if the fiber was cancelled and unwound.
struct Fiber<T> {
    body: Body<T>,
}

impl<T> Unpin for Fiber<T> {}

impl<T: 'static> Future for Fiber<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.body.resume(cx.waker(), seam::is_aborted()) {
            Progress::Suspended => Poll::Pending,
            Progress::Ended(Ok(output)) => Poll::Ready(Some(output)),
            Progress::Ended(Err(payload)) if payload.is::<Unwinding>() => Poll::Ready(None),
            // The task catches it, tells the hook, and gives it to who joins.
            Progress::Ended(Err(payload)) => resume_unwind(payload),
        }
    }
}

/// A handle to a fiber: [`join`](JoinHandle::join) it from a fiber, await it in a task.
///
/// Dropping it detaches the fiber, which goes on. It is `Send` if the output is.
pub struct JoinHandle<T> {
    task: wharf::JoinHandle<Option<T>>,
}

impl<T> JoinHandle<T> {
    /// Waits for the fiber to end, and gives what its closure returned.
    ///
    /// # Errors
    /// If the fiber has panicked, or was cancelled and has unwound.
    ///
    /// # Panics
    /// As [`wait`](crate::wait()): outside a fiber, and when the calling fiber is cancelled.
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        wait(self)
    }

    /// Cancels the fiber; see [the crate's documentation](crate#cancellation). A fiber that returns
    /// in spite of it gives its output.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// What cancels the fiber, from anywhere, without this handle.
    pub fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }

    /// Whether the fiber has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = std::task::ready!(Pin::new(&mut self.task).poll(cx));
        Poll::Ready(ended.and_then(|output| output.ok_or_else(seam::cancelled)))
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}
