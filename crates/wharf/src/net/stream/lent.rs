//! Buffers that are lent to a stream by somebody who waits until they come back: fibers.
//!
//! Owns what is different for these. A receive goes straight into the buffer, by an operation of its
//! own, while nothing else is being received. When the one who waits gives up, the buffer is wanted
//! back at once: what a receive has brought goes to the next reader, and what a send has not sent
//! yet is copied and sent in its place (contract C4).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use wharf_queue::{IoBuf, IoBufMut, Outcome, op};

use super::Stream;
use super::outgoing::{Item, Queued};
use super::receive::{End, State};
use crate::buf::{OutBuf, PoolBuf};
use crate::engine::{self, OpFuture, Refused};
use crate::net::Failure;
use crate::promise;
use crate::runtime::worker::Worker;

/// A receive into a lent buffer.
pub(super) struct LentRead<B: IoBufMut> {
    worker: Rc<Worker>,
    stream: Rc<Stream>,
    operation: Option<OpFuture<op::Recv<B>>>,
}

impl<B: IoBufMut> Unpin for LentRead<B> {}

impl<B: IoBufMut> LentRead<B> {
    /// Begins it, if nothing has come and nothing is being received.
    ///
    /// # Errors
    /// The buffer: it is to be read in the usual way.
    pub(super) fn begin(worker: Rc<Worker>, stream: Rc<Stream>, buf: B) -> Result<LentRead<B>, B> {
        if !stream.begin_lent_read() {
            return Err(buf);
        }
        match engine::submit_to(&worker, op::Recv::new(&stream.socket, buf)) {
            Ok(operation) => {
                stream.lent_read_is(&operation);
                Ok(LentRead {
                    worker,
                    stream,
                    operation: Some(operation),
                })
            }
            Err(Refused { op, .. }) => {
                stream.end_lent_read(&worker, None, None);
                Err(op.into_buf())
            }
        }
    }
}

impl<B: IoBufMut> Future for LentRead<B> {
    type Output = (io::Result<usize>, B);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let operation = self.operation.as_mut();
            let operation = operation.expect("a read gives its output once");
            let (outcome, buf) = ready!(Pin::new(operation).poll(cx));
            self.operation = None;
            let was_cancelled = outcome.is_cancelled();
            if was_cancelled && self.stream.has_ended_reading() {
                self.stream.end_lent_read(&self.worker, None, None);
                return Poll::Ready((Ok(0), buf));
            }
            if was_cancelled && self.stream.is_open() {
                // It was meant for a send on the same socket: the read goes on.
                let receive = op::Recv::new(&self.stream.socket, buf);
                match engine::submit_to(&self.worker, receive) {
                    Ok(operation) => {
                        self.stream.lent_read_is(&operation);
                        self.operation = Some(operation);
                    }
                    Err(Refused { op, error }) => {
                        let end = Some(End::Failed(Failure::of(&error)));
                        self.stream.end_lent_read(&self.worker, end, None);
                        return Poll::Ready((Err(error), op.into_buf()));
                    }
                }
                continue;
            }
            let result = outcome.into_result();
            let end = match &result {
                Ok(0) => Some(End::Eof),
                Ok(_) => None,
                Err(error) => Some(End::Failed(Failure::of(error))),
            };
            self.stream.end_lent_read(&self.worker, end, None);
            return Poll::Ready((result, buf));
        }
    }
}

impl<B: IoBufMut> Drop for LentRead<B> {
    fn drop(&mut self) {
        let Some(operation) = self.operation.take() else {
            return;
        };
        operation.cancel();
        let (worker, stream) = (self.worker.clone(), self.stream.clone());
        promise::keep(&self.worker, async move {
            let (outcome, buf) = operation.await;
            let (mut end, mut piece) = (None, None);
            match outcome {
                Outcome::Completed(Ok(0)) => end = Some(End::Eof),
                Outcome::Completed(Ok(count)) => {
                    piece = Some(PoolBuf::from(buf.as_bytes()[..count].to_vec()));
                }
                Outcome::Completed(Err(error)) => end = Some(End::Failed(Failure::of(&error))),
                Outcome::Cancelled { .. } | Outcome::TimedOut { .. } => {}
            }
            stream.end_lent_read(&worker, end, piece);
            drop(buf);
        });
    }
}

impl Stream {
    /// Claims the receiving side for a receive into a lent buffer.
    fn begin_lent_read(&self) -> bool {
        let mut receive = self.receive.borrow_mut();
        let is_free = receive.is_idle() && self.foreign.borrow().is_none();
        if is_free {
            receive.state = State::Lent(None);
        }
        is_free
    }

    fn lent_read_is<B: IoBufMut>(&self, operation: &OpFuture<op::Recv<B>>) {
        self.receive.borrow_mut().state = State::Lent(operation.token());
    }

    /// Whether the receiving direction was ended here.
    fn has_ended_reading(&self) -> bool {
        matches!(self.receive.borrow().end, Some(End::Eof))
    }

    /// Gives the receiving side back, with what has come for the next reader.
    fn end_lent_read(&self, worker: &Rc<Worker>, end: Option<End>, piece: Option<PoolBuf>) {
        let mut receive = self.receive.borrow_mut();
        receive.state = State::Resting;
        if let Some(piece) = piece.filter(|_| receive.end.is_none()) {
            receive.put(piece);
        }
        if let Some(end) = end {
            receive.end.get_or_insert(end);
        }
        // Readers that came meanwhile have not begun anything of their own, nor have splices.
        self.wake_reader(receive);
        self.retry_receive(worker);
        worker.sources.wake_claims(self.key());
    }

    /// Wants a lent buffer back that nobody waits for any more. What is not sent of it will be sent
    /// from a copy.
    pub(super) fn reclaim(&self, worker: &Rc<Worker>) {
        let mut send = self.send.borrow_mut();
        let ticket = std::mem::take(&mut send.awaited);
        if send.in_flight == Some(ticket) {
            drop(send);
            // The completion says how much was sent: `send_rest`. A receive that is cancelled as well
            // begins anew.
            worker.queue.cancel_all(&self.socket);
            return;
        }
        let waits = send.queue.iter_mut().find(|one| one.ticket == ticket);
        let lent = waits.map(|waits| {
            waits.ticket = 0;
            let copy = match &waits.item {
                Item::Bytes(buf) => buf.as_bytes().to_vec(),
                Item::File(_) => Vec::new(),
            };
            std::mem::replace(&mut waits.item, Item::Bytes(OutBuf::Gathered(copy)))
        });
        drop(send);
        drop(lent);
        drop(worker.sources.take_returned(self.key(), ticket));
        self.leave_closed(worker);
    }

    /// A send was cancelled because its buffer is wanted back.
    pub(super) fn send_rest(&self, worker: &Rc<Worker>, sent: usize, buf: OutBuf) {
        let rest = buf.as_bytes()[sent..].to_vec();
        let mut send = self.send.borrow_mut();
        send.in_flight = None;
        if !rest.is_empty() {
            send.put_first(Queued {
                item: Item::Bytes(OutBuf::Gathered(rest)),
                ticket: 0,
            });
        }
        drop(send);
        drop(buf);
        self.go_on_sending(worker);
    }
}
