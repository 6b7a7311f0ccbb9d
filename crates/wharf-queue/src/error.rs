//! The errors that are wharf's own: a refused submission and a cancelled operation.
//!
//! Errors of the system stay `std::io::Error` with their raw code. Turning a raw code into the
//! kind that the contract's table names belongs to `sys`.

use std::fmt;
use std::io;

/// Why [`Queue::submit`](crate::Queue::submit) did not take an operation.
///
/// The operation comes back with its buffers inside; nothing of it has begun. Faults of the system
/// or of a peer are never reported here: they arrive as the operation's completion.
#[derive(Clone)]
#[non_exhaustive]
pub enum SubmitError<O> {
    /// A configured limit (`max_in_flight`) is reached. Take completions, then submit again.
    Full(O),
    /// The handle has been closed, or its close is under way.
    Closed(O),
    /// The handle or the buffer pool belongs to another queue.
    Foreign(O),
    /// The backend cannot do this operation and does not half-do it. The text says why.
    Unsupported(O, &'static str),
    /// The arguments contradict each other. The text says which.
    Invalid(O, &'static str),
}

impl<O> SubmitError<O> {
    /// Takes the operation back, with its buffers.
    pub fn into_op(self) -> O {
        match self {
            SubmitError::Full(op)
            | SubmitError::Closed(op)
            | SubmitError::Foreign(op)
            | SubmitError::Unsupported(op, _)
            | SubmitError::Invalid(op, _) => op,
        }
    }

    /// Replaces the operation, keeping the reason.
    pub fn map<P>(self, f: impl FnOnce(O) -> P) -> SubmitError<P> {
        match self {
            SubmitError::Full(op) => SubmitError::Full(f(op)),
            SubmitError::Closed(op) => SubmitError::Closed(f(op)),
            SubmitError::Foreign(op) => SubmitError::Foreign(f(op)),
            SubmitError::Unsupported(op, why) => SubmitError::Unsupported(f(op), why),
            SubmitError::Invalid(op, why) => SubmitError::Invalid(f(op), why),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            SubmitError::Full(_) => "the queue's limit of operations in flight is reached",
            SubmitError::Closed(_) => "the handle is closed",
            SubmitError::Foreign(_) => "the handle or buffer pool belongs to another queue",
            SubmitError::Unsupported(_, why) | SubmitError::Invalid(_, why) => why,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            SubmitError::Full(_) => io::ErrorKind::WouldBlock,
            SubmitError::Closed(_) => io::ErrorKind::NotConnected,
            SubmitError::Foreign(_) | SubmitError::Invalid(..) => io::ErrorKind::InvalidInput,
            SubmitError::Unsupported(..) => io::ErrorKind::Unsupported,
        }
    }
}

impl<O> fmt::Debug for SubmitError<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            SubmitError::Full(_) => "Full",
            SubmitError::Closed(_) => "Closed",
            SubmitError::Foreign(_) => "Foreign",
            SubmitError::Unsupported(..) => "Unsupported",
            SubmitError::Invalid(..) => "Invalid",
        };
        write!(f, "SubmitError::{name}({})", self.reason())
    }
}

impl<O> fmt::Display for SubmitError<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl<O> std::error::Error for SubmitError<O> {}

impl<O> From<SubmitError<O>> for io::Error {
    fn from(error: SubmitError<O>) -> io::Error {
        io::Error::new(error.kind(), error.reason())
    }
}

/// The payload of the [`io::Error`] that a cancelled operation becomes when its
/// [`Outcome`](crate::Outcome) is turned into an [`io::Result`].
///
/// ```
/// use wharf_queue::{Cancelled, Outcome};
/// let error = Outcome::<usize>::Cancelled { transferred: 3 }.into_result().unwrap_err();
/// let cancelled = error.get_ref().unwrap().downcast_ref::<Cancelled>().unwrap();
/// assert_eq!(cancelled.transferred, 3);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancelled {
    /// Bytes that had been transferred when the cancel took effect.
    pub transferred: usize,
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation cancelled after {} bytes", self.transferred)
    }
}

impl std::error::Error for Cancelled {}
