//! What of a stream is on its way out: the send in flight, and what waits behind it, in order.
//!
//! Owns the order and the room. What is done with them, when, is the business of `send`.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Waker};

use super::send_file::FilePart;
use crate::buf::OutBuf;
use crate::net::Failure;
use crate::slab::Key;

/// Bytes that may wait behind the send in flight.
pub(super) const ROOM: usize = 64 * 1024;

/// The number of an owned write, to know its buffer by; 0 is none.
pub(crate) type Ticket = u32;

/// What can be sent.
pub(super) enum Item {
    Bytes(OutBuf),
    File(FilePart),
}

impl Item {
    /// How much of the room it takes while it waits.
    fn weight(&self) -> usize {
        match self {
            Item::Bytes(buf) => buf.len(),
            Item::File(_) => ROOM,
        }
    }

    pub(super) fn into_buf(self) -> Option<OutBuf> {
        match self {
            Item::Bytes(buf) => Some(buf),
            Item::File(_) => None,
        }
    }
}

pub(super) struct Queued {
    pub(super) item: Item,
    pub(super) ticket: Ticket,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Closing {
    #[default]
    Open,
    /// As soon as everything is sent.
    Wanted,
    InFlight,
    Done,
}

/// What became of an owned write that somebody waits for. These lie with the worker: few streams have
/// one at a time.
pub(in crate::net) struct Returned {
    pub(super) stream: Key,
    pub(super) ticket: Ticket,
    pub(super) result: Result<usize, Failure>,
    /// What was lent; nothing for a part of a file.
    pub(super) buf: Option<OutBuf>,
}

impl Returned {
    pub(super) fn of_file(stream: Key, ticket: Ticket, result: Result<usize, Failure>) -> Returned {
        Returned {
            stream,
            ticket,
            result,
            buf: None,
        }
    }

    pub(in crate::net) fn is_of(&self, stream: Key, ticket: Ticket) -> bool {
        self.stream == stream && self.ticket == ticket
    }
}

#[derive(Default)]
pub(super) struct SendSide {
    /// Something is in flight; its ticket.
    pub(super) in_flight: Option<Ticket>,
    pub(super) queue: VecDeque<Queued>,
    /// Bytes in the queue.
    pub(super) queued_len: usize,
    pub(super) gathering: Vec<u8>,
    /// It is on the worker's list of those that have something to hand over.
    pub(super) is_dirty: bool,
    pub(super) failure: Option<Failure>,
    pub(super) closing: Closing,
    pub(super) waker: Option<Waker>,
    pub(super) last_ticket: Ticket,
    /// The owned write that is awaited.
    pub(super) awaited: Ticket,
}

impl SendSide {
    pub(super) fn waiting(&self) -> usize {
        self.queued_len + self.gathering.len()
    }

    pub(super) fn room(&self) -> usize {
        ROOM.saturating_sub(self.waiting())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.waiting() == 0 && self.queue.is_empty()
    }

    /// Why nothing more can be written.
    pub(super) fn refusal(&self) -> Option<io::Error> {
        match (self.failure, self.closing) {
            (Some(failure), _) => Some(failure.error()),
            (None, Closing::Open) => None,
            (None, _) => Some(io::ErrorKind::BrokenPipe.into()),
        }
    }

    pub(super) fn register(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Puts a buffer behind everything that was written before.
    pub(super) fn enqueue(&mut self, item: Item, ticket: Ticket) {
        if !self.gathering.is_empty() {
            let gathered = std::mem::take(&mut self.gathering);
            self.queued_len += gathered.len();
            self.queue.push_back(Queued {
                item: Item::Bytes(OutBuf::Gathered(gathered)),
                ticket: 0,
            });
        }
        self.queued_len += item.weight();
        self.queue.push_back(Queued { item, ticket });
    }

    /// Takes what has this ticket out of the queue, if it still waits there.
    pub(super) fn take_queued(&mut self, ticket: Ticket) -> Option<Item> {
        let position = self.queue.iter().position(|one| one.ticket == ticket)?;
        let queued = self.queue.remove(position)?;
        self.queued_len -= queued.item.weight();
        Some(queued.item)
    }

    /// Puts something before everything that waits.
    pub(super) fn put_first(&mut self, queued: Queued) {
        self.queued_len += queued.item.weight();
        self.queue.push_front(queued);
    }

    pub(super) fn next(&mut self) -> Option<Queued> {
        if let Some(queued) = self.queue.pop_front() {
            self.queued_len -= queued.item.weight();
            return Some(queued);
        }
        if self.gathering.is_empty() {
            return None;
        }
        Some(Queued {
            item: Item::Bytes(OutBuf::Gathered(std::mem::take(&mut self.gathering))),
            ticket: 0,
        })
    }
}
