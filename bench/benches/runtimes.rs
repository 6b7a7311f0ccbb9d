//! What tasks and timers cost on wharf's runtime and on tokio's, in one run and one table.
//!
//! `cargo bench -p wharf-bench --features runtimes` runs all contests, a word behind `--` those whose title
//! has it. The first contestant, that the ratios are taken to, is tokio's current-thread runtime; where tasks
//! are spawned, its `LocalSet` is the second, whose tasks need not be `Send`, as on wharf. All run with their
//! defaults.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use wharf_bench::contest::{Bench, Contestant, Run};
use wharf_bench::counting::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Tasks that are spawned before the first is joined.
const BATCH: u64 = 64;
/// Timers that are pending while others come and go.
const TIMERS: usize = 1_000_000;
/// None of the timers fires while this runs.
const FAR: Duration = Duration::from_secs(3600);

fn main() -> io::Result<()> {
    let mut bench = Bench::from_env();
    bench.contest(
        "spawn and join, one at a time",
        vec![
            on_tokio(async |count| {
                for _ in 0..count {
                    tokio::spawn(async {}).await.expect("it ends");
                }
            }),
            on_local_set(async |count| {
                for _ in 0..count {
                    tokio::task::spawn_local(async {}).await.expect("it ends");
                }
            }),
            on_wharf(async |count| {
                for _ in 0..count {
                    wharf::spawn(async {}).await.expect("it ends");
                }
            }),
        ],
    )?;
    bench.contest(
        "spawn and join, batches of 64",
        vec![
            on_tokio(async |count| {
                let mut tasks = Vec::with_capacity(BATCH as usize);
                for _ in 0..count.div_ceil(BATCH) {
                    tasks.extend((0..BATCH).map(|_| tokio::spawn(async {})));
                    for task in tasks.drain(..) {
                        task.await.expect("it ends");
                    }
                }
            }),
            on_local_set(async |count| {
                let mut tasks = Vec::with_capacity(BATCH as usize);
                for _ in 0..count.div_ceil(BATCH) {
                    tasks.extend((0..BATCH).map(|_| tokio::task::spawn_local(async {})));
                    for task in tasks.drain(..) {
                        task.await.expect("it ends");
                    }
                }
            }),
            on_wharf(async |count| {
                let mut tasks = Vec::with_capacity(BATCH as usize);
                for _ in 0..count.div_ceil(BATCH) {
                    tasks.extend((0..BATCH).map(|_| wharf::spawn(async {})));
                    for task in tasks.drain(..) {
                        task.await.expect("it ends");
                    }
                }
            }),
        ],
    )?;
    bench.contest(
        "yield, 64 tasks by turns",
        vec![
            on_tokio(async |count| {
                let each = count.div_ceil(BATCH);
                let tasks: Vec<_> = (0..BATCH)
                    .map(|_| tokio::spawn(yield_often(each)))
                    .collect();
                for task in tasks {
                    task.await.expect("it ends");
                }
            }),
            on_local_set(async |count| {
                let each = count.div_ceil(BATCH);
                let tasks: Vec<_> = (0..BATCH)
                    .map(|_| tokio::task::spawn_local(yield_often(each)))
                    .collect();
                for task in tasks {
                    task.await.expect("it ends");
                }
            }),
            on_wharf(async |count| {
                let each = count.div_ceil(BATCH);
                let tasks: Vec<_> = (0..BATCH)
                    .map(|_| wharf::spawn(yield_often(each)))
                    .collect();
                for task in tasks {
                    task.await.expect("it ends");
                }
            }),
        ],
    )?;
    bench.contest(
        "timer set and cancelled, a million pending",
        vec![
            on_tokio_with(tokio::time::sleep),
            on_wharf_with(wharf::time::sleep),
        ],
    )?;
    bench.finish();
    Ok(())
}

/// Wakes its own task and waits, so that the others run: the same on every runtime.
async fn yield_often(times: u64) {
    for _ in 0..times {
        let mut has_yielded = false;
        poll_fn(|cx| match std::mem::replace(&mut has_yielded, true) {
            true => Poll::Ready(()),
            false => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }
}

/// Polls a future once; it is pending.
async fn poll_once(mut future: Pin<&mut impl Future<Output = ()>>) {
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Timers that are pending, and are kept, so that what comes and goes finds them there. The runtime has
/// slept with them once: until then, tokio wakes itself for each new timer.
async fn pending_timers<F: Future<Output = ()>>(
    sleep: &impl Fn(Duration) -> F,
) -> Vec<Pin<Box<F>>> {
    let mut timers = Vec::with_capacity(TIMERS);
    for _ in 0..TIMERS {
        let mut timer = Box::pin(sleep(FAR));
        poll_once(timer.as_mut()).await;
        timers.push(timer);
    }
    sleep(Duration::from_millis(1)).await;
    timers
}

fn tokio_runtime() -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build()
}

fn wharf_runtime() -> io::Result<wharf::Runtime> {
    wharf::Runtime::builder().workers(1).build()
}

fn timed(count: u64, run: impl FnOnce()) -> io::Result<(u64, Duration)> {
    let begun = Instant::now();
    run();
    Ok((count, begun.elapsed()))
}

fn on_tokio(work: impl AsyncFn(u64) + 'static) -> Contestant {
    Contestant::new("tokio", move || {
        let runtime = tokio_runtime()?;
        Ok(Box::new(move |count| timed(count, || runtime.block_on(work(count)))) as Run)
    })
}

fn on_local_set(work: impl AsyncFn(u64) + 'static) -> Contestant {
    Contestant::new("tokio, LocalSet", move || {
        let runtime = tokio_runtime()?;
        let tasks = tokio::task::LocalSet::new();
        Ok(Box::new(move |count| timed(count, || tasks.block_on(&runtime, work(count)))) as Run)
    })
}

fn on_wharf(work: impl AsyncFn(u64) + 'static) -> Contestant {
    Contestant::new("wharf", move || {
        let runtime = wharf_runtime()?;
        Ok(Box::new(move |count| timed(count, || runtime.block_on(work(count)))) as Run)
    })
}

fn on_tokio_with<F: Future<Output = ()> + 'static>(
    sleep: impl Fn(Duration) -> F + 'static,
) -> Contestant {
    Contestant::new("tokio", move || {
        let runtime = tokio_runtime()?;
        let pending = runtime.block_on(pending_timers(&sleep));
        Ok(Box::new(move |count| {
            let _pending = &pending;
            timed(count, || runtime.block_on(set_and_cancel(count, &sleep)))
        }) as Run)
    })
}

fn on_wharf_with<F: Future<Output = ()> + 'static>(
    sleep: impl Fn(Duration) -> F + 'static,
) -> Contestant {
    Contestant::new("wharf", move || {
        let runtime = wharf_runtime()?;
        let pending = runtime.block_on(pending_timers(&sleep));
        Ok(Box::new(move |count| {
            let _pending = &pending;
            timed(count, || runtime.block_on(set_and_cancel(count, &sleep)))
        }) as Run)
    })
}

async fn set_and_cancel<F: Future<Output = ()>>(count: u64, sleep: &impl Fn(Duration) -> F) {
    for _ in 0..count {
        poll_once(pin!(sleep(FAR))).await;
    }
}
