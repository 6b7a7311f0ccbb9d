//! Operations that move bytes: reads, writes, receives, sends, datagrams, splices.
//!
//! Owns the typed builders and how their result is made. The names `Read`, `Write` and `Send` are
//! also names of the standard library's: use them as `op::Send`, not by a glob import.

use super::{Done, MessageFlags, Op, OpKind, Operation, Refusal};
use crate::buf::{IoBuf, IoBufMut, IoVec, IoVecMut, RawBuf, RawBufMut};
use crate::bufpool::{BufPool, PoolBuf, PoolKind};
use crate::completion::{BufResult, Outcome, Ready};
use crate::handle::Handle;
use crate::queue::Queue;
use crate::slot::Slot;
use crate::sys::{self, Address};

/// Reports that `filled` bytes of a buffer were written by the system.
pub(super) fn set_filled<B: IoBufMut>(buf: &mut B, filled: usize) {
    #![expect(unsafe_code)]
    // UNSAFETY: this is where the system's count becomes the buffer's length.
    // SAFETY: the backend reported `filled` bytes written at the beginning of the region.
    unsafe { buf.set_filled(filled) }
}

pub(super) fn set_filled_vectored<V: IoVecMut>(bufs: &mut V, filled: usize) {
    #![expect(unsafe_code)]
    // UNSAFETY: as in `set_filled`.
    // SAFETY: the backend reported `filled` bytes written, in the order of the buffers.
    unsafe { bufs.set_filled(filled) }
}

macro_rules! reading {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<B> {
            handle: Handle,
            buf: B,
            $($field: $type,)*
        }
    };
}

reading!(
    /// Receives from a connected socket into a buffer.
    ///
    /// Gives `BufResult<usize, B>`: the count is 0 at the end of the stream, and at once for a
    /// buffer without room. It may be less than the room. A reset is
    /// [`ConnectionReset`](std::io::ErrorKind::ConnectionReset), never an end of the stream. When
    /// it is cancelled, nothing has been taken from the socket unless the outcome is `Completed`. Two
    /// receives in flight on one stream are carried out in no particular order.
    ///
    /// Source: recv(2); `IORING_OP_RECV` on io_uring.
    Recv { peek: bool }
);

impl<B> Recv<B> {
    /// Takes the buffer back from an operation that was not submitted, or was refused.
    pub fn into_buf(self) -> B {
        self.buf
    }
}

impl<B: IoBufMut> Recv<B> {
    /// Receives from `handle` into `buf`.
    pub fn new(handle: &Handle, buf: B) -> Recv<B> {
        Recv {
            handle: handle.clone(),
            buf,
            peek: false,
        }
    }

    /// Looks at the data and leaves it in the socket for the next receive (`MSG_PEEK`).
    #[must_use]
    pub fn peek(mut self) -> Recv<B> {
        self.peek = true;
        self
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<B: IoBufMut> Operation for Recv<B> {
    type Output = BufResult<usize, B>;
    const KIND: OpKind = OpKind::Recv;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let buf = RawBufMut::new(self.buf.as_uninit());
        if buf.len == 0 {
            // A receive of nothing would otherwise wait for data (recv(2) on a quiet socket).
            return Ok(Op::Known { result: 0 });
        }
        let flags = MessageFlags {
            peek: self.peek,
            all: false,
        };
        Ok(Op::Recv {
            fd: self.handle.target(),
            buf,
            flags,
        })
    }

    fn finish(mut self, done: Done<'_>) -> Self::Output {
        set_filled(&mut self.buf, done.filled());
        (done.outcome(), self.buf)
    }
}

reading!(
    /// Sends a buffer on a connected socket.
    ///
    /// Gives `BufResult<usize, B>`: the count may be less than the length, unless [`Send::all`] was
    /// chosen. When it is cancelled, exactly `transferred` bytes have been handed to the system and
    /// will be sent. To a peer that is gone it is
    /// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe) or
    /// [`ConnectionReset`](std::io::ErrorKind::ConnectionReset), never a signal.
    ///
    /// Source: send(2) with `MSG_NOSIGNAL`; `IORING_OP_SEND` on io_uring.
    Send { all: bool }
);

impl<B> Send<B> {
    /// Takes the buffer back from an operation that was not submitted, or was refused.
    pub fn into_buf(self) -> B {
        self.buf
    }
}

impl<B: IoBuf> Send<B> {
    /// Sends the bytes of `buf` on `handle`.
    pub fn new(handle: &Handle, buf: B) -> Send<B> {
        Send {
            handle: handle.clone(),
            buf,
            all: false,
        }
    }

