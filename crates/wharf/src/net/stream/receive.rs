//! The receiving side of a stream: a multishot receive, and the pieces that nobody has read.
//!
//! ```text
//!            1 arm                 2 the hoard is full
//!   RESTING ------> ARMED ------------------------------> ENDING
//!      ^              | 3 end of the stream, error           | 4 the cancel has taken effect
//!      |              v                                      |
//!      |            ENDED                                    |
//!      +-----------------------------------------------------+
//! ```
//!
//! 1 `Receive::arm`, by a reader that finds nothing, or that has read half of the hoard away.
//! 2 `Stream::received` cancels. What the kernel took before that still arrives, in order.
//! 3, 4 the final completion. End and error are sticky, and come behind the data before them.
//!
//! From RESTING, a fiber may also lend its own buffer for one receive: LENT, and back; see `lent`. A
//! splice takes the whole side for as long as it goes on: SPLICED, and back; if it finds the side armed,
//! it is CLAIMED until that receive has ended; see `splice`. While SPLICED, nobody else is told of the
//! end: the splice may have taken what comes before it, and give that back.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use wharf_queue::{Outcome, Prepare, SubmitError, Token, op};

use super::{Foreign, Stream};
use crate::buf::PoolBuf;
use crate::engine;
use crate::net::Failure;
use crate::net::sources::{Sources, Tag};
use crate::promise;
use crate::runtime::worker::Worker;
use crate::task::coop;

/// How a stream has ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The peer closed its side in order.
    Eof,
    Failed(Failure),
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Resting,
    Armed(Token<op::RecvMulti>),
    Ending,
    /// As `Ending`, and a splice wants the side next.
    Claimed,
    /// A receive into a lent buffer is in flight or about to be, see `lent`.
    Lent(Option<Token>),
    /// A splice has the side, and everything that came before the end, see `splice`.
    Spliced,
}

/// Pieces in order. The first has a place of its own: most often there is no other, and then an
/// idle connection holds no list.
#[derive(Default)]
struct Pieces {
    first: Option<PoolBuf>,
    rest: VecDeque<PoolBuf>,
}

impl Pieces {
    fn push(&mut self, piece: PoolBuf) {
        match self.first {
            None => self.first = Some(piece),
            Some(_) => self.rest.push_back(piece),
        }
    }

    fn push_front(&mut self, piece: PoolBuf) {
        if let Some(second) = self.first.replace(piece) {
            self.rest.push_front(second);
        }
    }

