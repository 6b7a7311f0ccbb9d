//! What has been submitted, and the things that may happen next.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use wharf_queue::op::{self, Interest, OpKind, Prepare};
use wharf_queue::{BufPool, Chain, Handle, Moment, PoolBuf, Queue, Token};

use super::stream::{Stream, bytes_from};
use crate::Factory;
use crate::fixture::counted::{Alive, Counted};
use crate::fixture::random::Random;
use crate::peer::Dir;

pub(super) const FILE_LEN: usize = 10_000;
pub(super) const POOL_BUFFERS: usize = 4;
const STREAMS: usize = 3;
const KINDS: [OpKind; 10] = [
    OpKind::Nop,
    OpKind::Timer,
    OpKind::Recv,
    OpKind::RecvMulti,
    OpKind::Send,
    OpKind::Accept,
    OpKind::AcceptMulti,
    OpKind::ReadAt,
    OpKind::Blocking,
    OpKind::Poll,
];

type Closure = Box<dyn FnOnce() -> u64 + Send>;

/// The token of each kind of operation, which gives its result.
#[derive(Clone, Copy, Debug)]
pub(super) enum Typed {
    Nop(Token<op::Nop>),
    Timer(Token<op::Timer>),
    Recv(Token<op::Recv<Counted>>),
    RecvMulti(Token<op::RecvMulti>),
    Send(Token<op::Send<Counted>>),
    Accept(Token<op::Accept>),
    AcceptMulti(Token<op::AcceptMulti>),
    ReadAt(Token<op::ReadAt<Counted>>),
    Blocking(Token<op::Blocking<Closure, u64>>),
    Poll(Token<op::Poll>),
    Close(Token<op::Close>),
}

/// What is known of an operation.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Entry {
    /// The stream that it is on.
    pub(super) stream: Option<usize>,
    /// A cancel was asked for, or a close, or one before it in a chain may have failed.
    pub(super) may_be_cancelled: bool,
    /// Its deadline, or the moment of a timer: not later than the queue's own.
    pub(super) due: Option<Moment>,
    /// It is part of a chain.
    pub(super) is_chained: bool,
    /// The one before it in the chain.
    pub(super) after: Option<Token>,
    /// The length of its buffer.
    pub(super) len: usize,
    /// Of a read, where in the file; of a closure, what it returns, unless it panics; of a send,
    /// one if it sends all.
    pub(super) number: u64,
}

pub(super) struct World {
    pub(super) queue: Rc<Queue>,
    pub(super) random: Random,
    pub(super) alive: Alive,
    pub(super) streams: Vec<Stream>,
    pub(super) listener: Handle,
    address: SocketAddr,
    pub(super) clients: Vec<TcpStream>,
    pub(super) accepted: usize,
    /// No accept was discarded, so that each client is accepted.
    pub(super) accepts_are_whole: bool,
    file: Handle,
    pub(super) pool: BufPool,
    pub(super) pieces: Vec<PoolBuf>,
    pub(super) entries: HashMap<Token, (Typed, Entry)>,
    pub(super) kept: Vec<Token>,
    /// Taken, and so stale.
    pub(super) over: Vec<Token>,
    /// Discarded; they may be in flight still.
    left: Vec<Token>,
    /// Those of chains that have succeeded, or whose results nobody saw.
    pub(super) let_go_on: HashSet<Token>,
    _dir: Dir,
}

impl World {
    pub(super) fn new(factory: &Factory, seed: u64) -> World {
        let mut random = Random::new(seed);
        // A small ring overflows often.
        let entries = [8, 64, 256][random.below(3)];
        let queue = factory.builder().ring_entries(entries).build();
        let queue = Rc::new(queue.expect("the backend was probed"));
        let dir = Dir::new();
        std::fs::write(dir.0.join("file"), bytes_from(0, FILE_LEN)).expect("written");
        let file = std::fs::File::open(dir.0.join("file")).expect("there");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("valid");
        let listener = queue.listen(any).expect("listens");
        let address = listener.local_addr().expect("bound").ip();
        let pool = queue.buf_pool().buffers(POOL_BUFFERS as u16).size(512);
        World {
            random,
            alive: Rc::new(Cell::new(0)),
            streams: (0..STREAMS).map(|_| Stream::new(&queue)).collect(),
            address: address.expect("internet"),
            listener,
            clients: Vec::new(),
            accepted: 0,
            accepts_are_whole: true,
            file: queue.attach(file).expect("a file"),
            pool: pool.build().expect("a pool"),
            pieces: Vec::new(),
            entries: HashMap::new(),
            kept: Vec::new(),
            over: Vec::new(),
            left: Vec::new(),
            let_go_on: HashSet::new(),
            queue,
            _dir: dir,
        }
    }

