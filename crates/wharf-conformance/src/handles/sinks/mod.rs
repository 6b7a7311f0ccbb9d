//! Everything that can be written to, and what must hold when a write is given up: what was said to
//! be written arrives once and in order, and nothing else does, but for whole buffers of owned writes.
//!
//! Owns the accounts and the peer that reads. What can happen to a write is in `ways`.

pub(super) mod kinds;
mod ways;

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use super::kinds::bytes_at;
use super::{After, BoxFuture};
pub(super) use ways::cases;

/// A write of some bytes, which gives how many it took.
pub(super) type Write<S> = for<'a> fn(&'a mut S, Vec<u8>) -> BoxFuture<'a, io::Result<usize>>;

/// Waits until everything is handed over.
pub(super) type Flush<S> = for<'a> fn(&'a mut S) -> BoxFuture<'a, io::Result<()>>;

/// A handle that is written to.
pub(super) trait Sink: Send {
    /// Writes what comes next, and accounts for it when it is written.
    fn write(&mut self) -> BoxFuture<'_, io::Result<()>>;

    fn flush(&mut self) -> BoxFuture<'_, io::Result<()>>;
}

/// What a write promises about what it has not told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Any number of bytes is taken, and that is told. Nothing else arrives.
    Bytes,
    /// A buffer is taken whole, and that is told. Nothing else arrives.
    Whole,
    /// A buffer that was begun arrives whole, whether or not that could be told.
    Owned,
    /// As `Whole`, each buffer in a datagram of its own.
    Datagrams { in_order: bool },
}

/// The longest buffer that is handed over: more than any stream has room for.
const LONG: u64 = 150_000;

#[derive(Debug)]
struct Frame {
    number: u32,
    len: u64,
}

/// What was written, as far as it was told.
struct Account {
    style: Style,
    /// Bytes that were taken.
    written: u64,
    next: u32,
    confirmed: Vec<u32>,
}

impl Account {
    fn offer(&mut self) -> (Frame, Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let len = match self.style {
            Style::Bytes => 30_000,
            Style::Datagrams { .. } => u64::from(number % 40),
            Style::Whole | Style::Owned if number % 5 == 4 => LONG,
            Style::Whole | Style::Owned => 1 + u64::from(number) * 37 % 5000,
        };
        let frame = Frame { number, len };
        let bytes = match self.style {
            Style::Bytes => bytes_at(self.written, len),
            _ => frame.bytes(),
        };
        (frame, bytes)
    }

    fn confirm(&mut self, frame: &Frame, count: usize) {
        if self.style != Style::Bytes {
            assert_eq!(count, frame.bytes().len(), "a buffer is written whole");
        }
        self.written += count as u64;
        self.confirmed.push(frame.number);
    }

    fn check(&self, received: &[u8]) {
        if self.style == Style::Bytes {
            assert_eq!(received.len() as u64, self.written, "as told");
            assert!(received == bytes_at(0, self.written), "in order");
            return;
        }
        let mut numbers = Vec::new();
        let mut rest = received;
        while !rest.is_empty() {
            let (frame, behind) = Frame::parse(rest).expect("whole buffers");
            numbers.push(frame.number);
            rest = behind;
        }
        if self.style == (Style::Datagrams { in_order: false }) {
            numbers.sort_unstable();
        }
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "each once and in order: {numbers:?}"
        );
        if self.style == Style::Owned {
            let missing = self
                .confirmed
                .iter()
                .find(|number| !numbers.contains(number));
            assert_eq!(missing, None, "what was told arrives");
        } else {
            assert_eq!(
                numbers, self.confirmed,
                "what was told arrives, and nothing else"
            );
        }
    }
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.number.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(self.len as u32).to_le_bytes());
        bytes.extend(bytes_at(u64::from(self.number), self.len));
        bytes
    }

    /// A whole frame at the front, and what is behind it.
    fn parse(bytes: &[u8]) -> Option<(Frame, &[u8])> {
        let number = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        let len = u64::from(u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?));
        let frame = Frame { number, len };
        let expected = frame.bytes();
        let rest = bytes.strip_prefix(&expected[..])?;
        Some((frame, rest))
    }
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle with its way of writing.
struct Writing<S> {
    handle: S,
    write: Write<S>,
    flush: Flush<S>,
    account: Arc<Mutex<Account>>,
}

impl<S: Send> Sink for Writing<S> {
    fn write(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let (frame, bytes) = lock(&self.account).offer();
            let count = (self.write)(&mut self.handle, bytes).await?;
            lock(&self.account).confirm(&frame, count);
            Ok(())
        })
    }

    fn flush(&mut self) -> BoxFuture<'_, io::Result<()>> {
        (self.flush)(&mut self.handle)
    }
}

/// The other side: a thread that reads when it is let.
pub(super) struct Peer {
    /// `None` when it may read everything.
    permits: Option<mpsc::Sender<usize>>,
    thread: JoinHandle<Vec<u8>>,
    account: Arc<Mutex<Account>>,
    /// Ends what has no end of its own, when everything is handed over.
    pub(super) end: After,
}

impl Peer {
    fn new(mut from: impl Read + Send + 'static, account: Arc<Mutex<Account>>) -> Peer {
        let (permits, permitted) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut received = Vec::new();
            for count in permitted {
                let mut piece = vec![0; count];
                let count = from.read(&mut piece).expect("the other side is open");
                received.extend_from_slice(&piece[..count]);
            }
            from.read_to_end(&mut received).expect("an orderly end");
            received
        });
        Peer {
            permits: Some(permits),
            thread,
            account,
            end: Box::new(|| {}),
        }
    }

    /// Lets it read some bytes, or one datagram, when they are there.
    pub(super) fn read_some(&self, count: usize) {
        if let Some(permits) = &self.permits {
            // A thread that has failed is found out in the end.
            let _unheard = permits.send(count);
        }
    }

    /// Lets it read to the end.
    pub(super) fn read_freely(&mut self) {
        self.permits = None;
    }

    /// Checks what it has read. The handle is closed.
    pub(super) fn check(mut self) {
        self.read_freely();
        (self.end)();
        let received = self.thread.join().expect("the peer has read to the end");
        lock(&self.account).check(&received);
    }
}

/// A sink and its peer.
pub(super) type Pair = (Box<dyn Sink>, Peer);

/// Puts them together.
pub(super) fn pair<S: Send + 'static>(
    handle: S,
    style: Style,
    write: Write<S>,
    flush: Flush<S>,
    peer: impl Read + Send + 'static,
) -> Pair {
    let account = Arc::new(Mutex::new(Account {
        style,
        written: 0,
        next: 0,
        confirmed: Vec::new(),
    }));
    let sink = Writing {
        handle,
        write,
        flush,
        account: account.clone(),
    };
    (Box::new(sink), Peer::new(peer, account))
}
