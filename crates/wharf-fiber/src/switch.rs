//! The switch: onto a fiber's stack and back, and what a fiber knows of itself meanwhile.
//!
//! Owns the coroutine of each fiber, its [`Control`], and the question which fiber is running on this
//! thread. The switch itself is corosensei's. What a fiber waits for is `wait`'s matter, when it runs is
//! the runtime's.
//!
//! ```text
//!   host stack (the task's poll)                  fiber stack
//!   ----------------------------                  -----------
//!   Body::resume --- Resume { waker, .. } ----->  first frame: Control on this stack, ACTIVE = it
//!        |                                          the closure, wait, ..
//!        |  <----------------------------------   Control::suspend
//!   ACTIVE = what it was before                     (frames stay as they are)
//!        |                                            |
//!   Body::resume --- Resume { waker, .. } ----->  ACTIVE = Control; back from Control::suspend
//!        |  <----- the closure's result ---------   last frame; the stack is empty
//! ```
//!
//! **Invariant:** a suspended stack is resumed, or it stays for ever. It is never freed, and never
//! unwound from outside: whatever the kernel, a scope's children or the fiber's own callers were
//! lent lies in frames that are still there. [`Body`] leaks a stack that it cannot end.
//!
//! **Invariant:** a fiber that is unwinding does not suspend. The standard library counts panics per
//! thread, so that another fiber, or the runtime, would take itself for one that panics.

#![expect(unsafe_code)]
// UNSAFETY: what runs on a fiber finds its control block, and the block its yielder, by a pointer: no
// lifetime can name "while this fiber runs".

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::task::Waker;
use std::thread;

use corosensei::stack::Stack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use wharf::seam::{self, TaskId};

use crate::os::StackMemory;
use crate::stack;
use crate::wait::Unwinding;

thread_local! {
    /// The fiber that this thread is running; null if it runs none. It has no destructor, so that the
    /// report of an overflow can read it in a signal handler.
    static ACTIVE: Cell<*const Control> = const { Cell::new(ptr::null()) };
}

/// What the host tells a fiber when it lets it run: the task's waker, for the first frame, which
/// clones it, and two flags in the bits that are zero in its address. One word goes over in a
/// register.
#[derive(Clone, Copy)]
struct Resume(*const Waker);

const IS_CANCELLED: usize = 1;
const HOST_PANICS: usize = 2;
const FLAGS: usize = IS_CANCELLED | HOST_PANICS;
const _: () = assert!(align_of::<Waker>() > FLAGS);

impl Resume {
    #[inline]
    fn new(waker: &Waker, is_cancelled: bool) -> Resume {
        let cancelled = usize::from(is_cancelled) * IS_CANCELLED;
        let panics = usize::from(thread::panicking()) * HOST_PANICS;
        Resume(ptr::from_ref(waker).map_addr(|address| address | cancelled | panics))
    }

    fn waker(self) -> *const Waker {
        self.0.map_addr(|address| address & !FLAGS)
    }

    #[inline]
    fn has(self, flag: usize) -> bool {
        self.0.addr() & flag != 0
    }
}

/// What a fiber knows of itself. It lies in the first frame of the fiber's own stack.
pub(crate) struct Control {
    yielder: *const Yielder<Resume, ()>,
    task: Option<TaskId>,
    /// The lowest address of the stack, that above its guard pages, and that above its first frame.
    limit: usize,
    lowest: usize,
    base: usize,
    name: Option<std::rc::Rc<str>>,
    /// The task's own. It is dropped with this frame, when the fiber ends.
    waker: Waker,
    /// What came over with the last switch, for its flags. `IS_CANCELLED` is in all that follow the
    /// first that has it. `HOST_PANICS`: the thread was unwinding when it switched here, and the fiber
    /// itself need not be.
    last: Cell<Resume>,
}

impl Control {
    #[inline]
    fn resumed(&self, resume: Resume) {
        self.last.set(resume);
        ACTIVE.set(self);
    }

    /// Switches back to the host, until the task is polled again. The caller has made sure that the
    /// fiber [may wait](Control::may_wait).
    #[inline]
    pub(crate) fn suspend(&self) {
        // SAFETY: the yielder lies on this fiber's stack, at its base, for as long as that runs; and
        // this is that stack: a control block is only reached through `with_current`.
        let resume = unsafe { &*self.yielder }.suspend(());
        self.resumed(resume);
    }

    /// As [`suspend`](Control::suspend), for what must be waited for in spite of a cancel.
    pub(crate) fn suspend_in_any_case(&self) {
        if self.is_unwinding() {
            eprintln!("wharf: a fiber would be suspended while it unwinds");
            std::process::abort();
        }
        self.suspend();
    }

    /// What wakes the fiber's task.
    #[inline]
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.last.get().has(IS_CANCELLED)
    }

    /// Whether a panic, or a cancel, is on its way through this fiber's frames.
    #[inline]
    pub(crate) fn is_unwinding(&self) -> bool {
        thread::panicking() && !self.last.get().has(HOST_PANICS)
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The addresses below the stack that an overflow touches.
    pub(crate) fn guard(&self) -> Range<usize> {
        self.limit..self.lowest
    }

    /// How many bytes the stack has, without its guard pages.
    pub(crate) fn stack_size(&self) -> usize {
        self.base - self.lowest
    }
}

/// Calls `f` with the fiber that is running; with `None` outside one, and in a task of another
/// runtime that ends within one.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(Option<&Control>) -> R) -> R {
    let active = ACTIVE.get();
    if active.is_null() {
        return f(None);
    }
    // SAFETY: it is set while its fiber runs only, and lies in that fiber's first frame.
    let control = unsafe { &*active };
    f(Some(control).filter(|control| control.task == seam::running()))
}

