//! Where operations wait for readiness: what is known of a handle, and the lists of those parked.
//!
//! Owns the links, which lie in the slots. It makes no call and decides nothing.

use crate::ledger::Ledger;
use crate::slot::{NONE, Slot};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Read,
    Write,
}

/// A doubly linked list of slots, through the slots.
#[derive(Clone, Copy)]
pub(super) struct List {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl List {
    pub(super) const EMPTY: List = List {
        first: NONE,
        last: NONE,
    };

    #[inline]
    pub(super) fn push_back(&mut self, ledger: &Ledger, record: &Slot) {
        let slot = record.index();
        record.list_previous.set(self.last);
        record.list_next.set(NONE);
        match self.last {
            NONE => self.first = slot,
            last => ledger.slots.get(last).list_next.set(slot),
        }
        self.last = slot;
    }

    #[inline]
    pub(super) fn remove(&mut self, ledger: &Ledger, record: &Slot) {
        let (previous, next) = (
            record.list_previous.replace(NONE),
            record.list_next.replace(NONE),
        );
        match previous {
            NONE => self.first = next,
            previous => ledger.slots.get(previous).list_next.set(next),
        }
        match next {
            NONE => self.last = previous,
            next => ledger.slots.get(next).list_previous.set(previous),
        }
    }
}

/// What is known of a handle.
#[derive(Clone)]
pub(super) struct HandleState {
    pub(super) registered: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// An event has said that the peer's side is at its end, for which no further edge will come, or
    /// that there are urgent bytes, before which a receive stops: a short one means nothing.
    pub(super) closed: bool,
    /// Its bytes are a stream from the network, so that a short receive means that there is no more.
    pub(super) stream: bool,
    /// Reads of it may be answered by the page cache.
    pub(super) cached: bool,
    /// It is on the list of handles to look at.
    pub(super) due: bool,
    /// Part of the key; raised when the handle is forgotten, so that events that were under way
    /// for it do not reach the next handle in its place.
    pub(super) epoch: u32,
    pub(super) readers: List,
    pub(super) writers: List,
    pub(super) watchers: List,
}

impl HandleState {
    pub(super) fn new(epoch: u32) -> HandleState {
        HandleState {
            registered: false,
            readable: true,
            writable: true,
            closed: false,
            stream: false,
            cached: true,
            due: false,
            epoch,
            readers: List::EMPTY,
            writers: List::EMPTY,
            watchers: List::EMPTY,
        }
    }

    #[inline]
    pub(super) fn list(&mut self, direction: Direction) -> &mut List {
        match direction {
            Direction::Read => &mut self.readers,
            Direction::Write => &mut self.writers,
        }
    }

    #[inline]
    pub(super) fn ready(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::Read => &mut self.readable,
            Direction::Write => &mut self.writable,
        }
    }
}
