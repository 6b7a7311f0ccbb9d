//! What lives on a worker and is reached by handles: streams, listeners, sockets for datagrams.
//!
//! Owns the tables, the buffers that they share, and the way of a completion to the thing that it is
//! about: the user_data of its operation is a tag and a key, and a key that is stale is ignored.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Waker};

use wharf_queue::{BufPool, Completion, Moment, Token, op};

use super::datagram::Datagrams;
use super::listener::Listener;
use super::stream::{Pipe, Returned, Stream, Ticket};
use crate::buf::{OutBuf, PoolBuf};
use crate::engine::Locals;
use crate::runtime::worker::Worker;
use crate::slab::{Key, Slab};

/// What a completion is about, in the upper bits of its user_data. Zero is an operation of a future.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Tag {
    StreamReceive = 1,
    StreamSend = 2,
    StreamShutdown = 3,
    Accept = 4,
    DatagramReceive = 5,
    DatagramSend = 6,
    DatagramSendTo = 7,
    StreamSendFile = 8,
}

impl Tag {
    /// The user_data of an operation on the thing with this key.
    pub(crate) fn user_data(self, key: Key) -> u64 {
        (self as u64) << Key::BITS | key.to_bits()
    }
}

/// Outgoing buffers that are kept for reuse, and the largest that is.
const KEPT_BUFFERS: usize = 64;
const LARGEST_KEPT: usize = 128 * 1024;
/// The capacity of a new outgoing buffer.
const NEW_BUFFER: usize = 2048;

/// Empty pipes that are kept for reuse.
const KEPT_PIPES: usize = 8;

/// Buffers for datagrams: each holds one, and so the largest that the internet protocols know.
const DATAGRAM_BUFFERS: (u16, u32) = (64, 65_536);

/// What lives on a worker and is reached by handles.
pub(crate) struct Sources {
    pub(crate) locals: RefCell<Locals>,
    pub(super) streams: RefCell<Slab<Rc<Stream>>>,
    pub(super) listeners: RefCell<Slab<Rc<Listener>>>,
    pub(super) datagrams: RefCell<Slab<Rc<Datagrams>>>,
    /// Buffers for datagrams, made when the first socket receives.
    datagram_pool: RefCell<Option<BufPool>>,
    /// Sockets whose sends wait for a place in the queue.
    pump_next_turn: RefCell<Vec<Key>>,
    /// Who waits for a place in the queue.
    next_turn: RefCell<Vec<Waker>>,
    /// Streams that have something to hand over before the worker looks at its queue.
    dirty: RefCell<Vec<Key>>,
    /// Streams that were dropped and still send, in the order of their deadlines.
    lingering: RefCell<VecDeque<(Moment, Key)>>,
    /// Buffers for streams, made when the first one receives.
    pool: RefCell<Option<BufPool>>,
    /// Bytes of that pool that streams hold and nobody has read.
    pub(super) hoarded: Cell<usize>,
    /// Lent buffers that were sent and are waited for.
    returned: RefCell<Vec<Returned>>,
    /// Parts of files that are being sent, by their streams: there are few at a time.
    file_sends: RefCell<Vec<(Key, Token<op::SendFile>)>>,
    /// Splices that wait for a side of a stream, and other threads' flushes.
    pub(super) claims: RefCell<Vec<(Key, Waker)>>,
    /// Pipes for splices that are not in use, and empty.
    pipes: RefCell<Vec<Pipe>>,
    /// Outgoing buffers that are not in use.
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Default for Sources {
    fn default() -> Sources {
        Sources {
            locals: RefCell::new(Slab::new()),
            streams: RefCell::new(Slab::new()),
            listeners: RefCell::new(Slab::new()),
            datagrams: RefCell::new(Slab::new()),
            datagram_pool: RefCell::default(),
            pump_next_turn: RefCell::default(),
            next_turn: RefCell::default(),
            dirty: RefCell::default(),
            lingering: RefCell::default(),
            pool: RefCell::default(),
            hoarded: Cell::new(0),
            returned: RefCell::default(),
            file_sends: RefCell::default(),
            claims: RefCell::default(),
            pipes: RefCell::default(),
            spare: RefCell::default(),
        }
    }
}

impl Sources {
    #[inline]
    pub(super) fn stream(&self, key: Key) -> Option<Rc<Stream>> {
        self.streams.borrow().get(key).cloned()
    }

    pub(super) fn listener(&self, key: Key) -> Option<Rc<Listener>> {
        self.listeners.borrow().get(key).cloned()
    }

