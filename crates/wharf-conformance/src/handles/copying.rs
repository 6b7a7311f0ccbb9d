//! Copies and splices that are given up: what was received and not yet written is there for the next.

use std::io::{Read, Write};
use std::sync::mpsc::{Sender, channel};

use wharf::io::{copy, copy_bidirectional, splice, splice_bidirectional};
use wharf::net::TcpStream;

use super::kinds::bytes_at;
use super::kinds::stream::plain_pair;
use super::{BoxFuture, Case, WORKERS, join, list_cases, poll_times};
use crate::fixture::limit::leave_descriptors;

/// How many bytes go through: many times what fits in between.
pub(super) const LEN: u64 = 3 << 20;

/// How many bytes come one by one where that is so, and how often.
const PIECE: u64 = 64 << 10;
const PIECES: u64 = 16;

list_cases! {
    "C4" dropped_copy_loses_no_byte,
    "C4" dropped_copy_that_hops_between_workers_loses_no_byte,
    "C4" dropped_copy_both_ways_loses_no_byte,
    "C4" dropped_splice_loses_no_byte,
    "C4" dropped_splice_that_hops_between_workers_loses_no_byte,
    "C4" dropped_splice_both_ways_loses_no_byte,
    "C4" dropped_splice_gives_back_what_the_target_did_not_take,
    "C7" [alone] splice_without_descriptors_copies,
}

/// A copy of everything one way; whichever way of doing that.
type Copy = for<'a> fn(&'a mut TcpStream, &'a mut TcpStream) -> BoxFuture<'a, std::io::Result<u64>>;

/// As much, both ways at once.
type CopyBoth =
    for<'a> fn(&'a mut TcpStream, &'a mut TcpStream) -> BoxFuture<'a, std::io::Result<(u64, u64)>>;

const COPY: Copy = |from, to| Box::pin(copy(from, to));
const SPLICE: Copy = |from, to| Box::pin(splice(from, to, u64::MAX));
const COPY_BOTH: CopyBoth = |a, b| Box::pin(copy_bidirectional(a, b));
const SPLICE_BOTH: CopyBoth = |a, b| Box::pin(splice_bidirectional(a, b));

/// That these are the bytes of a stream from a place on, and nothing else.
pub(super) fn check(got: &[u8], place: u64, len: u64) {
    let expected = bytes_at(place, len);
    let differs = got.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "of {} bytes", got.len());
    assert_eq!(got.len() as u64, len);
}

/// Whether a copy was dropped before its end.
fn not_done<T>(copied: Option<std::io::Result<T>>) -> bool {
    copied
        .map(|copied| copied.expect("both are open"))
        .is_none()
}

/// Streams from a writer and to a reader, which are threads.
pub(super) fn through() -> (TcpStream, TcpStream, std::thread::JoinHandle<Vec<u8>>) {
    let (go, from, to, reading) = paced();
    (0..PIECES).for_each(|_| go.send(()).expect("the writer waits"));
    (from, to, reading)
}

/// The same with a writer that waits for a word before each piece. The rest comes at once then, and
/// fills all buffers.
fn paced() -> (
    Sender<()>,
    TcpStream,
    TcpStream,
    std::thread::JoinHandle<Vec<u8>>,
) {
    let (from, mut writer) = plain_pair();
    let (to, mut reader) = plain_pair();
    let (go, word) = channel();
    std::thread::spawn(move || {
        let mut place = 0;
        for () in word.iter().take(PIECES as usize) {
            writer.write_all(&bytes_at(place, PIECE))?;
            place += PIECE;
        }
        writer.write_all(&bytes_at(place, LEN - place))
    });
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("an orderly end");
        got
    });
    let wrap = |plain| TcpStream::from_std(plain).expect("a socket");
    (go, wrap(from), wrap(to), reading)
}

async fn dropped_copy_loses_no_byte() {
    drop_often(COPY).await;
}

async fn dropped_splice_loses_no_byte() {
    drop_often(SPLICE).await;
}

async fn drop_often(copy: Copy) {
    let (go, mut from, mut to, reading) = paced();
    let mut drops = 0;
    loop {
        // Each round brings one piece, so that it is dropped as often at least; then all is on its way.
        let _unheard = go.send(());
        if !not_done(poll_times(1 + drops % 7, copy(&mut from, &mut to)).await) {
            break;
        }
        drops += 1;
    }
    assert!(drops + 1 >= PIECES as usize, "it has ended before it could");
    drop(to);
    check(&join(reading).await, 0, LEN);
}

