//! What can happen to a write, with every kind of sink.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wharf::time::timeout;

use super::kinds::{Kind, all};
use super::{Pair, Peer, Sink};
use crate::handles::{Case, Running, WORKERS, is_quiet, poll_times, turn};

/// How many writes are begun.
const ROUNDS: usize = 100;

struct Way {
    name: &'static str,
    promise: &'static str,
    run: fn(Kind) -> Running,
}

const WAYS: &[Way] = &[
    Way {
        name: "dropped_write_arrives_as_told",
        promise: "R4",
        run: |kind| {
            Box::pin(async move {
                let (mut sink, peer) = (kind.make)();
                drop_writes(&mut *sink, &peer, ROUNDS).await;
                finish((sink, peer)).await;
            })
        },
    },
    Way {
        name: "timed_out_write_arrives_as_told",
        promise: "R4",
        run: |kind| Box::pin(time_out(kind)),
    },
    Way {
        name: "forgotten_write_arrives_as_told",
        promise: "R10",
        run: |kind| Box::pin(forget(kind)),
    },
    Way {
        name: "write_of_an_aborted_task_arrives_as_told",
        promise: "R4",
        run: |kind| Box::pin(abort(kind)),
    },
    Way {
        name: "dropped_write_on_another_worker_arrives_as_told",
        promise: "R4",
        run: |kind| Box::pin(elsewhere(kind)),
    },
    Way {
        name: "write_of_a_handle_that_hops_arrives_as_told",
        promise: "R4",
        run: |kind| Box::pin(hop(kind)),
    },
    Way {
        name: "handle_dropped_on_another_worker_writes_what_it_took",
        promise: "C4",
        run: |kind| Box::pin(drop_elsewhere(kind)),
    },
    Way {
        name: "runtime_that_ends_writes_what_was_taken",
        promise: "C6",
        run: |kind| Box::pin(end_runtime(kind)),
    },
];

const LEAKED: &[&str] = &[
    "file_write_owned",
    "file_write_mixed",
    "file_append_owned",
    "pipe_write_owned",
    "pipe_write_mixed",
];

/// Every way with every kind.
pub(in crate::handles) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in WAYS {
        for kind in all() {
            // An owned write of a file or pipe goes on with its future, and a forgotten one does not
            // go on: it is leaked, with the file.
            let is_leak = way.promise == "R10" && LEAKED.contains(&kind.name);
            if is_leak {
                continue;
            }
            let run = way.run;
            cases.push(Case {
                name: format!("{}::{}", way.name, kind.name),
                promise: way.promise,
                alone: false,
                begin: Arc::new(move || run(kind)),
            });
        }
    }
    cases
}

/// Flushes and closes, and checks what has arrived. The handle belongs to this worker.
async fn finish((mut sink, mut peer): Pair) {
    peer.read_freely();
    sink.flush().await.expect("it is open");
    drop(sink);
    check(peer).await;
}

/// Checks what has arrived through a handle of this worker that is closed, or being closed.
async fn check(mut peer: Peer) {
    peer.read_freely();
    is_quiet(0).await;
    let checked = wharf::spawn_blocking(move || peer.check());
    checked.await.expect("it arrives as told");
}

/// Gives writes up at every stage; some get through.
async fn drop_writes(sink: &mut dyn Sink, peer: &Peer, rounds: usize) {
    for round in 0..rounds {
        if let Some(written) = poll_times(round % 4, sink.write()).await {
            written.expect("it is open");
        }
        if round % 3 == 0 {
            peer.read_some(40_000);
        }
    }
}

async fn time_out(kind: Kind) {
    let (mut sink, peer) = (kind.make)();
    for round in 0..ROUNDS as u64 / 2 {
        let written = timeout(Duration::from_micros(round * 3 % 100), sink.write()).await;
        if let Ok(written) = written {
            written.expect("it is open");
        }
        peer.read_some(20_000);
    }
    finish((sink, peer)).await;
}

async fn forget(kind: Kind) {
    let (mut sink, peer) = (kind.make)();
    for round in 0..ROUNDS {
        let mut write = sink.write();
        for _ in 0..round % 3 {
            let polled = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
            if let Poll::Ready(written) = polled {
                written.expect("it is open");
                write = Box::pin(std::future::pending());
                break;
            }
            turn().await;
        }
        std::mem::forget(write);
        peer.read_some(30_000);
    }
    finish((sink, peer)).await;
}

async fn abort(kind: Kind) {
    let (mut sink, peer) = (kind.make)();
    let task = wharf::spawn(async move {
        loop {
            sink.write().await.expect("it is open");
            turn().await;
        }
    });
    for _ in 0..ROUNDS {
        turn().await;
        peer.read_some(10_000);
    }
    task.abort();
    assert!(task.await.expect_err("it goes on for ever").is_cancelled());
    check(peer).await;
}

async fn elsewhere(kind: Kind) {
    let (mut sink, peer) = (kind.make)();
    let there = wharf::spawn_on(1, move || async move {
        drop_writes(&mut *sink, &peer, ROUNDS / 2).await;
        (sink, peer)
    });
    let (mut sink, peer) = there.await.expect("no panic");
    drop_writes(&mut *sink, &peer, ROUNDS / 2).await;
    finish((sink, peer)).await;
}

async fn hop(kind: Kind) {
    let (mut sink, mut peer) = (kind.make)();
    for hop in 0..ROUNDS / 2 {
        let task = wharf::spawn_on(hop % WORKERS, move || async move {
            drop_writes(&mut *sink, &peer, 4).await;
            (sink, peer)
        });
        (sink, peer) = task.await.expect("no panic");
    }
    finish((sink, peer)).await;
}

async fn drop_elsewhere(kind: Kind) {
    let (mut sink, peer) = (kind.make)();
    let there = wharf::spawn_on(1, move || async move {
        drop_writes(&mut *sink, &peer, ROUNDS / 4).await;
        drop(sink);
        peer
    });
    let mut peer = there.await.expect("no panic");
    peer.read_freely();
    // The message that the handle is dropped comes before this one.
    let told = wharf::spawn_on(1, || async { wharf::spawn_on(0, || async {}).await });
    told.await.expect("no panic").expect("no panic");
    check(peer).await;
}

/// Writes more than any stream holds, and no more datagrams than the system keeps for a receiver.
async fn write_on(sink: &mut dyn Sink) {
    for _ in 0..ROUNDS {
        if sink.write().await.is_err() {
            return;
        }
    }
}

/// A runtime on a thread of its own ends while somebody writes, there and here.
async fn end_runtime(kind: Kind) {
    let backend = wharf::runtime::backend();
    let ended = std::thread::spawn(move || {
        let builder = wharf::Runtime::builder().backend(backend).workers(2);
        let builder = builder.linger(Duration::from_secs(20));
        let runtime = builder.build().expect("the backend was probed");
        let (kept, mut peers) = runtime.block_on(async {
            let (mut kept, kept_peer) = (kind.make)();
            drop_writes(&mut *kept, &kept_peer, 11).await;
            let (mut sink, peer) = (kind.make)();
            drop(wharf::spawn(async move { write_on(&mut *sink).await }));
            let (mut there, there_peer) = (kind.make)();
            drop(wharf::spawn_on(1, move || async move {
                write_on(&mut *there).await;
            }));
            for _ in 0..5 {
                turn().await;
            }
            (kept, [kept_peer, peer, there_peer])
        });
        peers.iter_mut().for_each(Peer::read_freely);
        drop(runtime);
        drop(kept);
        peers.into_iter().for_each(Peer::check);
    });
    ended.join().expect("it arrives as told");
}
