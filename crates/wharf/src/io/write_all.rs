//! Writing a whole buffer, in as many operations as that takes.
//!
//! Owns the loop, and what becomes of a write that nobody waits for any more: it goes on, and its
//! error is kept for the next call on the same handle (contract C4, owned writes).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use wharf_queue::{Handle, IoBuf, Outcome, Slice, op};

use super::conduit::Conduit;
use crate::engine::{self, OpFuture, Refused};
use crate::promise;
use crate::runtime::home::gone;
use crate::runtime::worker;

/// Where bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// To an offset of a file, in bytes.
    At(u64),
    /// To where the system puts them: the end of a stream, or of a file that is appended to.
    Next,
}

enum State<B: IoBuf> {
    Idle(Slice<B>),
    At(OpFuture<op::WriteAt<Slice<B>>>),
    Next(OpFuture<op::Write<Slice<B>>>),
    Ended,
}

/// Writes all of a buffer, on the thread where the handle lives. Dropping it cancels what is in
/// flight: see [`Finish`] for a write that is to be finished.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct WriteAll<B: IoBuf> {
    conduit: Arc<Conduit>,
    place: Place,
    written: usize,
    state: State<B>,
}

impl<B: IoBuf> Unpin for WriteAll<B> {}

impl<B: IoBuf> WriteAll<B> {
    pub(crate) fn new(conduit: Arc<Conduit>, buf: B, place: Place) -> WriteAll<B> {
        WriteAll {
            conduit,
            place,
            written: 0,
            state: State::Idle(buf.slice(..)),
        }
    }

    fn has_begun(&self) -> bool {
        matches!(self.state, State::At(_) | State::Next(_))
    }

    /// Submits what is left.
    fn begin(&mut self, rest: Slice<B>) -> Result<(), (io::Error, B)> {
        let worker = worker::here(self.conduit.handle().home().id);
        let handle = self.conduit.handle().get();
        let (Some(worker), Some(handle)) = (worker, handle) else {
            return Err((gone(), rest.into_inner()));
        };
        let handle: &Handle = &handle;
        self.state = match self.place {
            Place::At(offset) => {
                let offset = offset.saturating_add(self.written as u64);
                match engine::submit_to(&worker, op::WriteAt::new(handle, rest, offset)) {
                    Ok(operation) => State::At(operation),
                    Err(Refused { op, error }) => return Err((error, op.into_buf().into_inner())),
                }
            }
            Place::Next => match engine::submit_to(&worker, op::Write::new(handle, rest)) {
                Ok(operation) => State::Next(operation),
                Err(Refused { op, error }) => return Err((error, op.into_buf().into_inner())),
            },
        };
        Ok(())
    }

    /// An operation has ended. Gives what is left of the buffer, or the error.
    fn ended(
        &mut self,
        outcome: Outcome<usize>,
        slice: Slice<B>,
    ) -> Result<Slice<B>, (io::Error, B)> {
        let buf = slice.into_inner();
        match outcome.into_result() {
            Ok(0) => Err((io::ErrorKind::WriteZero.into(), buf)),
            Ok(count) => {
                self.written += count;
                Ok(buf.slice(self.written..))
            }
            Err(error) => Err((error, buf)),
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<B>, (io::Error, B)>> {
        let (outcome, slice) = match &mut self.state {
            State::At(operation) => ready!(Pin::new(operation).poll(cx)),
            State::Next(operation) => ready!(Pin::new(operation).poll(cx)),
            State::Idle(_) | State::Ended => {
                let State::Idle(rest) = std::mem::replace(&mut self.state, State::Ended) else {
                    panic!("a write gives its output once");
                };
                if rest.as_bytes().is_empty() {
                    return Poll::Ready(Ok(Some(rest.into_inner())));
                }
                return Poll::Ready(self.begin(rest).map(|()| None));
            }
        };
        self.state = State::Ended;
        let ended = self.ended(outcome, slice);
        Poll::Ready(ended.map(|rest| {
            self.state = State::Idle(rest);
            None
        }))
    }
}

impl<B: IoBuf> Future for WriteAll<B> {
    /// The bytes written, or the first error; and the buffer.
    type Output = (io::Result<usize>, B);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match ready!(self.poll_step(cx)) {
                Ok(None) => {}
                Ok(Some(buf)) => return Poll::Ready((Ok(self.written), buf)),
                Err((error, buf)) => return Poll::Ready((Err(error), buf)),
            }
        }
    }
}

/// A [`WriteAll`] that goes on in the background if it is dropped after it has begun.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Finish<B: IoBuf + Send> {
    write: Option<WriteAll<B>>,
}

impl<B: IoBuf + Send> Finish<B> {
    pub(crate) fn new(write: WriteAll<B>) -> Finish<B> {
        Finish { write: Some(write) }
    }
}

impl<B: IoBuf + Send> Future for Finish<B> {
    type Output = (io::Result<usize>, B);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let write = self.write.as_mut().expect("a write gives its output once");
        let output = ready!(Pin::new(write).poll(cx));
        self.write = None;
        Poll::Ready(output)
    }
}

impl<B: IoBuf + Send> Drop for Finish<B> {
    fn drop(&mut self) {
        let Some(write) = self.write.take().filter(WriteAll::has_begun) else {
            return;
        };
        let mut background = write.conduit.begin_background();
        let home = write.conduit.handle().home().clone();
        home.run(move |worker| {
            promise::keep(worker, async move {
                background.failed(write.await.0.err());
            });
        });
    }
}

/// Writes all of a buffer that is not lent but given, from a thread where the handle does not live.
/// Dropping the future that this gives leaves it to be finished, as [`Finish`] does.
///
/// # Errors
/// That of the write; `NotConnected` if the runtime has ended.
pub(crate) async fn carry<B>(conduit: &Arc<Conduit>, buf: B, place: Place) -> io::Result<usize>
where
    B: IoBuf + Send,
{
    /// Tells the other thread whether somebody still waits.
    struct Waits(Arc<AtomicBool>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Release);
        }
    }
    let waits = Waits(Arc::new(AtomicBool::new(true)));
    let is_waited_for = waits.0.clone();
    let mut background = conduit.begin_background();
    let conduit = conduit.clone();
    let carried = promise::carry(conduit.handle().home().clone(), move || async move {
        let (result, _) = WriteAll::new(conduit, buf, place).await;
        match result {
            Err(error) if !is_waited_for.load(Ordering::Acquire) => {
                background.failed(Some(error));
                Ok(0)
            }
            result => {
                background.failed(None);
                result
            }
        }
    });
    let result = carried.await;
    drop(waits);
    result?
}
