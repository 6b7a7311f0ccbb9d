//! Sockets in the manner of [`std::net`]: `Read` and `Write`, and calls that wait.
//!
//! Code for blocking sockets runs on them unchanged, on a fiber: a `BufReader` with its lines,
//! `serde_json::from_reader`, `rustls::Stream`, a WebSocket. A stream may be shared and cloned as those of the
//! standard library may; fibers that read from the same one take turns, and so do those that write.
//!
//! ```
//! use std::io::{BufRead, BufReader, Write};
//! use wharf_fiber::{self as fiber, net::{TcpListener, TcpStream}};
//! # let runtime = wharf::Runtime::new().unwrap();
//! # fiber::block_on(&runtime, || {
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! drop(fiber::spawn(move || {
//!     let (stream, _) = listener.accept()?;
//!     let mut line = String::new();
//!     BufReader::new(&stream).read_line(&mut line)?;
//!     (&stream).write_all(line.to_uppercase().as_bytes())
//! }));
//! let mut stream = TcpStream::connect(address)?;
//! stream.write_all(b"hello\n")?;
//! let mut answer = String::new();
//! BufReader::new(stream).read_line(&mut answer)?;
//! assert_eq!(answer, "HELLO\n");
//! # std::io::Result::Ok(()) }).unwrap();
//! ```
//!
//! Slices of 32 KiB and more are lent to the system: what comes is received into the caller's own
//! slice, if nothing shorter was read from the stream before, and what is written is sent from it. Such
//! a write waits until all is sent. Shorter ones are copied, which costs less than an operation for
//! each.
//!
//! What reads or writes may also be called outside a fiber, as destructors may run there: it then does what
//! can be done at once (short writes are copied, and sent in the background), and else fails.
//!
//! A cancel of the fiber is an error of the call that waits: see
//! [the crate's documentation](crate#cancellation). No byte is lost by it: what a read would have
//! given is the next reader's, and what a write has taken is sent. A write that is interrupted halfway
//! through a lent slice counts as written: the stream copies the rest, and sends it.

mod patience;
mod stream;
mod tcp;
mod udp;
mod unix;
mod unix_datagram;

pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixIncoming, UnixListener, UnixStream};
pub use unix_datagram::UnixDatagram;
