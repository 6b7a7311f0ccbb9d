//! Chains of proxies between a client and a server, whose proxies do whatever a seed says: splices
//! and copies that are dropped in the middle and gone on with by others, reads, and hops to another
//! worker. Every byte arrives in order, and then the end, both ways.
//!
//! A seed is printed when its chain fails, and `WHARF_SEED` runs it alone; what the system and other
//! threads do meanwhile is not repeated.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream as Plain};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_lite::AsyncWriteExt;
use wharf::io::{copy, copy_bidirectional, splice, splice_bidirectional};
use wharf::net::TcpStream;
use wharf::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::copying::check;
use super::kinds::bytes_at;
use super::kinds::stream::plain_pair;
use super::{Case, WORKERS, join, list_cases, poll_times};
use crate::fixture::random::Random;
use crate::peer::{census, descriptors};

/// How many chains are tried at most, and for how long new ones are begun.
const CHAINS: u64 = 40;
const TIME: Duration = Duration::from_secs(2);

/// How many bytes an end sends.
const LENGTHS: &[u64] = &[0, 1, 1000, 70_000, 300_000, 1_000_000];

/// Descriptors of the pipes that workers may keep for the next splice.
pub(super) const KEPT: usize = WORKERS * 16;

list_cases! {
    "C4" [alone] chain_of_proxies_delivers_every_byte_in_order,
}

/// Names the seed if its chain panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the chain of WHARF_SEED={} failed", self.0);
        }
    }
}

async fn chain_of_proxies_delivers_every_byte_in_order() {
    let only = std::env::var("WHARF_SEED").ok();
    let only = only.map(|seed| seed.parse::<u64>().expect("WHARF_SEED is a number"));
    let open = descriptors();
    let began = Instant::now();
    let seeds = only.map_or(0..CHAINS, |seed| seed..seed + 1);
    for seed in seeds.take_while(|_| began.elapsed() < TIME) {
        let _named = Seed(seed);
        chain(Random::new(seed)).await;
    }
    census(|now| now <= open + KEPT);
}

async fn chain(mut random: Random) {
    let (client, mut last) = plain_pair();
    let mut proxies = Vec::new();
    for _ in 0..1 + random.below(3) {
        let (next, onward) = plain_pair();
        let random = Random::new(random.number());
        proxies.push(wharf::spawn(proxy(random, last, onward)));
        last = next;
    }
    let lengths = [(); 2].map(|()| random.pick(LENGTHS).expect("there are some"));
    let ends = [client, last].map(|plain| (plain, Random::new(random.number())));
    let [client, server] = ends;
    let client = begin_end(client, lengths[0]);
    let server = begin_end(server, lengths[1]);
    for (end, expected) in [(client, lengths[1]), (server, lengths[0])] {
        let (writing, reading) = end;
        join(writing).await;
        check(&join(reading).await, 0, expected);
    }
    for proxy in proxies {
        proxy.await.expect("no panic");
    }
}

/// An end of the chain: a thread that sends so many bytes and then the end, and one that reads.
fn begin_end(
    (plain, mut random): (Plain, Random),
    len: u64,
) -> (JoinHandle<()>, JoinHandle<Vec<u8>>) {
    let (mut writer, mut reader) = (plain.try_clone().expect("a duplicate"), plain);
    let mut portions = Random::new(random.number());
    let writing = std::thread::spawn(move || {
        let mut place = 0;
        while place < len {
            let portion = (1 + random.below(40_000) as u64).min(len - place);
            let portion = bytes_at(place, portion);
            writer.write_all(&portion).expect("connected");
            place += portion.len() as u64;
        }
        writer.shutdown(Shutdown::Write).expect("connected");
    });
    let reading = std::thread::spawn(move || {
        let (mut got, mut portion) = (Vec::new(), vec![0; 40_000]);
        loop {
            let room = 1 + portions.below(portion.len());
            match reader.read(&mut portion[..room]).expect("an orderly end") {
                0 => return got,
                count => got.extend_from_slice(&portion[..count]),
            }
        }
    });
    (writing, reading)
}

