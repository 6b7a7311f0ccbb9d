//! What can happen to a wait, with every kind of it.
//!
//! Owns the table of ways. In each of them the same holds: what was brought is got by a later wait,
//! once and in order, on whatever worker.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wharf::time::timeout;

use super::kinds::{Kind, all, of_the_process};
use super::{
    BoxFuture, Case, Fate, PATIENCE, Running, Scene, WORKERS, collect, in_flight, is_quiet,
    poll_times, turn,
};

/// How often a wait is given up in a way that is cheap, and in one that is not.
const ROUNDS: usize = 200;
const HOPS: usize = 60;

struct Way {
    name: &'static str,
    promise: &'static str,
    run: fn(Kind) -> Running,
}

const WAYS: &[Way] = &[
    Way {
        name: "dropped_wait_leaves_what_comes_to_the_next",
        promise: "R1",
        run: |kind| {
            Box::pin(async move {
                let mut scene = (kind.make)().await;
                drop_waits(&mut *scene, ROUNDS).await;
            })
        },
    },
    Way {
        name: "timed_out_wait_leaves_what_comes_to_the_next",
        promise: "R7",
        run: |kind| Box::pin(time_out(kind)),
    },
    Way {
        name: "wait_that_loses_a_select_leaves_what_comes_to_the_next",
        promise: "R1",
        run: |kind| Box::pin(select(kind)),
    },
    Way {
        name: "forgotten_wait_leaves_what_comes_to_the_next",
        promise: "R10",
        run: |kind| Box::pin(forget(kind)),
    },
    Way {
        name: "aborted_task_leaves_what_comes_to_another_handle",
        promise: "R8",
        run: |kind| Box::pin(abort(kind)),
    },
    Way {
        name: "handle_closed_with_a_forgotten_wait_takes_nothing_more",
        promise: "R8",
        run: |kind| Box::pin(close_forgotten(kind)),
    },
    Way {
        name: "dropped_wait_on_another_worker_leaves_what_comes_to_the_next",
        promise: "R1",
        run: |kind| Box::pin(elsewhere(kind)),
    },
    Way {
        name: "handle_that_hops_between_workers_gets_everything",
        promise: "R1",
        run: |kind| Box::pin(hop(kind)),
    },
    Way {
        name: "handle_closed_on_another_worker_takes_nothing_more",
        promise: "R8",
        run: |kind| Box::pin(close_elsewhere(kind)),
    },
    Way {
        name: "handle_that_outlives_its_runtime_fails_or_goes_on",
        promise: "C6",
        run: |kind| Box::pin(outlive(kind)),
    },
];

/// A listener that is closed and looked at is open for as long as somebody has a copy of it, and a child
/// that another case starts has one of everything until it is the program that it becomes.
const SEES_COPIES: &[&str] = &["unix_accept"];

/// Every way with every kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shared = all().into_iter();
    let shared = shared.map(|kind| (kind, SEES_COPIES.contains(&kind.name)));
    let own = of_the_process().into_iter().map(|kind| (kind, true));
    let kinds: Vec<_> = shared.chain(own).collect();
    for way in WAYS {
        for &(kind, alone) in &kinds {
            let run = way.run;
            cases.push(Case {
                name: format!("{}::{}", way.name, kind.name),
                promise: way.promise,
                alone,
                begin: Arc::new(move || run(kind)),
            });
        }
    }
    cases
}

/// A wait that is given up finds nothing, if there is nothing.
fn is_early(scene_must_wait: bool, early: Option<io::Result<()>>) {
    if let Some(waited) = early {
        waited.expect("it is open");
        assert!(!scene_must_wait, "something came that was not brought");
    }
}

/// Gives waits up before, while and after something comes.
async fn drop_waits(scene: &mut dyn Scene, rounds: usize) {
    for round in 0..scene.rounds(rounds) {
        let must_wait = scene.must_wait();
        is_early(must_wait, poll_times(round % 3, scene.wait()).await);
        for _ in 0..=round % 2 {
            scene.bring();
        }
        // This one meets it at any stage; if it is ready, it has got something.
        if let Some(waited) = poll_times(round % 5, scene.wait()).await {
            waited.expect("it is open");
        }
        collect(scene).await;
    }
}

/// Something comes while somebody waits, and when the time is up nearly at once.
async fn time_out(kind: Kind) {
    let mut scene = (kind.make)().await;
    for round in 0..scene.rounds(HOPS) as u64 {
        let must_wait = scene.must_wait();
        let early = timeout(Duration::ZERO, scene.wait()).await;
        is_early(must_wait, early.ok());
        scene.bring();
        if let Ok(waited) = timeout(Duration::from_micros(round * 10), scene.wait()).await {
            waited.expect("it is open");
        }
        collect(&mut *scene).await;
    }
}

async fn select(kind: Kind) {
    let mut scene = (kind.make)().await;
    for round in 0..scene.rounds(ROUNDS) {
        scene.bring();
        let others_turn = async {
            for _ in 0..round % 4 {
                turn().await;
            }
            None
        };
        let wait = scene.wait();
        let first = futures_lite::future::or(others_turn, async { Some(wait.await) });
        if let Some(waited) = first.await {
            waited.expect("it is open");
        }
        collect(&mut *scene).await;
    }
}

