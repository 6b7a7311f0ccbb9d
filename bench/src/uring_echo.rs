//! A TCP echo server straight on the `io-uring` crate: the baseline that wharf's own server is held against.
//!
//! It owns one listener, one ring, one pool of buffers and the connections. It is meant to be as fast as this
//! interface allows on one thread, and correct:
//!
//! - one multishot accept, one multishot receive per connection, from a ring of provided buffers;
//! - a received chunk is sent from the buffer it arrived in, and the buffer goes back when it is sent;
//! - `SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN`, and the ring's own descriptor registered;
//! - one `io_uring_enter(2)` per turn of the loop, which submits all sends of the turn and waits for more;
//! - chunks of a connection are sent in order, one send at a time, and a short send is continued;
//! - a receive that found no buffer (`ENOBUFS`) is armed again when a buffer came back.
//!
//! ```text
//!           arm_receive            receive yields bytes           no send in flight
//! accepted ────────────> receiving ────────────────────> waiting ──────────────────> sending
//!                           ^  │ ENOBUFS                                               │ │ short
//!                           │  v                                                       │ └──> sending
//!                           starved <── a buffer was released ─────────────────────────┘ sent
//! ```
//!
//! What it does not have, because no load here needs it: a limit on what one peer that never reads may hoard.
// UNSAFETY: submission entries point into the pool, which is never freed.
#![expect(unsafe_code)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::squeue::Entry;
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, types};

use crate::bare;
use crate::buffer_ring::{BufferKind, BufferRing, BufferShape, Chunk};
use crate::sys;

const GROUP: u16 = 0;
const SUBMISSION_ENTRIES: u32 = 1024;
const COMPLETION_ENTRIES: u32 = 8192;
const DIRECT_SLOTS: u32 = 4096;

/// How the server is set up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The pool of buffers.
    pub buffers: BufferShape,
    /// Whether accepted sockets live in the ring's own table instead of the descriptor table.
    pub direct: bool,
}

impl Default for Options {
    fn default() -> Self {
        let buffers = BufferShape {
            kind: BufferKind::Incremental,
            count: 32,
            bytes: 512 * 1024,
        };
        Self {
            buffers,
            direct: false,
        }
    }
}

/// What a completion belongs to, in the upper half of its user data; the connection is in the lower one.
const ACCEPT: u64 = 0 << 32;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const CLOSE: u64 = 3 << 32;

struct Connection {
    socket: i32,
    /// A receive is armed, or its final completion has not come yet.
    receiving: bool,
    /// The peer has ended its side, or the connection has failed.
    ended: bool,
    /// The connection has failed, so nothing more is sent.
    failed: bool,
    sending: Option<Chunk>,
    waiting: VecDeque<Chunk>,
}

/// The submitting half of the ring; it never refuses an entry.
struct Submission<'ring> {
    submitter: Submitter<'ring>,
    queue: SubmissionQueue<'ring>,
}

