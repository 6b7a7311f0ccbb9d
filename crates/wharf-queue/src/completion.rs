//! What a queue gives back: `Outcome`, `Completion`, and the batch `Completions`.
//!
//! A completion is a view of a finished slot, or of one item of a multishot operation. The slot
//! itself, and the typed value in it, belong to `slot` and `op`.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;

use crate::error::Cancelled;
use crate::op::{OpKind, Operation};
use crate::queue::Queue;
use crate::slot::Token;

/// How an operation ended: the contract's one truth about it.
///
/// The variants exclude each other. An operation that finished before a cancel or a deadline took
/// effect is `Completed`, with its true result.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It ran to its end: with a result, or with an error of the system.
    Completed(io::Result<T>),
    /// A cancel took effect first, after `transferred` bytes.
    Cancelled {
        /// Bytes that had been transferred; they are not transferred again.
        transferred: usize,
    },
    /// Its deadline passed first, after `transferred` bytes.
    TimedOut {
        /// Bytes that had been transferred; they are not transferred again.
        transferred: usize,
    },
}

/// What an operation with a buffer gives back: its outcome, and the buffer in any case.
pub type BufResult<T, B> = (Outcome<T>, B);

impl<T> Outcome<T> {
    /// Turns the outcome into a plain result.
    ///
    /// # Errors
    /// The system's error as it is; a time-out as [`io::ErrorKind::TimedOut`]; a cancel as
    /// [`io::ErrorKind::Other`] with [`Cancelled`] inside, so that it is never
    /// mistaken for a time-out or for an interrupted call that ought to be repeated.
    pub fn into_result(self) -> io::Result<T> {
        match self {
            Outcome::Completed(result) => result,
            Outcome::Cancelled { transferred } => Err(io::Error::other(Cancelled { transferred })),
            Outcome::TimedOut { .. } => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Applies `f` to a successful result.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Completed(result) => Outcome::Completed(result.map(f)),
            Outcome::Cancelled { transferred } => Outcome::Cancelled { transferred },
            Outcome::TimedOut { transferred } => Outcome::TimedOut { transferred },
        }
    }

    /// Whether a cancel took effect.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Outcome::Cancelled { .. })
    }

    /// Whether the deadline passed first.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, Outcome::TimedOut { .. })
    }
}

/// One entry of the queue: an operation has completed, or a multishot one has brought an item.
///
/// Take the typed result with [`Completion::take`] or [`Completion::take_as`]. A completion that
/// is dropped instead drops the result by its type: buffers are freed, a received descriptor is
/// closed. [`Completion::keep`] leaves the result in the queue, to be taken with
/// [`Queue::take`](crate::Queue::take).
pub struct Completion<'q> {
    queue: &'q Queue,
    ready: Ready,
}

impl<'q> Completion<'q> {
    pub(crate) fn new(queue: &'q Queue, ready: Ready) -> Completion<'q> {
        Completion { queue, ready }
    }

    /// The token that `submit` returned for this operation. A posted completion has
    /// [`Token::POSTED`].
    #[must_use]
    pub fn token(&self) -> Token {
        self.ready.token
    }

    /// The number that was given along with the operation or the posted completion; else zero.
    #[must_use]
    pub fn user_data(&self) -> u64 {
        self.ready.user_data
    }

    /// Which operation this is; `None` for a posted completion.
    #[must_use]
    pub fn kind(&self) -> Option<OpKind> {
        (self.ready.token != Token::POSTED).then(|| self.ready.kind())
    }

    /// Whether more completions of the same operation will follow. Each operation has exactly one
    /// completion that says no, its last.
    #[must_use]
    pub fn more(&self) -> bool {
        self.ready.has(Ready::MORE)
    }

    /// The value of a completion made by [`Notifier::post`](crate::Notifier::post).
    #[must_use]
    pub fn posted(&self) -> Option<i64> {
        (self.ready.token == Token::POSTED).then_some(self.ready.result)
    }

    /// Takes the result, if this is the completion of `token`.
    ///
    /// # Errors
    /// The completion itself, untouched, if it is another operation's.
    #[inline(always)]
    pub fn take<O: Operation>(self, token: Token<O>) -> Result<O::Output, Completion<'q>> {
        if self.ready.token != token.erase() {
            return Err(self);
        }
        self.take_as::<O>()
    }

    /// Takes the result, if the operation is an `O`.
    ///
    /// # Errors
    /// The completion itself, untouched, if it is of another type or was posted.
    #[inline(always)]
    pub fn take_as<O: Operation>(self) -> Result<O::Output, Completion<'q>> {
        if self.ready.token == Token::POSTED {
            return Err(self);
        }
        // Once its result is taken there is none left to drop, even if a buffer panics meanwhile.
        let this = ManuallyDrop::new(self);
        match this.queue.finish_popped::<O>(&this.ready) {
            Some(output) => Ok(output),
            None => Err(ManuallyDrop::into_inner(this)),
        }
    }

    /// Leaves the result of a final completion in the queue, until [`Queue::take`] asks for it by
    /// its token, or [`Queue::discard`] gives it up. This suits a runtime whose future looks for
    /// its result when it is polled.
    ///
    /// # Errors
    /// The completion itself, untouched, if it is not final or was posted: an item of a multishot
    /// operation has no slot of its own to stay in.
    ///
    /// [`Queue::take`]: crate::Queue::take
    /// [`Queue::discard`]: crate::Queue::discard
    pub fn keep(self) -> Result<Token, Completion<'q>> {
        if self.more() || self.ready.token == Token::POSTED {
            return Err(self);
        }
        let (queue, ready) = self.into_parts();
        queue.keep(&ready);
        Ok(ready.token)
    }

    fn into_parts(self) -> (&'q Queue, Ready) {
        let parts = (self.queue, self.ready);
        std::mem::forget(self);
        parts
    }
}

