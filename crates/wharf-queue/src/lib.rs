//! A completion event queue with one meaning on every system.
//!
//! You hand an operation its buffer, wait, and are told when it is *done*, with the buffer filled.
//! The five steps:
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! # use std::io::Write;
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
//! # listener.accept()?.0.write_all(b"hello")?;
//! use wharf_queue::{Queue, op};
//!
//! let queue = Queue::new()?;                             // 1 create an event queue
//! let socket = queue.attach(stream)?;                    // 2 have a handle and a buffer
//! let buf = vec![0; 4096];
//! let token = queue.submit(op::Recv::new(&socket, buf))?; // 3 register, passing the buffer in
//! for completion in queue.wait(None)? {                  // 4 block until something is done
//!     let (outcome, buf) = completion.take(token).expect("the only operation");
//!     assert_eq!(outcome.into_result()?, 5);             // 5 the buffer is already filled
//!     assert_eq!(buf, b"hello");
//! }
//! # Ok(()) }
//! ```
//!
//! io_uring works this way itself; over epoll the queue tries the call, waits for readiness and
//! makes it, so that readiness never shows, except as the operation [`op::Poll`]. The promises are
//! the same on each backend: one submission, one final completion; what is lent belongs to the
//! queue until then; a cancel is a request, and the completion tells the truth; nothing is lost.
//!
//! No `unsafe` is needed to use it. The names of some operations are those of standard traits
//! (`Send`, `Sync`, `Read`, `Write`): write `op::Send`, and do not import the module's contents.

/// The code of the page that explains how it works, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/how-it-works.md")]
struct HowItWorks;

mod backend;
mod buf;
mod bufpool;
mod completion;
mod error;
mod handle;
mod ledger;
mod notify;
pub mod op;
pub mod os;
mod pool;
mod primitive;
mod queue;
mod slot;
mod stats;
mod sys;
mod time;
mod timer;

pub use backend::{BackendKind, BackendReport, probe};
pub use buf::{AlignedBuf, IoBuf, IoBufMut, IoVec, IoVecMut, Slice};
pub use bufpool::{BufPool, BufPoolBuilder, PoolBuf};
pub use completion::{BufResult, Completion, Completions, Outcome};
pub use error::{Cancelled, SubmitError};
pub use handle::{Handle, HandleKind, MulticastV4, MulticastV6, PeerCredentials, SocketOption};
pub use notify::Notifier;
pub use op::{OpKind, Operation, Prepare, Submission, Support};
pub use queue::{Builder, Chain, Queue};
pub use slot::Token;
pub use stats::Stats;
pub use sys::{
    Address, AsHandle, BorrowedHandle, OwnedHandle, RawHandle, UnixAddress, is_out_of_resources,
};
pub use time::Moment;
