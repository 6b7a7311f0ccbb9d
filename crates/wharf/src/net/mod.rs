//! Sockets: TCP, UDP and Unix, their listeners, names, and the copying between them.
//!
//! A handle owns what it has in flight and what that brings; its futures only look. So a future that
//! is dropped, by `select!` or a time-out, loses nothing: what the kernel handed over waits for the
//! next caller. The table in the crate's documentation says it for each.
//!
//! Handles are `Send`, and live on the worker that made them. Used on another one, they still work:
//! the home worker carries the operation out, which costs a message, a lock and, if it sleeps, a
//! system call. On the home worker the price is one comparison.
//!
//! | style | receive | send |
//! |---|---|---|
//! | borrowed | `read(&mut buf)` copies out of the worker's buffers | `write(&buf)` copies into the stream's bounded outgoing buffer |
//! | owned | `read_owned(buf)` | `write_owned(buf)` sends the buffer itself |
//! | pooled | `recv()` gives a piece of the worker's buffers, uncopied | `send(piece)` sends it, uncopied |

mod address;
mod connect;
mod datagram;
mod failure;
mod listener;
mod outbox;
mod place;
mod serve;
mod socket;
pub(crate) mod sources;
pub(crate) mod stream;
pub mod tcp;
mod udp;
pub mod unix;

pub use address::{ToAddrs, lookup};
pub use datagram::Datagram;
pub use serve::{Serving, least_loaded, serve, serve_sharded};
pub use socket::TcpSocket;
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};
pub use wharf_queue::{
    Address, MulticastV4, MulticastV6, PeerCredentials, SocketOption, UnixAddress,
};

pub(crate) use failure::Failure;
pub(crate) use sources::Sources;