impl Drop for Completion<'_> {
    fn drop(&mut self) {
        if self.ready.token != Token::POSTED {
            self.queue.discard_popped(&self.ready);
        }
    }
}

impl fmt::Debug for Completion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("token", &self.token())
            .field("kind", &self.kind())
            .field("user_data", &self.user_data())
            .field("more", &self.more())
            .finish()
    }
}

/// The completions that one [`Queue::wait`](crate::Queue::wait) found: an iterator that takes each
/// out of the queue. Those that are not iterated over stay for the next `wait`.
#[derive(Debug)]
pub struct Completions<'q> {
    queue: &'q Queue,
    remaining: usize,
    notified: bool,
}

impl<'q> Completions<'q> {
    pub(crate) fn new(queue: &'q Queue, remaining: usize, notified: bool) -> Completions<'q> {
        Completions {
            queue,
            remaining,
            notified,
        }
    }

    /// Whether the wait ended (also) because of [`Notifier::notify`](crate::Notifier::notify).
    #[must_use]
    pub fn notified(&self) -> bool {
        self.notified
    }

    /// Whether there is nothing (more) in this batch: the wait was timed out or notified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }
}

impl<'q> Iterator for Completions<'q> {
    type Item = Completion<'q>;

    #[inline(always)]
    fn next(&mut self) -> Option<Completion<'q>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let ready = self.queue.pop_ready()?;
        Some(Completion::new(self.queue, ready))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining))
    }
}

/// One line of the queue's list of what is ready: what a backend reported, in four words.
///
/// The small parts share a word, so that a copy moves whole registers: parts that are written one
/// by one and then copied as one make the processor wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) user_data: u64,
    /// Not negative: a count or a descriptor. Negative: the raw code of the system's error.
    pub(crate) result: i64,
    /// From the lowest bit: the buffer's offset (32 bits) and number (16), flags (8), kind (8).
    detail: u64,
}

impl Ready {
    /// More completions of this operation follow.
    pub(crate) const MORE: u8 = 1;
    /// The operation was cut short by a cancel, a deadline or a broken chain.
    pub(crate) const CANCELLED: u8 = 2;
    /// The deadline was the reason for the cut.
    pub(crate) const TIMED_OUT: u8 = 4;
    /// `buffer` names a piece of the operation's pool.
    pub(crate) const BUFFER: u8 = 8;
    /// A datagram was longer than its buffer.
    pub(crate) const TRUNCATED: u8 = 16;

    #[inline]
    pub(crate) fn new(
        token: Token,
        user_data: u64,
        kind: OpKind,
        result: i64,
        flags: u8,
        buffer: BufferRef,
    ) -> Ready {
        let detail = u64::from(buffer.offset)
            | u64::from(buffer.id) << 32
            | u64::from(flags) << 48
            | (kind as u64) << 56;
        Ready {
            token,
            user_data,
            result,
            detail,
        }
    }

    #[inline]
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.detail & u64::from(flags) << 48 != 0
    }

    #[inline]
    pub(crate) fn kind(&self) -> OpKind {
        OpKind::ALL[(self.detail >> 56) as usize]
    }

    /// The pool's buffer that holds an item, if `BUFFER` is set.
    #[inline]
    pub(crate) fn buffer(&self) -> BufferRef {
        BufferRef {
            offset: self.detail as u32,
            id: (self.detail >> 32) as u16,
        }
    }
}

const _: () = assert!(size_of::<Ready>() == 32);

/// A piece of a pool's buffer: which buffer, and where in it the kernel began to fill.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct BufferRef {
    pub(crate) offset: u32,
    pub(crate) id: u16,
}

/// What is ready, in its order. Nearly always a turn fills it and the user empties it, so it is a
/// list with a beginning that moves, not a ring.
#[derive(Default)]
pub(crate) struct ReadyList {
    entries: Vec<Ready>,
    /// Those before this one have been taken.
    taken: usize,
}

impl ReadyList {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.entries.len()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.taken
    }

    #[inline]
    pub(crate) fn push(&mut self, ready: Ready) {
        if self.entries.len() == self.entries.capacity() {
            self.make_room();
        }
        self.entries.push(ready);
    }

    /// Uses the room of those that have been taken, if that is worth the move.
    #[cold]
    fn make_room(&mut self) {
        if self.taken > self.entries.len() / 2 {
            self.entries.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Keeps those that `wanted` says yes to, in their order.
    pub(crate) fn retain(&mut self, wanted: impl FnMut(&Ready) -> bool) {
        self.entries.drain(..self.taken);
        self.taken = 0;
        self.entries.retain(wanted);
    }

    /// All that are left, in their order.
    pub(crate) fn into_entries(mut self) -> Vec<Ready> {
        self.retain(|_| true);
        self.entries
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Ready> {
        let ready = *self.entries.get(self.taken)?;
        self.taken += 1;
        self.forget_taken();
        Some(ready)
    }

    /// Takes the one that was pushed last, if it is the final one of `token`.
    #[inline]
    pub(crate) fn pop_newest(&mut self, token: Token) -> Option<Ready> {
        let ready = *self.entries.last()?;
        if ready.token != token || ready.has(Ready::MORE) {
            return None;
        }
        self.entries.pop();
        self.forget_taken();
        Some(ready)
    }

    /// Begins anew when there is nothing left.
    #[inline]
    fn forget_taken(&mut self) {
        if self.taken == self.entries.len() {
            self.entries.clear();
            self.taken = 0;
        }
    }
}
