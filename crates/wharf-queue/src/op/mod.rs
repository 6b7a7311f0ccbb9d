//! The closed set of operations.
//!
//! Owns `OpKind`, the names; `Op`, the data that a backend carries out; and `Operation`, the trait
//! by which the typed builders in the submodules become an `Op` and their result is made. It makes
//! no system call and knows no backend.
//!
//! Adding an operation: a variant of `OpKind` and of `Op`, a builder in a submodule, a conformance
//! case. No backend compiles until it has decided what to do with the new variant.

mod file;
mod positional;
mod socket;
mod stream;
mod system;

pub use file::{
    Allocate, CopyFile, CreateDir, DirEntry, FileType, HardLink, Metadata, Open, OpenWithMetadata,
    ReadDir, Remove, Rename, Stat, SymbolicLink, Sync, Truncate,
};
pub(crate) use file::{CopyJob, ReadDirJob};
pub use positional::{Read, ReadAt, ReadVectoredAt, Write, WriteAt, WriteVectoredAt};
pub use socket::{
    Accept, AcceptMulti, Close, Connect, Interest, Poll, Readiness, Shutdown, Socket,
};
pub use stream::{
    Datagram, PoolDatagram, Recv, RecvFrom, RecvFromMulti, RecvMulti, RecvVectored, Send, SendFile,
    SendTo, SendVectored, Splice,
};
pub use system::{Blocking, ChildExit, ChildRef, Nop, Resolve, Timer};
pub(crate) use system::{BlockingFn, ResolveJob};

use std::time::Duration;

use crate::buf::{RawBuf, RawBufMut};
use crate::completion::{Outcome, Ready};
use crate::handle::Handle;
use crate::queue::Queue;
use crate::slot::Slot;
use crate::sys;
use crate::time::Moment;

/// The name of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each variant is documented by the builder of the same name"
)]
pub enum OpKind {
    Nop,
    Read,
    Write,
    ReadAt,
    WriteAt,
    ReadVectoredAt,
    WriteVectoredAt,
    Recv,
    Send,
    RecvVectored,
    SendVectored,
    RecvFrom,
    SendTo,
    RecvMulti,
    RecvFromMulti,
    Accept,
    AcceptMulti,
    Connect,
    Socket,
    Shutdown,
    Close,
    Open,
    Stat,
    Rename,
    Remove,
    CreateDir,
    HardLink,
    SymbolicLink,
    Truncate,
    Allocate,
    Sync,
    ReadDir,
    CopyFile,
    Resolve,
    Blocking,
    Splice,
    SendFile,
    Poll,
    Timer,
    ChildExit,
    Raw,
}

impl OpKind {
    /// Every kind, in the order of the enum.
    pub const ALL: [OpKind; 41] = [
        OpKind::Nop,
        OpKind::Read,
        OpKind::Write,
        OpKind::ReadAt,
        OpKind::WriteAt,
        OpKind::ReadVectoredAt,
        OpKind::WriteVectoredAt,
        OpKind::Recv,
        OpKind::Send,
        OpKind::RecvVectored,
        OpKind::SendVectored,
        OpKind::RecvFrom,
        OpKind::SendTo,
        OpKind::RecvMulti,
        OpKind::RecvFromMulti,
        OpKind::Accept,
        OpKind::AcceptMulti,
        OpKind::Connect,
        OpKind::Socket,
        OpKind::Shutdown,
        OpKind::Close,
        OpKind::Open,
        OpKind::Stat,
        OpKind::Rename,
        OpKind::Remove,
        OpKind::CreateDir,
        OpKind::HardLink,
        OpKind::SymbolicLink,
        OpKind::Truncate,
        OpKind::Allocate,
        OpKind::Sync,
        OpKind::ReadDir,
        OpKind::CopyFile,
        OpKind::Resolve,
        OpKind::Blocking,
        OpKind::Splice,
        OpKind::SendFile,
        OpKind::Poll,
        OpKind::Timer,
        OpKind::ChildExit,
        OpKind::Raw,
    ];

    /// Whether the operation yields items until it is cancelled or fails.
    #[must_use]
    pub fn is_multishot(self) -> bool {
        matches!(
            self,
            OpKind::AcceptMulti | OpKind::RecvMulti | OpKind::RecvFromMulti
        )
    }
}

