//! Copies that are given up: what was received and not yet written is there for the next.

use std::io::{Read, Write};

use wharf::io::{copy, copy_bidirectional};
use wharf::net::TcpStream;

use super::kinds::bytes_at;
use super::kinds::stream::plain_pair;
use super::{Case, WORKERS, join, list_cases, poll_times};

/// How many bytes go through: many times what fits in between.
const LEN: u64 = 3 << 20;

list_cases! {
    "C4" dropped_copy_loses_no_byte,
    "C4" dropped_copy_that_hops_between_workers_loses_no_byte,
    "C4" dropped_copy_both_ways_loses_no_byte,
}

/// Streams from a writer and to a reader, which are threads.
fn through() -> (TcpStream, TcpStream, std::thread::JoinHandle<Vec<u8>>) {
    let (from, mut writer) = plain_pair();
    let (to, mut reader) = plain_pair();
    std::thread::spawn(move || writer.write_all(&bytes_at(0, LEN)));
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("an orderly end");
        got
    });
    let wrap = |plain| TcpStream::from_std(plain).expect("a socket");
    (wrap(from), wrap(to), reading)
}

async fn dropped_copy_loses_no_byte() {
    let (mut from, mut to, reading) = through();
    let mut drops = 0;
    while poll_times(1 + drops % 7, copy(&mut from, &mut to))
        .await
        .is_none()
    {
        drops += 1;
    }
    assert!(drops > 10, "the copy was hardly ever dropped");
    drop(to);
    assert!(join(reading).await == bytes_at(0, LEN));
}

async fn dropped_copy_that_hops_between_workers_loses_no_byte() {
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
    assert!(join(reading).await == bytes_at(0, LEN));
}

async fn dropped_copy_both_ways_loses_no_byte() {
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
    while poll_times(1 + drops % 7, copy_bidirectional(&mut a, &mut b))
        .await
        .is_none()
    {
        drops += 1;
    }
    drop((a, b));
    for writer in writers {
        join(writer).await;
    }
    for reader in readers {
        assert!(join(reader).await == bytes_at(0, LEN));
    }
}
