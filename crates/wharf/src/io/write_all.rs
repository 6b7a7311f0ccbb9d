//! Writing a whole buffer, or several, in as many operations as that takes.
//!
//! Owns the loop, and what becomes of a write that nobody waits for any more: it goes on, and its
//! error is kept for the next call on the same handle (contract C4, owned writes).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use wharf_queue::{IoBuf, Outcome};

use super::chunk::{Chunk, Place, Single};
use super::conduit::Conduit;
use crate::promise;
use crate::runtime::home::gone;
use crate::runtime::worker;

enum State<C: Chunk> {
    Idle(C),
    InFlight(C::InFlight),
    Ended,
}

/// Writes all of a chunk, on the thread where the handle lives. Dropping it cancels what is in
/// flight: see [`Finish`] for a write that is to be finished.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct WriteAll<C: Chunk> {
    conduit: Arc<Conduit>,
    written: usize,
    state: State<C>,
}

impl<C: Chunk> WriteAll<C> {
    pub(crate) fn new(conduit: Arc<Conduit>, chunk: C) -> WriteAll<C> {
        WriteAll {
            conduit,
            written: 0,
            state: State::Idle(chunk),
        }
    }

    fn has_begun(&self) -> bool {
        matches!(self.state, State::InFlight(_))
    }

    /// Submits what is left.
    fn begin(&mut self, rest: C) -> Result<(), (io::Error, C)> {
        let worker = worker::here(self.conduit.handle().home().id);
        let handle = self.conduit.handle().get();
        let (Some(worker), Some(handle)) = (worker, handle) else {
            return Err((gone(), rest));
        };
        self.state = State::InFlight(rest.begin(&worker, &handle)?);
        Ok(())
    }

    /// An operation has ended. Gives what is left, or the error.
    fn ended(&mut self, outcome: Outcome<usize>, chunk: C) -> Result<C, (io::Error, C)> {
        match outcome.into_result() {
            Ok(0) => Err((io::ErrorKind::WriteZero.into(), chunk)),
            Ok(count) => {
                self.written += count;
                Ok(chunk.behind(count))
            }
            Err(error) => Err((error, chunk)),
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<C>, (io::Error, C)>> {
        if let State::InFlight(operation) = &mut self.state {
            let (outcome, chunk) = ready!(Pin::new(operation).poll(cx));
            self.state = State::Ended;
            let rest = self.ended(outcome, chunk);
            return Poll::Ready(rest.map(|rest| {
                self.state = State::Idle(rest);
                None
            }));
        }
        let State::Idle(rest) = std::mem::replace(&mut self.state, State::Ended) else {
            panic!("a write gives its output once");
        };
        if rest.is_empty() {
            return Poll::Ready(Ok(Some(rest)));
        }
        Poll::Ready(self.begin(rest).map(|()| None))
    }
}

impl<C: Chunk> Future for WriteAll<C> {
    /// The bytes written, or the first error; and the buffer.
    type Output = (io::Result<usize>, C::Buf);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let (result, chunk) = match ready!(self.poll_step(cx)) {
                Ok(None) => continue,
                Ok(Some(chunk)) => (Ok(self.written), chunk),
                Err((error, chunk)) => (Err(error), chunk),
            };
            return Poll::Ready((result, chunk.into_buf()));
        }
    }
}

/// A [`WriteAll`] that goes on in the background if it is dropped after it has begun.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Finish<C: Chunk>
where
    WriteAll<C>: Send,
{
    write: Option<WriteAll<C>>,
}

impl<C: Chunk> Finish<C>
where
    WriteAll<C>: Send,
{
    pub(crate) fn new(write: WriteAll<C>) -> Finish<C> {
        Finish { write: Some(write) }
    }
}

impl<C: Chunk> Future for Finish<C>
where
    WriteAll<C>: Send,
{
    type Output = (io::Result<usize>, C::Buf);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let write = self.write.as_mut().expect("a write gives its output once");
        let output = ready!(Pin::new(write).poll(cx));
        self.write = None;
        Poll::Ready(output)
    }
}

impl<C: Chunk> Drop for Finish<C>
where
    WriteAll<C>: Send,
{
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
        let (result, _) = WriteAll::new(conduit, Single::new(buf, place)).await;
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
