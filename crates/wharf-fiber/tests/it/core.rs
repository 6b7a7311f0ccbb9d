//! Spawning, joining, waiting, order, panics, names, statistics.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use wharf_fiber as fiber;

use crate::{backends, on_each_backend, runtime};

#[test]
fn fiber_gives_what_its_closure_returns() {
    on_each_backend(|| {
        let text = fiber::spawn(|| String::from("done")).join();
        assert_eq!(text.unwrap(), "done");
    });
}

#[test]
fn fiber_awaits_a_task_and_a_task_awaits_a_fiber() {
    on_each_backend(|| {
        let task = wharf::spawn(async {
            let inner = fiber::spawn(|| fiber::wait(async { 20 }));
            inner.await.unwrap() + 1
        });
        assert_eq!(fiber::wait(task).unwrap() * 2, 42);
    });
}

#[test]
fn fibers_and_tasks_take_turns_in_the_order_of_their_spawning() {
    on_each_backend(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut fibers = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..4 {
            let order = order.clone();
            if number % 2 == 0 {
                fibers.push(fiber::spawn(move || {
                    for round in 0..3 {
                        order.borrow_mut().push((round, number));
                        fiber::yield_now();
                    }
                }));
            } else {
                tasks.push(wharf::spawn(async move {
                    for round in 0..3 {
                        order.borrow_mut().push((round, number));
                        wharf::task::yield_now().await;
                    }
                }));
            }
        }
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        tasks
            .into_iter()
            .for_each(|task| fiber::wait(task).unwrap());
        let expected: Vec<_> = (0..3)
            .flat_map(|round| (0..4).map(move |number| (round, number)))
            .collect();
        assert_eq!(*order.borrow(), expected);
    });
}

#[test]
fn panic_ends_its_fiber_alone_and_is_told_to_who_joins() {
    on_each_backend(|| {
        let other = fiber::spawn(|| {
            fiber::yield_now();
            7
        });
        let failed = fiber::spawn(|| -> () {
            fiber::yield_now();
            panic!("oh no")
        });
        let error = failed.join().unwrap_err();
        assert!(error.is_panic());
        assert_eq!(error.to_string(), "the task panicked: oh no");
        assert_eq!(other.join().unwrap(), 7);
        assert!(!std::thread::panicking());
    });
}