async fn dropped_copy_that_hops_between_workers_loses_no_byte() {
    hop(COPY).await;
}

async fn dropped_splice_that_hops_between_workers_loses_no_byte() {
    hop(SPLICE).await;
}

async fn hop(copy: Copy) {
    let (mut from, mut to, reading) = through();
    for hop in 0.. {
        let there = wharf::spawn_on(hop % WORKERS, move || async move {
            let copied = poll_times(1 + hop % 5, copy(&mut from, &mut to)).await;
            (copied, from, to)
        });
        let copied;
        (copied, from, to) = there.await.expect("no panic");
        if let Some(copied) = copied {
            copied.expect("both are open");
            break;
        }
    }
    drop(to);
    check(&join(reading).await, 0, LEN);
}

async fn dropped_copy_both_ways_loses_no_byte() {
    drop_both(COPY_BOTH).await;
}

async fn dropped_splice_both_ways_loses_no_byte() {
    drop_both(SPLICE_BOTH).await;
}

async fn drop_both(copy: CopyBoth) {
    let (a, left) = plain_pair();
    let (b, right) = plain_pair();
    let wrap = |plain| TcpStream::from_std(plain).expect("a socket");
    let (mut a, mut b) = (wrap(a), wrap(b));
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for end in [&left, &right] {
        let mut writer = end.try_clone().expect("a duplicate");
        writers.push(std::thread::spawn(move || {
            writer.write_all(&bytes_at(0, LEN)).expect("connected");
            let end = std::net::Shutdown::Write;
            writer.shutdown(end).expect("connected");
        }));
    }
    for mut end in [left, right] {
        readers.push(std::thread::spawn(move || {
            let mut got = Vec::new();
            end.read_to_end(&mut got).expect("an orderly end");
            got
        }));
    }
    let mut drops = 0;
    while not_done(poll_times(1 + drops % 7, copy(&mut a, &mut b)).await) {
        drops += 1;
    }
    drop((a, b));
    for writer in writers {
        join(writer).await;
    }
    for reader in readers {
        check(&join(reader).await, 0, LEN);
    }
}

async fn dropped_splice_gives_back_what_the_target_did_not_take() {
    let (from, mut writer) = plain_pair();
    let (to, mut reader) = plain_pair();
    // More than the buffers of the sockets hold, so that some is on its way when nobody reads.
    let long = 12 << 20;
    let writing = std::thread::spawn(move || writer.write_all(&bytes_at(0, long)));
    let wrap = |plain| TcpStream::from_std(plain).expect("a socket");
    let (mut from, mut to) = (wrap(from), wrap(to));
    let peer = reader.try_clone().expect("a duplicate");
    let arrived = join(std::thread::spawn(move || peer.peek(&mut [0])));
    let moved = futures_lite::future::or(
        async { Some(splice(&mut from, &mut to, u64::MAX).await) },
        async {
            arrived.await.expect("connected");
            None
        },
    );
    assert!(moved.await.is_none(), "the target has no room for all");
    drop(to);
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("an orderly end");
        got
    });
    let mut rest = Vec::new();
    while let Some(piece) = from.recv().await.expect("an orderly end") {
        rest.extend_from_slice(&piece);
    }
    join(writing).await.expect("connected");
    let got = join(reading).await;
    let taken = got.len() as u64;
    check(&got, 0, taken);
    check(&rest, taken, long - taken);
    assert!(!got.is_empty() && !rest.is_empty(), "{taken} were moved");
}

async fn splice_without_descriptors_copies() {
    let (mut from, mut to, reading) = through();
    // The pools of buffers are there, and what else the worker makes when it first needs it.
    to.write_all(b"before").await.expect("connected");
    to.flush().await.expect("connected");
    // Windows knows no such limit; there it is a copy anyway.
    let fillers = leave_descriptors(0).ok();
    let moved = splice(&mut from, &mut to, u64::MAX).await;
    drop(fillers);
    assert_eq!(moved.expect("both are open"), LEN);
    drop(to);
    let got = join(reading).await;
    check(got.strip_prefix(b"before").expect("written first"), 0, LEN);
}
