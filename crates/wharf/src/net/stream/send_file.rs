//! Sending a part of a file: an item of the sending side that has no buffer.
//!
//! Owns its beginning, its early end, and the way round where the system has no such call, or where the
//! file lives elsewhere: reading and writing.
//!
//! ```text
//!   (future) --1 lend--> QUEUED --2 pump--> IN FLIGHT --3 the last byte, the end of the file--> returned
//!                          |                    |
//!                          +-- 4 stop ----------+--> returned, with the count of what was sent
//! ```
//!
//! A future that is dropped stops it as well, and then nobody is told the count.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_lite::future::or;
use wharf_queue::{Handle, OpKind, Outcome, Prepare, SubmitError, Support, op};

use super::Stream;
use super::handle::{StreamRef, moved};
use super::send::{Item, Returned, Ticket};
use crate::fs::File;
use crate::net::Failure;
use crate::net::sources::Tag;
use crate::runtime::worker::Worker;

/// How much is read at a time where it is read and written.
const PIECE: u64 = 256 * 1024;

/// A part of a file that is to be sent.
pub(super) struct FilePart {
    pub(super) file: Handle,
    pub(super) offset: u64,
    pub(super) len: usize,
}

impl Stream {
    /// Begins to send a part of a file; nothing else is in flight.
    pub(super) fn submit_file(
        &self,
        worker: &Worker,
        part: FilePart,
    ) -> Result<(), SubmitError<FilePart>> {
        let user_data = Tag::StreamSendFile.user_data(self.key());
        let operation = op::SendFile::new(&self.socket, &part.file, part.offset, part.len);
        match worker.queue.submit(operation.user_data(user_data)) {
            Ok(token) => {
                worker.sources.file_send_began(self.key(), token);
                Ok(())
            }
            Err(refused) => Err(refused.map(|_| part)),
        }
    }

    pub(in crate::net) fn file_sent(&self, worker: &Rc<Worker>, outcome: Outcome<usize>) {
        let mut send = self.send.borrow_mut();
        let ticket = send.in_flight.take().unwrap_or(0);
        let result = match (outcome, send.failure) {
            (Outcome::Completed(result), _) => result.map_err(|error| Failure::of(&error)),
            // It was not stopped, but ended with the runtime.
            (_, Some(failure)) => Err(failure),
            (Outcome::Cancelled { transferred } | Outcome::TimedOut { transferred }, None) => {
                Ok(transferred)
            }
        };
        drop(send);
        self.file_ended(worker, ticket, result);
    }

    /// Tells the one who waits. An error is not the stream's: if it is about the connection, the next
    /// write finds it as well.
    pub(super) fn file_ended(
        &self,
        worker: &Rc<Worker>,
        ticket: Ticket,
        result: Result<usize, Failure>,
    ) {
        if ticket != 0 && ticket == self.send.borrow().awaited {
            let returned = Returned::of_file(self.key(), ticket, result);
            worker.sources.put_returned(returned);
        }
        self.go_on_sending(worker);
    }

    /// Has it end early. What is in flight tells how much was sent; what waits was not begun.
    fn stop_file(&self, worker: &Rc<Worker>, ticket: Ticket) {
        let in_flight = self.send.borrow().in_flight;
        if in_flight == Some(ticket) {
            if let Some(token) = worker.sources.take_file_send(self.key()) {
                worker.queue.cancel(token);
                worker.sources.file_send_began(self.key(), token);
            }
            return;
        }
        let waited = self.send.borrow_mut().take_queued(ticket);
        if waited.is_some() {
            self.file_ended(worker, ticket, Ok(0));
        }
    }
}

