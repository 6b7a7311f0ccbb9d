//! How a stream sends: at most one send in flight, then what waits behind it (`outgoing`).
//!
//! ```text
//!   write(&buf) ---copy---> gathering --+
//!   write_owned(buf) ------> queue -----+--> in flight (one, until every byte is out)
//!   send(piece) -----------> queue -----+
//!   send_file(..) ---------> queue -----+    see `send_file`
//! ```
//!
//! What is gathered comes behind what is queued; a buffer that is queued while something is being
//! gathered puts that into the queue first. So the order is that of the calls. Borrowed writes are
//! handed over at the end of the worker's turn, so that the small writes of one task are one send.
//!
//! Whoever waits here (for room, for everything to be out, for a lent buffer) is one task: writing
//! takes `&mut`.

use std::cell::RefMut;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll};

use wharf_queue::{Outcome, Prepare, SubmitError, op};

use super::outgoing::{Closing, Item, Queued, Returned, SendSide, Ticket};
use super::{Foreign, Stream};
use crate::buf::{OutBuf, PoolBuf};
use crate::net::Failure;
use crate::net::sources::Tag;
use crate::runtime::worker::Worker;
use crate::task::coop;

impl Stream {
    /// Copies as much as there is room for. While it is pending, nothing of it has been taken.
    pub(super) fn poll_write(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if coop::proceed(cx).is_pending() {
            return Poll::Pending;
        }
        self.take_foreign_output(worker, true);
        self.forget_foreign_flush();
        let mut send = self.send.borrow_mut();
        if let Some(error) = send.refusal() {
            return Poll::Ready(Err(error));
        }
        let mut room = send.room();
        if room == 0 {
            send.register(cx);
            return Poll::Pending;
        }
        if send.gathering.capacity() == 0 {
            send.gathering = worker.sources.take_buffer();
        }
        let mut taken = 0;
        for buf in bufs {
            let count = buf.len().min(room);
            send.gathering.extend_from_slice(&buf[..count]);
            (taken, room) = (taken + count, room - count);
        }
        drop(send);
        if taken > 0 {
            self.make_dirty(worker);
        }
        Poll::Ready(Ok(taken))
    }

    /// Waits until there is room for an owned buffer or a part of a file, and takes it. From then on
    /// a buffer is sent whole and in order, whatever becomes of the caller.
    pub(super) fn poll_lend(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
        item: &mut Option<Item>,
        is_awaited: bool,
    ) -> Poll<io::Result<Ticket>> {
        if coop::proceed(cx).is_pending() {
            return Poll::Pending;
        }
        self.take_foreign_output(worker, true);
        self.forget_foreign_flush();
        let mut send = self.send.borrow_mut();
        if let Some(error) = send.refusal() {
            return Poll::Ready(Err(error));
        }
        if send.room() == 0 {
            send.register(cx);
            return Poll::Pending;
        }
        let Some(item) = item.take() else {
            return Poll::Ready(Ok(0));
        };
        let mut ticket = 0;
        if is_awaited {
            send.last_ticket = send.last_ticket.checked_add(1).unwrap_or(1);
            ticket = send.last_ticket;
            send.awaited = ticket;
        }
        if send.is_idle() {
            // Nothing is before it, so it needs no place in the queue.
            self.submit_send(worker, send, Queued { item, ticket });
        } else {
            send.enqueue(item, ticket);
            drop(send);
            self.pump(worker);
        }
        Poll::Ready(Ok(ticket))
    }

    /// A piece that need not come back.
    pub(super) fn poll_send(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
        piece: &mut Option<PoolBuf>,
    ) -> Poll<io::Result<()>> {
        let mut out = piece
            .take()
            .map(|piece| Item::Bytes(OutBuf::Pool(worker.sources.send_out(piece))));
        let polled = self.poll_lend(worker, cx, &mut out, false);
        if let Some(Item::Bytes(OutBuf::Pool(not_taken))) = out {
            *piece = Some(not_taken);
        }
        polled.map(|sent| sent.map(|_| ()))
    }