    pub(super) fn datagram_socket(&self, key: Key) -> Option<Rc<Datagrams>> {
        self.datagrams.borrow().get(key).cloned()
    }

    /// A received datagram, copied if buffers are half used up: each takes a whole one.
    pub(super) fn keep_datagram(&self, data: wharf_queue::PoolBuf) -> PoolBuf {
        let pool = self.datagram_pool.borrow();
        let is_short = |pool: &BufPool| pool.available() * 2 < pool.buffers();
        match pool.as_ref().is_some_and(is_short) {
            true => PoolBuf::from(data.to_vec()),
            false => PoolBuf::from(data),
        }
    }

    /// Wakes them before the worker looks at its queue again.
    pub(super) fn wake_next_turn(&self, wakers: &mut Vec<Waker>) {
        self.next_turn.borrow_mut().append(wakers);
    }

    /// Tries a socket's sends again in the next turn.
    pub(super) fn pump_next_turn(&self, key: Key) {
        self.pump_next_turn.borrow_mut().push(key);
    }

    pub(super) fn mark_dirty(&self, key: Key) {
        self.dirty.borrow_mut().push(key);
    }

    /// An outgoing buffer, empty.
    pub(super) fn take_buffer(&self) -> Vec<u8> {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(NEW_BUFFER))
    }

    pub(super) fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < KEPT_BUFFERS && buffer.capacity() <= LARGEST_KEPT {
            buffer.clear();
            spare.push(buffer);
        }
    }

    pub(super) fn put_returned(&self, returned: Returned) {
        self.returned.borrow_mut().push(returned);
    }

    pub(super) fn take_returned(&self, stream: Key, ticket: Ticket) -> Option<Returned> {
        let mut all = self.returned.borrow_mut();
        let position = all.iter().position(|one| one.is_of(stream, ticket))?;
        Some(all.swap_remove(position))
    }

    pub(super) fn file_send_began(&self, stream: Key, token: Token<op::SendFile>) {
        self.file_sends.borrow_mut().push((stream, token));
    }

    /// The part of a file that a stream has in flight, or had until now.
    pub(super) fn take_file_send(&self, stream: Key) -> Option<Token<op::SendFile>> {
        let mut all = self.file_sends.borrow_mut();
        let position = all.iter().position(|(key, _)| *key == stream)?;
        Some(all.swap_remove(position).1)
    }

    /// Wakes the task when a side of this stream may be free.
    pub(super) fn claim(&self, stream: Key, cx: &Context<'_>) {
        let mut claims = self.claims.borrow_mut();
        let is_there = |(key, waker): &(Key, Waker)| *key == stream && waker.will_wake(cx.waker());
        if !claims.iter().any(is_there) {
            claims.push((stream, cx.waker().clone()));
        }
    }

    /// The task does not want that side any more.
    pub(super) fn give_up_claim(&self, stream: Key, cx: &Context<'_>) {
        let mut claims = self.claims.borrow_mut();
        let is_it = |(key, waker): &(Key, Waker)| *key == stream && waker.will_wake(cx.waker());
        let given_up = claims.iter().position(is_it);
        let given_up = given_up.map(|position| claims.swap_remove(position));
        drop(claims);
        drop(given_up);
    }

    #[inline]
    pub(super) fn wake_claims(&self, stream: Key) {
        if !self.claims.borrow().is_empty() {
            self.wake_claims_of(stream);
        }
    }

    #[cold]
    fn wake_claims_of(&self, stream: Key) {
        loop {
            let mut claims = self.claims.borrow_mut();
            let Some(position) = claims.iter().position(|(key, _)| *key == stream) else {
                return;
            };
            let (_, waker) = claims.swap_remove(position);
            drop(claims);
            waker.wake();
        }
    }

    /// A pipe that is empty, for a splice.
    pub(super) fn take_pipe(&self) -> Option<Pipe> {
        self.pipes.borrow_mut().pop()
    }

    pub(super) fn give_pipe(&self, pipe: Pipe) {
        let mut pipes = self.pipes.borrow_mut();
        if pipes.len() < KEPT_PIPES {
            pipes.push(pipe);
        }
    }

    /// What was sent is not needed any more.
    pub(super) fn recycle(&self, buf: OutBuf) {
        if let OutBuf::Gathered(buffer) = buf {
            self.give_buffer(buffer);
        }
    }

    /// Whether fewer than one in `share` of the receive buffers are free. What is handed out or kept
    /// is then copied, so that those who do not read or do not take what is sent to them cannot use
    /// up what all connections live from.
    pub(super) fn is_short(&self, share: usize) -> bool {
        let pool = self.pool.borrow();
        pool.as_ref()
            .is_some_and(|pool| pool.available() * share < pool.buffers())
    }

    /// A received piece for the user to keep: copied if buffers are short.
    pub(super) fn hand_out(&self, piece: PoolBuf) -> PoolBuf {
        match piece.is_pooled() && self.is_short(4) {
            true => piece.into_own(),
            false => piece,
        }
    }

    /// A piece that is to be sent, perhaps to a peer that does not take it: copied if buffers are
    /// half used up.
    pub(super) fn send_out(&self, piece: PoolBuf) -> PoolBuf {
        match piece.is_pooled() && self.is_short(2) {
            true => piece.into_own(),
            false => piece,
        }
    }

    /// Copies what streams have received and nobody has read, if buffers are short.
    fn free_buffers(&self) {
        if self.hoarded.get() == 0 || !self.is_short(4) {
            return;
        }
        for (_, stream) in self.streams.borrow().iter() {
            stream.copy_hoard(self);
        }
    }
}

