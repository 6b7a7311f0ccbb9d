//! Whether what comes of an operation may come of it, and what must be so at the end.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use wharf_queue::{BufResult, Completion, IoBuf, Outcome, PoolBuf, Token, op};

use super::stream::{Stream, bytes_from};
use super::world::{Entry, FILE_LEN, POOL_BUFFERS, Typed, World};
use crate::fixture::counted::Counted;
use crate::{PATIENCE, finish};

impl World {
    /// An item or an end has come.
    pub(super) fn judge(&mut self, completion: Completion<'_>) {
        let token = completion.token();
        let Some(&(typed, entry)) = self.entries.get(&token) else {
            panic!("{completion:?} is of nothing that is in flight");
        };
        assert!(
            !self.kept.contains(&token),
            "{completion:?} comes after the end"
        );
        if completion.more() {
            self.judge_item(completion, typed, entry);
        } else if !entry.is_chained && self.random.once_in(6) {
            self.kept.push(completion.keep().expect("final"));
        } else {
            self.end(token, Some(completion));
        }
    }

    fn judge_item(&mut self, completion: Completion<'_>, typed: Typed, entry: Entry) {
        match typed {
            Typed::AcceptMulti(token) => {
                let outcome = completion.take(token).expect("its own");
                drop(outcome.into_result().expect("accepted"));
                self.accepted += 1;
            }
            Typed::RecvMulti(token) => {
                let piece = completion.take(token).expect("its own").into_result();
                self.judge_piece(piece.expect("received"), entry);
            }
            _ => panic!("{completion:?} is not the only one"),
        }
    }

    fn judge_piece(&mut self, piece: PoolBuf, entry: Entry) {
        self.stream(entry).received(&piece);
        if self.pieces.len() < 2 * POOL_BUFFERS && self.random.once_in(2) {
            self.pieces.push(piece);
        }
    }

    fn stream(&mut self, entry: Entry) -> &mut Stream {
        &mut self.streams[entry.stream.expect("it is on a stream")]
    }

    pub(super) fn take_kept(&mut self) {
        if !self.kept.is_empty() {
            let position = self.random.below(self.kept.len());
            let token = self.kept.swap_remove(position);
            self.end(token, None);
        }
    }

    /// Takes the result of an operation from its completion, or from where it was kept.
    fn result<O: op::Operation>(
        &self,
        token: Token<O>,
        completion: Option<Completion<'_>>,
    ) -> O::Output {
        match completion {
            Some(completion) => completion.take(token).expect("its own"),
            None => self.queue.take(token).expect("it was kept"),
        }
    }

    /// The end of an operation.
    fn end(&mut self, token: Token, completion: Option<Completion<'_>>) {
        let known = self.entries.remove(&token);
        let (typed, entry) = known.expect("it was in flight");
        self.over.push(token);
        let whole = match typed {
            Typed::Nop(token) => {
                let outcome = self.result(token, completion);
                self.told(entry, outcome)
                    .is_some_and(|result| result.is_ok())
            }
            Typed::Timer(token) => {
                let outcome = self.result(token, completion);
                let fired = self.told(entry, outcome).is_some();
                assert!(!fired || entry.due.is_some_and(|due| self.queue.now() >= due));
                fired
            }
            Typed::Recv(token) => {
                let (outcome, buf) = self.result(token, completion);
                self.end_of_recv(entry, (outcome, buf))
            }
            Typed::RecvMulti(token) => {
                let outcome = self.result(token, completion);
                self.stream(entry).receiving = None;
                match self.told(entry, outcome) {
                    Some(Ok(piece)) if piece.is_empty() => self.stream(entry).ended(),
                    Some(Ok(piece)) => self.judge_piece(piece, entry),
                    Some(Err(error)) => self.stream(entry).failed(&error),
                    None => {}
                }
                false
            }
            Typed::Send(token) => {
                let result = self.result(token, completion);
                self.end_of_send(entry, result)
            }
            Typed::Accept(token) => {
                let outcome = self.result(token, completion);
                self.end_of_accept(entry, outcome)
            }
            Typed::AcceptMulti(token) => {
                let outcome = self.result(token, completion);
                self.end_of_accept(entry, outcome)
            }
            Typed::ReadAt(token) => {
                let (outcome, buf) = self.result(token, completion);
                self.end_of_read(entry, (outcome, buf))
            }
            Typed::Blocking(token) => {
                let outcome = self.result(token, completion);
                let result = self.told(entry, outcome);
                result.is_some_and(|result| match result {
                    Ok(number) => {
                        assert_eq!(number, entry.number);
                        true
                    }
                    Err(_) => {
                        assert_eq!(entry.number % 8, 0, "it does not panic");
                        false
                    }
                })
            }
            Typed::Poll(token) => {
                let outcome = self.result(token, completion);
                let ready = self.told(entry, outcome);
                ready.is_some_and(|result| result.is_ok())
            }
            Typed::Close(token) => {
                let outcome = self.result(token, completion);
                outcome.into_result().expect("closed");
                true
            }
        };
        if entry.is_chained && whole {
            self.let_go_on.insert(token);
        }
    }

    /// What an operation has come to by itself; `None` if it was cut, for a reason that it has.
    fn told<T>(&self, entry: Entry, outcome: Outcome<T>) -> Option<io::Result<T>> {
        match outcome {
            Outcome::Completed(result) => {
                let may_begin = entry
                    .after
                    .is_none_or(|after| self.let_go_on.contains(&after));
                assert!(may_begin, "the turn of {entry:?} has not come");
                Some(result)
            }
            Outcome::Cancelled { .. } => {
                assert!(entry.may_be_cancelled, "nobody has cancelled {entry:?}");
                None
            }
            Outcome::TimedOut { .. } => {
                let is_due = entry.due.is_some_and(|due| self.queue.now() >= due);
                assert!(is_due, "the time of {entry:?} is not over");
                None
            }
        }
    }