/// Polls once and forgets. What the future holds is leaked, and nothing else.
async fn poll_and_forget(mut wait: BoxFuture<'_, io::Result<()>>) -> Option<io::Result<()>> {
    let polled = poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await;
    match polled {
        Poll::Ready(output) => Some(output),
        Poll::Pending => {
            std::mem::forget(wait);
            None
        }
    }
}

async fn forget(kind: Kind) {
    let mut scene = (kind.make)().await;
    for round in 0..scene.rounds(HOPS) {
        let must_wait = scene.must_wait();
        is_early(must_wait, poll_and_forget(scene.wait()).await);
        scene.bring();
        for _ in 0..round % 4 {
            turn().await;
        }
        if let Some(waited) = poll_and_forget(scene.wait()).await {
            waited.expect("it is open");
        }
        collect(&mut *scene).await;
    }
}

/// The handle and its wait end with their task.
async fn abort(kind: Kind) {
    let mut scene = (kind.make)().await;
    let before = in_flight();
    // A handle that was used is not the same as one that was not.
    scene.bring();
    collect(&mut *scene).await;
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut scene = Closing(Some(scene), sender);
    let task = wharf::spawn(async move {
        if let Some(scene) = &mut scene.0 {
            while let Ok(()) = scene.wait().await {}
        }
    });
    for _ in 0..3 {
        turn().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let after = receiver.recv().expect("the scene was closed");
    is_quiet(before).await;
    after();
}

/// Closes its scene when it is dropped, and tells of what is left to be checked.
struct Closing(
    Option<Box<dyn Scene>>,
    std::sync::mpsc::Sender<super::After>,
);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(scene) = self.0.take() {
            // Nobody listens if the case has failed already.
            drop(self.1.send(scene.close()));
        }
    }
}

async fn close_forgotten(kind: Kind) {
    let mut scene = (kind.make)().await;
    let before = in_flight();
    scene.bring();
    collect(&mut *scene).await;
    let must_wait = scene.must_wait();
    is_early(must_wait, poll_and_forget(scene.wait()).await);
    turn().await;
    let after = scene.close();
    is_quiet(before).await;
    after();
}

async fn elsewhere(kind: Kind) {
    let mut scene = (kind.make)().await;
    let there = wharf::spawn_on(1, move || async move {
        drop_waits(&mut *scene, HOPS).await;
        scene
    });
    let mut scene = there.await.expect("no panic");
    // What was left by waits on another worker is got at home.
    drop_waits(&mut *scene, HOPS).await;
}

async fn hop(kind: Kind) {
    let mut scene = (kind.make)().await;
    for round in 0..scene.rounds(HOPS) {
        let task = wharf::spawn_on(round % WORKERS, move || async move {
            let must_wait = scene.must_wait();
            is_early(must_wait, poll_times(round % 4, scene.wait()).await);
            scene.bring();
            // It may be got here, or on the next worker.
            if let Some(waited) = poll_times(round % 5, scene.wait()).await {
                waited.expect("it is open");
            }
            if round % 4 == 3 {
                collect(&mut *scene).await;
            }
            scene
        });
        scene = task.await.expect("no panic");
    }
    collect(&mut *scene).await;
}

async fn close_elsewhere(kind: Kind) {
    let mut scene = (kind.make)().await;
    let before = in_flight();
    let there = wharf::spawn_on(1, move || async move {
        scene.bring();
        collect(&mut *scene).await;
        let must_wait = scene.must_wait();
        is_early(must_wait, poll_times(2, scene.wait()).await);
        scene.close()
    });
    let after = there.await.expect("no panic");
    is_quiet(before).await;
    after();
}

/// A runtime on a thread of its own ends while somebody waits, there and here.
async fn outlive(kind: Kind) {
    let backend = wharf::runtime::backend();
    let ended = std::thread::spawn(move || {
        let builder = wharf::Runtime::builder().backend(backend).workers(2);
        let runtime = builder.build().expect("the backend was probed");
        let (kept, waiting) = runtime.block_on(async {
            let mut kept = (kind.make)().await;
            kept.bring();
            collect(&mut *kept).await;
            is_early(kept.must_wait(), poll_times(2, kept.wait()).await);
            let mut waiting = (kind.make)().await;
            let task = wharf::spawn(async move { while waiting.wait().await.is_ok() {} });
            let mut there = (kind.make)().await;
            let other = wharf::spawn_on(
                1,
                move || async move { while there.wait().await.is_ok() {} },
            );
            for _ in 0..3 {
                turn().await;
            }
            (kept, [task, other])
        });
        drop(runtime);
        for task in waiting {
            assert!(task.is_finished(), "a task was not dropped");
        }
        kept
    });
    let mut kept = ended.join().expect("no panic");
    match kept.fate() {
        Fate::Fails(kind) => {
            let Err(error) = outlived(kept.wait()).await else {
                panic!("its runtime has ended");
            };
            assert_eq!(error.kind(), kind, "{error}");
        }
        Fate::GoesOn => {
            kept.bring();
            while kept.is_outstanding() {
                outlived(kept.wait()).await.expect("it was brought");
            }
        }
    }
    drop(kept.close());
}

/// A wait that ends.
async fn outlived(
    wait: Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>>,
) -> io::Result<()> {
    match timeout(PATIENCE / 2, wait).await {
        Ok(waited) => waited,
        Err(_) => panic!("a wait whose runtime has ended did not end"),
    }
}