    /// Whether somebody waits for a lent buffer.
    pub(super) fn is_awaited(&self) -> bool {
        self.send.borrow().awaited != 0
    }

    /// Whether a send is in flight.
    pub(in crate::net) fn is_sending(&self) -> bool {
        self.send.borrow().in_flight.is_some()
    }

    /// Nobody waits for the lent buffer any more.
    pub(super) fn forget_ticket(&self, worker: &Rc<Worker>) {
        let mut send = self.send.borrow_mut();
        let ticket = std::mem::take(&mut send.awaited);
        drop(send);
        drop(worker.sources.take_returned(self.key(), ticket));
        self.leave_closed(worker);
    }

    /// The runtime has ended, and the last lent buffer is given back.
    pub(super) fn leave_closed(&self, worker: &Rc<Worker>) {
        if self.is_ended.get() {
            let left = worker.sources.streams.borrow_mut().remove(self.key());
            drop(left);
            worker.release_if_unused();
        }
    }

    /// Waits for the owned write with this ticket to be finished.
    pub(super) fn poll_returned(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
        ticket: Ticket,
    ) -> Poll<(io::Result<usize>, Option<OutBuf>)> {
        let Some(returned) = worker.sources.take_returned(self.key(), ticket) else {
            self.send.borrow_mut().register(cx);
            return Poll::Pending;
        };
        self.send.borrow_mut().awaited = 0;
        self.leave_closed(worker);
        let result = returned.result.map_err(Failure::error);
        Poll::Ready((result, returned.buf))
    }

    /// Waits until everything that was written has been handed to the system.
    pub(super) fn poll_flush(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.flushed(worker) {
            Some(flushed) => Poll::Ready(flushed),
            None => {
                self.send.borrow_mut().register(cx);
                Poll::Pending
            }
        }
    }

    /// Whether everything that was written has been handed to the system, or why that cannot be.
    pub(super) fn flushed(&self, worker: &Rc<Worker>) -> Option<io::Result<()>> {
        self.take_foreign_output(worker, true);
        let send = self.send.borrow();
        match send.failure {
            Some(failure) => Some(Err(failure.error())),
            None => send.is_idle().then_some(Ok(())),
        }
    }

    /// Ends the sending direction when everything is sent.
    pub(super) fn poll_shutdown(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.shut(worker) {
            Some(shut) => Poll::Ready(shut),
            None => {
                self.send.borrow_mut().register(cx);
                Poll::Pending
            }
        }
    }

    /// Shuts the sending direction down when everything is sent; whether that is done, or why it
    /// cannot be.
    pub(super) fn shut(&self, worker: &Rc<Worker>) -> Option<io::Result<()>> {
        self.want_shutdown(worker);
        let send = self.send.borrow();
        match (send.failure, send.closing) {
            (_, Closing::Done) => Some(Ok(())),
            (Some(failure), _) => Some(Err(failure.error())),
            _ => None,
        }
    }

    /// Shuts the sending direction down in the background, when everything is sent.
    pub(super) fn want_shutdown(&self, worker: &Rc<Worker>) {
        if let Some(foreign) = self.foreign.borrow().as_ref() {
            foreign.shut();
        }
        self.take_foreign_output(worker, true);
        let mut send = self.send.borrow_mut();
        if send.closing == Closing::Open && send.failure.is_none() {
            send.closing = Closing::Wanted;
            drop(send);
            self.make_dirty(worker);
        }
    }

    /// Has it handed over at the end of the turn.
    pub(super) fn make_dirty(&self, worker: &Worker) {
        if !std::mem::replace(&mut self.send.borrow_mut().is_dirty, true) {
            worker.sources.mark_dirty(self.key());
        }
    }