/// As [`with_current`], without asking the runtime: for a signal handler.
pub(crate) fn with_active<R>(f: impl FnOnce(Option<&Control>) -> R) -> R {
    // SAFETY: as in `with_current`; null if there is none.
    f(unsafe { ACTIVE.get().as_ref() })
}

/// The closure of a fiber that has not begun. It is dropped with its stack where the fiber never does,
/// and a panic of that goes no further: corosensei would drop the closure again.
struct Unbegun<F>(Option<F>);

impl<F> Drop for Unbegun<F> {
    fn drop(&mut self) {
        let closure = self.0.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(closure))) {
            // Its drop could panic as well.
            std::mem::forget(payload);
        }
    }
}

/// Whether a fiber has ended, and with what.
pub(crate) enum Progress<T> {
    Suspended,
    /// What the closure has returned, or what its panic carried.
    Ended(thread::Result<T>),
}

type FiberCoroutine<T> = Coroutine<Resume, (), thread::Result<T>, StackMemory>;

/// A fiber's body: its closure, and the stack that it runs on.
pub(crate) struct Body<T> {
    coroutine: Option<FiberCoroutine<T>>,
}

/// Resumes a fiber while another one runs, which has a runtime of its own within it. It is a case of
/// its own because each switch would otherwise wait for the memory that the last has written.
#[cold]
#[inline(never)]
fn resume_within<T>(
    outer: *const Control,
    coroutine: &mut FiberCoroutine<T>,
    resume: Resume,
) -> CoroutineResult<(), thread::Result<T>> {
    let result = coroutine.resume(resume);
    ACTIVE.set(outer);
    result
}

impl<T: 'static> Body<T> {
    pub(crate) fn new(closure: impl FnOnce() -> T + 'static, stack: StackMemory) -> Body<T> {
        let (limit, lowest, base) = (stack.limit().get(), stack.lowest(), stack.base().get());
        let mut closure = Unbegun(Some(closure));
        let first_frame =
            move |yielder: &Yielder<Resume, ()>, resume: Resume| -> thread::Result<T> {
                let control = Control {
                    yielder,
                    task: seam::running(),
                    limit,
                    lowest,
                    base,
                    name: wharf::task::name(),
                    // SAFETY: the host is in `resume`, and keeps the waker until it is switched back to.
                    waker: unsafe { &*resume.waker() }.clone(),
                    last: Cell::new(resume),
                };
                control.resumed(resume);
                let closure = closure.0.take().expect("a fiber begins once");
                if control.is_cancelled() {
                    // Cancelled before it has begun: what the closure owns ends here as in any fiber.
                    catch_unwind(AssertUnwindSafe(|| drop(closure)))?;
                    return Err(Box::new(Unwinding));
                }
                catch_unwind(AssertUnwindSafe(closure))
            };
        Body {
            coroutine: Some(Coroutine::with_stack(stack, first_frame)),
        }
    }

    /// Lets the fiber run until it suspends or ends.
    ///
    /// # Panics
    /// If it has ended.
    // The compiler keeps it out of line otherwise, and has it save all registers: at the price of the
    // switch itself.
    #[inline(always)]
    pub(crate) fn resume(&mut self, waker: &Waker, is_cancelled: bool) -> Progress<T> {
        let coroutine = self.coroutine.as_mut();
        let coroutine = coroutine.expect("a fiber that has ended is not resumed");
        let resume = Resume::new(waker, is_cancelled);
        let outer = ACTIVE.get();
        let result = if outer.is_null() {
            let result = coroutine.resume(resume);
            ACTIVE.set(ptr::null());
            result
        } else {
            resume_within(outer, coroutine, resume)
        };
        match result {
            CoroutineResult::Yield(()) => Progress::Suspended,
            CoroutineResult::Return(result) => {
                self.recycle();
                Progress::Ended(result)
            }
        }
    }

    /// Whether it has begun, and so has frames.
    fn has_begun(&self) -> bool {
        self.coroutine.as_ref().is_none_or(Coroutine::started)
    }

    /// Gives the stack of a fiber that has ended back.
    #[cold]
    #[inline(never)]
    fn recycle(&mut self) {
        if let Some(coroutine) = self.coroutine.take() {
            stack::give(coroutine.into_stack());
        }
    }
}

impl<T> Drop for Body<T> {
    fn drop(&mut self) {
        let Some(mut coroutine) = self.coroutine.take() else {
            return;
        };
        if coroutine.done() || !coroutine.started() {
            coroutine.force_unwind();
            stack::give(coroutine.into_stack());
            return;
        }
        eprintln!(
            "wharf: a fiber did not end in time with its runtime; its stack and what is on it are leaked"
        );
        std::mem::forget(coroutine);
    }
}

/// A fiber that does nothing but switch back, without a runtime: for the benchmark of the switch. It is
/// no part of the public interface.
#[doc(hidden)]
pub struct BareSwitch {
    body: Body<()>,
}

#[doc(hidden)]
impl BareSwitch {
    /// # Errors
    /// That of the system, if it gives no memory for a stack.
    pub fn new() -> std::io::Result<BareSwitch> {
        let switch_back = || {
            with_active(|control| {
                let control = control.expect("this is a fiber");
                while !control.is_cancelled() {
                    control.suspend();
                }
            });
        };
        let stack = stack::take(stack::DEFAULT_SIZE, 0)?;
        Ok(BareSwitch {
            body: Body::new(switch_back, stack),
        })
    }

    /// Switches there and back.
    #[inline]
    pub fn there_and_back(&mut self) {
        self.body.resume(Waker::noop(), false);
    }
}

impl Drop for BareSwitch {
    fn drop(&mut self) {
        if self.body.has_begun() {
            self.body.resume(Waker::noop(), true);
        }
    }
}
