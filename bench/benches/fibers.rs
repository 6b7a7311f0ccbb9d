//! What fibers cost: the switch beside corosensei's own, yields and spawns beside tasks and beside `may`,
//! and the memory of a fiber that waits.
//!
//! `cargo bench -p wharf-bench --features fibers` runs all contests, a word behind `--` those whose title has
//! it.

use std::io;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult};
use wharf_bench::contest::{Bench, Contestant, Run};
use wharf_bench::counting::CountingAllocator;
use wharf_fiber as fiber;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Fibers that wait at once while their memory is measured.
const PARKED: usize = 10_000;

fn main() -> io::Result<()> {
    let mut bench = Bench::from_env();
    bench.contest(
        "switch there and back",
        vec![
            Contestant::new("corosensei", || Ok(switch_on_corosensei())),
            Contestant::new("wharf", || {
                let mut switch = fiber::BareSwitch::new()?;
                Ok(Box::new(move |count| {
                    timed(count, || (0..count).for_each(|_| switch.there_and_back()))
                }) as Run)
            }),
        ],
    )?;
    bench.contest(
        "yield to nobody",
        vec![
            in_task(async |count| {
                for _ in 0..count {
                    wharf::task::yield_now().await;
                }
            }),
            in_fiber(|count| (0..count).for_each(|_| fiber::yield_now())),
            on_may(|count| (0..count).for_each(|_| may::coroutine::yield_now())),
        ],
    )?;
    bench.contest(
        "spawn and join, one at a time",
        vec![
            on_may(|count| {
                for _ in 0..count {
                    may::go!(|| ()).join().expect("it ends");
                }
            }),
            in_fiber(|count| {
                for _ in 0..count {
                    fiber::spawn(|| ()).join().expect("it ends");
                }
            }),
            in_task(async |count| {
                for _ in 0..count {
                    wharf::spawn(async {}).await.expect("it ends");
                }
            }),
        ],
    )?;
    bench.finish();
    memory_of_a_parked_fiber()
}

fn timed(count: u64, work: impl FnOnce()) -> io::Result<(u64, Duration)> {
    let begin = Instant::now();
    work();
    Ok((count, begin.elapsed()))
}

/// A coroutine that does nothing but switch back, until it is told to end.
struct Switch(Coroutine<bool, (), ()>);

impl Drop for Switch {
    fn drop(&mut self) {
        if !self.0.done() {
            let ended = matches!(self.0.resume(false), CoroutineResult::Return(()));
            assert!(ended, "it was told to end");
        }
    }
}

fn switch_on_corosensei() -> Run {
    let mut switch = Switch(Coroutine::new(
        |yielder: &corosensei::Yielder<bool, ()>, go_on| {
            let mut go_on = go_on;
            while go_on {
                go_on = yielder.suspend(());
            }
        },
    ));
    Box::new(move |count| {
        timed(count, || {
            for _ in 0..count {
                switch.0.resume(true);
            }
        })
    })
}

fn in_task(work: impl AsyncFn(u64) + 'static) -> Contestant {
    Contestant::new("wharf task", move || {
        let runtime = wharf::Runtime::new()?;
        let work = std::rc::Rc::new(work);
        Ok(Box::new(move |count| {
            let work = work.clone();
            let task = async move { wharf::spawn(async move { work(count).await }).await };
            timed(count, || runtime.block_on(task).expect("it ends"))
        }) as Run)
    })
}

fn in_fiber(work: fn(u64)) -> Contestant {
    Contestant::new("wharf fiber", move || {
        let runtime = wharf::Runtime::new()?;
        Ok(
            Box::new(move |count| timed(count, || fiber::block_on(&runtime, move || work(count))))
                as Run,
        )
    })
}

fn on_may(work: fn(u64)) -> Contestant {
    Contestant::new("may", move || {
        may::config().set_workers(1);
        Ok(Box::new(move |count| {
            timed(count, || {
                may::go!(move || work(count)).join().expect("it ends")
            })
        }) as Run)
    })
}

/// The bytes of this process that are in memory (proc_pid_statm(5)).
fn resident_bytes() -> io::Result<usize> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("statm has another form"))?;
    Ok(pages * 4096)
}

fn memory_of_a_parked_fiber() -> io::Result<()> {
    let runtime = wharf::Runtime::new()?;
    fiber::block_on(&runtime, || {
        let park = || fiber::spawn(|| fiber::try_wait(std::future::pending::<()>()).is_ok());
        let first = park();
        fiber::yield_now();
        let before = resident_bytes()?;
        let parked: Vec<_> = (0..PARKED).map(|_| park()).collect();
        fiber::yield_now();
        let each = resident_bytes()?.saturating_sub(before) / PARKED;
        println!("a parked fiber: {each} bytes in memory, its task included");
        first.abort();
        parked.iter().for_each(fiber::JoinHandle::abort);
        Ok(())
    })
}
