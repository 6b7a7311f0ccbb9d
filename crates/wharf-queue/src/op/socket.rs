//! Operations on sockets that move no bytes: accept, connect, shutdown, close, poll.

use std::fmt;
use std::io;

use super::{Done, Op, OpKind, Operation};
use crate::completion::Outcome;
use crate::handle::{Handle, HandleKind};
use crate::slot::Slot;
use crate::sys::{self, Address};

/// Accepts one connection.
///
/// Gives `Outcome<Handle>`. If the operation is cancelled, the connection stays in the listener's
/// queue for the next accept; if the completion is dropped, the connection is closed. Out of
/// descriptors, it is the system's error (`EMFILE`); the next accept on the same listener is then
/// held back for a moment, so that a loop of accepts does not spin, and no connection is lost.
///
/// Source: accept4(2) with `SOCK_CLOEXEC`; `IORING_OP_ACCEPT` on io_uring.
#[derive(Debug)]
pub struct Accept {
    listener: Handle,
}

impl Accept {
    /// Accepts a connection from `listener`.
    pub fn new(listener: &Handle) -> Accept {
        Accept {
            listener: listener.clone(),
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Accept {
    type Output = Outcome<Handle>;
    const KIND: OpKind = OpKind::Accept;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.listener), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        Ok(Op::Accept {
            fd: self.listener.target(),
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome_handle(HandleKind::Stream)
    }
}

/// Accepts connections again and again, until it is cancelled.
///
/// Each item is `Outcome<Handle>`. Out of descriptors it brings the system's error (`EMFILE`) as
/// an item, waits for a moment and goes on. The final completion is an error of the listener or a
/// cancel; connections accepted before the cancel took effect arrive before it.
///
/// Source: io_uring_prep_multishot_accept(3); a loop of accept4(2) elsewhere.
#[derive(Debug)]
pub struct AcceptMulti {
    listener: Handle,
}

impl AcceptMulti {
    /// Accepts connections from `listener`.
    pub fn new(listener: &Handle) -> AcceptMulti {
        AcceptMulti {
            listener: listener.clone(),
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for AcceptMulti {
    type Output = Outcome<Handle>;
    const KIND: OpKind = OpKind::AcceptMulti;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.listener), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        Ok(Op::AcceptMulti {
            fd: self.listener.target(),
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome_handle(HandleKind::Stream)
    }

    fn item(&self, done: Done<'_>) -> Self::Output {
        done.outcome_handle(HandleKind::Stream)
    }
}

/// Connects a socket to an address.
///
/// Gives `Outcome<()>`; [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody listens.
/// After a cancel the socket is neither connected nor fit for another connect: close it.
///
/// Source: connect(2).
#[derive(Debug)]
pub struct Connect {
    socket: Handle,
    to: Address,
}

impl Connect {
    /// Connects `socket` to `to`.
    pub fn new(socket: &Handle, to: impl Into<Address>) -> Connect {
        Connect {
            socket: socket.clone(),
            to: to.into(),
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Connect {
    type Output = Outcome<()>;
    const KIND: OpKind = OpKind::Connect;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.socket), None]
    }

    fn lower(&mut self, slot: &Slot) -> Result<Op, sys::RawError> {
        let scratch = slot.scratch();
        sys::Scratch::set_address(scratch, &self.to)?;
        let fd = self.socket.target();
        Ok(Op::Connect {
            fd,
            scratch: scratch.as_ptr(),
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome().map(drop)
    }
}

/// Makes a socket. [`Queue::socket`](crate::Queue::socket) makes one at once and without a completion.
///
/// Gives `Outcome<Handle>`; a cancelled or dropped one leaves no descriptor open.
///
/// Source: socket(2) with `SOCK_CLOEXEC | SOCK_NONBLOCK`.
#[derive(Debug)]
pub struct Socket {
    kind: sys::SocketKind,
}

impl Socket {
    /// A socket for connections that suits `address`.
    #[must_use]
    pub fn stream_for(address: &Address) -> Socket {
        Socket {
            kind: sys::SocketKind::stream_for(address),
        }
    }

    /// A socket for datagrams that suits `address`.
    #[must_use]
    pub fn datagram_for(address: &Address) -> Socket {
        Socket {
            kind: sys::SocketKind::datagram_for(address),
        }
    }

    pub(crate) fn kind(&self) -> sys::SocketKind {
        self.kind
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Socket {
    type Output = Outcome<Handle>;
    const KIND: OpKind = OpKind::Socket;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [None, None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let sys::SocketKind {
            domain,
            kind,
            protocol,
            ..
        } = self.kind;
        Ok(Op::Socket {
            domain,
            kind,
            protocol,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome_handle(self.kind.handle)
    }
}

/// Ends one or both directions of a connection.
///
/// Gives `Outcome<()>`. Data that was handed to the system before is still sent.
///
/// Source: shutdown(2).
#[derive(Debug)]
pub struct Shutdown {
    socket: Handle,
    how: std::net::Shutdown,
}

impl Shutdown {
    /// Shuts `how` of `socket` down.
    pub fn new(socket: &Handle, how: std::net::Shutdown) -> Shutdown {
        Shutdown {
            socket: socket.clone(),
            how,
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Shutdown {
    type Output = Outcome<()>;
    const KIND: OpKind = OpKind::Shutdown;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.socket), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        Ok(Op::Shutdown {
            fd: self.socket.target(),
            how: self.how,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome().map(drop)
    }
}

/// Closes a handle: cancels what is in flight on it, waits until all of that is completed, and then
/// gives the descriptor back to the system.
///
/// Gives `Outcome<()>`. From the submission on, other clones of the handle take no operation any
/// more. Every cancelled operation gets its own completion before this one. When this one arrives,
/// nothing of wharf's reads from the connection any more and the port can be bound again. A close
/// itself cannot be cancelled.
///
/// Dropping the last clone of a handle closes it too, but only when its operations have finished
/// of their own accord.
///
/// Source: close(2), after whose error the descriptor is gone all the same.
#[derive(Debug)]
pub struct Close {
    handle: Handle,
}

impl Close {
    /// Closes `handle`.
    #[must_use]
    pub fn new(handle: Handle) -> Close {
        Close { handle }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Close {
    type Output = Outcome<()>;
    const KIND: OpKind = OpKind::Close;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        // From now on the descriptor is this operation's to give back, which cannot be cancelled:
        // the last clone of the handle must not do it again, even if the completion is forgotten.
        self.handle.mark_closed();
        Ok(Op::Close {
            fd: self.handle.target(),
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        done.outcome().map(drop)
    }
}

/// Which readiness a [`Poll`] waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Data to read, a connection to accept, or the end of the stream.
    Readable,
    /// Room to write.
    Writable,
    /// Either.
    Both,
}

/// The readiness that a [`Poll`] found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    events: u16,
}

impl Readiness {
    /// A read would not wait (it may fail, or find the end of the stream).
    #[must_use]
    pub fn is_readable(self) -> bool {
        self.events & (sys::POLL_READ | sys::POLL_ERROR | sys::POLL_HANG_UP) != 0
    }

    /// A write would not wait (it may fail).
    #[must_use]
    pub fn is_writable(self) -> bool {
        self.events & (sys::POLL_WRITE | sys::POLL_ERROR | sys::POLL_HANG_UP) != 0
    }

    /// The system reported an error condition.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.events & sys::POLL_ERROR != 0
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("readable", &self.is_readable())
            .field("writable", &self.is_writable())
            .field("error", &self.is_error())
            .finish()
    }
}

/// Waits until a handle is ready for an operation that wharf does not make itself: the one place
/// where readiness shows.
///
/// Gives `Outcome<Readiness>`. If it is ready already, the operation completes at once.
///
/// Source: poll(2).
#[derive(Debug)]
pub struct Poll {
    handle: Handle,
    interest: Interest,
}

impl Poll {
    /// Waits until `handle` is ready for `interest`.
    pub fn new(handle: &Handle, interest: Interest) -> Poll {
        Poll {
            handle: handle.clone(),
            interest,
        }
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for Poll {
    type Output = Outcome<Readiness>;
    const KIND: OpKind = OpKind::Poll;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let events = match self.interest {
            Interest::Readable => sys::POLL_READ,
            Interest::Writable => sys::POLL_WRITE,
            Interest::Both => sys::POLL_READ | sys::POLL_WRITE,
        };
        Ok(Op::Poll {
            fd: self.handle.target(),
            events,
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        match done.outcome() {
            Outcome::Completed(Ok(events)) if events as u16 & sys::POLL_INVALID != 0 => {
                Outcome::Completed(Err(io::ErrorKind::InvalidInput.into()))
            }
            outcome => outcome.map(|events| Readiness {
                events: events as u16,
            }),
        }
    }
}