impl Submission<'_> {
    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        // SAFETY: entries refer to sockets by number and to the pool's memory, which is never freed.
        while unsafe { self.queue.push(entry) }.is_err() {
            self.enter(0)?;
        }
        Ok(())
    }

    fn enter(&mut self, want: usize) -> io::Result<()> {
        self.queue.sync();
        let result = self.submitter.submit_and_wait(want);
        self.queue.sync();
        match result {
            Ok(_) => Ok(()),
            // An interrupted wait, or completions that have to be taken first: the next turn goes on
            // (io_uring_enter(2), EINTR, EBUSY and EAGAIN).
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

struct Server<'ring> {
    submission: Submission<'ring>,
    pool: BufferRing,
    listener: TcpListener,
    direct: bool,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    starved: Vec<u32>,
    accepting: bool,
}

/// Serves until an error of the ring itself.
///
/// # Errors
/// What the kernel refuses of the set-up, or the error of `io_uring_enter(2)`.
pub fn serve(listener: TcpListener, options: &Options) -> io::Result<Infallible> {
    sys::set_nodelay(&listener)?;
    let mut ring = bare::build_ring(SUBMISSION_ENTRIES, COMPLETION_ENTRIES)?;
    let (server, mut completions) = Server::start(&mut ring, listener, options)?;
    server.run(&mut completions)
}

impl<'ring> Server<'ring> {
    fn start(
        ring: &'ring mut IoUring,
        listener: TcpListener,
        options: &Options,
    ) -> io::Result<(Self, CompletionQueue<'ring>)> {
        let (mut submitter, queue, completions) = ring.split();
        submitter.register_ring_fd()?;
        if options.direct {
            submitter.register_files_sparse(DIRECT_SLOTS)?;
        }
        let pool = BufferRing::register(&submitter, GROUP, options.buffers)?;
        let server = Self {
            submission: Submission { submitter, queue },
            pool,
            listener,
            direct: options.direct,
            connections: Vec::new(),
            free: Vec::new(),
            starved: Vec::new(),
            accepting: false,
        };
        Ok((server, completions))
    }

    fn run(mut self, completions: &mut CompletionQueue<'_>) -> io::Result<Infallible> {
        self.arm_accept()?;
        loop {
            self.submission.enter(1)?;
            completions.sync();
            for completion in &mut *completions {
                self.complete(&completion)?;
            }
            completions.sync();
            self.pool.publish();
            if !self.starved.is_empty() && self.pool.has_available() {
                for index in std::mem::take(&mut self.starved) {
                    self.arm_receive(index)?;
                }
            }
        }
    }

    #[inline]
    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let user_data = completion.user_data();
        let index = user_data as u32;
        let (result, flags) = (completion.result(), completion.flags());
        match user_data & !u64::from(u32::MAX) {
            RECEIVE => self.received(index, result, flags),
            SEND => self.sent(index, result),
            ACCEPT => self.accepted(result, flags),
            _ => Ok(()),
        }
    }

    fn arm_accept(&mut self) -> io::Result<()> {
        self.accepting = true;
        let listener = types::Fd(self.listener.as_raw_fd());
        let flags = if self.direct { 0 } else { libc::SOCK_CLOEXEC };
        let entry = opcode::AcceptMulti::new(listener)
            .allocate_file_index(self.direct)
            .flags(flags);
        self.submission.push(&entry.build().user_data(ACCEPT))
    }

    fn accepted(&mut self, result: i32, flags: u32) -> io::Result<()> {
        if result >= 0 {
            let index = self.insert(result);
            self.arm_receive(index)?;
        }
        if cqueue::more(flags) {
            return Ok(());
        }
        self.accepting = false;
        // Out of descriptors: armed again at once it would spin; the next close arms it instead.
        let exhausted = matches!(-result, libc::EMFILE | libc::ENFILE);
        if exhausted {
            let open = self.connections.len() - self.free.len();
            let error = io::Error::from_raw_os_error(-result);
            return if open > 0 { Ok(()) } else { Err(error) };
        }
        self.arm_accept()
    }

    fn insert(&mut self, socket: i32) -> u32 {
        let connection = Some(Connection {
            socket,
            receiving: false,
            ended: false,
            failed: false,
            sending: None,
            waiting: VecDeque::new(),
        });
        if let Some(index) = self.free.pop() {
            self.connections[index as usize] = connection;
            return index;
        }
        self.connections.push(connection);
        self.connections.len() as u32 - 1
    }

    /// The connection of a completion. It exists, because it is removed only after its last completion.
    fn connection(&mut self, index: u32) -> &mut Connection {
        self.connections[index as usize]
            .as_mut()
            .expect("a completion belongs to a connection")
    }

    fn arm_receive(&mut self, index: u32) -> io::Result<()> {
        let direct = self.direct;
        let connection = self.connection(index);
        connection.receiving = true;
        let socket = connection.socket;
        let entry = if direct {
            opcode::RecvMulti::new(types::Fixed(socket.unsigned_abs()), GROUP).build()
        } else {
            opcode::RecvMulti::new(types::Fd(socket), GROUP).build()
        };
        self.submission
            .push(&entry.user_data(RECEIVE | u64::from(index)))
    }

    #[inline]
    fn received(&mut self, index: u32, result: i32, flags: u32) -> io::Result<()> {
        let chunk = cqueue::buffer_select(flags).map(|buffer| {
            let len = result.max(0).unsigned_abs();
            self.pool.take(buffer, len, cqueue::buffer_more(flags))
        });
        let connection = self.connection(index);
        let mut rearm = false;
        if !cqueue::more(flags) {
            connection.receiving = false;
            match -result {
                libc::ENOBUFS => {
                    connection.receiving = true;
                    self.starved.push(index);
                }
                _ if result > 0 => rearm = true,
                _ => {
                    connection.ended = true;
                    connection.failed = result < 0;
                }
            }
        }
        if let Some(chunk) = chunk {
            self.echo(index, chunk)?;
        }
        if rearm {
            self.arm_receive(index)?;
        }
        self.close_if_done(index)
    }

    #[inline]
    fn echo(&mut self, index: u32, chunk: Chunk) -> io::Result<()> {
        let connection = self.connection(index);
        if chunk.len == 0 || connection.failed {
            self.pool.release(chunk.buffer);
            return Ok(());
        }
        if connection.sending.is_some() {
            connection.waiting.push_back(chunk);
            return Ok(());
        }
        self.send(index, chunk)
    }

    #[inline]
    fn send(&mut self, index: u32, chunk: Chunk) -> io::Result<()> {
        let direct = self.direct;
        let connection = self.connection(index);
        connection.sending = Some(chunk);
        let socket = connection.socket;
        let start = self.pool.address(chunk.buffer, chunk.start);
        let entry = if direct {
            opcode::Send::new(types::Fixed(socket.unsigned_abs()), start, chunk.len)
                .flags(libc::MSG_NOSIGNAL)
                .build()
        } else {
            opcode::Send::new(types::Fd(socket), start, chunk.len)
                .flags(libc::MSG_NOSIGNAL)
                .build()
        };
        self.submission
            .push(&entry.user_data(SEND | u64::from(index)))
    }

    #[inline]
    fn sent(&mut self, index: u32, result: i32) -> io::Result<()> {
        let connection = self.connection(index);
        let chunk = connection
            .sending
            .take()
            .expect("a send belongs to a chunk");
        if result < 0 {
            connection.failed = true;
            let waiting = std::mem::take(&mut connection.waiting);
            self.pool.release(chunk.buffer);
            for chunk in waiting {
                self.pool.release(chunk.buffer);
            }
            self.stop_receiving(index);
            return self.close_if_done(index);
        }
        let count = result.unsigned_abs();
        if count < chunk.len {
            let rest = Chunk {
                start: chunk.start + count,
                len: chunk.len - count,
                ..chunk
            };
            return self.send(index, rest);
        }
        let next = connection.waiting.pop_front();
        self.pool.release(chunk.buffer);
        match next {
            Some(next) => self.send(index, next),
            None => self.close_if_done(index),
        }
    }

    /// After a failed send: the receive ends by itself, because the socket has failed in both directions.
    /// A starved receive is not armed, so it has to be taken off the list.
    fn stop_receiving(&mut self, index: u32) {
        if let Some(position) = self.starved.iter().position(|starved| *starved == index) {
            self.starved.swap_remove(position);
            let connection = self.connection(index);
            connection.receiving = false;
            connection.ended = true;
        }
    }

    #[inline]
    fn close_if_done(&mut self, index: u32) -> io::Result<()> {
        let connection = self.connection(index);
        if !connection.ended || connection.receiving || connection.sending.is_some() {
            return Ok(());
        }
        let socket = connection.socket;
        self.connections[index as usize] = None;
        self.free.push(index);
        if self.direct {
            let entry = opcode::Close::new(types::Fixed(socket.unsigned_abs())).build();
            self.submission.push(&entry.user_data(CLOSE))?;
        } else {
            // SAFETY: the accept gave this descriptor to the connection, which is gone, and no operation
            // refers to it any more.
            drop(unsafe { OwnedFd::from_raw_fd(socket) });
        }
        if self.accepting {
            Ok(())
        } else {
            self.arm_accept()
        }
    }
}
