//! Everything that can be written to, and what must hold when a write is given up: what was said to
//! be written arrives once and in order, and nothing else does, but for whole buffers of owned writes
//! and parts of files.
//!
//! Owns the accounts and the peer that reads. What can happen to a write is in `ways`.

pub(super) mod kinds;
mod pipe;
mod ways;

use std::collections::BTreeSet;
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
    /// As `Bytes` and as `Owned` by turns.
    Mixed,
    /// What was begun arrives in part, if it could not be told that it was taken whole.
    Part,
    /// As `Whole`, each buffer in a datagram of its own.
    Datagrams { in_order: bool },
}

impl Style {
    /// That of a buffer by its number.
    fn of(self, number: u32) -> Style {
        match self {
            Style::Mixed if number % 2 == 0 => Style::Bytes,
            Style::Mixed => Style::Owned,
            style => style,
        }
    }
}

/// The longest buffer that is handed over: more than any stream has room for.
const LONG: u64 = 150_000;

/// Begins each buffer, and is nowhere else.
const MARK: u8 = u8::MAX;

/// A buffer that says who it is.
fn buffer(style: Style, number: u32) -> Vec<u8> {
    let len = match style.of(number) {
        Style::Bytes => 30_000,
        Style::Datagrams { .. } => u64::from(number % 40),
        _ if number % 5 == 4 => LONG,
        _ => 1 + u64::from(number) * 37 % 5000,
    };
    assert!(number < u32::from(MARK), "a mark is none of the numbers");
    let mut bytes = vec![MARK, number as u8];
    bytes.extend(bytes_at(u64::from(number), len));
    bytes
}

/// What was written, as far as it was told.
struct Account {
    style: Style,
    /// How much was said to be taken of each buffer.
    told: Vec<Option<usize>>,
}

impl Account {
    fn offer(&mut self) -> (u32, Vec<u8>) {
        let number = self.told.len() as u32;
        self.told.push(None);
        (number, buffer(self.style, number))
    }

    fn confirm(&mut self, number: u32, count: usize) {
        let told = &mut self.told[number as usize];
        if self.style.of(number) != Style::Bytes {
            let len = buffer(self.style, number).len();
            assert_eq!(count, len, "a buffer is written whole");
        }
        *told = Some(count);
    }

    /// Goes through the buffers, each of which begins where the one before it ended. Of what was not
    /// told there are two such places: where it began, and where it differs.
    fn check(&self, received: &[u8]) {
        let mut places = BTreeSet::from([0]);
        for (number, told) in (0..).zip(&self.told) {
            let bytes = buffer(self.style, number);
            let mut ends = BTreeSet::new();
            for &place in &places {
                let rest = received[place..].iter();
                let common = bytes.iter().zip(rest).take_while(|(a, b)| a == b).count();
                match (told, self.style.of(number)) {
                    (Some(count), _) if common >= *count => drop(ends.insert(place + count)),
                    (Some(_), _) => {}
                    (None, Style::Part) => ends.extend([place, place + common]),
                    (None, Style::Owned) if common == bytes.len() => {
                        ends.extend([place, place + common]);
                    }
                    (None, _) => drop(ends.insert(place)),
                }
            }
            assert!(
                !ends.is_empty(),
                "{told:?} of buffer {number} is not at any of {places:?} of {} bytes",
                received.len()
            );
            places = ends;
        }
        assert!(
            places.contains(&received.len()),
            "{} bytes have arrived, and were written up to {places:?}",
            received.len()
        );
    }
}

/// Puts buffers that came one by one in the order of their numbers.
fn sorted(received: &[u8]) -> Vec<u8> {
    let mut buffers: Vec<_> = received.split(|byte| *byte == MARK).skip(1).collect();
    buffers.sort_by_key(|buffer| buffer.first());
    let marked = buffers.into_iter().flat_map(|buffer| [&[MARK], buffer]);
    marked.flatten().copied().collect()
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
            let (number, bytes) = lock(&self.account).offer();
            let count = (self.write)(&mut self.handle, bytes).await?;
            lock(&self.account).confirm(number, count);
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
        let account = lock(&self.account);
        match account.style {
            Style::Datagrams { in_order: false } => account.check(&sorted(&received)),
            _ => account.check(&received),
        }
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
        told: Vec::new(),
    }));
    let sink = Writing {
        handle,
        write,
        flush,
        account: account.clone(),
    };
    (Box::new(sink), Peer::new(peer, account))
}

#[cfg(test)]
mod tests {
    use super::{Account, Style, buffer, sorted};

    fn account(style: Style, told: &[Option<usize>]) -> Account {
        let told = told.to_vec();
        Account { style, told }
    }

    fn is_refused(account: &Account, received: &[u8]) -> bool {
        std::panic::catch_unwind(|| account.check(received)).is_err()
    }

    #[test]
    fn account_finds_what_is_lost_doubled_and_out_of_order() {
        let [a, b] = [1, 3].map(|number| buffer(Style::Mixed, number));
        let lens = [Some(0), Some(a.len()), None, Some(b.len())];
        let told = account(Style::Mixed, &lens);
        told.check(&[&a[..], &b].concat());
        for wrong in [
            &[&a[..]][..],
            &[&b],
            &[&b, &a],
            &[&a, &a, &b],
            &[&a, &b, &b[..1]],
        ] {
            assert!(is_refused(&told, &wrong.concat()));
        }
    }

    #[test]
    fn account_lets_come_what_was_not_told_as_its_style_says() {
        let styles = [Style::Bytes, Style::Whole, Style::Owned, Style::Part];
        for style in styles {
            let [a, b] = [0, 1].map(|number| buffer(style, number));
            let account = account(style, &[None, Some(b.len())]);
            account.check(&b);
            let whole = is_refused(&account, &[&a[..], &b].concat());
            assert_eq!(whole, matches!(style, Style::Bytes | Style::Whole));
            let part = is_refused(&account, &[&a[..2], &b].concat());
            assert_eq!(part, style != Style::Part);
        }
    }

    #[test]
    fn datagrams_are_sorted_by_their_numbers() {
        let style = Style::Datagrams { in_order: false };
        let [a, b, c] = [0, 1, 41].map(|number| buffer(style, number));
        assert_eq!(sorted(&[&c[..], &a, &b].concat()), [a, b, c].concat());
        assert!(sorted(&[]).is_empty());
    }
}