    /// Goes on until every byte has been sent, or an error, a cancel or the deadline ends it. After
    /// an error, how much was sent is not known to the caller, as after a failed `write_all`.
    #[must_use]
    pub fn all(mut self) -> Send<B> {
        self.all = true;
        self
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<B: IoBuf> Operation for Send<B> {
    type Output = BufResult<usize, B>;
    const KIND: OpKind = OpKind::Send;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let buf = RawBuf::new(self.buf.as_bytes());
        if buf.len == 0 && self.handle.is_stream() {
            return Ok(Op::Known { result: 0 });
        }
        let flags = MessageFlags {
            peek: false,
            all: self.all,
        };
        Ok(Op::Send {
            fd: self.handle.target(),
            buf,
            flags,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        (done.outcome(), self.buf)
    }
}

reading!(
    /// Receives from a connected socket into several buffers, in order.
    ///
    /// Gives `BufResult<usize, V>` for `V` a `Vec` or an array of buffers; else as [`Recv`].
    ///
    /// Source: recvmsg(2).
    RecvVectored {}
);

impl<V: IoVecMut> RecvVectored<V> {
    /// Receives from `handle` into `bufs`.
    pub fn new(handle: &Handle, bufs: V) -> RecvVectored<V> {
        RecvVectored {
            handle: handle.clone(),
            buf: bufs,
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<V: IoVecMut> Operation for RecvVectored<V> {
    type Output = BufResult<usize, V>;
    const KIND: OpKind = OpKind::RecvVectored;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, slot: &Slot) -> Result<Op, sys::RawError> {
        let scratch = slot.scratch();
        let room = sys::Scratch::set_regions(scratch, |add| {
            self.buf
                .for_each_mut(&mut |region| add(RawBufMut::new(region)));
        });
        if room == 0 {
            return Ok(Op::Known { result: 0 });
        }
        let (fd, flags) = (self.handle.target(), MessageFlags::default());
        Ok(Op::RecvMessage {
            fd,
            scratch: scratch.as_ptr(),
            flags,
        })
    }

    fn finish(mut self, done: Done<'_>) -> Self::Output {
        set_filled_vectored(&mut self.buf, done.filled());
        (done.outcome(), self.buf)
    }
}

reading!(
    /// Sends several buffers on a connected socket, in order.
    ///
    /// Gives `BufResult<usize, V>`; else as [`Send`](struct@Send).
    ///
    /// Source: sendmsg(2).
    SendVectored { all: bool }
);

impl<V: IoVec> SendVectored<V> {
    /// Sends the bytes of `bufs` on `handle`.
    pub fn new(handle: &Handle, bufs: V) -> SendVectored<V> {
        SendVectored {
            handle: handle.clone(),
            buf: bufs,
            all: false,
        }
    }

    /// Goes on until every byte of every buffer has been sent; see [`Send::all`].
    #[must_use]
    pub fn all(mut self) -> SendVectored<V> {
        self.all = true;
        self
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<V: IoVec> Operation for SendVectored<V> {
    type Output = BufResult<usize, V>;
    const KIND: OpKind = OpKind::SendVectored;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, slot: &Slot) -> Result<Op, sys::RawError> {
        let scratch = slot.scratch();
        let len = sys::Scratch::set_bytes(scratch, |add| {
            self.buf.for_each(&mut |bytes| add(RawBuf::new(bytes)));
        });
        if len == 0 && self.handle.is_stream() {
            return Ok(Op::Known { result: 0 });
        }
        let flags = MessageFlags {
            peek: false,
            all: self.all,
        };
        let fd = self.handle.target();
        Ok(Op::SendMessage {
            fd,
            scratch: scratch.as_ptr(),
            flags,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        (done.outcome(), self.buf)
    }
}

/// What [`RecvFrom`] received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Bytes in the buffer.
    pub len: usize,
    /// The sender.
    pub from: Address,
    /// Whether the datagram was longer than the buffer; the rest of it is gone.
    pub truncated: bool,
}

reading!(
    /// Receives one datagram and its sender's address.
    ///
    /// Gives `BufResult<Datagram, B>`. A datagram longer than the buffer fills it and says
    /// `truncated`. A cancelled receive leaves the datagram in the socket, whole.
    ///
    /// Source: recvmsg(2).
    RecvFrom { peek: bool }
);

impl<B: IoBufMut> RecvFrom<B> {
    /// Receives a datagram from `handle` into `buf`.
    pub fn new(handle: &Handle, buf: B) -> RecvFrom<B> {
        RecvFrom {
            handle: handle.clone(),
            buf,
            peek: false,
        }
    }

    /// Looks at the datagram and leaves it in the socket (`MSG_PEEK`).
    #[must_use]
    pub fn peek(mut self) -> RecvFrom<B> {
        self.peek = true;
        self
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<B: IoBufMut> Operation for RecvFrom<B> {
    type Output = BufResult<Datagram, B>;
    const KIND: OpKind = OpKind::RecvFrom;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, slot: &Slot) -> Result<Op, sys::RawError> {
        let scratch = slot.scratch();
        sys::Scratch::set_regions(scratch, |add| add(RawBufMut::new(self.buf.as_uninit())));
        sys::Scratch::expect_address(scratch);
        let flags = MessageFlags {
            peek: self.peek,
            all: false,
        };
        let fd = self.handle.target();
        Ok(Op::RecvMessage {
            fd,
            scratch: scratch.as_ptr(),
            flags,
        })
    }

    fn finish(mut self, done: Done<'_>) -> Self::Output {
        set_filled(&mut self.buf, done.filled());
        let outcome = done.outcome().map(|len| {
            let scratch = done.slot.scratch();
            Datagram {
                len,
                from: sys::Scratch::received_address(scratch),
                truncated: sys::Scratch::was_truncated(scratch),
            }
        });
        (outcome, self.buf)
    }
}

/// Sends one datagram to an address.
///
/// Gives `BufResult<usize, B>`. A datagram is sent whole or not at all.
///
/// Source: sendmsg(2).
#[derive(Debug)]
pub struct SendTo<B> {
    handle: Handle,
    buf: B,
    to: Address,
}

impl<B> SendTo<B> {
    /// Takes the buffer and the address back from an operation that was not submitted, or was
    /// refused.
    pub fn into_parts(self) -> (B, Address) {
        (self.buf, self.to)
    }
}

impl<B: IoBuf> SendTo<B> {
    /// Sends the bytes of `buf` as one datagram to `to`.
    pub fn new(handle: &Handle, buf: B, to: impl Into<Address>) -> SendTo<B> {
        SendTo {
            handle: handle.clone(),
            buf,
            to: to.into(),
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<B: IoBuf> Operation for SendTo<B> {
    type Output = BufResult<usize, B>;
    const KIND: OpKind = OpKind::SendTo;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, slot: &Slot) -> Result<Op, sys::RawError> {
        let scratch = slot.scratch();
        sys::Scratch::set_bytes(scratch, |add| add(RawBuf::new(self.buf.as_bytes())));
        sys::Scratch::set_address(scratch, &self.to)?;
        let (fd, flags) = (self.handle.target(), MessageFlags::default());
        Ok(Op::SendMessage {
            fd,
            scratch: scratch.as_ptr(),
            flags,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        (done.outcome(), self.buf)
    }
}

fn check_pool(queue: &Queue, pool: &BufPool) -> Result<(), Refusal> {
    if queue.owns_pool(pool) {
        Ok(())
    } else {
        Err(Refusal::Foreign)
    }
}

/// Receives from a connected socket again and again, into buffers of a pool.
///
/// Each item is `Outcome<PoolBuf>`. The final completion is `Completed(Ok(empty buffer))` at the
/// end of the stream, an error, or a cancel. While the pool is empty the operation rests; it goes
/// on when a buffer comes back. What it received before a cancel took effect still arrives.
///
/// Source: `IORING_RECV_MULTISHOT` with a provided-buffer ring (io_uring_prep_recv_multishot(3)).
#[derive(Debug)]
pub struct RecvMulti {
    handle: Handle,
    pool: BufPool,
}

impl RecvMulti {
    /// Receives from `handle` into buffers of `pool` until the stream ends.
    pub fn new(handle: &Handle, pool: &BufPool) -> RecvMulti {
        RecvMulti {
            handle: handle.clone(),
            pool: pool.clone(),
        }
    }

    fn outcome(pool: &BufPool, done: &Done<'_>) -> Outcome<PoolBuf> {
        done.outcome().map(|len| pool.item(done.ready, len))
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for RecvMulti {
    type Output = Outcome<PoolBuf>;
    const KIND: OpKind = OpKind::RecvMulti;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn check(&self, queue: &Queue) -> Result<(), Refusal> {
        check_pool(queue, &self.pool)
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let pool = self.pool.index();
        Ok(Op::RecvMulti {
            fd: self.handle.target(),
            pool,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        RecvMulti::outcome(&self.pool, &done)
    }

    fn item(&self, done: Done<'_>) -> Self::Output {
        RecvMulti::outcome(&self.pool, &done)
    }
}

/// A datagram in a buffer of a pool, from [`RecvFromMulti`].
#[derive(Debug)]
pub struct PoolDatagram {
    /// Its bytes.
    pub data: PoolBuf,
    /// The sender.
    pub from: Address,
    /// Whether it was longer than the pool's buffers; the rest of it is gone.
    pub truncated: bool,
}

/// Receives datagrams again and again, each into a buffer of a pool made with
/// [`BufPoolBuilder::datagrams`](crate::BufPoolBuilder::datagrams).
///
/// Each item is `Outcome<PoolDatagram>`. The final completion is an error or a cancel. While the
/// pool is empty the operation rests, and datagrams wait in the socket.
///
/// Source: io_uring_prep_recvmsg_multishot(3).
#[derive(Debug)]
pub struct RecvFromMulti {
    handle: Handle,
    pool: BufPool,
}

impl RecvFromMulti {
    /// Receives datagrams from `handle` into buffers of `pool`.
    pub fn new(handle: &Handle, pool: &BufPool) -> RecvFromMulti {
        RecvFromMulti {
            handle: handle.clone(),
            pool: pool.clone(),
        }
    }

    fn outcome(pool: &BufPool, done: &Done<'_>) -> Outcome<PoolDatagram> {
        done.outcome().map(|len| {
            let record = pool.item(done.ready, len);
            let (from, payload, truncated) = sys::datagram::parse(&record);
            let truncated = truncated || done.ready.has(Ready::TRUNCATED);
            PoolDatagram {
                data: record.narrow(payload),
                from,
                truncated,
            }
        })
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for RecvFromMulti {
    type Output = Outcome<PoolDatagram>;
    const KIND: OpKind = OpKind::RecvFromMulti;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn check(&self, queue: &Queue) -> Result<(), Refusal> {
        check_pool(queue, &self.pool)?;
        match self.pool.kind() {
            PoolKind::Datagrams => Ok(()),
            PoolKind::Stream => Err(Refusal::Invalid(
                "receiving datagrams needs a pool made with BufPoolBuilder::datagrams",
            )),
        }
    }

    fn lower(&mut self, slot: &Slot) -> Result<Op, sys::RawError> {
        let scratch = slot.scratch();
        sys::Scratch::set_regions(scratch, |_| {});
        sys::Scratch::expect_address(scratch);
        let pool = self.pool.index();
        Ok(Op::RecvFromMulti {
            fd: self.handle.target(),
            pool,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        RecvFromMulti::outcome(&self.pool, &done)
    }

    fn item(&self, done: Done<'_>) -> Self::Output {
        RecvFromMulti::outcome(&self.pool, &done)
    }
}

/// Moves bytes between two handles inside the kernel; at least one of them is a pipe.
///
/// Gives `Outcome<usize>`: the bytes moved, 0 at the end of the source. Fewer may be moved than asked
/// for, and more may be there.
///
/// Source: splice(2). Linux only. On io_uring, from and to a file it is an entry of the ring, which
/// a thread of the kernel carries out; between sockets and pipes, which do not block, the queue makes
/// the call itself when both are ready.
#[derive(Debug)]
pub struct Splice {
    from: Handle,
    from_offset: Option<u64>,
    to: Handle,
    to_offset: Option<u64>,
    len: u32,
}

impl Splice {
    /// Moves up to `len` bytes from `from` to `to`.
    pub fn new(from: &Handle, to: &Handle, len: u32) -> Splice {
        Splice {
            from: from.clone(),
            from_offset: None,
            to: to.clone(),
            to_offset: None,
            len,
        }
    }

    /// Begins at `offset` of the source, which is a file.
    #[must_use]
    pub fn from_offset(mut self, offset: u64) -> Splice {
        self.from_offset = Some(offset);
        self
    }

    /// Begins at `offset` of the destination, which is a file.
    #[must_use]
    pub fn to_offset(mut self, offset: u64) -> Splice {
        self.to_offset = Some(offset);
        self
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Splice {
    type Output = Outcome<usize>;
    const KIND: OpKind = OpKind::Splice;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.from), Some(&self.to)]
    }

    fn check(&self, _: &Queue) -> Result<(), Refusal> {
        // The system's offsets are signed, and the last value means "here".
        let fits = |offset: Option<u64>| offset.is_none_or(|offset| i64::try_from(offset).is_ok());
        if fits(self.from_offset) && fits(self.to_offset) {
            return Ok(());
        }
        Err(Refusal::Invalid("the offset is above the system's limit"))
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        Ok(Op::Splice {
            from: self.from.target(),
            from_offset: self.from_offset.unwrap_or(Op::CURRENT),
            to: self.to.target(),
            to_offset: self.to_offset.unwrap_or(Op::CURRENT),
            len: self.len,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome()
    }
}

/// Sends a part of a file on a connected socket, without copying it through user memory.
///
/// Gives `Outcome<usize>`: the bytes sent, which are fewer than asked for at the end of the file.
/// The operation goes on until all are sent. A cancel or a deadline says how many were.
///
/// Source: sendfile(2). A part of the file that is not in the page cache is read while the loop
/// waits, on every Linux backend.
#[derive(Debug)]
pub struct SendFile {
    socket: Handle,
    file: Handle,
    offset: u64,
    len: usize,
}

impl SendFile {
    /// Sends `len` bytes of `file` from `offset` on.
    pub fn new(socket: &Handle, file: &Handle, offset: u64, len: usize) -> SendFile {
        SendFile {
            socket: socket.clone(),
            file: file.clone(),
            offset,
            len,
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for SendFile {
    type Output = Outcome<usize>;
    const KIND: OpKind = OpKind::SendFile;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.socket), Some(&self.file)]
    }

    fn check(&self, _: &Queue) -> Result<(), Refusal> {
        match i64::try_from(self.offset) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::Invalid("the offset is above the system's limit")),
        }
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        if self.len == 0 {
            return Ok(Op::Known { result: 0 });
        }
        Ok(Op::SendFile {
            file: self.file.target(),
            offset: self.offset,
            socket: self.socket.target(),
            len: self.len,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome()
    }
}