    /// Something happens.
    pub(super) fn act(&mut self) {
        let stream = self.random.below(STREAMS);
        match self.random.below(24) {
            0..=8 => drop(self.submit(&mut None, None)),
            9 => self.submit_chain(),
            10 => self.cancel(),
            11 => self.discard(),
            12 => self.take_kept(),
            13 => self.leave(stream),
            14 => self.cancel_all(stream),
            15 => self.connect(),
            16 => drop(self.pieces.pop()),
            17 if self.random.once_in(2) => self.streams[stream].peer_ends(),
            17 => self.streams[stream].peer = None,
            18 | 19 => {
                let len = 1 + self.random.below(3000);
                self.streams[stream].peer_writes(len);
            }
            20 => {
                let len = 1 + self.random.below(200_000);
                self.streams[stream].peer_reads(len);
            }
            _ => {
                let timeout = [Duration::ZERO, Duration::from_micros(200)];
                let timeout = timeout[self.random.below(2)];
                let most = [usize::MAX, 1, 3][self.random.below(3)];
                self.wait(timeout, most);
            }
        }
        let stats = self.queue.stats();
        assert_eq!(stats.submitted - stats.completed, stats.in_flight);
        assert!(self.queue.in_flight() >= self.entries.len());
    }

    /// Judges what completes, up to so many; the rest is left for the next time.
    pub(super) fn wait(&mut self, timeout: Duration, most: usize) {
        let queue = self.queue.clone();
        for completion in queue.wait(timeout).expect("works").take(most) {
            self.judge(completion);
        }
    }

    /// Submits something, or adds it to a chain behind `after`. `None` if there is no place for it.
    fn submit(&mut self, chain: &mut Option<Chain<'_>>, after: Option<Token>) -> Option<Token> {
        let kind = KINDS[self.random.below(KINDS.len())];
        if kind.is_multishot() && chain.is_some() {
            return None;
        }
        let index = self.random.below(STREAMS);
        let mut entry = Entry {
            may_be_cancelled: after.is_some(),
            is_chained: chain.is_some(),
            after,
            ..Entry::default()
        };
        match kind {
            OpKind::Nop => Some(self.put(chain, op::Nop::new(), entry, Typed::Nop)),
            OpKind::Timer => {
                let after = Duration::from_micros(self.random.below(2000) as u64);
                let after = if self.random.once_in(4) {
                    Duration::MAX
                } else {
                    after
                };
                entry.due = Some(self.queue.now() + after);
                Some(self.put(chain, op::Timer::after(after), entry, Typed::Timer))
            }
            OpKind::Accept => {
                let accept = op::Accept::new(&self.listener);
                Some(self.put(chain, accept, entry, Typed::Accept))
            }
            OpKind::AcceptMulti => {
                let accept = op::AcceptMulti::new(&self.listener);
                Some(self.put(chain, accept, entry, Typed::AcceptMulti))
            }
            OpKind::ReadAt => {
                entry.len = 1 + self.random.below(4000);
                entry.number = self.random.below(FILE_LEN + 100) as u64;
                let buf = Counted::new(&self.alive, vec![0; entry.len]);
                let read = op::ReadAt::new(&self.file, buf, entry.number);
                Some(self.put(chain, read, entry, Typed::ReadAt))
            }
            OpKind::Blocking => {
                entry.number = self.random.number();
                let number = entry.number;
                let closure: Closure = Box::new(move || {
                    assert!(number % 8 != 0, "on purpose");
                    number
                });
                Some(self.put(chain, op::Blocking::new(closure), entry, Typed::Blocking))
            }
            _ => self.submit_on(chain, kind, index, entry),
        }
    }

    /// Submits something on a stream, if that is open and has no such thing in flight.
    fn submit_on(
        &mut self,
        chain: &mut Option<Chain<'_>>,
        kind: OpKind,
        index: usize,
        mut entry: Entry,
    ) -> Option<Token> {
        let stream = &self.streams[index];
        let handle = stream.handle.clone()?;
        entry.stream = Some(index);
        entry.len = 1 + self.random.below(2000);
        match kind {
            OpKind::Recv | OpKind::RecvMulti if stream.receiving.is_some() => return None,
            OpKind::Send if stream.sending.is_some() => return None,
            _ => {}
        }
        let sent = stream.outgoing.sent;
        Some(match kind {
            OpKind::Recv => {
                let buf = Counted::new(&self.alive, vec![0; entry.len]);
                let token = self.put(chain, op::Recv::new(&handle, buf), entry, Typed::Recv);
                *self.streams[index].receiving.insert(token)
            }
            OpKind::RecvMulti => {
                let receive = op::RecvMulti::new(&handle, &self.pool);
                let token = self.put(chain, receive, entry, Typed::RecvMulti);
                *self.streams[index].receiving.insert(token)
            }
            OpKind::Send => {
                // More than the system's buffers hold, at times.
                if self.random.once_in(4) {
                    entry.len += self.random.below(8 << 20);
                }
                let buf = Counted::new(&self.alive, bytes_from(sent, entry.len));
                let mut send = op::Send::new(&handle, buf);
                if self.random.once_in(2) {
                    (send, entry.number) = (send.all(), 1);
                }
                let token = self.put(chain, send, entry, Typed::Send);
                *self.streams[index].sending.insert(token)
            }
            _ => {
                let interest = [Interest::Readable, Interest::Writable, Interest::Both];
                let poll = op::Poll::new(&handle, interest[self.random.below(3)]);
                self.put(chain, poll, entry, Typed::Poll)
            }
        })
    }