    /// The end of the turn: sends what was gathered, and tries what found no place before.
    pub(in crate::net) fn hand_over(&self, worker: &Rc<Worker>) {
        self.send.borrow_mut().is_dirty = false;
        self.pump(worker);
        self.retry_receive(worker);
    }

    /// Sends what comes next, unless something is in flight.
    pub(super) fn pump(&self, worker: &Rc<Worker>) {
        let mut send = self.send.borrow_mut();
        if send.in_flight.is_some() || send.failure.is_some() {
            return;
        }
        if let Some(queued) = send.next() {
            self.submit_send(worker, send, queued);
        } else if send.closing == Closing::Wanted {
            send.closing = Closing::InFlight;
            drop(send);
            self.submit_shutdown(worker);
        }
    }

    fn submit_send(
        &self,
        worker: &Rc<Worker>,
        mut send: RefMut<'_, SendSide>,
        Queued { item, ticket }: Queued,
    ) {
        let submitted = match item {
            Item::Bytes(buf) => {
                let user_data = Tag::StreamSend.user_data(self.key());
                let operation = op::Send::new(&self.socket, buf).all().user_data(user_data);
                let submitted = worker.queue.submit(operation);
                submitted
                    .map(drop)
                    .map_err(|refused| refused.map(|op| Item::Bytes(op.into_buf())))
            }
            Item::File(part) => self
                .submit_file(worker, part)
                .map_err(|refused| refused.map(Item::File)),
        };
        match submitted {
            Ok(()) => send.in_flight = Some(ticket),
            Err(SubmitError::Full(item)) => {
                send.put_first(Queued { item, ticket });
                drop(send);
                self.make_dirty(worker);
            }
            Err(refused) => {
                let mut refused_item = None;
                let error: io::Error = refused.map(|item| refused_item = Some(item)).into();
                let failure = Failure::of(&error);
                match refused_item {
                    Some(item @ Item::Bytes(_)) => {
                        // Whoever lent it gets it back with all that waits.
                        send.put_first(Queued { item, ticket });
                        drop(send);
                        self.fail_send(worker, failure);
                    }
                    // It is about the file: the stream goes on.
                    _ => {
                        drop(send);
                        self.file_ended(worker, ticket, Err(failure));
                    }
                }
            }
        }
    }

    fn submit_shutdown(&self, worker: &Rc<Worker>) {
        let user_data = Tag::StreamShutdown.user_data(self.key());
        let operation = op::Shutdown::new(&self.socket, Shutdown::Write).user_data(user_data);
        match worker.queue.submit(operation) {
            Ok(_) => {}
            Err(SubmitError::Full(_)) => {
                self.send.borrow_mut().closing = Closing::Wanted;
                self.make_dirty(worker);
            }
            Err(refused) => {
                let error: io::Error = refused.into();
                self.fail_send(worker, Failure::of(&error));
            }
        }
    }

    /// A send is finished.
    pub(in crate::net) fn sent(&self, worker: &Rc<Worker>, outcome: Outcome<usize>, buf: OutBuf) {
        let result = match outcome {
            Outcome::Cancelled { transferred } if self.send.borrow().failure.is_none() => {
                return self.send_rest(worker, transferred, buf);
            }
            outcome => outcome.into_result(),
        };
        let mut send = self.send.borrow_mut();
        let ticket = send.in_flight.take().unwrap_or(0);
        let is_awaited = ticket != 0 && ticket == send.awaited;
        drop(send);
        let failure = result.as_ref().err().map(Failure::of);
        if is_awaited {
            let result = result.map_err(|error| Failure::of(&error));
            worker.sources.put_returned(Returned {
                stream: self.key(),
                ticket,
                result,
                buf: Some(buf),
            });
        } else {
            worker.sources.recycle(buf);
        }
        if let Some(failure) = failure {
            return self.fail_send(worker, failure);
        }
        self.go_on_sending(worker);
    }