/// An attached handle as a backend sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The system's handle. It stays open while an operation on it is in flight.
    pub(crate) raw: sys::RawHandle,
    /// Its place in the queue's table of handles: small and dense.
    pub(crate) index: u32,
}

/// An operation as data: what a backend or the pool carries out.
///
/// The pointers lead into the slot's payload or scratch record and are valid until the slot is
/// completed. Lengths are not cut to what a system call takes; whoever makes the call does that.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "each system reads what its own calls take")]
pub(crate) enum Op {
    Nop,
    /// Reads at `offset`, or for [`Op::CURRENT`] at the file's own position, or from a stream.
    Read {
        fd: Target,
        buf: RawBufMut,
        offset: u64,
    },
    Write {
        fd: Target,
        buf: RawBuf,
        offset: u64,
    },
    /// The buffers are in the scratch record.
    ReadVectored {
        fd: Target,
        scratch: *mut sys::Scratch,
        offset: u64,
    },
    WriteVectored {
        fd: Target,
        scratch: *mut sys::Scratch,
        offset: u64,
    },
    Recv {
        fd: Target,
        buf: RawBufMut,
        flags: MessageFlags,
    },
    Send {
        fd: Target,
        buf: RawBuf,
        flags: MessageFlags,
    },
    /// Buffers, and room for the sender's address, are in the scratch record.
    RecvMessage {
        fd: Target,
        scratch: *mut sys::Scratch,
        flags: MessageFlags,
    },
    /// Buffers, and the address if there is one, are in the scratch record.
    SendMessage {
        fd: Target,
        scratch: *mut sys::Scratch,
        flags: MessageFlags,
    },
    /// Multishot; the index is the pool's in the queue's table of pools.
    RecvMulti {
        fd: Target,
        pool: u32,
    },
    /// Multishot; items are laid out as `sys::datagram` says.
    RecvFromMulti {
        fd: Target,
        pool: u32,
    },
    Accept {
        fd: Target,
    },
    AcceptMulti {
        fd: Target,
    },
    /// The address is in the scratch record.
    Connect {
        fd: Target,
        scratch: *mut sys::Scratch,
    },
    Socket {
        domain: i32,
        kind: i32,
        protocol: i32,
    },
    Shutdown {
        fd: Target,
        how: std::net::Shutdown,
    },
    /// The queue starts this when nothing else is in flight on the handle.
    Close {
        fd: Target,
    },
    Open {
        path: sys::RawPath,
        flags: i32,
        mode: u32,
    },
    OpenBeneath {
        dir: Target,
        path: sys::RawPath,
        how: *const sys::OpenHow,
    },
    /// With a path, of that; without, of the handle.
    Stat {
        fd: Option<Target>,
        path: Option<sys::RawPath>,
        follow: bool,
        stat: *mut sys::StatBuf,
    },
    Rename {
        from: sys::RawPath,
        to: sys::RawPath,
    },
    Remove {
        path: sys::RawPath,
        dir: bool,
    },
    CreateDir {
        path: sys::RawPath,
        mode: u32,
    },
    HardLink {
        from: sys::RawPath,
        to: sys::RawPath,
    },
    SymbolicLink {
        target: sys::RawPath,
        link: sys::RawPath,
    },
    Truncate {
        fd: Target,
        len: u64,
    },
    Allocate {
        fd: Target,
        offset: u64,
        len: u64,
        keep_size: bool,
    },
    Sync {
        fd: Target,
        data_only: bool,
    },
    ReadDir {
        job: *mut ReadDirJob,
    },
    CopyFile {
        job: *mut CopyJob,
    },
    Resolve {
        job: *mut ResolveJob,
    },
    /// Calls `run` with `payload`, on a thread of the pool.
    Blocking {
        run: BlockingFn,
        payload: *mut u8,
    },
    /// Offsets are [`Op::CURRENT`] for pipes and for a file's own position.
    Splice {
        from: Target,
        from_offset: u64,
        to: Target,
        to_offset: u64,
        len: u32,
    },
    SendFile {
        file: Target,
        offset: u64,
        socket: Target,
        len: usize,
    },
    /// Readiness, as the bits of `poll(2)`.
    Poll {
        fd: Target,
        events: u16,
    },
    /// Lives in the deadline heap only; no backend sees it started.
    Timer {
        due: Deadline,
    },
    /// There is nothing to do: the result is known. No backend sees it.
    Known {
        result: i64,
    },
    /// The result of a finished operation that waits for `Queue::take`. No backend sees it.
    Kept {
        ready: Ready,
    },
    /// `fd` is a descriptor that becomes readable when the child has exited.
    ChildExit {
        pidfd: sys::RawHandle,
    },
    /// Only the backend that the entry is made for knows it.
    Raw {
        entry: *const sys::RawEntry,
    },
}