    /// Submits an operation, or adds it to a chain, sometimes with a deadline.
    fn put<O: op::Operation>(
        &mut self,
        chain: &mut Option<Chain<'_>>,
        operation: O,
        mut entry: Entry,
        typed: fn(Token<O>) -> Typed,
    ) -> Token {
        let mut submission = operation.prepare();
        if O::KIND != OpKind::Timer && O::KIND != OpKind::Close && self.random.once_in(4) {
            let timeout = Duration::from_micros(self.random.below(3000) as u64);
            entry.due = Some(self.queue.now() + timeout);
            submission = submission.timeout(timeout);
        }
        let submitted = match chain {
            Some(chain) => chain.then(submission),
            None => self.queue.submit(submission),
        };
        let Ok(token) = submitted else {
            panic!("there is room, and the handle is open");
        };
        let known = self.entries.insert(token.erase(), (typed(token), entry));
        assert!(known.is_none(), "two operations have one token");
        token.erase()
    }

    /// Some operations one after the other; now and then one of them is cancelled before the chain
    /// is submitted, or the chain is dropped.
    fn submit_chain(&mut self) {
        let queue = self.queue.clone();
        let mut chain = Some(queue.chain());
        let mut tokens = Vec::new();
        for _ in 0..2 + self.random.below(4) {
            tokens.extend(self.submit(&mut chain, tokens.last().copied()));
            if self.random.once_in(12) {
                self.cancel();
            }
            if self.random.once_in(12) {
                self.wait(Duration::ZERO, usize::MAX);
            }
        }
        if !self.random.once_in(6) {
            return chain.into_iter().for_each(Chain::submit);
        }
        drop(chain);
        for token in tokens {
            // Those that have ended before are dropped too, unless they were taken.
            self.forget(token);
        }
    }

    fn any_token(&mut self) -> Option<Token> {
        // In an order that does not change from run to run.
        let mut live: Vec<Token> = self.entries.keys().copied().collect();
        live.sort_by_key(|token| token.index());
        live.extend(self.over.iter().chain(&self.left));
        self.random.pick(&live)
    }

    fn cancel(&mut self) {
        let Some(token) = self.any_token() else {
            return;
        };
        let asked = self.queue.cancel(token);
        let is_stale = self.over.contains(&token) || self.kept.contains(&token);
        assert!(!(asked && is_stale), "what is over was cancelled");
        if let Some((_, entry)) = self.entries.get_mut(&token).filter(|_| asked) {
            entry.may_be_cancelled = true;
        }
    }

    fn cancel_all(&mut self, index: usize) {
        let Some(handle) = self.streams[index].handle.clone() else {
            return;
        };
        self.queue.cancel_all(&handle);
        self.may_be_cancelled(index);
    }

    fn may_be_cancelled(&mut self, index: usize) {
        let on_it = |entry: &&mut (Typed, Entry)| entry.1.stream == Some(index);
        let entries = self.entries.values_mut().filter(on_it);
        entries.for_each(|(_, entry)| entry.may_be_cancelled = true);
    }

    fn discard(&mut self) {
        let Some(token) = self.any_token() else {
            return;
        };
        self.queue.discard(token);
        self.forget(token);
    }

    /// Nobody will hear of an operation, which may have done something or not.
    fn forget(&mut self, token: Token) {
        let Some((typed, entry)) = self.entries.remove(&token) else {
            return;
        };
        self.kept.retain(|kept| *kept != token);
        self.left.push(token);
        self.let_go_on.insert(token);
        let stream = entry.stream.map(|index| &mut self.streams[index]);
        match (typed, stream) {
            (Typed::Recv(_) | Typed::RecvMulti(_), Some(stream)) => {
                stream.incoming.is_whole = false;
                stream.receiving = None;
            }
            (Typed::Send(_), Some(stream)) => {
                stream.outgoing.is_whole = false;
                stream.sending = None;
            }
            (Typed::Accept(_) | Typed::AcceptMulti(_), _) => self.accepts_are_whole = false,
            _ => {}
        }
    }

    /// Closes a stream, or drops its handle, and makes a new one when nothing is in flight on it.
    fn leave(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        let Some(handle) = stream.handle.take() else {
            if stream.receiving.is_none() && stream.sending.is_none() {
                *stream = Stream::new(&self.queue);
            }
            return;
        };
        if self.random.once_in(2) {
            return drop(handle);
        }
        self.may_be_cancelled(index);
        self.put(
            &mut None,
            op::Close::new(handle),
            Entry::default(),
            Typed::Close,
        );
    }

    fn connect(&mut self) {
        if self.clients.len() < 16 {
            let client = TcpStream::connect(self.address);
            self.clients.push(client.expect("it listens"));
        }
    }
}