/// A proxy whose streams live on some worker, the same for both or not.
async fn proxy(mut random: Random, left: Plain, right: Plain) {
    let on = random.below(WORKERS);
    let beside = if random.once_in(4) {
        (on + 1) % WORKERS
    } else {
        on
    };
    let (left, right) = (wrapped(on, left).await, wrapped(beside, right).await);
    match random.once_in(2) {
        true => whole(random, left, right).await,
        false => {
            let there = Random::new(random.number());
            let ((from, back_to), (back_from, to)) = (left.into_split(), right.into_split());
            let there = wharf::spawn(one_way(there, from, to));
            one_way(random, back_from, back_to).await;
            there.await.expect("no panic");
        }
    }
}

async fn wrapped(worker: usize, plain: Plain) -> TcpStream {
    let wrapping = wharf::spawn_on(worker, move || async move { TcpStream::from_std(plain) });
    wrapping.await.expect("no panic").expect("a socket")
}

/// Passes on both ways at once, in pieces of work that are dropped, until one of them sees both ends.
async fn whole(mut random: Random, mut left: TcpStream, mut right: TcpStream) {
    loop {
        let (times, len) = (1 + random.below(12), 1 + random.number() % 200_000);
        let (a, b) = (&mut left, &mut right);
        let both = match random.below(6) {
            // One way only: what comes behind finds the end again, and passes it on.
            0 => one_only(poll_times(times, splice(a, b, len)).await),
            1 => one_only(poll_times(times, splice(b, a, len)).await),
            2 => poll_times(times, copy_bidirectional(a, b)).await,
            3 => {
                let hopped = wharf::spawn_on(random.below(WORKERS), move || async move {
                    let both = splice_bidirectional(&mut left, &mut right);
                    (poll_times(times, both).await, left, right)
                });
                let both;
                (both, left, right) = hopped.await.expect("no panic");
                both
            }
            _ => poll_times(times, splice_bidirectional(a, b)).await,
        };
        if let Some(ended) = both {
            ended.expect("an orderly end");
            return;
        }
    }
}

/// Says that a splice of one way has not ended both.
fn one_only(moved: Option<io::Result<u64>>) -> Option<io::Result<(u64, u64)>> {
    moved.and_then(io::Result::err).map(Err)
}

/// Passes everything on one way, and then the end.
async fn one_way(mut random: Random, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    loop {
        let passed = match random.once_in(5) {
            true => {
                let (there, mut random) = (random.below(WORKERS), Random::new(random.number()));
                let hopped = wharf::spawn_on(there, move || async move {
                    let passed = pass_some(&mut random, &mut from, &mut to).await;
                    (passed, from, to)
                });
                let passed;
                (passed, from, to) = hopped.await.expect("no panic");
                passed
            }
            false => pass_some(&mut random, &mut from, &mut to).await,
        };
        if passed.expect("an orderly end") == Passed::All {
            return to.close().await.expect("connected");
        }
    }
}

#[derive(PartialEq)]
enum Passed {
    /// There is more, or may be.
    Some,
    All,
}

async fn pass_some(
    random: &mut Random,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
) -> io::Result<Passed> {
    let (times, len) = (1 + random.below(12), 1 + random.number() % 200_000);
    let is_all = match random.below(7) {
        0 => poll_times(times, copy(from, to))
            .await
            .transpose()?
            .is_some(),
        1 => splice(from, to, len).await? < len,
        2 => {
            let mut buf = vec![0; 1 + random.below(9000)];
            let read = poll_times(times, from.read(&mut buf)).await;
            match read.transpose()? {
                Some(count) => {
                    to.write_all(&buf[..count]).await?;
                    count == 0
                }
                None => false,
            }
        }
        3 => match poll_times(times, from.recv()).await.transpose()? {
            Some(Some(piece)) => {
                to.send(piece).await?;
                false
            }
            Some(None) => true,
            None => false,
        },
        _ => match poll_times(times, splice(from, to, len)).await {
            Some(moved) => moved? < len,
            None => false,
        },
    };
    Ok(match is_all {
        true => Passed::All,
        false => Passed::Some,
    })
}