impl Op {
    /// The offset that means the file's own position, or a stream.
    pub(crate) const CURRENT: u64 = u64::MAX;

    /// The second of two handles.
    #[inline]
    pub(crate) fn second(&self) -> Option<Target> {
        match *self {
            Op::Splice { to: second, .. } | Op::SendFile { file: second, .. } => Some(second),
            _ => None,
        }
    }
}

/// How a message is to be sent or received.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct MessageFlags {
    /// Look at the data and leave it in the socket.
    pub(crate) peek: bool,
    /// Go on until every byte has been sent.
    pub(crate) all: bool,
}

/// How a backend does an operation; see [`Queue::support`](crate::Queue::support).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Support {
    /// The system completes it asynchronously by itself.
    Native,
    /// The backend waits for readiness and then makes the call, or keeps the time itself.
    Emulated,
    /// A thread of the bounded pool makes the blocking call.
    Pool,
    /// It is refused; the text says why.
    Unsupported(&'static str),
}

/// A typed operation that a [`Queue`] takes: what to do, and everything lent for it.
///
/// The implementors are the builders in [`op`](crate::op). The set is closed; to make a system
/// call that wharf does not know, see `RawOp` in the module of its system in [`os`](crate::os).
#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
pub trait Operation: Sized + 'static {
    /// What the operation gives back: its [`Outcome`], and the buffers that were lent to it.
    type Output;

    /// The operation's name.
    const KIND: OpKind;

    /// The handles that the operation is on; the first one is the one that a close waits at.
    #[doc(hidden)]
    fn handles(&self) -> [Option<&Handle>; 2];

    /// What is wrong with the arguments, seen before anything begins.
    #[doc(hidden)]
    fn check(&self, _queue: &Queue) -> Result<(), Refusal> {
        Ok(())
    }

    /// Makes the data for the backend. `self` is at its final address.
    #[doc(hidden)]
    fn lower(&mut self, slot: &Slot) -> Result<Op, sys::RawError>;

    /// Makes the final result.
    #[doc(hidden)]
    fn finish(self, done: Done<'_>) -> Self::Output;

    /// Makes an item of a multishot operation.
    #[doc(hidden)]
    fn item(&self, _done: Done<'_>) -> Self::Output {
        unreachable!("only multishot operations bring items, and they override this")
    }
}

/// Why the arguments of an operation are refused.
pub(crate) enum Refusal {
    Foreign,
    Closed,
    Unsupported(&'static str),
    Invalid(&'static str),
}

/// A finished operation, on its way to its typed result.
pub(crate) struct Done<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) slot: &'a Slot,
    pub(crate) ready: &'a Ready,
}

