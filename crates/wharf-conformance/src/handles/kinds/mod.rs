//! Everything that waits, by what it is on. What exists on one system only is in `os`.
//!
//! Owns the accounts by which a loss, a double or a wrong order shows.

mod accept;
mod child;
pub(super) mod datagram;
mod file;
mod foreign;
mod pipe;
mod signal;
mod stdin;
pub(super) mod stream;
mod task;
mod time;

use std::collections::HashSet;
use std::future::Future;
use std::hash::Hash;
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Instant;

use super::{BoxFuture, PATIENCE, Scene, os};

/// A scene that is being set up on the current worker.
pub(super) type Making = Pin<Box<dyn Future<Output = Box<dyn Scene>>>>;

/// A kind of wait.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) make: fn() -> Making,
}

/// One after the other.
pub(super) fn all() -> Vec<Kind> {
    let everywhere = [
        stream::KINDS,
        accept::KINDS,
        datagram::KINDS,
        file::KINDS,
        pipe::KINDS,
        child::KINDS,
        foreign::KINDS,
        task::KINDS,
        time::KINDS,
        os::kinds(),
    ];
    everywhere.concat()
}

/// Those that are on something of the whole process, so that a case needs one of its own.
pub(super) fn of_the_process() -> Vec<Kind> {
    [signal::KINDS, stdin::KINDS].concat()
}

/// A read of a handle, given how many bytes were read before.
pub(super) type Read<S> = for<'a> fn(&'a mut S, u64) -> BoxFuture<'a, io::Result<Vec<u8>>>;

/// Reads exactly so many bytes from another handle of the same thing.
pub(super) type Twin = Box<dyn FnOnce(&mut [u8]) + Send>;

/// Waits on this thread for what others bring about.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// The bytes of a stream, each known by its place.
#[derive(Default)]
pub(super) struct Bytes {
    brought: u64,
    pub(super) got: u64,
}

/// After so many bytes they come again. It is prime, so that a shift by any buffer's length shows.
const PERIOD: usize = 251;

/// The bytes at a place, copied a long piece at a time: there are cases that read all the time until
/// they are told to stop, and a slow check would be most of what they do.
pub(super) fn bytes_at(place: u64, count: u64) -> Vec<u8> {
    static PERIODS: OnceLock<Vec<u8>> = OnceLock::new();
    let periods = PERIODS.get_or_init(|| (0..PERIOD as u8).cycle().take(PERIOD * 256).collect());
    let count = usize::try_from(count).expect("it fits in memory");
    let mut bytes = Vec::with_capacity(count);
    let mut begin = (place % PERIOD as u64) as usize;
    while bytes.len() < count {
        let piece = (count - bytes.len()).min(periods.len() - begin);
        bytes.extend_from_slice(&periods[begin..begin + piece]);
        // Every piece but the last one ends with a period.
        begin = 0;
    }
    bytes
}

impl Bytes {
    /// The bytes that are brought next, not many.
    pub(super) fn bring(&mut self) -> Vec<u8> {
        let count = 1 + self.brought % 97;
        let bytes = bytes_at(self.brought, count);
        self.brought += count;
        bytes
    }

    pub(super) fn get(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let expected = bytes_at(self.got, bytes.len() as u64);
        assert_eq!(bytes, expected, "at byte {}", self.got);
        self.got += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn is_outstanding(&self) -> bool {
        self.got < self.brought
    }
}

/// Things that come one by one, each once, in an order that nobody promises.
pub(super) struct Items<T> {
    pub(super) outstanding: HashSet<T>,
}

impl<T: Hash + Eq + std::fmt::Debug> Items<T> {
    pub(super) fn new() -> Items<T> {
        Items {
            outstanding: HashSet::new(),
        }
    }

    pub(super) fn bring(&mut self, item: T) {
        assert!(self.outstanding.insert(item), "items are distinct");
    }

    pub(super) fn get(&mut self, item: &T) {
        assert!(self.outstanding.remove(item), "{item:?} was not brought");
    }
}
