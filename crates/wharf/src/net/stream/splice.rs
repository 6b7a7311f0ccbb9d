//! Moving bytes from one stream to another inside the kernel, by way of a pipe.
//!
//! Owns who may do so, what is done first with what was received before, and what becomes of bytes that
//! have left one socket and not reached the other. It is a promise of the worker: a future only waits
//! for it, and asks for its end when it is dropped.
//!
//! ```text
//!             1 claim both sides           2 the source is readable
//!   (future) -------------------> CLAIMED ---------------------------> MOVING
//!                                   | ^                                  | source to pipe, pipe to target
//!                                   | +------------ 3 the pipe is empty -+
//!                                   v 4 the end, an error, all, stop     v 4
//!                                 released, and what did not reach the target is the source's again
//! ```
//!
//! While both sides are claimed, nothing else is received on the one, nor sent on the other; a reader
//! or a writer that comes meanwhile, after the future was dropped, waits until they are released.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use wharf_queue::{Handle, OpKind, Operation, Outcome, Support, op};

use super::Stream;
use super::handle::StreamRef;
use super::receive::{End, State};
use crate::buf::PoolBuf;
use crate::engine::{self, OpFuture, Refused};
use crate::net::Failure;
use crate::net::sources::Sources;
use crate::promise;
use crate::runtime::home::gone;
use crate::runtime::worker::{self, Worker};

/// How many bytes are between the two streams at most.
const CAPACITY: u32 = 256 * 1024;

/// How much is received at a time where there is no pipe.
const PIECE: usize = 64 * 1024;

/// Both ends of a pipe.
pub(in crate::net) struct Pipe {
    read: Handle,
    write: Handle,
}

/// The wish for an early end. It goes from the future to the worker, once.
#[derive(Default)]
struct Stop {
    state: Mutex<(bool, Option<Waker>)>,
}

