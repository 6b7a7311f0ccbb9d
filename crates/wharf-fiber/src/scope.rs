//! Scopes: fibers that borrow from the one that spawned them.
//!
//! Owns the promise that a scope does not end before its fibers have. The borrows are sound for the
//! reason that those of `std::thread::scope` are: the frame that is borrowed from waits, and it
//! cannot be got rid of. A stack that is leaked with its runtime is never freed, nor are those of
//! the fibers that it waits for.

#![expect(unsafe_code)]
// UNSAFETY: a task's future must be 'static; that a fiber ends before what it borrows is known to
// the scope, and not to the compiler.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::task::Waker;

use wharf::task::{AbortHandle, JoinError};

use crate::switch::Control;
use crate::task::{Builder, JoinHandle};
use crate::wait::{Cancelled, Unwinding, expect_current};

/// What a scope and its fibers share.
#[derive(Default)]
struct Shared {
    running: Cell<usize>,
    /// A panic that nobody was told of.
    has_panicked: Cell<bool>,
    waker: Cell<Option<Waker>>,
    /// Those that are running, by their numbers.
    children: RefCell<BTreeMap<u64, AbortHandle>>,
    last_child: Cell<u64>,
    /// New fibers are cancelled at once.
    is_aborted: Cell<bool>,
}

impl Shared {
    fn abort_children(&self) {
        self.is_aborted.set(true);
        for child in std::mem::take(&mut *self.children.borrow_mut()).into_values() {
            child.abort();
        }
    }

    fn add(&self, number: u64, child: AbortHandle) {
        match self.is_aborted.get() {
            true => child.abort(),
            false => drop(self.children.borrow_mut().insert(number, child)),
        }
    }

    /// Waits until every fiber has ended. A cancel is passed on to them, and does not shorten this.
    fn wait_for_all(&self, control: &Control) {
        while self.running.get() > 0 {
            if control.is_cancelled() {
                self.abort_children();
            }
            self.waker.set(Some(control.waker().clone()));
            control.suspend_in_any_case();
        }
    }
}

/// Where fibers are spawned that borrow; from [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    shared: Rc<Shared>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Runs `f`, which may spawn fibers that borrow what lies around it, and returns when all of them
/// have ended.
///
/// A cancel of this fiber cancels them. If `f` panics, they are waited for, and then the panic goes
/// on.
///
/// ```
/// # let runtime = wharf::Runtime::new().unwrap();
/// # wharf_fiber::block_on(&runtime, || {
/// use wharf_fiber as fiber;
/// let words = ["one", "two", "three"].map(String::from);
/// let total = fiber::scope(|s| {
///     let lengths = words.iter().map(|word| s.spawn(|| word.len()));
///     let lengths: Vec<_> = lengths.collect();
///     lengths.into_iter().map(|fiber| fiber.join().unwrap()).sum::<usize>()
/// });
/// assert_eq!(total, 11);
/// # });
/// ```
///
/// # Panics
/// Outside a fiber; with the panic of `f`; if a fiber has panicked whose handle was not joined; when
/// this fiber is cancelled, as [`wait`](crate::wait()) does.
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    expect_current(|control| {
        let scope = Scope {
            shared: Rc::default(),
            scope: PhantomData,
            env: PhantomData,
        };
        let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
        if result
            .as_ref()
            .is_err_and(|payload| payload.is::<Unwinding>())
        {
            scope.shared.abort_children();
        }
        scope.shared.wait_for_all(control);
        match result {
            Err(payload) => resume_unwind(payload),
            Ok(_) if scope.shared.has_panicked.get() => panic!("a fiber of the scope has panicked"),
            Ok(output) => output,
        }
    })
}

/// What a fiber of a scope gives, for who joins it.
struct Packet<T> {
    output: Cell<Option<T>>,
    /// It has panicked, and nobody was told yet.
    has_panicked: Cell<bool>,
    shared: Rc<Shared>,
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        if self.has_panicked.get() {
            self.shared.has_panicked.set(true);
        }
    }
}

