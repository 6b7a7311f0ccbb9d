//! What users' stream types hold: a stream's home and its key.
//!
//! Owns the choice between the way on the home worker, which is a comparison and a look into a table,
//! and the way from another thread. Dropping it drops the stream, on its worker.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use wharf_queue::{Handle, IoBuf, IoBufMut};

use super::foreign::{Amount, Foreign, Request, Step};
use super::lent::LentRead;
use super::outgoing::Item;
use super::{Failure, Stream};
use crate::buf::{OutBuf, PoolBuf};
use crate::engine;
use crate::runtime::home::{Home, Message, gone};
use crate::runtime::worker::{self, Worker};
use crate::slab::Key;
use crate::task;

pub(crate) struct StreamRef {
    pub(super) home: Arc<Home>,
    pub(super) key: Key,
    foreign: OnceLock<Arc<Foreign>>,
}

impl StreamRef {
    /// Makes a stream of a connected socket, on its worker.
    pub(crate) fn new(worker: &Worker, socket: Handle) -> StreamRef {
        StreamRef {
            home: worker.home.clone(),
            key: Stream::insert(worker, socket),
            foreign: OnceLock::new(),
        }
    }

    /// The stream, if this is its thread. `None` elsewhere.
    ///
    /// # Errors
    /// `NotConnected` if this is its thread and its runtime has ended.
    #[inline]
    pub(super) fn local(&self) -> io::Result<Option<(Rc<Worker>, Rc<Stream>)>> {
        let Some(worker) = worker::here(self.home.id) else {
            return Ok(None);
        };
        let stream = worker.sources.stream(self.key).ok_or_else(gone)?;
        if let Some(foreign) = self.foreign.get() {
            stream.set_foreign(foreign);
        }
        Ok(Some((worker, stream)))
    }

    /// The way in from this thread, which is not the home worker's.
    fn foreign(&self) -> &Arc<Foreign> {
        self.foreign.get_or_init(|| {
            let foreign = Arc::<Foreign>::default();
            let installed = foreign.clone();
            if self
                .tell(move |_, stream| stream.set_foreign(&installed))
                .is_err()
            {
                foreign.fail(Failure::gone());
            }
            foreign
        })
    }

    /// Tells the home worker to do something with the stream.
    fn tell(&self, call: impl FnOnce(&Rc<Worker>, &Rc<Stream>) + Send + 'static) -> io::Result<()> {
        let key = self.key;
        let foreign = self.foreign.get().cloned();
        let message = Message::Call(Box::new(move |worker| match worker.sources.stream(key) {
            Some(stream) => call(worker, &stream),
            None => {
                if let Some(foreign) = foreign {
                    foreign.fail(Failure::gone());
                }
            }
        }));
        self.home.send(message).map_err(|_| gone())
    }

    fn after<T>(
        &self,
        step: Step<T>,
        call: impl FnOnce(&Rc<Worker>, &Rc<Stream>) + Send + 'static,
    ) -> Poll<io::Result<T>> {
        if step.tell {
            if let Err(error) = self.tell(call) {
                self.foreign().fail(Failure::gone());
                return Poll::Ready(Err(error));
            }
        }
        step.polled
    }