impl Worker {
    /// The buffers for streams.
    pub(super) fn stream_pool(&self) -> io::Result<BufPool> {
        let mut pool = self.sources.pool.borrow_mut();
        if let Some(pool) = &*pool {
            return Ok(pool.clone());
        }
        let (buffers, size) = self.options.receive_buffers;
        let made = self
            .queue
            .buf_pool()
            .buffers(buffers)
            .size(size)
            .incremental()
            .build()?;
        Ok(pool.insert(made).clone())
    }

    /// The buffers for datagrams.
    pub(super) fn datagram_pool(&self) -> io::Result<BufPool> {
        let mut pool = self.sources.datagram_pool.borrow_mut();
        if let Some(pool) = &*pool {
            return Ok(pool.clone());
        }
        let (buffers, size) = DATAGRAM_BUFFERS;
        let builder = self.queue.buf_pool().buffers(buffers).size(size);
        Ok(pool.insert(builder.datagrams().build()?).clone())
    }

    /// A completion that belongs to a source. What comes for a stale key is dropped, by its type.
    pub(crate) fn source_completed(self: &Rc<Worker>, completion: Completion<'_>) {
        let user_data = completion.user_data();
        let key = Key::from_bits(user_data);
        let more = completion.more();
        match (user_data >> Key::BITS) as u8 {
            tag if tag == Tag::StreamReceive as u8 => {
                let Some(stream) = self.sources.stream(key) else {
                    return;
                };
                if let Ok(outcome) = completion.take_as::<op::RecvMulti>() {
                    stream.received(self, outcome, more);
                }
            }
            tag if tag == Tag::StreamSend as u8 => {
                let Some(stream) = self.sources.stream(key) else {
                    return;
                };
                if let Ok((outcome, buf)) = completion.take_as::<op::Send<OutBuf>>() {
                    stream.sent(self, outcome, buf);
                }
            }
            tag if tag == Tag::StreamSendFile as u8 => {
                let ended = self.sources.take_file_send(key);
                let (Some(stream), Some(_)) = (self.sources.stream(key), ended) else {
                    return;
                };
                if let Ok(outcome) = completion.take_as::<op::SendFile>() {
                    stream.file_sent(self, outcome);
                }
            }
            tag if tag == Tag::StreamShutdown as u8 => {
                let Some(stream) = self.sources.stream(key) else {
                    return;
                };
                if let Ok(outcome) = completion.take_as::<op::Shutdown>() {
                    stream.was_shut_down(self, outcome);
                }
            }
            tag if tag == Tag::DatagramReceive as u8 => {
                let Some(socket) = self.sources.datagram_socket(key) else {
                    return;
                };
                if let Ok(outcome) = completion.take_as::<op::RecvFromMulti>() {
                    socket.received(self, outcome, more);
                }
            }
            tag if tag == Tag::DatagramSend as u8 => {
                let Some(socket) = self.sources.datagram_socket(key) else {
                    return;
                };
                if let Ok((outcome, buf)) = completion.take_as::<op::Send<Vec<u8>>>() {
                    socket.sent(self, outcome, buf);
                }
            }
            tag if tag == Tag::DatagramSendTo as u8 => {
                let Some(socket) = self.sources.datagram_socket(key) else {
                    return;
                };
                if let Ok((outcome, buf)) = completion.take_as::<op::SendTo<Vec<u8>>>() {
                    socket.sent(self, outcome, buf);
                }
            }
            _ => {
                let Some(listener) = self.sources.listener(key) else {
                    return;
                };
                if let Ok(outcome) = completion.take_as::<op::AcceptMulti>() {
                    listener.accepted(self, outcome, more);
                }
            }
        }
    }

