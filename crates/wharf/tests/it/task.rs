//! Tasks: spawning, joining, aborting, panics, order.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wharf::runtime::Handle;
use wharf::task::{JoinSet, yield_now};

use crate::on_each_backend;

/// Counts its drops.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn task_gives_its_output() {
    on_each_backend(1, async || {
        let tasks: Vec<_> = (0..1000)
            .map(|n| wharf::spawn(async move { n * 2 }))
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), n * 2);
        }
    });
}

#[test]
fn dropped_handle_detaches_its_task() {
    on_each_backend(1, async || {
        let ran = Rc::new(Cell::new(false));
        let inner = ran.clone();
        drop(wharf::spawn(async move { inner.set(true) }));
        yield_now().await;
        assert!(ran.get());
    });
}

#[test]
fn panic_ends_its_task_alone_and_gives_its_payload() {
    on_each_backend(1, async || {
        let error = wharf::spawn(async { std::panic::panic_any(17u32) }).await;
        let payload = error.unwrap_err().into_panic();
        assert_eq!(payload.downcast_ref::<u32>(), Some(&17));
        assert_eq!(wharf::spawn(async { 1 }).await.unwrap(), 1);
    });
}

#[test]
fn panic_in_the_drop_of_a_future_is_its_tasks_error() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    on_each_backend(1, async || {
        let bomb = Bomb;
        let error = wharf::spawn(async move {
            let _held = &bomb;
        });
        assert!(error.await.unwrap_err().is_panic());
    });
}

#[test]
fn abort_drops_the_future_and_says_cancelled() {
    on_each_backend(1, async || {
        let drops = Rc::new(Cell::new(0));
        let counted = Counted(drops.clone());
        let task = wharf::spawn(async move {
            let _counted = counted;
            pending::<()>().await;
        });
        yield_now().await;
        let abort = task.abort_handle();
        abort.abort();
        abort.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 1);
        abort.abort();
    });
}

#[test]
fn abort_of_a_finished_task_leaves_its_output() {
    on_each_backend(1, async || {
        let task = wharf::spawn(async { 5 });
        while !task.is_finished() {
            yield_now().await;
        }
        task.abort();
        assert_eq!(task.await.unwrap(), 5);
    });
}

