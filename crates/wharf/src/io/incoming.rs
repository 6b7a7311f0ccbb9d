//! What a file or pipe brings: the read in flight, and the bytes that nobody has taken yet.
//!
//! Owns the incoming side of everything here that is not a socket. It belongs to the handle and not
//! to a future, so a read that is dropped leaves its bytes to the next one (contract C4). It reads
//! no more than it was asked for: what is not asked for may be meant for another process.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use wharf_queue::{Handle, IoBuf, Outcome, Slice, op};

use super::chunk::Place;
use super::conduit::Conduit;
use super::{PoolBuf, spare};
use crate::carried::Carried;

/// The longest read that copies: what does not fit into the processor's caches is no gain.
pub(crate) const LONGEST: usize = 256 * 1024;

/// How much `recv` asks for.
pub(crate) const PIECE: usize = 64 * 1024;

type Part = Slice<Vec<u8>>;

/// A read in flight, of a file or of a stream.
enum Reading {
    At(Carried<op::ReadAt<Part>>),
    Next(Carried<op::Read<Part>>),
}

#[derive(Default)]
pub(crate) struct Incoming {
    reading: Option<Reading>,
    /// What has come; that before `begin` has been taken.
    bytes: Vec<u8>,
    begin: usize,
}

impl Reading {
    fn begin(conduit: &Conduit, place: Place, len: usize) -> io::Result<Reading> {
        let part = spare::take(len).slice(..len);
        match place {
            Place::At(offset) => {
                let begin = move |handle: &Handle| op::ReadAt::new(handle, part, offset);
                conduit.handle().start(begin).map(Reading::At)
            }
            Place::Next => {
                let begin = move |handle: &Handle| op::Read::new(handle, part);
                conduit.handle().start(begin).map(Reading::Next)
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Outcome<usize>, Part)>> {
        match self {
            Reading::At(operation) => Pin::new(operation).poll(cx),
            Reading::Next(operation) => Pin::new(operation).poll(cx),
        }
    }
}

impl Incoming {
    /// Forgets what has come and cancels what is in flight: for files, whose bytes stay where they
    /// are.
    pub(crate) fn discard(&mut self) {
        self.reading = None;
        self.recycle();
    }

    /// Whether nothing has come that nobody has taken, and nothing is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.reading.is_none()
    }

    fn recycle(&mut self) {
        self.begin = 0;
        spare::give(std::mem::take(&mut self.bytes));
    }

    /// Waits until something is there, beginning a read of `len` bytes if none is in flight. False
    /// at the end of the file or stream.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        conduit: &Conduit,
        place: Place,
        len: usize,
    ) -> Poll<io::Result<bool>> {
        if self.begin < self.bytes.len() {
            return Poll::Ready(Ok(true));
        }
        let reading = match &mut self.reading {
            Some(reading) => reading,
            none => none.insert(Reading::begin(conduit, place, len)?),
        };
        let answer = ready!(reading.poll(cx));
        self.reading = None;
        let (outcome, part) = answer?;
        self.recycle();
        self.bytes = part.into_inner();
        let count = outcome.into_result()?;
        if count == 0 {
            self.recycle();
        }
        Poll::Ready(Ok(count > 0))
    }

    /// Copies what is there, or comes first, to `buf`.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        conduit: &Conduit,
        place: Place,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let len = buf.len().min(LONGEST);
        if !ready!(self.poll_fill(cx, conduit, place, len))? {
            return Poll::Ready(Ok(0));
        }
        let there = &self.bytes[self.begin..];
        let count = there.len().min(buf.len());
        buf[..count].copy_from_slice(&there[..count]);
        self.begin += count;
        if self.begin == self.bytes.len() {
            self.recycle();
        }
        Poll::Ready(Ok(count))
    }

    /// Puts something before what is there.
    pub(crate) fn put_back(&mut self, piece: PoolBuf) {
        let mut bytes = piece.to_vec();
        bytes.extend_from_slice(&self.bytes[self.begin..]);
        self.recycle();
        self.bytes = bytes;
    }

    /// Gives what is there, or comes first, as it lies.
    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        conduit: &Conduit,
        place: Place,
    ) -> Poll<io::Result<Option<PoolBuf>>> {
        if !ready!(self.poll_fill(cx, conduit, place, PIECE))? {
            return Poll::Ready(Ok(None));
        }
        let mut piece = PoolBuf::from(std::mem::take(&mut self.bytes));
        piece.advance(std::mem::take(&mut self.begin));
        Poll::Ready(Ok(Some(piece)))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("is_reading", &self.reading.is_some())
            .field("bytes", &(self.bytes.len() - self.begin))
            .finish()
    }
}