    /// Nothing is in flight any more.
    pub(super) fn go_on_sending(&self, worker: &Rc<Worker>) {
        self.take_foreign_output(worker, false);
        worker.sources.wake_claims(self.key());
        if self.has_more_to_do() {
            self.pump(worker);
            self.wake_writer();
            if self.is_dropped.get() && self.is_all_sent() {
                self.close(worker);
            }
        }
    }

    /// Whether something follows a send that is finished: another, the end, or somebody who waits.
    #[inline]
    fn has_more_to_do(&self) -> bool {
        let send = self.send.borrow();
        let is_quiet = send.is_idle() && send.closing == Closing::Open && send.waker.is_none();
        !is_quiet || self.is_dropped.get()
    }

    pub(in crate::net) fn was_shut_down(&self, worker: &Rc<Worker>, outcome: Outcome<()>) {
        // A peer that is gone already makes this fail, and it is what was wanted.
        let _done = outcome.into_result();
        self.send.borrow_mut().closing = Closing::Done;
        worker.sources.wake_claims(self.key());
        self.wake_writer();
        if self.is_dropped.get() {
            self.close(worker);
        }
    }

    fn wake_writer(&self) {
        let waker = self.send.borrow_mut().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nothing more can be sent. What waits is given up, and the next caller is told why.
    pub(super) fn fail_send(&self, worker: &Rc<Worker>, failure: Failure) {
        let mut send = self.send.borrow_mut();
        let failure = *send.failure.get_or_insert(failure);
        let mut dropped = Vec::new();
        while let Some(Queued { item, ticket }) = send.next() {
            if ticket != 0 && ticket == send.awaited {
                worker.sources.put_returned(Returned {
                    stream: self.key(),
                    ticket,
                    result: Err(failure),
                    buf: item.into_buf(),
                });
            } else {
                dropped.push(item);
            }
        }
        drop(send);
        // Lent buffers are users' types, whose drop may come back to this stream.
        for buf in dropped.into_iter().filter_map(Item::into_buf) {
            worker.sources.recycle(buf);
        }
        if let Some(foreign) = self.foreign.borrow().as_ref() {
            foreign.fail_output(failure);
        }
        worker.sources.wake_claims(self.key());
        self.wake_writer();
        if self.is_dropped.get() && self.is_all_sent() {
            self.close(worker);
        }
    }

    /// Whether nothing waits to be sent: all is out, or it failed.
    pub(in crate::net) fn is_all_sent(&self) -> bool {
        let send = self.send.borrow();
        let is_shutting_down = matches!(send.closing, Closing::Wanted | Closing::InFlight);
        send.is_idle() && (!is_shutting_down || send.failure.is_some())
    }

    /// Takes what another thread has written: all of it, or only if there is room.
    #[inline]
    pub(in crate::net) fn take_foreign_output(&self, worker: &Rc<Worker>, all: bool) {
        if let Some(foreign) = self.foreign.borrow().as_ref() {
            self.take_output_of(foreign, worker, all);
        }
    }

    #[cold]
    fn take_output_of(&self, foreign: &Foreign, worker: &Rc<Worker>, all: bool) {
        let mut send = self.send.borrow_mut();
        if send.failure.is_some() || !all && send.room() == 0 {
            return;
        }
        let output = foreign.take_output();
        if output.is_empty() {
            return;
        }
        if send.gathering.is_empty() {
            send.gathering = output;
        } else {
            send.gathering.extend_from_slice(&output);
        }
        drop(send);
        self.make_dirty(worker);
    }

    /// What a thread that comes new must know of this side.
    pub(super) fn tell_foreign_of_output(&self, foreign: &Foreign) {
        let send = self.send.borrow();
        if send.closing != Closing::Open {
            foreign.shut();
        }
        if let Some(failure) = send.failure {
            foreign.fail_output(failure);
        }
    }

    /// Another thread has written something.
    pub(super) fn foreign_writer(&self, worker: &Rc<Worker>) {
        self.take_foreign_output(worker, false);
    }
}