#[test]
fn ready_tasks_run_in_the_order_in_which_they_were_woken() {
    on_each_backend(1, async || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..5)
            .map(|n| {
                let order = order.clone();
                wharf::spawn(async move {
                    for _ in 0..3 {
                        order.borrow_mut().push(n);
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4].repeat(3));
    });
}

#[test]
fn task_that_never_waits_for_long_does_not_starve_the_others() {
    on_each_backend(1, async || {
        let busy = wharf::spawn(async {
            loop {
                yield_now().await;
            }
        });
        wharf::time::sleep(std::time::Duration::from_millis(2)).await;
        assert_eq!(wharf::spawn_blocking(|| 3).await.unwrap(), 3);
        busy.abort();
        assert!(busy.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn task_whose_reads_are_there_at_once_does_not_starve_the_others() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        wharf::fs::write(&path, "cached").await.unwrap();
        let file = wharf::fs::File::open(&path).await.unwrap();
        let reads = Rc::new(Cell::new(0));
        let count = reads.clone();
        let busy = wharf::spawn(async move {
            loop {
                file.read_exact_at(&mut [0; 6], 0).await.unwrap();
                count.set(count.get() + 1);
            }
        });
        // Each of them is work of this thread's, and so a larger part of a share.
        for _ in 0..100 {
            let before = reads.get();
            yield_now().await;
            assert!(reads.get() - before <= 32, "{} reads", reads.get() - before);
        }
        // The worker looks at its timers behind four shares, and not behind as many as tasks that do
        // little: so it is two turns at most, if the first one came too early for the timer.
        for _ in 0..20 {
            let before = reads.get();
            wharf::time::sleep(std::time::Duration::from_micros(10)).await;
            assert!(
                reads.get() - before <= 2 * 4 * 32,
                "{} reads",
                reads.get() - before
            );
        }
        wharf::time::sleep(std::time::Duration::from_millis(2)).await;
        assert_eq!(wharf::spawn_blocking(|| 3).await.unwrap(), 3);
        busy.abort();
        assert!(busy.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn task_whose_timers_are_always_due_does_not_starve_the_others() {
    use wharf::time::{interval, sleep, timeout};
    const MANY: usize = 1_000_000;
    const NOTHING: std::time::Duration = std::time::Duration::ZERO;
    on_each_backend(1, async || {
        let ticking = wharf::spawn(async {
            // No machine is so fast, so that it is late for ever.
            let mut ticks = interval(std::time::Duration::from_nanos(1));
            for _ in 0..MANY {
                ticks.tick().await;
            }
        });
        let sleeping = wharf::spawn(async {
            for _ in 0..MANY {
                sleep(NOTHING).await;
            }
        });
        let timing_out = wharf::spawn(async {
            for _ in 0..MANY {
                let _elapsed = timeout(NOTHING, pending::<()>()).await;
            }
        });
        yield_now().await;
        for busy in [ticking, sleeping, timing_out] {
            busy.abort();
            assert!(busy.await.unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn spawn_on_runs_on_the_other_worker() {
    on_each_backend(3, async || {
        let here = std::thread::current().id();
        for worker in 0..3 {
            let task = wharf::spawn_on(worker, move || async move {
                // A value that is not `Send` lives there across an await.
                let local = Rc::new(wharf::runtime::worker());
                yield_now().await;
                (*local, std::thread::current().id())
            });
            let (number, thread) = task.await.unwrap();
            assert_eq!(number, worker);
            assert_eq!(thread == here, worker == 0);
        }
    });
}

#[test]
fn task_on_another_worker_can_be_aborted_and_can_panic() {
    on_each_backend(2, async || {
        let forever = wharf::spawn_on(1, pending::<()>);
        forever.abort();
        assert!(forever.await.unwrap_err().is_cancelled());
        let error = wharf::spawn_on(1, || async { panic!("there") }).await;
        assert_eq!(error.unwrap_err().to_string(), "the task panicked: there");
    });
}

#[test]
fn wakes_from_other_threads_all_arrive() {
    on_each_backend(1, async || {
        let (sender, receiver) = async_channel::unbounded();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for n in 0..2000u64 {
                        sender.send_blocking(n).expect("somebody listens");
                    }
                })
            })
            .collect();
        drop(sender);
        let mut sum = 0;
        while let Ok(n) = receiver.recv().await {
            sum += n;
        }
        assert_eq!(sum, 4 * 1999 * 2000 / 2);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn panic_of_a_blocking_closure_is_its_handles_error() {
    on_each_backend(1, async || {
        let error = wharf::spawn_blocking(|| std::panic::panic_any("blocked")).await;
        let payload = error.unwrap_err().into_panic();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"blocked"));
    });
}

#[test]
fn join_set_gives_each_output_once_and_aborts_the_rest() {
    on_each_backend(2, async || {
        let mut set = JoinSet::new();
        for n in 0..100usize {
            if n % 2 == 0 {
                set.spawn(async move { n });
            } else {
                set.spawn_on(n, move || async move { n });
            }
        }
        let mut seen = [false; 100];
        while let Some(output) = set.join_next().await {
            let n = output.unwrap();
            assert!(!std::mem::replace(&mut seen[n], true));
        }
        assert!(seen.iter().all(|seen| *seen));
        let drops = Rc::new(Cell::new(0));
        let mut set = JoinSet::new();
        for _ in 0..10 {
            let counted = Counted(drops.clone());
            set.spawn(async move {
                let _counted = counted;
                pending::<()>().await;
            });
        }
        drop(set);
        yield_now().await;
        yield_now().await;
        assert_eq!(drops.get(), 10);
    });
}

#[test]
fn task_local_values_follow_their_task() {
    wharf::task_local! {
        static NUMBER: u32;
    }
    on_each_backend(1, async || {
        let mut tasks = Vec::new();
        for n in 0..10 {
            tasks.push(wharf::spawn(NUMBER.scope(n, async move {
                for _ in 0..5 {
                    assert_eq!(NUMBER.with(|number| *number), n);
                    yield_now().await;
                }
            })));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(NUMBER.try_with(|number| *number), None);
    });
}

#[test]
fn named_task_knows_its_name_and_the_panic_hook_gets_it() {
    let panics = Arc::new(AtomicUsize::new(0));
    let hook = panics.clone();
    let builder = wharf::Runtime::builder().on_task_panic(move |name| {
        assert_eq!(name, Some("unlucky"));
        hook.fetch_add(1, Ordering::Relaxed);
    });
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        let task = wharf::spawn_named("unlucky", async {
            assert_eq!(wharf::task::name().as_deref(), Some("unlucky"));
            panic!("as was to be expected");
        });
        assert!(task.await.unwrap_err().is_panic());
    });
    assert_eq!(panics.load(Ordering::Relaxed), 1);
}

#[test]
fn handle_of_a_runtime_spawns_from_any_thread() {
    on_each_backend(2, async || {
        let handle = Handle::current();
        assert_eq!(handle.workers(), 2);
        let elsewhere = handle.clone();
        let spawned = wharf::spawn_blocking(move || {
            assert!(Handle::try_current().is_none());
            let here = elsewhere.spawn(|| async { wharf::runtime::worker() });
            let there = elsewhere.spawn_on(3, || async { wharf::runtime::worker() });
            let failed = elsewhere.spawn_on(1, || async { panic!("in a task") });
            let aborted = elsewhere.spawn(pending::<()>);
            aborted.abort();
            futures_lite::future::block_on(async {
                assert!(failed.await.unwrap_err().is_panic());
                assert!(aborted.await.unwrap_err().is_cancelled());
                (here.await.unwrap(), there.await.unwrap())
            })
        });
        assert_eq!(spawned.await.unwrap(), (0, 1));
        // On its own worker it is as any other task.
        let local = Handle::current().spawn(|| async { wharf::runtime::worker() });
        assert_eq!(local.await.unwrap(), 0);
    });
}

#[test]
fn handle_of_a_runtime_that_rests_or_has_ended_says_what_becomes_of_a_task() {
    for backend in crate::backends() {
        let runtime = wharf::Runtime::builder().backend(backend).build().unwrap();
        let handle = runtime.handle();
        let resting = handle.spawn(|| async { 7 });
        assert_eq!(runtime.block_on(resting).unwrap(), 7);
        drop(runtime);
        let late = handle.spawn(|| async { 7 });
        let ended = futures_lite::future::block_on(late);
        assert!(ended.unwrap_err().is_cancelled());
    }
}

#[test]
fn join_set_is_joined_shut_down_or_left_as_a_whole() {
    on_each_backend(2, async || {
        let mut set = JoinSet::new();
        assert!(set.try_join_next().is_none());
        set.spawn(async { 1 });
        set.spawn_on(1, || async { 2 });
        set.spawn_blocking(|| 3);
        set.spawn(async { panic!("in a task") });
        let mut outputs: Vec<_> = set.join_all().await.into_iter().map(Result::ok).collect();
        outputs.sort_unstable();
        assert_eq!(outputs, [None, Some(1), Some(2), Some(3)]);

        let dropped = Rc::new(Cell::new(0));
        let mut set = JoinSet::new();
        for _ in 0..3 {
            let counted = Counted(dropped.clone());
            set.spawn(async move {
                pending::<()>().await;
                drop(counted);
            });
        }
        assert!(set.try_join_next().is_none());
        set.shutdown().await;
        assert_eq!((set.len(), dropped.get()), (0, 3));

        let ran = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let counted = Counted(ran.clone());
            set.spawn(async move {
                yield_now().await;
                drop(counted);
            });
        }
        set.detach_all();
        // A task that comes after them is not taken for one of them.
        set.spawn(async {});
        assert!(set.join_next().await.unwrap().is_ok());
        assert!(set.join_next().await.is_none());
        drop(set);
        while ran.get() < 3 {
            yield_now().await;
        }
    });
}