    fn end_of_recv(&mut self, entry: Entry, (outcome, buf): BufResult<usize, Counted>) -> bool {
        assert_eq!(buf.as_bytes().len(), entry.len, "the buffer that was lent");
        self.stream(entry).receiving = None;
        let result = self.told(entry, outcome);
        let stream = self.stream(entry);
        match result {
            Some(Ok(0)) => stream.ended(),
            Some(Ok(count)) => stream.received(&buf.as_bytes()[..count]),
            Some(Err(error)) => {
                stream.failed(&error);
                return false;
            }
            None => return false,
        }
        true
    }

    fn end_of_send(&mut self, entry: Entry, (outcome, buf): BufResult<usize, Counted>) -> bool {
        assert_eq!(buf.as_bytes().len(), entry.len, "the buffer that was lent");
        let cut = match &outcome {
            Outcome::Cancelled { transferred } | Outcome::TimedOut { transferred } => *transferred,
            Outcome::Completed(_) => 0,
        };
        assert!(cut < entry.len, "one that has sent all is not cut");
        self.stream(entry).sending = None;
        let result = self.told(entry, outcome);
        let stream = self.stream(entry);
        match result {
            Some(Ok(count)) => {
                assert!(count == entry.len || count < entry.len && entry.number == 0);
                stream.outgoing.sent += count as u64;
                true
            }
            Some(Err(error)) => {
                stream.failed(&error);
                // How much of it was sent is not known.
                stream.outgoing.is_whole = false;
                false
            }
            None => {
                stream.outgoing.sent += cut as u64;
                false
            }
        }
    }

    fn end_of_accept(&mut self, entry: Entry, outcome: Outcome<wharf_queue::Handle>) -> bool {
        let result = self.told(entry, outcome);
        result.is_some_and(|accepted| {
            drop(accepted.expect("accepted"));
            self.accepted += 1;
            assert!(self.accepted <= self.clients.len(), "nobody has connected");
            true
        })
    }

    fn end_of_read(&mut self, entry: Entry, (outcome, buf): BufResult<usize, Counted>) -> bool {
        assert_eq!(buf.as_bytes().len(), entry.len, "the buffer that was lent");
        self.told(entry, outcome).is_some_and(|result| {
            let left = FILE_LEN.saturating_sub(entry.number as usize);
            let count = result.expect("read");
            assert_eq!(count, left.min(entry.len));
            assert!(buf.as_bytes()[..count] == bytes_from(entry.number, count));
            count == entry.len
        })
    }

    /// The queue is dropped with all that is in flight.
    pub(super) fn end_with_the_queue(mut self) {
        let streams = std::mem::take(&mut self.streams);
        let World {
            queue,
            alive,
            pieces,
            ..
        } = self;
        let pieces: Vec<Vec<u8>> = {
            let bytes = pieces.iter().map(|piece| piece.to_vec()).collect();
            let queue = Rc::into_inner(queue);
            drop(queue.expect("nobody else holds it"));
            for (piece, bytes) in pieces.iter().zip(&bytes) {
                assert!(**piece == **(bytes as &Vec<u8>), "a piece has changed");
            }
            bytes
        };
        drop(pieces);
        assert_eq!(alive.get(), 0, "buffers are left");
        drop(streams);
    }

    /// Everything is ended, and all that was promised is there.
    pub(super) fn end_in_order(mut self) {
        for (token, (_, entry)) in &mut self.entries {
            entry.may_be_cancelled |= self.queue.cancel(*token);
        }
        let began = Instant::now();
        while !self.entries.is_empty() {
            let left = &self.entries;
            assert!(began.elapsed() < PATIENCE, "these do not end: {left:?}");
            self.wait(Duration::from_millis(1), usize::MAX);
            self.take_kept();
        }
        self.let_the_rest_arrive();
        self.pieces.clear();
        while self.queue.in_flight() > 0 {
            assert!(
                began.elapsed() < PATIENCE,
                "what was discarded does not end"
            );
            let queue = self.queue.clone();
            let batch = queue.wait(Duration::from_millis(1)).expect("works");
            assert_eq!(batch.count(), 0, "what was discarded is reported");
        }
        assert_eq!(self.queue.stats().in_flight, 0);
        assert_eq!(self.alive.get(), 0, "buffers are left");
        assert_eq!(self.pool.available(), POOL_BUFFERS);
    }

    /// What was cancelled has taken nothing away: bytes and connections are there for those who ask.
    fn let_the_rest_arrive(&mut self) {
        let queue = self.queue.clone();
        while self.accepts_are_whole && self.accepted < self.clients.len() {
            let token = queue.submit(op::Accept::new(&self.listener)).expect("room");
            finish(&queue, token).into_result().expect("accepted");
            self.accepted += 1;
        }
        for stream in &mut self.streams {
            let Some(handle) = stream.handle.clone().filter(|_| stream.is_sound()) else {
                continue;
            };
            stream.peer_drains();
            while stream.incoming.is_whole && stream.incoming.arrived < stream.incoming.sent {
                let token = queue.submit(op::Recv::new(&handle, vec![0; 4096]));
                let (outcome, buf) = finish(&queue, token.expect("room"));
                let count = outcome.into_result().expect("received");
                stream.received(&buf[..count]);
            }
        }
    }
}