impl Done<'_> {
    /// The outcome with the system's non-negative result.
    pub(crate) fn outcome(&self) -> Outcome<usize> {
        if self.ready.has(Ready::CANCELLED | Ready::TIMED_OUT) {
            let transferred = self.slot.transferred.get();
            if self.ready.has(Ready::TIMED_OUT) {
                return Outcome::TimedOut { transferred };
            }
            return Outcome::Cancelled { transferred };
        }
        Outcome::Completed(match self.ready.result {
            result @ 0.. => Ok(result as usize),
            error => Err(sys::error_from_raw(-error as sys::RawError)),
        })
    }

    /// How many bytes of the lent buffers were filled, whatever the outcome.
    pub(crate) fn filled(&self) -> usize {
        if self.ready.has(Ready::CANCELLED | Ready::TIMED_OUT) {
            self.slot.transferred.get()
        } else {
            self.ready.result.max(0) as usize
        }
    }

    /// The outcome of an operation whose result is a new system handle of a kind that is yet to be
    /// found out by `attach`.
    pub(crate) fn outcome_attached<T>(
        &self,
        attach: impl FnOnce(&Queue, sys::OwnedHandle) -> std::io::Result<T>,
    ) -> Outcome<T> {
        match self.outcome() {
            Outcome::Completed(Ok(raw)) => {
                let owned = sys::from_raw(sys::raw_from_result(raw));
                Outcome::Completed(attach(self.queue, owned))
            }
            other => other.map(|_| unreachable!("only a success carries a value")),
        }
    }

    /// The outcome of an operation whose result is a new system handle.
    pub(crate) fn outcome_handle(&self, kind: crate::handle::HandleKind) -> Outcome<Handle> {
        self.outcome()
            .map(|raw| self.queue.adopt(sys::raw_from_result(raw), kind, false))
    }
}

/// When an operation's time is over.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) enum Deadline {
    #[default]
    None,
    After(Duration),
    At(Moment),
}

/// An operation together with what accompanies it: a number for the user, a deadline.
///
/// Made by the methods of [`Prepare`], which every operation has.
#[derive(Debug)]
pub struct Submission<O> {
    pub(crate) op: O,
    pub(crate) user_data: u64,
    pub(crate) deadline: Deadline,
}

impl<O> Submission<O> {
    /// The operation itself.
    pub fn into_op(self) -> O {
        self.op
    }

    /// Sets the number that the completion will carry.
    #[must_use]
    pub fn user_data(mut self, user_data: u64) -> Submission<O> {
        self.user_data = user_data;
        self
    }

    /// Sets a deadline, `timeout` from the submission on.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Submission<O> {
        self.deadline = Deadline::After(timeout);
        self
    }

    /// Sets a deadline on the queue's clock.
    #[must_use]
    pub fn deadline(mut self, deadline: Moment) -> Submission<O> {
        self.deadline = Deadline::At(deadline);
        self
    }
}

/// What [`Queue::submit`](crate::Queue::submit) takes: an operation, bare or with a deadline or a
/// number of the user's.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
/// use wharf_queue::{Queue, op::{Nop, Prepare}};
/// let queue = Queue::new()?;
/// queue.submit(Nop::new().user_data(5).timeout(Duration::from_secs(1)))?;
/// assert_eq!(queue.wait(None)?.next().unwrap().user_data(), 5);
/// # Ok(()) }
/// ```
pub trait Prepare: Sized {
    /// The operation's type.
    type Op: Operation;

    /// The operation with nothing, or what was chosen so far.
    fn prepare(self) -> Submission<Self::Op>;

    /// Gives the operation a number that its completions carry.
    fn user_data(self, user_data: u64) -> Submission<Self::Op> {
        self.prepare().user_data(user_data)
    }

    /// Gives the operation a deadline, `timeout` from its submission on. If it passes first, the
    /// operation is cancelled and its outcome is [`Outcome::TimedOut`]. It never passes early. If
    /// the operation has completed by then, its own result stands.
    fn timeout(self, timeout: Duration) -> Submission<Self::Op> {
        self.prepare().timeout(timeout)
    }

    /// Gives the operation a deadline on the queue's clock.
    fn deadline(self, deadline: Moment) -> Submission<Self::Op> {
        self.prepare().deadline(deadline)
    }
}

impl<O: Operation> Prepare for O {
    type Op = O;

    fn prepare(self) -> Submission<O> {
        Submission {
            op: self,
            user_data: 0,
            deadline: Deadline::None,
        }
    }
}

impl<O: Operation> Prepare for Submission<O> {
    type Op = O;

    fn prepare(self) -> Submission<O> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_kind_in_order() {
        for (number, kind) in OpKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
        assert_eq!(OpKind::ALL.last(), Some(&OpKind::Raw));
    }

    #[test]
    fn op_stays_small() {
        assert!(size_of::<Op>() <= 40, "{}", size_of::<Op>());
    }
}
