//! Sending a part of a file: an item of the sending side that has no buffer.
//!
//! Owns its beginning, its early end, and the way round where the system has no such call, where the file
//! lives elsewhere, or where the system would wait for a disk: reading and writing.
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_lite::future::or;
use wharf_queue::{Handle, IoBuf, OpKind, Outcome, Prepare, SubmitError, Support, op};

use super::Stream;
use super::handle::{StreamRef, moved};
use super::outgoing::{Item, Returned, Ticket};
use crate::fs::{File, Metadata};
use crate::net::Failure;
use crate::net::sources::Tag;
use crate::runtime::worker::Worker;

/// How much is asked of the page cache, and sent, at a time.
const PART: u64 = 1024 * 1024;

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
        let (mut sent, mut copied) = (0, Copied::default());
        while sent < len {
            let (at, left) = (offset + sent, len - sent);
            let part = self.sendable(file, at, left);
            let (count, is_over) = match part {
                Some(part) => self.send_part(file, at, part, stop.as_mut()).await?,
                None => {
                    self.copy_part(file, at, left, &mut copied, stop.as_mut())
                        .await?
                }
            };
            sent += count as u64;
            if is_over {
                return Ok(sent);
            }
        }
        if copied.needs_flush {
            or(self.flush(), async {
                stop.await;
                Ok(())
            })
            .await?;
        }
        Ok(sent)
    }

    /// How much the system can send of a part of a file by itself without waiting for a disk. `None` if
    /// nothing: then it is read and written.
    fn sendable(&self, file: &File, offset: u64, left: u64) -> Option<usize> {
        let (worker, _) = self.local().ok()??;
        let is_here = file.conduit().handle().home().id == self.home.id;
        if !is_here || !file.conduit().is_file() {
            return None;
        }
        let part = match worker.queue.support(OpKind::SendFile) {
            Support::Unsupported(_) => return None,
            Support::Native => left,
            // The call waits for what is not in memory.
            _ => {
                let len = file.metadata_at_open().map_or(u64::MAX, Metadata::len);
                let part = left.min(PART).min(len.saturating_sub(offset));
                if part == 0 || !file.is_cached(offset..offset + part) {
                    return None;
                }
                part
            }
        };
        Some(usize::try_from(part).unwrap_or(usize::MAX))
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
        let count = result?;
        // Fewer bytes are the end of the file.
        Ok((count, is_stopped || count < len))
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

    /// Reads and writes. What it has read stays in memory for a while, and what comes next as well, most
    /// likely, since the system reads ahead: so the next part is asked for anew.
    async fn copy_part(
        &self,
        file: &File,
        offset: u64,
        len: u64,
        copied: &mut Copied,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> io::Result<(usize, bool)> {
        let taken = AtomicUsize::new(0);
        let len = usize::try_from(len.min(PIECE)).unwrap_or(usize::MAX);
        let mut buf = std::mem::take(&mut copied.buf);
        buf.reserve_exact(len.saturating_sub(buf.len()));
        let copying = async {
            let (read, buf) = file.read_at_owned(buf.slice(..len), offset).await;
            let buf = buf.into_inner();
            let count = read?;
            if count == 0 {
                self.flush().await?;
                return Ok((buf, true));
            }
            let mut rest = &buf[..count];
            while !rest.is_empty() {
                let more = poll_fn(|cx| self.poll_write(cx, &[IoSlice::new(rest)])).await?;
                taken.fetch_add(more, Ordering::Relaxed);
                rest = &rest[more..];
            }
            Ok((buf, false))
        };
        let stopped = async {
            stop.await;
            io::Result::Ok((Vec::new(), true))
        };
        let is_over;
        (copied.buf, is_over) = or(copying, stopped).await?;
        copied.needs_flush = true;
        Ok((taken.load(Ordering::Relaxed), is_over))
    }
}

/// What copying leaves for the next time.
#[derive(Default)]
struct Copied {
    buf: Vec<u8>,
    /// Something was written that the system may not have taken yet.
    needs_flush: bool,
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
