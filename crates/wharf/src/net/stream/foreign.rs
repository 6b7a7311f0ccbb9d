//! The way of another thread into a stream: what it was given to read, what it has written.
//!
//! Owns what is on its way between two threads. It belongs to the stream, never to a future, so that
//! a future that is dropped on another thread loses nothing: the next call, from any thread, finds
//! what was brought, first and in order. The home worker does everything else.
//!
//! ```text
//!             other thread                      home worker
//!   read      finds pieces, or asks  ---------> moves pieces here, now or when they come; wakes
//!   write     puts bytes here, says so -------> takes them when it has room; wakes
//!   flush     asks ---------------------------> does it; answers; wakes
//! ```
//!
//! The lock is held for a copy of bytes at most, and neither side waits for the other under it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::outgoing::ROOM;
use super::receive::End;
use crate::buf::PoolBuf;
use crate::net::Failure;

/// What another thread can ask of the sending side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Flush,
    Shutdown,
}

/// How much a write takes when there is room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Amount {
    /// As much as fits.
    Some,
    /// The whole of it, as on the home worker a buffer that is lent or sent: dropping what waits for
    /// it cannot leave a part.
    All,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<PoolBuf>,
    end: Option<End>,
    reader: Option<Waker>,
    /// The home worker was asked for pieces and has not brought any yet.
    has_asked: bool,
    output: Vec<u8>,
    /// The home worker knows of the output.
    has_announced: bool,
    failure: Option<Failure>,
    /// The sending direction has been, or is being, shut down.
    is_shut: bool,
    writer: Option<Waker>,
    request: Option<Asked>,
    answer: Option<Result<(), Failure>>,
    asked: u64,
}

/// A request, and its number: one that was given up is not to answer the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    number: u64,
}

#[derive(Default)]
pub(crate) struct Foreign {
    state: Mutex<State>,
}

fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What a call found, and what the caller has to tell the home worker.
pub(super) struct Step<T> {
    pub(super) polled: Poll<io::Result<T>>,
    /// The home worker must be told.
    pub(super) tell: bool,
}

impl Foreign {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The other thread's side.

    /// Lets `consume` take bytes off the front, piece by piece, until it takes less than a whole
    /// one. False at the end of the stream.
    pub(super) fn poll_consume(
        &self,
        cx: &mut Context<'_>,
        mut consume: impl FnMut(&[u8]) -> usize,
    ) -> Step<bool> {
        let mut state = self.lock();
        if state.pieces.is_empty() {
            return state.poll_end(cx, false);
        }
        while let Some(piece) = state.pieces.front_mut() {
            let count = consume(piece);
            if count < piece.len() {
                piece.advance(count);
                break;
            }
            state.pieces.pop_front();
        }
        Step {
            polled: Poll::Ready(Ok(true)),
            tell: false,
        }
    }

    pub(super) fn poll_recv(&self, cx: &mut Context<'_>) -> Step<Option<PoolBuf>> {
        let mut state = self.lock();
        match state.pieces.pop_front() {
            Some(piece) => Step {
                polled: Poll::Ready(Ok(Some(piece))),
                tell: false,
            },
            None => state.poll_end(cx, None),
        }
    }