impl StreamRef {
    /// Sends a part of a file until it is sent, the file ends, or `stop` is ready.
    pub(crate) async fn send_file(
        &self,
        file: &File,
        offset: u64,
        len: u64,
        stop: impl Future<Output = ()>,
    ) -> io::Result<u64> {
        let end = offset.checked_add(len.min(i64::MAX as u64));
        if end.is_none() || i64::try_from(offset).is_err() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut stop = pin!(stop);
        let settled = or(
            async {
                file.conduit().settled().await;
                true
            },
            async {
                stop.as_mut().await;
                false
            },
        );
        if !settled.await {
            return Ok(0);
        }
        let mut sent = 0;
        while sent < len {
            let part = usize::try_from(len - sent).unwrap_or(usize::MAX);
            if !self.sends_files_of(file) {
                let copied = self
                    .copy_file(file, offset + sent, len - sent, stop)
                    .await?;
                return Ok(sent + copied);
            }
            let (count, is_stopped) = self
                .send_part(file, offset + sent, part, stop.as_mut())
                .await?;
            sent += count as u64;
            if count < part || is_stopped {
                break;
            }
        }
        Ok(sent)
    }

    /// Whether the system can send this file on this stream by itself.
    fn sends_files_of(&self, file: &File) -> bool {
        let Ok(Some((worker, _))) = self.local() else {
            return false;
        };
        let support = worker.queue.support(OpKind::SendFile);
        let is_here = file.conduit().handle().home().id == self.home.id;
        is_here && file.conduit().is_file() && !matches!(support, Support::Unsupported(_))
    }

    async fn send_part(
        &self,
        file: &File,
        offset: u64,
        len: usize,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> io::Result<(usize, bool)> {
        let lent = poll_fn(|cx| {
            // Not before it is queued: then the one who waits for it looks after it.
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            self.poll_lend_part(cx, file, offset, len)
        });
        let Some(ticket) = lent.await? else {
            return Ok((0, true));
        };
        let sending = Sending {
            stream: self,
            ticket,
        };
        let mut is_stopped = false;
        let returned = poll_fn(|cx| {
            let Ok(Some((worker, stream))) = self.local() else {
                panic!("a file that is being sent on one thread was polled on another");
            };
            if !is_stopped && stop.as_mut().poll(cx).is_ready() {
                is_stopped = true;
                stream.stop_file(&worker, ticket);
            }
            stream.poll_returned(&worker, cx, ticket)
        });
        let (result, _) = returned.await;
        std::mem::forget(sending);
        Ok((result?, is_stopped))
    }

    fn poll_lend_part(
        &self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<Option<Ticket>>> {
        let Some((worker, stream)) = self.local()? else {
            return Poll::Ready(Err(moved()));
        };
        let Some(file) = file.conduit().handle().get() else {
            return Poll::Ready(Err(crate::runtime::home::gone()));
        };
        let mut item = Some(Item::File(FilePart {
            file: (*file).clone(),
            offset,
            len,
        }));
        let lent = stream.poll_lend(&worker, cx, &mut item, true);
        lent.map_ok(Some)
    }

    /// Reads and writes.
    async fn copy_file(
        &self,
        file: &File,
        offset: u64,
        len: u64,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> io::Result<u64> {
        let sent = AtomicU64::new(0);
        let copying = async {
            let mut buf = Vec::with_capacity(len.min(PIECE) as usize);
            loop {
                let before = sent.load(Ordering::Relaxed);
                let (read, back) = file.read_at_owned(buf, offset.saturating_add(before)).await;
                buf = back;
                let count = (read? as u64).min(len - before) as usize;
                if count == 0 {
                    return self.flush().await;
                }
                let mut rest = &buf[..count];
                while !rest.is_empty() {
                    let taken = poll_fn(|cx| self.poll_write(cx, &[IoSlice::new(rest)])).await?;
                    sent.fetch_add(taken as u64, Ordering::Relaxed);
                    rest = &rest[taken..];
                }
            }
        };
        let stopped = async {
            stop.await;
            Ok(())
        };
        or(copying, stopped).await?;
        Ok(sent.load(Ordering::Relaxed))
    }
}

/// Somebody waits for a part of a file to be sent. When that is given up, it is stopped.
struct Sending<'a> {
    stream: &'a StreamRef,
    ticket: Ticket,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let (key, ticket) = (self.stream.key, self.ticket);
        self.stream.home.run(move |worker| {
            if let Some(stream) = worker.sources.stream(key) {
                stream.stop_file(worker, ticket);
                stream.forget_ticket(worker);
            }
        });
    }
}
