//! Stackful fibers on the [`wharf`] runtime: code that is written as if it blocked, thousands at a
//! time, on a completion queue.
//!
//! A fiber is a task of the runtime whose body is a closure with a stack of its own. Where an `async`
//! function says `.await`, a fiber calls [`wait`](wait()), at any depth of its calls: it is suspended, and the
//! worker runs others meanwhile. So a fiber awaits any future, a task awaits any fiber (its
//! [`JoinHandle`] is a future), and both have the same order and the same budget.
//!
//! ```
//! use std::time::Duration;
//! use wharf_fiber as fiber;
//!
//! let runtime = wharf::Runtime::new()?;
//! let sum = fiber::block_on(&runtime, || {
//!     let fibers: Vec<_> = (1..=100)
//!         .map(|number| {
//!             fiber::spawn(move || {
//!                 fiber::sleep(Duration::from_millis(10));
//!                 number
//!             })
//!         })
//!         .collect();
//!     let numbers = fibers.into_iter().map(|fiber| fiber.join().unwrap());
//!     numbers.sum::<u32>()
//! });
//! assert_eq!(sum, 5050);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is sound, and why
//!
//! **A fiber stays on its thread**, as tasks do. So what it keeps on its stack need not be `Send`, and
//! references into thread-local values stay right. Thread-local values are those of the worker: all
//! of its fibers and tasks see the same. A `RefCell` that is borrowed, or a `std::sync::Mutex` that
//! is locked, while the fiber waits is found borrowed or locked by the next fiber: the first panics,
//! the second would wait for itself for ever. Use [`wharf::sync::lock`] across waits.
//!
//! **A stack is never taken away.** A fiber that waits is resumed, or its stack stays for ever; it is
//! not freed, and not unwound from outside. So a frame may lend its memory to the kernel
//! and to the fibers of a [`scope`](scope()) for as long as it waits for them.
//!
//! **A panic** unwinds its fiber, is caught at its end, and is told to who joins it. While a
//! fiber unwinds it is not suspended, as the standard library counts panics per thread: a wait in a
//! destructor gives what is ready, and otherwise fails. A program that is built with
//! `panic = "abort"` may use fibers, but not cancel them.
//!
//! **An overflow** runs into the guard pages that lie below each stack, and ends the process; a line on
//! standard error names the fiber and the size of its stack. Nothing else is overwritten, as long as
//! every function touches its frame page by page, which the Rust compiler sees to; for C code that
//! does not, see [`Builder::guard_size`]. [`stack_left`] tells a recursive function how much it has.
//!
//! One thing is left to you: do not keep a [`Runtime`](wharf::Runtime) in a thread-local value. It
//! would be dropped while the thread's other values are being destroyed, and its fibers would end
//! later than what they may refer to.
//!
//! # Cancellation
//!
//! [`JoinHandle::abort`] and the end of the runtime *cancel* a fiber. That is a request: it is carried
//! out where the fiber waits, now or next.
//!
//! - [`try_wait`] gives [`Cancelled`], and so does I/O, as an [`io::Error`](std::io::Error). What the
//!   fiber waited for is dropped, with the effect that dropping it has elsewhere. If it is ready at
//!   that moment, its output is given, and nothing is lost.
//! - [`wait`](wait()), and what returns no error, unwinds the fiber, without the message of a panic.
//! - An operation that the kernel has memory of the fiber's for is cancelled, and waited for; only
//!   then does the fiber go on. A scope waits for its fibers, which are cancelled as well.
//! - From then on the fiber is not suspended any more. Each later wait polls its future once, and
//!   fails if that is not ready. So a fiber that swallows its cancellation keeps the worker busy, as any code
//!   that does not wait, until it returns; nothing waits on its behalf. Long computations
//!   ask [`is_cancelled`].
//! - A fiber that returns in spite of its cancel gives its output; one that was unwound gives an error for which
//!   [`JoinError::is_cancelled`](wharf::task::JoinError::is_cancelled) holds; one that had
//!   not begun is never run.
//!
//! The end of the runtime cancels its fibers first, and runs until they have ended, other tasks
//! included, for as long as
//! [`teardown_timeout`](wharf::runtime::Builder::teardown_timeout) allows. Past that it says so on standard
//! error, and leaks what does not end: the memory stays valid.

pub mod fs;
mod lend;
pub mod net;
mod os;
mod scope;
mod stack;
mod switch;
mod task;
mod wait;

pub use scope::{Scope, ScopedJoinHandle, scope};
pub use stack::{Stats, set_pool_limit, stats};
#[doc(hidden)]
pub use switch::BareSwitch;
pub use task::{Builder, JoinHandle, block_on, name, spawn};
pub use wait::{Cancelled, is_cancelled, sleep, stack_left, try_wait, wait, yield_now};