#[test]
fn panic_caught_in_one_fiber_does_not_show_in_another() {
    on_each_backend(|| {
        let mutex = Rc::new(std::sync::Mutex::new(0));
        let fibers: Vec<_> = (0..3)
            .map(|number| {
                let mutex = mutex.clone();
                fiber::spawn(move || {
                    let caught = catch_unwind(AssertUnwindSafe(|| {
                        fiber::yield_now();
                        if number == 1 {
                            panic!("caught");
                        }
                    }));
                    assert_eq!(caught.is_err(), number == 1);
                    assert!(!std::thread::panicking());
                    fiber::yield_now();
                    *mutex.lock().unwrap() += 1;
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        assert_eq!(*mutex.lock().unwrap(), 3);
    });
}

#[test]
fn thread_local_values_are_those_of_the_worker() {
    thread_local! {
        static SUM: Cell<u32> = const { Cell::new(0) };
    }
    on_each_backend(|| {
        SUM.set(0);
        let thread = std::thread::current().id();
        let fibers: Vec<_> = (1..=10)
            .map(|number| {
                fiber::spawn(move || {
                    assert_eq!(std::thread::current().id(), thread);
                    let before = SUM.get();
                    SUM.set(before + number);
                    fiber::yield_now();
                    assert_eq!(std::thread::current().id(), thread);
                    SUM.get()
                })
            })
            .collect();
        for fiber in fibers {
            assert_eq!(fiber.join().unwrap(), 55);
        }
    });
}

#[test]
fn fiber_spawned_on_another_worker_stays_there() {
    let runtime = wharf::Runtime::builder().workers(2).build().unwrap();
    fiber::block_on(&runtime, || {
        let there = wharf::spawn_on(1, || async {
            let fiber = fiber::spawn(|| {
                let before = wharf::runtime::worker();
                fiber::sleep(Duration::from_millis(1));
                (before, wharf::runtime::worker())
            });
            fiber.await.unwrap()
        });
        assert_eq!(fiber::wait(there).unwrap(), (1, 1));
    });
}

#[test]
fn wait_within_a_future_suspends_the_fiber_that_polls_it() {
    on_each_backend(|| {
        let inner = async {
            // Blocking-style code below async code: its caller is suspended with it.
            fiber::sleep(Duration::from_millis(1));
            wharf::time::sleep(Duration::from_millis(1)).await;
            fiber::yield_now();
            5
        };
        assert_eq!(fiber::wait(inner), 5);
    });
}

#[test]
fn wait_outside_a_fiber_is_refused() {
    let refused = catch_unwind(|| fiber::wait(async {}));
    assert!(refused.is_err());
    on_each_backend(|| {
        let task = wharf::spawn(async { fiber::yield_now() });
        assert!(fiber::wait(task).unwrap_err().is_panic());
        assert_eq!(fiber::stack_left().map(|bytes| bytes < 1 << 20), Some(true));
    });
    assert_eq!(fiber::stack_left(), None);
}

#[test]
fn task_of_a_runtime_that_ends_within_a_fiber_is_not_that_fiber() {
    for backend in backends() {
        let inner = runtime(backend);
        let ended = Rc::new(Cell::new(false));
        let refused = Rc::new(Cell::new(None));
        let (fiber_place, task_place) = (ended.clone(), refused.clone());
        fiber::block_on(&inner, move || {
            // The end of the runtime lets this one end, and runs the task meanwhile.
            let fiber = fiber::spawn(move || {
                let cancelled = fiber::try_wait(std::future::pending::<()>()).is_err();
                fiber_place.set(cancelled);
            });
            drop(wharf::spawn(async move {
                drop(fiber.await);
                let waited = catch_unwind(AssertUnwindSafe(fiber::yield_now));
                task_place.set(Some(waited.is_err()));
            }));
            fiber::yield_now();
            let last =
                fiber::spawn(|| assert!(fiber::try_wait(std::future::pending::<()>()).is_err()));
            drop(fiber::spawn(move || drop(fiber::try_wait(last))));
            fiber::yield_now();
        });
        let outer = runtime(backend);
        fiber::block_on(&outer, move || {
            fiber::yield_now();
            drop(inner);
            fiber::yield_now();
        });
        assert!(ended.get());
        assert_ne!(refused.get(), Some(false));
    }
}

#[test]
fn name_is_that_of_the_builder() {
    on_each_backend(|| {
        let named = fiber::Builder::new().name("reader");
        let named = named.spawn(|| {
            fiber::yield_now();
            fiber::name().map(|name| name.to_string())
        });
        assert_eq!(named.unwrap().join().unwrap().as_deref(), Some("reader"));
        assert_eq!(fiber::spawn(fiber::name).join().unwrap(), None);
    });
}

#[test]
fn stack_of_impossible_size_is_refused() {
    on_each_backend(|| {
        for size in [usize::MAX, usize::MAX / 2, isize::MAX as usize, 1 << 60] {
            assert!(fiber::Builder::new().stack_size(size).spawn(|| ()).is_err());
            assert!(fiber::Builder::new().guard_size(size).spawn(|| ()).is_err());
        }
        let small = fiber::Builder::new().stack_size(0).spawn(|| ());
        small.unwrap().join().unwrap();
    });
}

#[test]
fn stack_is_used_again_up_to_the_limit_of_the_pool() {
    on_each_backend(|| {
        fiber::set_pool_limit(3);
        let before = fiber::stats();
        let fibers: Vec<_> = (0..10).map(|_| fiber::spawn(fiber::yield_now)).collect();
        assert_eq!(fiber::stats().alive, before.alive + 10);
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        let after = fiber::stats();
        assert_eq!(after.spawned, before.spawned + 10);
        assert_eq!((after.alive, after.pooled), (before.alive, 3));
        fiber::set_pool_limit(0);
        assert_eq!(fiber::stats().pooled, 0);
    });
}

#[test]
fn stack_is_used_again_for_the_same_size_and_guard_only() {
    on_each_backend(|| {
        fiber::set_pool_limit(3);
        let before = fiber::stats().pooled;
        let pooled_after = |guard| {
            let careful = fiber::Builder::new().stack_size(1000).guard_size(guard);
            careful.spawn(|| ()).unwrap().join().unwrap();
            fiber::stats().pooled - before
        };
        assert_eq!(pooled_after(1), 1);
        assert_eq!(pooled_after(2), 1, "both are one page");
        assert_eq!(pooled_after(64 * 1024), 2);
        assert_eq!(pooled_after(64 * 1024), 2);
        fiber::set_pool_limit(0);
    });
}

#[test]
fn high_water_mark_rises_with_the_depth_and_outlives_the_stack() {
    #[inline(never)]
    fn touch(kibibytes: u32) -> u8 {
        let page = std::hint::black_box([kibibytes as u8; 1024]);
        match kibibytes {
            0 => page[0],
            more => touch(more - 1).max(page[1]),
        }
    }
    on_each_backend(|| {
        fiber::set_pool_limit(16);
        let deep = fiber::Builder::new().stack_size(4 << 20);
        deep.spawn(|| touch(1500)).unwrap().join().unwrap();
        let mark = fiber::stats().stack_high_water;
        assert!((1500 * 1024..4 << 20).contains(&mark.unwrap()), "{mark:?}");
        fiber::set_pool_limit(0);
        assert_eq!(fiber::stats().stack_high_water, mark);
    });
}

#[test]
fn ten_thousand_fibers_sleep_at_once() {
    on_each_backend(|| {
        let fibers: Vec<_> = (0..10_000)
            .map(|_| fiber::spawn(|| fiber::sleep(Duration::from_millis(100))))
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
}