    /// Hands over what streams have gathered since the last turn, and sees to what is due.
    pub(crate) fn flush_sources(self: &Rc<Worker>) {
        self.sources.free_buffers();
        if !self.sources.lingering.borrow().is_empty() {
            self.end_lingering();
        }
        // As long as there is no place, nothing comes of trying again: a completion makes one.
        if self.queue.in_flight() >= self.options.max_in_flight() {
            return;
        }
        if !self.sources.dirty.borrow().is_empty() {
            let mut dirty = std::mem::take(&mut *self.sources.dirty.borrow_mut());
            for key in dirty.drain(..) {
                if let Some(stream) = self.sources.stream(key) {
                    stream.hand_over(self);
                }
            }
            // Those that the queue had no place for are on the list again; the memory is kept.
            let mut again = self.sources.dirty.borrow_mut();
            dirty.append(&mut again);
            *again = dirty;
        }
        let pump = std::mem::take(&mut *self.sources.pump_next_turn.borrow_mut());
        for key in pump {
            if let Some(socket) = self.sources.datagram_socket(key) {
                socket.hand_over(self);
            }
        }
        let next_turn = std::mem::take(&mut *self.sources.next_turn.borrow_mut());
        next_turn.into_iter().for_each(Waker::wake);
    }

    /// A stream was dropped that still has something to send.
    pub(super) fn linger(&self, key: Key) {
        let deadline = self.now() + self.options.linger;
        let mut lingering = self.sources.lingering.borrow_mut();
        lingering.push_back((deadline, key));
        drop(lingering);
        // So that the worker wakes up then.
        self.timers
            .borrow_mut()
            .insert(deadline, Waker::noop().clone());
    }

    fn end_lingering(self: &Rc<Worker>) {
        let now = self.now();
        loop {
            let first = self.sources.lingering.borrow().front().copied();
            let Some((deadline, key)) = first else { return };
            let stream = self.sources.stream(key);
            if stream.is_some() && deadline > now {
                return;
            }
            self.sources.lingering.borrow_mut().pop_front();
            if let Some(stream) = stream {
                stream.close(self);
            }
        }
    }

    /// Ends all sources: what was accepted for sending is sent, within the time for that, and
    /// everything is closed.
    pub(crate) fn close_sources(self: &Rc<Worker>) {
        let listeners: Vec<_> = {
            let listeners = self.sources.listeners.borrow();
            listeners
                .iter()
                .map(|(_, listener)| listener.clone())
                .collect()
        };
        for listener in listeners {
            listener.close(self);
        }
        let until = self.now() + self.options.linger;
        loop {
            // What other workers have written is on its way here, or announced.
            self.take_messages();
            let streams = self.streams();
            for stream in &streams {
                stream.take_foreign_output(self, true);
            }
            let sockets = self.datagram_sockets();
            for socket in &sockets {
                socket.send_outbox(self);
            }
            self.flush_sources();
            let is_sent = streams.iter().all(|stream| stream.is_all_sent())
                && sockets.iter().all(|socket| socket.is_all_sent());
            if is_sent || self.now() >= until {
                break;
            }
            let rest = until.saturating_duration_since(self.now());
            self.wait(Some(rest));
        }
        for stream in self.streams() {
            stream.end(self);
        }
        for socket in self.datagram_sockets() {
            socket.close(self);
        }
        // What was lent is given back when its send has ended.
        let until = self.now() + self.options.teardown_timeout;
        while self.streams().iter().any(|stream| stream.is_sending()) && self.now() < until {
            self.wait(Some(until.saturating_duration_since(self.now())));
        }
        drop(std::mem::take(&mut *self.sources.pipes.borrow_mut()));
        let locals = std::mem::replace(&mut *self.sources.locals.borrow_mut(), Slab::new());
        drop(locals);
    }

    fn datagram_sockets(&self) -> Vec<Rc<Datagrams>> {
        let sockets = self.sources.datagrams.borrow();
        sockets.iter().map(|(_, socket)| socket.clone()).collect()
    }

    /// Whether a future has yet to take a buffer that it lent.
    pub(crate) fn has_lent(&self) -> bool {
        !self.sources.streams.borrow().is_empty()
    }

    fn streams(&self) -> Vec<Rc<Stream>> {
        let streams = self.sources.streams.borrow();
        streams.iter().map(|(_, stream)| stream.clone()).collect()
    }
}
