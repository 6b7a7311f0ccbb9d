//! Requests: the `OVERLAPPED` of each call in flight, and what belongs to it.
//!
//! A request lies at an address that does not change, from the call until its packet has been taken
//! out: the system writes to it and to its room. So requests lie in chunks that never move, and one
//! that is in flight is never freed, not even with the backend: then its chunk is leaked.
//!
//! A packet names a request by its address. The address is looked up, not followed: a packet of
//! somebody else's call on the same handle leads nowhere.

#![expect(unsafe_code)]
// UNSAFETY: requests lie at stable addresses and are shared with the system.

use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

use windows_sys::Win32::System::IO::OVERLAPPED;

use crate::slot::{NONE, Token};
use crate::sys::afd::PollInfo;
use crate::sys::{RawHandle, call, socket};

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// The operation itself.
    Operation,
    /// It tells when there is something to receive; what is there is taken by another call.
    Readiness,
    /// One of an accept's calls; the connection goes into this socket.
    Accept(RawHandle),
    /// The operation `Poll`: what was found is in the room.
    Poll,
}

const ROOM_WORDS: usize = socket::ACCEPT_ROOM.div_ceil(8);
const _: () = assert!(size_of::<PollInfo>() <= ROOM_WORDS * 8);

/// One call in flight. All fields are cells: nobody ever forms a `&mut Request`.
#[repr(C)]
pub(super) struct Request {
    overlapped: UnsafeCell<OVERLAPPED>,
    /// The next request of the same operation; the next free one while it is free.
    pub(super) next: Cell<u32>,
    pub(super) token: Cell<Token>,
    pub(super) role: Cell<Role>,
    /// The handle that the call is on.
    pub(super) raw: Cell<RawHandle>,
    room: UnsafeCell<[u64; ROOM_WORDS]>,
}

impl Request {
    fn new() -> Request {
        Request {
            overlapped: UnsafeCell::new(call::at(0)),
            next: Cell::new(NONE),
            token: Cell::new(Token::POSTED),
            role: Cell::new(Role::Operation),
            raw: Cell::new(RawHandle::NONE),
            room: UnsafeCell::new([0; ROOM_WORDS]),
        }
    }

    /// For the system's calls.
    pub(super) fn overlapped(&self) -> *mut OVERLAPPED {
        self.overlapped.get()
    }

    /// Memory that a call may use until its packet comes.
    pub(super) fn room(&self) -> *mut u8 {
        self.room.get().cast()
    }

    /// What a poll has found, after its packet has come.
    pub(super) fn found(&self) -> u16 {
        // SAFETY: a poll has filled the room with such a record, and its packet has come.
        unsafe { *self.room.get().cast::<PollInfo>() }.found()
    }
}

const CHUNK: usize = 64;

/// All requests of a backend.
#[derive(Default)]
pub(super) struct Requests {
    chunks: Vec<NonNull<[Request; CHUNK]>>,
    /// Where the chunks begin, in the order of addresses, with the number of each.
    places: Vec<(usize, u32)>,
    free: Option<u32>,
    in_flight: usize,
}

impl Requests {
    /// Takes a free request for a call, at `offset` of the file, if it is one.
    pub(super) fn take(&mut self, token: Token, raw: RawHandle, role: Role, offset: u64) -> u32 {
        let index = match self.free {
            Some(index) => index,
            None => self.grow(),
        };
        self.in_flight += 1;
        let request = self.get(index);
        let next = request.next.replace(NONE);
        request.token.set(token);
        request.raw.set(raw);
        request.role.set(role);
        // SAFETY: the request is free, so that nobody else looks at it.
        unsafe { request.overlapped.get().write(call::at(offset)) };
        self.free = (next != NONE).then_some(next);
        index
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        let number = self.chunks.len() as u32;
        let first = number * CHUNK as u32;
        let chunk = Box::new(std::array::from_fn(|_| Request::new()));
        let chunk = NonNull::from(Box::leak(chunk));
        self.chunks.push(chunk);
        let begin = chunk.as_ptr() as usize;
        let place = self.places.partition_point(|&(other, _)| other < begin);
        self.places.insert(place, (begin, number));
        for index in first..first + CHUNK as u32 - 1 {
            self.get(index).next.set(index + 1);
        }
        first
    }

    pub(super) fn get(&self, index: u32) -> &Request {
        let chunk = self.chunks[index as usize / CHUNK];
        // SAFETY: chunks live as long as this, or longer, and are only used through shared
        // references and cells.
        let chunk = unsafe { chunk.as_ref() };
        &chunk[index as usize % CHUNK]
    }

    /// The request in flight whose `OVERLAPPED` lies at an address; `None` if there is none such.
    pub(super) fn find(&self, address: usize) -> Option<u32> {
        let place = self.places.partition_point(|&(begin, _)| begin <= address);
        let (begin, number) = self.places[place.checked_sub(1)?];
        let (at, within) = ((address - begin) / size_of::<Request>(), address - begin);
        if at >= CHUNK || within % size_of::<Request>() != 0 {
            return None;
        }
        let index = number * CHUNK as u32 + at as u32;
        (self.get(index).token.get() != Token::POSTED).then_some(index)
    }

    /// The packet of a call has come, or none will.
    pub(super) fn give_back(&mut self, index: u32) {
        let request = self.get(index);
        request.token.set(Token::POSTED);
        request.next.set(self.free.unwrap_or(NONE));
        self.free = Some(index);
        self.in_flight -= 1;
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        if self.in_flight > 0 {
            // The system may still write to them.
            return;
        }
        for chunk in self.chunks.drain(..) {
            // SAFETY: leaked from a box in `grow`; nothing is in flight, and nobody has a reference.
            drop(unsafe { Box::from_raw(chunk.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_by_their_addresses_and_by_no_other() {
        let mut requests = Requests::default();
        let token = Token::new(1, 2);
        let raw = RawHandle::NONE;
        let taken: Vec<_> = (0..3 * CHUNK)
            .map(|_| requests.take(token, raw, Role::Operation, 0))
            .collect();
        for &index in &taken {
            let address = requests.get(index).overlapped() as usize;
            assert_eq!(requests.find(address), Some(index));
            assert_eq!(requests.find(address + 8), None);
        }
        let first = requests.get(taken[0]).overlapped() as usize;
        requests.give_back(taken[0]);
        assert_eq!(requests.find(first), None, "it is not in flight");
        assert_eq!(requests.take(token, raw, Role::Operation, 0), taken[0]);
        assert_eq!(requests.find(0), None);
        assert_eq!(requests.find(usize::MAX), None);
        for index in taken {
            requests.give_back(index);
        }
    }
}
