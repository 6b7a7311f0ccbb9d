//! An async runtime on a completion queue: nothing that was received is ever lost.
//!
//! An echo server:
//!
//! ```no_run
//! use wharf::net::TcpListener;
//!
//! #[wharf::main]
//! async fn main() -> std::io::Result<()> {
//!     let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7777".into());
//!     let listener = TcpListener::bind(address).await?;
//!     println!("listening on {}", listener.local_addr());
//!     loop {
//!         let (mut stream, _) = listener.accept().await?;
//!         wharf::spawn(async move {
//!             let (mut read, mut write) = stream.split();
//!             wharf::io::copy(&mut read, &mut write).await
//!         });
//!     }
//! }
//! ```
//!
//! # A tour in five minutes
//!
//! **A [`Runtime`]** has one or more workers: threads with a completion queue each, on io_uring or on
//! epoll ([`runtime::Builder::backend`], `WHARF_BACKEND`). [`main`](macro@main) and
//! [`test`](macro@test) make one for a function. A **task** ([`spawn`]) stays on its worker, so its
//! future need not be `Send`; [`spawn_on`] begins one on another worker, a [`runtime::Handle`] one from any
//! thread, and [`spawn_blocking`] runs what blocks. A panic ends its task alone.
//!
//! ```
//! #[wharf::main(workers = 2)]
//! async fn main() {
//!     let here = wharf::spawn(async { 1 });
//!     let there = wharf::spawn_on(1, || async { 2 });
//!     let blocking = wharf::spawn_blocking(|| 3);
//!     let sum = here.await.unwrap() + there.await.unwrap() + blocking.await.unwrap();
//!     assert_eq!(sum, 6);
//! }
//! ```
//!
//! **[`net`]** has sockets in three styles: borrowed, as everywhere; owned, where a buffer is handed in
//! and comes back; pooled, where received bytes are not copied at all. The streams implement the
//! traits of `futures-io`, and with features `tokio` and `hyper` of those crates. **[`time`]** has
//! sleeps, deadlines and intervals; **[`sync`]** names the crates for channels and locks; **[`io`]**
//! copies, reads in lines, has the standard streams, and waits for descriptors that wharf does not know.
//!
//! **[`fs`]** has files and directories: operations of the ring on io_uring, of a bounded pool of
//! threads elsewhere. **[`process`]** starts children and waits for them without a thread for each;
//! **[`signal`]** hears of Ctrl-C and of the other signals.
//!
//! ```
//! # wharf::Runtime::new().unwrap().block_on(async {
//! use std::time::Duration;
//! use wharf::net::{TcpListener, TcpStream};
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let mut client = TcpStream::connect(listener.local_addr()).await?;
//! let (mut server, _) = listener.accept().await?;
//!
//! // A read that is timed out has lost nothing.
//! let mut buf = [0; 16];
//! let early = wharf::time::timeout(Duration::from_millis(1), server.read(&mut buf));
//! assert!(early.await.is_err());
//! client.write_all(b"borrowed").await?;
//! assert_eq!(server.read(&mut buf).await?, 8);
//!
//! let (written, vector) = client.write_owned(b"owned".to_vec()).await;
//! assert_eq!((written?, vector.len()), (5, 5));
//! let piece = server.recv().await?.expect("not the end");
//! server.send(piece).await?; // pooled
//! # std::io::Result::Ok(()) }).unwrap();
//! ```
//!
//! **Several things at once**: a runtime of its own is not needed for that. Use
//! `futures_lite::future::{or, zip}`, `futures_util::select!` or [`task::JoinSet`]; all of wharf's
//! futures may be dropped half-way, and the table says what that does.
//!
//! # What dropping a future does
//!
//! A handle owns what it has in flight, and what that brings; a future only looks. So cancelling by
//! `select!` or a time-out is safe:
//!
//! | future | dropped before it is ready |
//! |---|---|
//! | `read`, `read_vectored`, `peek`, `recv` | nothing: what comes is the next reader's |
//! | `read_owned` | the buffer is dropped, the bytes are the next reader's |
//! | `read_exact` | what it has read is in the caller's buffer, the rest is the next reader's |
//! | `write`, `write_vectored`, `send` | nothing of it is sent |
//! | `write_all` | what was taken is sent, the rest is not |
//! | `write_owned` | not begun: nothing is sent; begun: all of it is sent, in order, then the buffer is dropped; an error is told to the next write, flush or shutdown |
//! | `send_file` | a part is sent, in order, the rest is not; `send_file_until` says how much |
//! | `flush` | nothing |
//! | `shutdown` | it is done in the background |
//! | `accept` | nothing: the connection is the next accept's |
//! | `connect` | the socket is closed |
//! | `recv_from`, `recv_datagram` | nothing: the datagram is the next receiver's |
//! | `send_to` | not sent; once it has returned, it is sent |
//! | `lookup` | the answer is dropped |
//! | `bind`, `serve`, `serve_sharded` | the listeners are closed; handlers that are running go on |
//! | `close` of a socket | it goes on in the background |
//! | `yield_now` | nothing |
//! | `sleep`, `timeout`, `tick` | the timer is cancelled; a tick is not lost |
//! | [`JoinHandle`] | the task goes on; [`JoinHandle::abort`] ends it |
//! | `JoinSet::join_next` | nothing: the output is the next caller's |
//! | `JoinSet::join_all` | the tasks that are left are aborted, as by dropping the set |
//! | `JoinSet::shutdown` | the tasks are aborted, and to be joined |
//! | `spawn_blocking`'s handle | the closure runs to its end |
//!
//! Those of [`fs`](fs#what-dropping-a-future-does), [`process`](process#what-dropping-does) and [`io`]
//! stand there; `Signal::recv` and `ctrl_c` lose nothing.
//!
//! Forgetting a future (`mem::forget`) is sound; the kernel never has a pointer into one. It loses no
//! more than a drop, and leaks what it holds: an owned write of a file or a pipe is held by its future,
//! so that one which is forgotten is not gone on with, and keeps the file open.
//!
//! | handle | dropped |
//! |---|---|
//! | a stream | what was written is sent in the background, in order, for as long as [`runtime::Builder::linger`] allows; then it is closed |
//! | a write half | as much, and the sending direction is ended |
//! | a listener | closed, and so are the connections that nobody took |
//! | a socket whose `close` is waited for | as dropping the handle does, in the background if that future is dropped |
//! | a datagram socket | what was sent is sent; what was received is dropped |
//! | a file, a child's input | what was written is carried out in the background; then it is closed |
//! | a child process | it goes on, or is killed if that was chosen; it is waited for in the background |
//! | [`Runtime`] | tasks are dropped, what streams and files have accepted is sent and written, the rest is cancelled; handles that are left give `NotConnected` |
//!
//! # Handles on another worker
//!
//! Every handle is `Send` and works on any thread of the runtime; its own worker carries the operation
//! out. There, that costs one comparison; elsewhere a message, a lock, a copy of what is written, and
//! a system call if the worker sleeps.

/// The README's code, compiled and run: that of the queue, too.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

// `#[wharf::main]` and the macros name the crate by its name, also in here.
extern crate self as wharf;

mod buf;
mod carried;
pub(crate) mod engine;
pub mod fs;
#[cfg(feature = "hyper")]
pub mod hyper_rt;
pub mod io;
pub mod net;
mod primitive;
pub mod process;
mod promise;
pub mod runtime;
#[doc(hidden)]
pub mod seam;
pub mod signal;
mod slab;
pub mod sync;
pub mod task;
pub mod time;

pub use runtime::Runtime;
pub use task::{JoinHandle, spawn, spawn_blocking, spawn_named, spawn_on};
pub use wharf_macros::{main, test};