impl Stop {
    fn set(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_set(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether it is set, or the worker is ending; if not, the task is woken when it is.
    fn poll(&self, worker: &Worker, cx: &Context<'_>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.0 {
            state.1 = Some(cx.waker().clone());
        }
        state.0 || worker.is_closing()
    }
}

/// Stops when the future is dropped.
struct Stopping(Arc<Stop>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl StreamRef {
    /// Moves up to `len` bytes to `to`, until this stream ends. `None` if that cannot be done, because
    /// the two live on different workers or the system has no such call: nothing was moved then.
    pub(crate) async fn splice(&self, to: &StreamRef, len: u64) -> io::Result<Option<u64>> {
        if self.home.id != to.home.id {
            return Ok(None);
        }
        let stop = Arc::new(Stop::default());
        let _stopping = Stopping(stop.clone());
        let (from, to) = (self.key, to.key);
        let home = self.home.clone();
        promise::carry(home, move || async move {
            let worker = worker::expect_current();
            if matches!(
                worker.queue.support(OpKind::Splice),
                Support::Unsupported(_)
            ) {
                return Ok(None);
            }
            let from = worker.sources.stream(from).ok_or_else(gone)?;
            let to = worker.sources.stream(to).ok_or_else(gone)?;
            pass(worker, from, to, len, stop).await.map(Some)
        })
        .await?
    }
}

/// Claims both sides, moves, and releases them.
async fn pass(
    worker: Rc<Worker>,
    from: Rc<Stream>,
    to: Rc<Stream>,
    len: u64,
    stop: Arc<Stop>,
) -> io::Result<u64> {
    // Then the other one may have been shut down, and that is no error.
    if from.is_read_to_its_end(&worker.sources) {
        return Ok(0);
    }
    let claimed = poll_fn(|cx| match stop.poll(&worker, cx) {
        true => {
            worker.sources.give_up_claim(to.key(), cx);
            Poll::Ready(Ok(false))
        }
        false => to.poll_claim_send(&worker, cx).map_ok(|()| true),
    });
    if !claimed.await? {
        return stopped(&worker).map(|()| 0);
    }
    let claimed = poll_fn(|cx| match stop.poll(&worker, cx) {
        true => {
            worker.sources.give_up_claim(from.key(), cx);
            Poll::Ready(Ok(false))
        }
        false => from.poll_claim_receive(&worker, cx).map_ok(|()| true),
    });
    let claimed = claimed.await;
    if !matches!(claimed, Ok(true)) {
        from.give_up_claim(&worker);
        to.release_send(&worker, None);
        return claimed.and_then(|_| stopped(&worker)).map(|()| 0);
    }
    let mut moving = Moving {
        hoard: from.take_hoard(&worker.sources),
        worker,
        from,
        to,
        stop,
        left: len,
        moved: 0,
        pipe: None,
        in_pipe: 0,
        was_full: false,
        uses_pipes: true,
        failure: None,
    };
    let result = moving.move_all().await;
    moving.empty_pipe().await;
    moving.release();
    result?;
    if moving.is_stopped() {
        stopped(&moving.worker)?;
    }
    Ok(moving.moved)
}

/// Why it was stopped is told only to one who still waits: then it is that the worker ends.
fn stopped(worker: &Worker) -> io::Result<()> {
    match worker.is_closing() {
        true => Err(gone()),
        false => Ok(()),
    }
}

/// A splice that has both sides.
struct Moving {
    worker: Rc<Worker>,
    from: Rc<Stream>,
    to: Rc<Stream>,
    stop: Arc<Stop>,
    left: u64,
    moved: u64,
    /// What was received and has not been sent. It comes before what is still in the socket.
    hoard: VecDeque<PoolBuf>,
    /// Held only as long as there is something in it.
    pipe: Option<Pipe>,
    in_pipe: usize,
    /// The last splice has filled the pipe.
    was_full: bool,
    /// False once the system has said that it cannot splice these.
    uses_pipes: bool,
    /// Nothing more can be sent.
    failure: Option<Failure>,
}

impl Moving {
    async fn move_all(&mut self) -> io::Result<()> {
        while self.left > 0 && !self.is_stopped() {
            if let Some(piece) = self.hoard.pop_front() {
                self.send(piece).await?;
                continue;
            }
            match self.from.end_of_receiving() {
                Some(End::Eof) => return Ok(()),
                Some(End::Failed(failure)) => return Err(failure.error()),
                None => {}
            }
            // After a full pipe there is more, most likely. Else no pipe is held while nothing comes.
            if !self.was_full && !self.is_readable().await? {
                continue;
            }
            match self.take_pipe() {
                true => self.splice().await?,
                false => self.receive().await?,
            }
        }
        Ok(())
    }

    /// Waits for an operation, and cancels it when the splice is to stop. Its outcome is the truth.
    async fn finish<O: Operation>(&self, mut operation: OpFuture<O>) -> O::Output {
        let mut is_cancelled = false;
        poll_fn(|cx| {
            if !is_cancelled && self.stop.poll(&self.worker, cx) {
                is_cancelled = true;
                operation.cancel();
            }
            Pin::new(&mut operation).poll(cx)
        })
        .await
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_set() || self.worker.is_closing()
    }

    /// Waits until something can be received, and takes nothing. False if that was cut short.
    async fn is_readable(&mut self) -> io::Result<bool> {
        let poll = op::Poll::new(&self.from.socket, op::Interest::Readable);
        let polling = engine::submit_to(&self.worker, poll)?;
        match self.finish(polling).await {
            Outcome::Completed(Ok(_)) => Ok(true),
            Outcome::Completed(Err(error)) => Err(self.source_failed(&error)),
            Outcome::Cancelled { .. } | Outcome::TimedOut { .. } => self.is_cut().map(|()| false),
        }
    }

    /// An operation was cancelled: for this splice's stop, or because a fiber wanted back what it had
    /// lent to the other side of the same socket. Then it goes on, unless the runtime has ended.
    fn is_cut(&self) -> io::Result<()> {
        let is_here = |stream: &Stream| self.worker.sources.stream(stream.key()).is_some();
        match is_here(&self.from) && is_here(&self.to) {
            true => Ok(()),
            false => Err(gone()),
        }
    }

    fn source_failed(&self, error: &io::Error) -> io::Error {
        let failure = Failure::of(error);
        self.from.end_receiving(End::Failed(failure));
        failure.error()
    }

    fn target_failed(&mut self, error: &io::Error) -> io::Error {
        self.failure.insert(Failure::of(error)).error()
    }

    fn count(&mut self, moved: usize) {
        self.moved += moved as u64;
        self.left -= moved as u64;
    }

    /// Whether there is a pipe to use. If none is to be had, there are no descriptors left, most
    /// likely: then bytes are copied.
    fn take_pipe(&mut self) -> bool {
        if !self.uses_pipes {
            return false;
        }
        self.pipe = self.worker.sources.take_pipe().or_else(|| {
            let (read, write) = self.worker.queue.pipe(CAPACITY).ok()?;
            Some(Pipe { read, write })
        });
        self.pipe.is_some()
    }

    /// Moves what the socket has, by the pipe.
    async fn splice(&mut self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        let room = u32::try_from(self.left).map_or(CAPACITY, |left| left.min(CAPACITY));
        let in_splice = op::Splice::new(&self.from.socket, &pipe.write, room);
        let filling = engine::submit_to(&self.worker, in_splice)?;
        match self.finish(filling).await {
            Outcome::Completed(Ok(0)) => self.from.end_receiving(End::Eof),
            Outcome::Completed(Ok(count)) => self.in_pipe = count,
            Outcome::Completed(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                self.uses_pipes = false;
            }
            Outcome::Completed(Err(error)) => return Err(self.source_failed(&error)),
            Outcome::Cancelled { transferred } | Outcome::TimedOut { transferred } => {
                self.in_pipe = transferred;
                self.is_cut()?;
            }
        }
        self.was_full = self.in_pipe == CAPACITY as usize;
        self.pipe_to_target().await?;
        if self.in_pipe == 0 {
            if let Some(pipe) = self.pipe.take() {
                self.worker.sources.give_pipe(pipe);
            }
        }
        Ok(())
    }

    async fn pipe_to_target(&mut self) -> io::Result<()> {
        while self.in_pipe > 0 && !self.is_stopped() {
            let Some(pipe) = &self.pipe else { break };
            let count = u32::try_from(self.in_pipe).unwrap_or(u32::MAX);
            let out_splice = op::Splice::new(&pipe.read, &self.to.socket, count);
            let emptying = engine::submit_to(&self.worker, out_splice)?;
            let moved = match self.finish(emptying).await {
                Outcome::Completed(Ok(moved)) => moved,
                Outcome::Completed(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                    // What is in the pipe is sent in the other way.
                    self.uses_pipes = false;
                    self.empty_pipe().await;
                    return Ok(());
                }
                Outcome::Completed(Err(error)) => return Err(self.target_failed(&error)),
                Outcome::Cancelled { transferred } | Outcome::TimedOut { transferred } => {
                    self.is_cut()?;
                    transferred
                }
            };
            self.in_pipe -= moved;
            self.count(moved);
        }
        Ok(())
    }

    /// Takes back what is in the pipe: it is there, so nothing is waited for long.
    async fn empty_pipe(&mut self) {
        let Some(pipe) = self.pipe.take() else {
            return;
        };
        let mut bytes = Vec::with_capacity(self.in_pipe);
        while bytes.len() < self.in_pipe {
            let missing = Vec::with_capacity(self.in_pipe - bytes.len());
            let Ok(reading) = engine::submit_to(&self.worker, op::Read::new(&pipe.read, missing))
            else {
                break;
            };
            let (outcome, more) = reading.await;
            match outcome {
                Outcome::Completed(Ok(count)) if count > 0 => bytes.extend_from_slice(&more),
                _ => break,
            }
        }
        if bytes.len() == self.in_pipe {
            self.worker.sources.give_pipe(pipe);
        }
        self.in_pipe = 0;
        if !bytes.is_empty() {
            self.hoard.push_front(PoolBuf::from(bytes));
        }
    }

    /// Receives what the socket has into memory, to be sent from there.
    async fn receive(&mut self) -> io::Result<()> {
        let buf = Vec::with_capacity(PIECE);
        let receiving = engine::submit_to(&self.worker, op::Recv::new(&self.from.socket, buf))?;
        let (outcome, buf) = self.finish(receiving).await;
        match outcome {
            Outcome::Completed(Ok(0)) => self.from.end_receiving(End::Eof),
            Outcome::Completed(Ok(_)) => self.hoard.push_back(PoolBuf::from(buf)),
            Outcome::Completed(Err(error)) => return Err(self.source_failed(&error)),
            Outcome::Cancelled { .. } | Outcome::TimedOut { .. } => self.is_cut()?,
        }
        Ok(())
    }

    /// Sends a piece, as far as it is wanted. The rest comes first of what is left.
    async fn send(&mut self, mut piece: PoolBuf) -> io::Result<()> {
        let wanted = usize::try_from(self.left).map_or(piece.len(), |left| left.min(piece.len()));
        if wanted < piece.len() {
            let first = PoolBuf::from(piece[..wanted].to_vec());
            piece.advance(wanted);
            self.hoard.push_front(piece);
            piece = first;
        }
        let piece = self.worker.sources.send_out(piece);
        let send = op::Send::new(&self.to.socket, piece).all();
        let sending = match engine::submit_to(&self.worker, send) {
            Ok(sending) => sending,
            Err(Refused { op, error }) => {
                self.hoard.push_front(op.into_buf());
                return Err(error);
            }
        };
        let (outcome, mut piece) = self.finish(sending).await;
        match outcome {
            Outcome::Completed(Ok(sent)) => self.count(sent),
            Outcome::Completed(Err(error)) => return Err(self.target_failed(&error)),
            Outcome::Cancelled { transferred } | Outcome::TimedOut { transferred } => {
                self.count(transferred);
                piece.advance(transferred);
                if !piece.is_empty() {
                    self.hoard.push_front(piece);
                }
                self.is_cut()?;
            }
        }
        Ok(())
    }

    fn release(&mut self) {
        let hoard = std::mem::take(&mut self.hoard);
        self.from.release_receive(&self.worker, hoard);
        self.to.release_send(&self.worker, self.failure);
    }
}

impl Stream {
    /// Waits until everything that was written is sent, and keeps others from sending.
    fn poll_claim_send(&self, worker: &Rc<Worker>, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.take_foreign_output(worker, true);
        let mut send = self.send.borrow_mut();
        if let Some(error) = send.refusal() {
            return Poll::Ready(Err(error));
        }
        if !send.is_idle() {
            return self.poll_side(worker, cx);
        }
        send.in_flight = Some(0);
        Poll::Ready(Ok(()))
    }

    fn release_send(&self, worker: &Rc<Worker>, failure: Option<Failure>) {
        self.send.borrow_mut().in_flight = None;
        if let Some(failure) = failure {
            self.fail_send(worker, failure);
        }
        self.go_on_sending(worker);
    }

    /// Waits until nothing is being received, and keeps others from receiving.
    fn poll_claim_receive(&self, worker: &Worker, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut receive = self.receive.borrow_mut();
        match receive.state {
            State::Resting => {
                receive.state = State::Spliced;
                return Poll::Ready(Ok(()));
            }
            State::Armed(token) => {
                worker.queue.cancel(token);
                receive.state = State::Claimed;
            }
            State::Ending => receive.state = State::Claimed,
            State::Claimed | State::Lent(_) | State::Spliced => {}
        }
        self.poll_side(worker, cx)
    }

    /// Does not want the receiving side any more that it has waited for.
    fn give_up_claim(&self, worker: &Rc<Worker>) {
        let mut receive = self.receive.borrow_mut();
        if receive.state == State::Claimed {
            receive.state = State::Ending;
        }
        drop(receive);
        // A reader may wait, and another splice as well.
        self.retry_receive(worker);
        worker.sources.wake_claims(self.key());
    }

    /// Takes everything that was received, in order.
    fn take_hoard(&self, sources: &Sources) -> VecDeque<PoolBuf> {
        self.take_foreign_pieces(sources);
        let hoard = self.receive.borrow_mut().take_all();
        for piece in hoard.iter().filter(|piece| piece.is_pooled()) {
            sources.hoards_less(piece.len());
        }
        hoard
    }

    fn is_read_to_its_end(&self, sources: &Sources) -> bool {
        self.take_foreign_pieces(sources);
        self.receive.borrow().is_read_to_its_end()
    }

    fn end_of_receiving(&self) -> Option<End> {
        self.receive.borrow().end
    }

    fn end_receiving(&self, end: End) {
        self.receive.borrow_mut().end.get_or_insert(end);
    }

    /// Gives the receiving side back, and what is left for its next reader.
    fn release_receive(&self, worker: &Rc<Worker>, hoard: VecDeque<PoolBuf>) {
        // If the stream is gone, nobody reads it any more.
        if worker.sources.stream(self.key()).is_some() {
            for piece in hoard.into_iter().rev() {
                self.put_back(worker, piece);
            }
        }
        let mut receive = self.receive.borrow_mut();
        receive.state = State::Resting;
        if receive.foreign_wants {
            self.feed_foreign(&mut receive, &worker.sources);
        }
        self.wake_reader(receive);
        self.retry_receive(worker);
        worker.sources.wake_claims(self.key());
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_lite::future::poll_once;

    use crate::net::{TcpListener, TcpStream};
    use crate::runtime::worker;

    /// Lets the worker hand over what was written, and look at its queue: a sleep that has waited.
    async fn turn() {
        let mut length = std::time::Duration::from_micros(1);
        loop {
            let mut slept = pin!(crate::time::sleep(length));
            if poll_once(slept.as_mut()).await.is_none() && !slept.is_elapsed() {
                return slept.await;
            }
            length *= 2;
        }
    }

    /// Waits until so many splices wait for a side of a stream.
    async fn until_claims_are(expected: usize) {
        let claims = || worker::expect_current().sources.claims.borrow().len();
        for _ in 0..1000 {
            if claims() == expected {
                return;
            }
            turn().await;
        }
        panic!("{} wait, and not {expected}", claims());
    }

    fn is_spliced() -> bool {
        let support = worker::expect_current()
            .queue
            .support(super::OpKind::Splice);
        !matches!(support, super::Support::Unsupported(_))
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr()).await.unwrap();
        (stream, listener.accept().await.unwrap().0)
    }

    /// Two streams, the second of which takes no more, and their peers.
    async fn blocked() -> [TcpStream; 4] {
        let (from, source) = pair().await;
        let (mut to, sink) = pair().await;
        let mut refused = 0;
        while refused < 10 {
            match poll_once(to.write(&[0; 50_000])).await {
                Some(_) => refused = 0,
                None => refused += 1,
            }
            turn().await;
        }
        [from, to, source, sink]
    }

    #[test]
    fn splice_that_never_began_leaves_nothing_when_it_is_dropped() {
        crate::Runtime::new().unwrap().block_on(async {
            let [mut from, mut to, _source, _sink] = blocked().await;
            for _ in 0..20 {
                let mut splicing = Box::pin(crate::io::splice(&mut from, &mut to, 9));
                assert!(poll_once(&mut splicing).await.is_none());
                until_claims_are(usize::from(is_spliced())).await;
                drop(splicing);
                until_claims_are(0).await;
            }
        });
    }

    #[test]
    fn splice_that_never_began_ends_with_its_streams_when_it_is_forgotten() {
        crate::Runtime::new().unwrap().block_on(async {
            let [mut from, mut to, _source, sink] = blocked().await;
            let mut splicing = Box::pin(crate::io::splice(&mut from, &mut to, 9));
            assert!(poll_once(&mut splicing).await.is_none());
            until_claims_are(usize::from(is_spliced())).await;
            std::mem::forget(splicing);
            drop((from, to, sink));
            until_claims_are(0).await;
        });
    }
}