    fn pop(&mut self) -> Option<PoolBuf> {
        match self.rest.pop_front() {
            None => self.first.take(),
            second => std::mem::replace(&mut self.first, second),
        }
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut PoolBuf> {
        self.first.iter_mut().chain(&mut self.rest)
    }
}

#[derive(Default)]
pub(super) struct Receive {
    pub(super) state: State,
    pieces: Pieces,
    /// Bytes in the pieces.
    len: usize,
    pub(super) end: Option<End>,
    waker: Option<Waker>,
    /// Another thread wants what comes next.
    pub(super) foreign_wants: bool,
}

impl Stream {
    /// Lets `consume` take bytes off the front, piece by piece, until it takes less than a whole one.
    /// False at the end of the stream.
    pub(super) fn poll_consume(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
        mut consume: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<bool>> {
        if coop::proceed(cx).is_pending() {
            return Poll::Pending;
        }
        self.take_foreign_pieces(&worker.sources);
        let mut receive = self.receive.borrow_mut();
        if receive.pieces.first.is_none() {
            let ended = self.poll_end(receive, worker, cx);
            return ended.map(|ended| ended.map(|()| false));
        }
        while let Some(piece) = &receive.pieces.first {
            let len = piece.len();
            let count = consume(piece);
            receive.consume(&worker.sources, count);
            if count < len {
                break;
            }
        }
        self.keep_receiving(&mut receive, worker);
        Poll::Ready(Ok(true))
    }

    /// Takes the next piece whole; `None` at the end of the stream.
    pub(super) fn poll_recv(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<PoolBuf>>> {
        if coop::proceed(cx).is_pending() {
            return Poll::Pending;
        }
        self.take_foreign_pieces(&worker.sources);
        let mut receive = self.receive.borrow_mut();
        if let Some(piece) = receive.pieces.pop() {
            receive.len -= piece.len();
            if piece.is_pooled() {
                worker.sources.hoards_less(piece.len());
            }
            self.keep_receiving(&mut receive, worker);
            return Poll::Ready(Ok(Some(worker.sources.hand_out(piece))));
        }
        self.poll_end(receive, worker, cx)
            .map(|ended| ended.map(|()| None))
    }

    /// Puts back what was received last.
    pub(super) fn put_back(&self, worker: &Rc<Worker>, piece: PoolBuf) {
        self.take_foreign_pieces(&worker.sources);
        let mut receive = self.receive.borrow_mut();
        receive.len += piece.len();
        if piece.is_pooled() {
            worker.sources.hoards(piece.len());
        }
        receive.pieces.push_front(piece);
    }

    /// There is nothing to read: the end, an error, or something to wait for.
    fn poll_end(
        &self,
        mut receive: std::cell::RefMut<'_, Receive>,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match receive.visible_end() {
            Some(End::Eof) => return Poll::Ready(Ok(())),
            Some(End::Failed(failure)) => return Poll::Ready(Err(failure.error())),
            None => {}
        }
        if let Err(error) = self.arm(&mut receive, worker) {
            return Poll::Ready(Err(error));
        }
        match &mut receive.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Goes on receiving once half of the hoard is read.
    fn keep_receiving(&self, receive: &mut Receive, worker: &Rc<Worker>) {
        if receive.state == State::Resting && receive.len <= worker.options.hoard / 2 {
            // An error will be told to the reader that finds nothing.
            let _tried = self.arm(receive, worker);
        }
    }

    fn arm(&self, receive: &mut Receive, worker: &Rc<Worker>) -> io::Result<()> {
        if receive.state != State::Resting || receive.end.is_some() {
            return Ok(());
        }
        let pool = worker.stream_pool()?;
        let user_data = Tag::StreamReceive.user_data(self.key());
        let submission = op::RecvMulti::new(&self.socket, &pool).user_data(user_data);
        match worker.queue.submit(submission) {
            Ok(token) => receive.state = State::Armed(token),
            // The limit of operations is reached: it is tried again each turn.
            Err(SubmitError::Full(_)) => worker.sources.mark_dirty(self.key()),
            Err(refused) => return Err(refused.into()),
        }
        Ok(())
    }

    /// A reader waits, and the queue had no place for its receive.
    pub(super) fn retry_receive(&self, worker: &Rc<Worker>) {
        let mut receive = self.receive.borrow_mut();
        if receive.waker.is_some() || receive.foreign_wants {
            if let Err(error) = self.arm(&mut receive, worker) {
                receive.end = Some(End::Failed(Failure::of(&error)));
                self.wake_reader(receive);
            }
        }
    }

    pub(super) fn wake_reader(&self, mut receive: std::cell::RefMut<'_, Receive>) {
        let waker = receive.waker.take();
        drop(receive);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The multishot receive has brought something.
    pub(in crate::net) fn received(
        &self,
        worker: &Rc<Worker>,
        outcome: Outcome<wharf_queue::PoolBuf>,
        more: bool,
    ) {
        let mut receive = self.receive.borrow_mut();
        let is_claimed = receive.state == State::Claimed;
        if !more {
            receive.state = State::Resting;
        }
        match outcome {
            Outcome::Completed(Ok(piece)) if !piece.is_empty() && receive.end.is_none() => {
                receive.len += piece.len();
                worker.sources.hoards(piece.len());
                receive.pieces.push(piece.into());
            }
            // A direction that was ended here stays so, whatever the system still brings.
            Outcome::Completed(Ok(_)) => drop(receive.end.get_or_insert(End::Eof)),
            Outcome::Completed(Err(error)) => {
                let failed = End::Failed(Failure::of(&error));
                receive.end.get_or_insert(failed);
            }
            // It was stopped because of the hoard, or with the stream.
            Outcome::Cancelled { .. } | Outcome::TimedOut { .. } => {}
        }
        match receive.state {
            State::Armed(token) if receive.len >= worker.options.hoard || self.is_dropped.get() => {
                worker.queue.cancel(token);
                receive.state = State::Ending;
            }
            State::Resting if !self.is_dropped.get() && !is_claimed => {
                self.keep_receiving(&mut receive, worker);
            }
            _ => {}
        }
        if is_claimed && !more {
            worker.sources.wake_claims(self.key());
        }
        let has_come = receive.len > 0 || receive.end.is_some();
        if receive.foreign_wants {
            self.feed_foreign(&mut receive, &worker.sources);
        }
        // A reader here finds what went to the other thread's place as well.
        if has_come {
            self.wake_reader(receive);
        }
    }

    /// Another thread wants to read.
    pub(super) fn foreign_reader(&self, worker: &Rc<Worker>) {
        let mut receive = self.receive.borrow_mut();
        receive.foreign_wants = true;
        if self.feed_foreign(&mut receive, &worker.sources) {
            self.keep_receiving(&mut receive, worker);
            return;
        }
        if let Err(error) = self.arm(&mut receive, worker) {
            receive.end = Some(End::Failed(Failure::of(&error)));
            self.feed_foreign(&mut receive, &worker.sources);
        }
    }

    /// Gives everything that is there to the other thread. Returns whether there was something.
    pub(super) fn feed_foreign(&self, receive: &mut Receive, sources: &Sources) -> bool {
        let foreign = self.foreign.borrow();
        let Some(foreign) = foreign.as_ref() else {
            return false;
        };
        if receive.len == 0 && receive.visible_end().is_none() {
            return false;
        }
        receive.foreign_wants = false;
        let mut pieces = VecDeque::new();
        while let Some(piece) = receive.pieces.pop() {
            if piece.is_pooled() {
                sources.hoards_less(piece.len());
            }
            pieces.push_back(piece);
        }
        receive.len = 0;
        foreign.bring(pieces, receive.visible_end());
        true
    }

    /// What another thread was given and did not read comes first.
    #[inline]
    pub(super) fn take_foreign_pieces(&self, sources: &Sources) {
        if let Some(foreign) = self.foreign.borrow().as_ref() {
            self.take_pieces_of(foreign, sources);
        }
    }

    #[cold]
    fn take_pieces_of(&self, foreign: &Foreign, sources: &Sources) {
        // Whoever waits there goes on waiting: this may be for a splice, and not for a reader.
        let mut receive = self.receive.borrow_mut();
        let mut pieces = foreign.take_pieces();
        while let Some(piece) = pieces.pop_back() {
            receive.len += piece.len();
            if piece.is_pooled() {
                sources.hoards(piece.len());
            }
            receive.pieces.push_front(piece);
        }
    }

    /// Copies what nobody has read, so that the buffers are free.
    pub(in crate::net) fn copy_hoard(&self, sources: &Sources) {
        let mut receive = self.receive.borrow_mut();
        for piece in receive.pieces.iter_mut() {
            if piece.is_pooled() {
                sources.hoards_less(piece.len());
                let own = PoolBuf::from(piece.to_vec());
                *piece = own;
            }
        }
    }

    pub(super) fn drop_hoard(&self, sources: &Sources) {
        let mut receive = self.receive.borrow_mut();
        while let Some(piece) = receive.pieces.pop() {
            if piece.is_pooled() {
                sources.hoards_less(piece.len());
            }
        }
        receive.len = 0;
    }

    /// Ends the receiving direction here: who waits, and who comes later, gets what has come so far and
    /// then the end.
    pub(super) fn shutdown_read(&self, worker: &Rc<Worker>) {
        let mut receive = self.receive.borrow_mut();
        receive.end.get_or_insert(End::Eof);
        match receive.state {
            State::Armed(token) => {
                worker.queue.cancel(token);
                receive.state = State::Ending;
            }
            State::Lent(Some(token)) => {
                worker.queue.cancel(token);
            }
            // A splice sees it when its socket has become readable by that.
            State::Lent(None)
            | State::Spliced
            | State::Claimed
            | State::Resting
            | State::Ending => {}
        }
        if receive.foreign_wants {
            self.feed_foreign(&mut receive, &worker.sources);
        }
        self.wake_reader(receive);
        // For the peer: some systems tell it, or refuse what it sends. A refusal changes nothing here.
        let end = op::Shutdown::new(&self.socket, Shutdown::Read);
        if let Ok(ending) = engine::submit_to(worker, end) {
            promise::keep(worker, async move { drop(ending.await) });
        }
    }

    /// Nobody reads any more.
    pub(super) fn stop_receiving(&self, worker: &Rc<Worker>) {
        let mut receive = self.receive.borrow_mut();
        if let State::Armed(token) = receive.state {
            worker.queue.cancel(token);
            receive.state = State::Ending;
        }
        drop(receive);
        self.drop_hoard(&worker.sources);
    }

    pub(super) fn fail_receive(&self, failure: Failure) {
        let mut receive = self.receive.borrow_mut();
        receive.end.get_or_insert(End::Failed(failure));
        self.wake_reader(receive);
    }

    /// Whether nothing was received and nothing is being received.
    pub(super) fn is_untouched(&self) -> bool {
        let receive = self.receive.borrow();
        receive.state == State::Resting && receive.len == 0 && receive.end.is_none()
    }
}

impl Receive {
    /// Whether nothing has come, nothing is being received, and more can come.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Resting && self.pieces.first.is_none() && self.end.is_none()
    }

    /// Takes every piece, in order. The caller says of those from the pool that they are not kept here
    /// any more.
    pub(super) fn take_all(&mut self) -> VecDeque<PoolBuf> {
        self.len = 0;
        std::iter::from_fn(|| self.pieces.pop()).collect()
    }

    /// Whether the peer closed its side and everything before that has been read.
    pub(super) fn is_read_to_its_end(&self) -> bool {
        self.pieces.first.is_none() && matches!(self.visible_end(), Some(End::Eof))
    }

    /// The end, for those who find nothing before it.
    fn visible_end(&self) -> Option<End> {
        self.end.filter(|_| self.state != State::Spliced)
    }

    /// Puts a piece, with memory of its own, behind those that are there.
    pub(super) fn put(&mut self, piece: PoolBuf) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    /// Drops the first `count` bytes of the first piece.
    fn consume(&mut self, sources: &Sources, count: usize) {
        let Some(piece) = &mut self.pieces.first else {
            return;
        };
        piece.advance(count);
        self.len -= count;
        if piece.is_pooled() {
            sources.hoards_less(count);
        }
        if piece.is_empty() {
            self.pieces.pop();
        }
    }
}