/// The closure of a fiber of a scope. The fields are dropped in this order: what borrows is gone
/// before the scope is told.
struct Child {
    body: Option<Box<dyn FnOnce()>>,
    _ended: Ended,
}

impl Child {
    fn run(mut self) {
        if let Some(body) = self.body.take() {
            body();
        }
    }
}

/// Tells the scope that a fiber has ended, or will never begin.
struct Ended {
    shared: Rc<Shared>,
    number: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.shared.children.borrow_mut().remove(&self.number));
        let left = self.shared.running.get() - 1;
        self.shared.running.set(left);
        if left == 0 {
            if let Some(waker) = self.shared.waker.take() {
                waker.wake();
            }
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a fiber that may borrow for as long as the scope lasts; see
    /// [`spawn`](crate::spawn()).
    ///
    /// # Panics
    /// Outside a fiber; while the fiber unwinds; if the system gives no memory for a stack.
    #[track_caller]
    pub fn spawn<T: 'scope>(
        &'scope self,
        closure: impl FnOnce() -> T + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        match self.spawn_with(Builder::new(), closure) {
            Ok(handle) => handle,
            Err(error) => panic!("no stack for a fiber: {error}"),
        }
    }

    /// As [`spawn`](Scope::spawn), with options.
    ///
    /// # Errors
    /// As [`Builder::spawn`]; a [`Cancelled`] while the fiber unwinds, for then the scope could not wait.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn spawn_with<T: 'scope>(
        &'scope self,
        builder: Builder,
        closure: impl FnOnce() -> T + 'scope,
    ) -> io::Result<ScopedJoinHandle<'scope, T>> {
        // The scope would have to wait for it. In a destructor a panic would end the process.
        if expect_current(Control::is_unwinding) {
            return Err(Cancelled.into());
        }
        let packet = Rc::new(Packet {
            output: Cell::new(None),
            has_panicked: Cell::new(false),
            shared: self.shared.clone(),
        });
        let place = packet.clone();
        let body: Box<dyn FnOnce() + 'scope> = Box::new(move || {
            match catch_unwind(AssertUnwindSafe(closure)) {
                Ok(output) => place.output.set(Some(output)),
                Err(payload) => {
                    place.has_panicked.set(!payload.is::<Unwinding>());
                    // Before the scope is told that this fiber has ended.
                    drop(place);
                    resume_unwind(payload);
                }
            }
        });
        // SAFETY: only the lifetime changes. `Child` drops the body, run or not, before it tells
        // the scope, and `scope` does not return before it was told.
        let body = unsafe { mem::transmute::<Box<dyn FnOnce() + 'scope>, Box<dyn FnOnce()>>(body) };
        let number = self.shared.last_child.get() + 1;
        self.shared.last_child.set(number);
        self.shared.running.set(self.shared.running.get() + 1);
        let child = Child {
            body: Some(body),
            _ended: Ended {
                shared: self.shared.clone(),
                number,
            },
        };
        let fiber = builder.spawn(move || child.run())?;
        self.shared.add(number, fiber.abort_handle());
        Ok(ScopedJoinHandle {
            fiber,
            packet,
            scope: PhantomData,
        })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("running", &self.shared.running.get())
            .finish()
    }
}

/// A handle to a fiber of a scope. Dropping it leaves the fiber to the scope.
pub struct ScopedJoinHandle<'scope, T> {
    fiber: JoinHandle<()>,
    packet: Rc<Packet<T>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the fiber to end, and gives what its closure returned.
    ///
    /// # Errors
    /// If the fiber has panicked, or was cancelled and has unwound.
    ///
    /// # Panics
    /// As [`wait`](crate::wait()).
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        let ended = self.fiber.join();
        self.packet.has_panicked.set(false);
        ended?;
        Ok(self.packet.output.take().expect("it has returned"))
    }

    /// Cancels the fiber; see [the crate's documentation](crate#cancellation).
    pub fn abort(&self) {
        self.fiber.abort();
    }

    /// Whether the fiber has ended, in whatever way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.fiber.is_finished()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fiber.fmt(f)
    }
}