    /// Lets `consume` take received bytes, piece by piece; see [`Foreign::poll_consume`].
    pub(crate) fn poll_consume(
        &self,
        cx: &mut Context<'_>,
        consume: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<bool>> {
        match self.local() {
            Ok(Some((worker, stream))) => stream.poll_consume(&worker, cx, consume),
            Ok(None) => {
                let step = self.foreign().poll_consume(cx, consume);
                self.after(step, |worker, stream| stream.foreign_reader(worker))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut filled = 0;
        let polled = self.poll_consume(cx, |bytes| {
            let count = bytes.len().min(buf.len() - filled);
            buf[filled..filled + count].copy_from_slice(&bytes[..count]);
            filled += count;
            count
        });
        polled.map(|read| read.map(|_| filled))
    }

    pub(crate) fn poll_read_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let (mut filled, mut at, mut offset) = (0, 0, 0);
        let polled = self.poll_consume(cx, |bytes| {
            let mut taken = 0;
            while taken < bytes.len() && at < bufs.len() {
                let room = &mut bufs[at][offset..];
                let count = room.len().min(bytes.len() - taken);
                room[..count].copy_from_slice(&bytes[taken..taken + count]);
                (taken, offset) = (taken + count, offset + count);
                if offset == bufs[at].len() {
                    (at, offset) = (at + 1, 0);
                }
            }
            filled += taken;
            taken
        });
        polled.map(|read| read.map(|_| filled))
    }

    pub(crate) fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        let polled = self.poll_consume(cx, |bytes| {
            if filled == 0 {
                filled = bytes.len().min(buf.len());
                buf[..filled].copy_from_slice(&bytes[..filled]);
            }
            0
        });
        polled.map(|read| read.map(|_| filled))
    }

    pub(crate) async fn read_owned<B: IoBufMut>(&self, mut buf: B) -> (io::Result<usize>, B) {
        if buf.as_uninit().is_empty() {
            return (Ok(0), buf);
        }
        let mut filled = None;
        let read = poll_fn(|cx| {
            self.poll_consume(cx, |bytes| match filled {
                Some(_) => 0,
                None => *filled.insert(buf.fill(bytes)),
            })
        });
        let result = read.await;
        if filled.is_none() {
            buf.fill(&[]);
        }
        (result.map(|_| filled.unwrap_or(0)), buf)
    }

    /// As `read_owned`, but if nothing has come yet, the system fills the buffer itself. Dropping the
    /// future loses nothing, and drops the buffer as soon as the system lets go of it.
    pub(crate) async fn read_lent<B: IoBufMut + Send>(&self, buf: B) -> (io::Result<usize>, B) {
        let begun = match self.local() {
            Ok(Some((worker, stream))) => LentRead::begin(worker, stream, buf),
            _ => Err(buf),
        };
        match begun {
            Ok(reading) => reading.await,
            Err(buf) => self.read_owned(buf).await,
        }
    }

    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<PoolBuf>>> {
        match self.local() {
            Ok(Some((worker, stream))) => stream.poll_recv(&worker, cx),
            Ok(None) => {
                let step = self.foreign().poll_recv(cx);
                self.after(step, |worker, stream| stream.foreign_reader(worker))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Puts back what was received last; lost if the runtime has ended.
    pub(crate) fn put_back(&self, piece: PoolBuf) {
        match self.local() {
            Ok(Some((worker, stream))) => stream.put_back(&worker, piece),
            Ok(None) => self.foreign().put_back(piece),
            Err(_) => {}
        }
    }

    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.local() {
            Ok(Some((worker, stream))) => stream.poll_write(&worker, cx, bufs),
            Ok(None) => {
                let step = self.foreign().poll_write(cx, bufs, Amount::Some);
                self.after(step, |worker, stream| stream.foreign_writer(worker))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Copies all of `bytes` when there is room; while it is pending, nothing of it has been taken.
    fn poll_write_whole(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<()>> {
        let polled = match self.local() {
            // It has come home since it began.
            Ok(Some((worker, stream))) => {
                let mut copy = Some(Item::Bytes(OutBuf::Gathered(bytes.to_vec())));
                let lent = stream.poll_lend(&worker, cx, &mut copy, false);
                return lent.map(|lent| lent.map(drop));
            }
            Ok(None) => {
                let bufs = [IoSlice::new(bytes)];
                let step = self.foreign().poll_write(cx, &bufs, Amount::All);
                self.after(step, |worker, stream| stream.foreign_writer(worker))
            }
            Err(error) => Poll::Ready(Err(error)),
        };
        polled.map(|written| written.map(drop))
    }

    pub(crate) fn write_all(&self, mut bytes: &[u8]) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |cx| {
            while !bytes.is_empty() {
                let count = ready!(self.poll_write(cx, &[IoSlice::new(bytes)]))?;
                bytes = &bytes[count..];
            }
            Poll::Ready(Ok(()))
        })
    }

    pub(crate) async fn write_owned<B: IoBuf + Send>(&self, buf: B) -> (io::Result<usize>, B) {
        self.write_lent(buf, None).await
    }

    /// As `write_owned`. With `has_begun`, dropping the future gives the buffer back as soon as the
    /// system lets go of it; what is not sent of it yet is sent from a copy, if this says that it
    /// has begun, and nothing otherwise.
    pub(crate) async fn write_lent<B: IoBuf + Send>(
        &self,
        buf: B,
        has_begun: Option<&AtomicBool>,
    ) -> (io::Result<usize>, B) {
        if !matches!(self.local(), Ok(Some(_))) {
            // Elsewhere the bytes are copied on their way home.
            let len = buf.as_bytes().len();
            let mut result = poll_fn(|cx| self.poll_write_whole(cx, buf.as_bytes())).await;
            if result.is_ok() {
                result = self.flush().await;
            }
            return (result.map(|()| len), buf);
        }
        let mut out = Some(OutBuf::lend(buf));
        let lent = poll_fn(|cx| match self.local() {
            Ok(Some((worker, stream))) => {
                let mut item = out.take().map(Item::Bytes);
                let lent = stream.poll_lend(&worker, cx, &mut item, true);
                out = item.and_then(Item::into_buf);
                lent
            }
            Ok(None) => Poll::Ready(Err(moved())),
            Err(error) => Poll::Ready(Err(error)),
        });
        let (result, out) = match lent.await {
            Err(error) => (Err(error), out.take()),
            Ok(ticket) => {
                let awaited = Awaited {
                    stream: self,
                    reclaims: has_begun.is_some(),
                };
                if let Some(has_begun) = has_begun {
                    has_begun.store(true, Ordering::Relaxed);
                }
                let returned = poll_fn(|cx| match self.local() {
                    Ok(Some((worker, stream))) => stream.poll_returned(&worker, cx, ticket),
                    // The stream stays until the buffer is given back, also past its runtime.
                    Ok(None) | Err(_) => {
                        panic!("an owned write that has begun on one thread was polled on another")
                    }
                });
                let (result, out) = returned.await;
                std::mem::forget(awaited);
                (result, out)
            }
        };
        let buf = out.and_then(OutBuf::give_back);
        (result, buf.expect("the buffer that was lent comes back"))
    }

    /// Sends a piece; elsewhere, a copy of it.
    pub(crate) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        piece: &mut Option<PoolBuf>,
    ) -> Poll<io::Result<()>> {
        match self.local() {
            Ok(Some((worker, stream))) => stream.poll_send(&worker, cx, piece),
            Ok(None) => {
                let bytes = piece.as_deref().unwrap_or_default();
                let polled = self.poll_write_whole(cx, bytes);
                if matches!(polled, Poll::Ready(Ok(()))) {
                    *piece = None;
                }
                polled
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub(crate) async fn flush(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.local() {
            Ok(Some((worker, stream))) => stream.poll_flush(&worker, cx),
            Ok(None) => self.poll_request(cx, Request::Flush),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.local() {
            Ok(Some((worker, stream))) => stream.poll_shutdown(&worker, cx),
            Ok(None) => self.poll_request(cx, Request::Shutdown),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Ends the receiving direction; see [`Stream::shutdown_read`].
    pub(crate) fn shutdown_read(&self) -> io::Result<()> {
        match self.local()? {
            Some((worker, stream)) => {
                stream.shutdown_read(&worker);
                Ok(())
            }
            None => self.tell(|worker, stream| stream.shutdown_read(worker)),
        }
    }

    fn poll_request(&self, cx: &mut Context<'_>, request: Request) -> Poll<io::Result<()>> {
        let (step, asked) = self.foreign().poll_request(cx, request);
        let Some(asked) = asked else {
            return step.polled;
        };
        self.after(step, move |worker, stream| {
            let (inner, stream) = (worker.clone(), stream.clone());
            let carried_out = task::spawn_in(worker, None, async move {
                // This may have been given up, and somebody else wait here: it is not a writer.
                let done = poll_fn(|cx| {
                    let done = match request {
                        Request::Flush => stream.flushed(&inner),
                        Request::Shutdown => stream.shut(&inner),
                    };
                    match done {
                        Some(done) => Poll::Ready(done),
                        None => stream.poll_side(&inner, cx),
                    }
                });
                let answer = done.await.map_err(|error| Failure::of(&error));
                stream.answer_foreign(asked, answer);
            });
            drop(carried_out);
        })
    }

    /// Ends the sending direction in the background, when everything is sent.
    pub(crate) fn shutdown_in_background(&self) {
        let key = self.key;
        self.home.run(move |worker| {
            if let Some(stream) = worker.sources.stream(key) {
                stream.want_shutdown(worker);
            }
        });
    }

    /// Does something with the socket: at once on the home worker; elsewhere it is told to, and an
    /// error is not heard of.
    ///
    /// # Errors
    /// That of `f`, or that the runtime has ended.
    pub(crate) fn with_socket(
        &self,
        f: impl FnOnce(&Handle) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        match self.local()? {
            Some((_, stream)) => f(&stream.socket),
            None => self.tell(move |_, stream| drop(f(&stream.socket))),
        }
    }

    /// The socket, on the home worker.
    pub(crate) fn socket(&self) -> io::Result<Option<Handle>> {
        Ok(self.local()?.map(|(_, stream)| stream.socket.clone()))
    }

    /// Sends what was written, closes the socket, and waits until that is done.
    pub(crate) async fn close(self) -> io::Result<()> {
        let flushed = self.flush().await;
        let key = self.key;
        let closed = engine::close_at(&self.home, move |worker| {
            let stream = worker.sources.stream(key)?;
            stream.give_up(worker)
        });
        flushed.and(closed.await)
    }

    /// Takes the socket out; see [`Stream::take_out`].
    pub(crate) fn take_out(self) -> io::Result<Handle> {
        match self.local()? {
            Some((worker, stream)) => stream.take_out(&worker),
            None => Err(moved()),
        }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }
}

/// Somebody waits for a lent buffer. When that is given up, the buffer is dropped when it is sent.
struct Awaited<'a> {
    stream: &'a StreamRef,
    /// The buffer is wanted back at once.
    reclaims: bool,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let (key, reclaims) = (self.stream.key, self.reclaims);
        self.stream
            .home
            .run(move |worker| match worker.sources.stream(key) {
                Some(stream) if reclaims => stream.reclaim(worker),
                Some(stream) => stream.forget_ticket(worker),
                None => {}
            });
    }
}

/// The error of what can be done on the home worker only.
pub(in crate::net) fn moved() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this can be done only on the worker that the stream lives on",
    )
}

impl Drop for StreamRef {
    fn drop(&mut self) {
        let key = self.key;
        self.home.run(move |worker| {
            if let Some(stream) = worker.sources.stream(key) {
                stream.dropped(worker);
            }
        });
    }
}

impl fmt::Debug for StreamRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local() {
            Ok(Some((_, stream))) => stream.socket.fmt(f),
            _ => write!(f, "on {:?}", self.home),
        }
    }
}