    /// Puts back what was received last.
    pub(super) fn put_back(&self, piece: PoolBuf) {
        self.lock().pieces.push_front(piece);
    }

    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        amount: Amount,
    ) -> Step<usize> {
        let mut state = self.lock();
        let refusal = match (state.failure, state.is_shut) {
            (Some(failure), _) => Some(failure.error()),
            (None, true) => Some(io::ErrorKind::BrokenPipe.into()),
            (None, false) => None,
        };
        if let Some(error) = refusal {
            return Step {
                polled: Poll::Ready(Err(error)),
                tell: false,
            };
        }
        let room = ROOM.saturating_sub(state.output.len());
        if room == 0 {
            register(&mut state.writer, cx);
            return Step {
                polled: Poll::Pending,
                tell: false,
            };
        }
        let mut room = match amount {
            Amount::Some => room,
            Amount::All => usize::MAX,
        };
        let mut taken = 0;
        for buf in bufs {
            let count = buf.len().min(room);
            state.output.extend_from_slice(&buf[..count]);
            (taken, room) = (taken + count, room - count);
        }
        if taken > 0 {
            state.forget_flush();
        }
        let tell = taken > 0 && !std::mem::replace(&mut state.has_announced, true);
        Step {
            polled: Poll::Ready(Ok(taken)),
            tell,
        }
    }

    /// Waits for the answer to a request. What the home worker is to be told of, if it is new, comes
    /// with it.
    pub(super) fn poll_request(
        &self,
        cx: &mut Context<'_>,
        request: Request,
    ) -> (Step<()>, Option<Asked>) {
        let mut state = self.lock();
        let mut asked = state.request.filter(|asked| asked.request == request);
        if asked.is_some() {
            if let Some(answer) = state.answer.take() {
                state.request = None;
                let step = Step {
                    polled: Poll::Ready(answer.map_err(Failure::error)),
                    tell: false,
                };
                return (step, None);
            }
        }
        register(&mut state.writer, cx);
        let tell = asked.is_none();
        if tell {
            state.is_shut |= request == Request::Shutdown;
            state.asked += 1;
            let number = state.asked;
            asked = Some(Asked { request, number });
            state.request = asked;
            state.answer = None;
        }
        let polled = Poll::Pending;
        (Step { polled, tell }, asked)
    }

    // The home worker's side.

    /// Brings what was received, and the end if it has come.
    pub(super) fn bring(&self, pieces: VecDeque<PoolBuf>, end: Option<End>) {
        let mut state = self.lock();
        state.pieces.extend(pieces);
        state.end = end;
        state.has_asked = false;
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// Takes back what was brought and not read.
    pub(super) fn take_pieces(&self) -> VecDeque<PoolBuf> {
        let mut state = self.lock();
        state.has_asked = false;
        // The end comes behind them, and the home worker knows of it: it is brought again.
        state.end = None;
        std::mem::take(&mut state.pieces)
    }

    /// Takes what was written.
    pub(super) fn take_output(&self) -> Vec<u8> {
        let mut state = self.lock();
        state.has_announced = false;
        let output = std::mem::take(&mut state.output);
        let writer = state.writer.take();
        drop(state);
        wake(writer);
        output
    }

    pub(super) fn answer(&self, asked: Asked, answer: Result<(), Failure>) {
        let mut state = self.lock();
        if state.request == Some(asked) {
            state.answer = Some(answer);
        }
        let writer = state.writer.take();
        drop(state);
        wake(writer);
    }

    /// More is written on the home worker: an answer to a flush from before says nothing of that.
    pub(super) fn forget_flush(&self) {
        self.lock().forget_flush();
    }

    /// The sending direction is being shut down by the home worker.
    pub(super) fn shut(&self) {
        self.lock().is_shut = true;
    }

    /// Nothing can be written any more.
    pub(super) fn fail_output(&self, failure: Failure) {
        let mut state = self.lock();
        state.failure = Some(failure);
        if state.request.is_some() {
            state.answer.get_or_insert(Err(failure));
        }
        let writer = state.writer.take();
        drop(state);
        wake(writer);
    }

    /// The stream is gone.
    pub(super) fn fail(&self, failure: Failure) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Failed(failure));
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        self.fail_output(failure);
    }
}

impl State {
    fn forget_flush(&mut self) {
        if matches!(&self.request, Some(asked) if asked.request == Request::Flush) {
            self.request = None;
            self.answer = None;
        }
    }

    fn poll_end<T>(&mut self, cx: &Context<'_>, eof: T) -> Step<T> {
        let polled = match self.end {
            Some(End::Eof) => Poll::Ready(Ok(eof)),
            Some(End::Failed(failure)) => Poll::Ready(Err(failure.error())),
            None => Poll::Pending,
        };
        let mut tell = false;
        if polled.is_pending() {
            register(&mut self.reader, cx);
            tell = !std::mem::replace(&mut self.has_asked, true);
        }
        Step { polled, tell }
    }
}
