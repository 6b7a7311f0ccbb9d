//! How a runtime begins and ends.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use wharf::Runtime;

#[test]
fn tasks_are_dropped_with_their_runtime() {
    for workers in [1, 3] {
        let alive = Arc::new(());
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        runtime.block_on(async {
            for worker in 0..workers {
                let alive = alive.clone();
                let started = wharf::spawn_on(worker, move || async move {
                    drop(wharf::spawn(async move {
                        let _alive = alive;
                        pending::<()>().await;
                    }));
                });
                started.await.unwrap();
            }
        });
        assert_eq!(Arc::strong_count(&alive), workers + 1);
        drop(runtime);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn wake_of_a_task_whose_runtime_has_ended_does_nothing() {
    let runtime = Runtime::new().unwrap();
    let waker = Rc::new(Cell::new(None::<Waker>));
    let inner = waker.clone();
    runtime.block_on(async {
        drop(wharf::spawn(std::future::poll_fn(move |cx| {
            inner.set(Some(cx.waker().clone()));
            std::task::Poll::<()>::Pending
        })));
        wharf::task::yield_now().await;
    });
    drop(runtime);
    let waker = waker.take().expect("the task has run");
    std::thread::spawn(move || waker.wake()).join().unwrap();
}

#[test]
fn block_on_goes_on_with_the_tasks_of_an_earlier_one() {
    let runtime = Runtime::new().unwrap();
    let task = runtime.spawn(async {
        for _ in 0..10 {
            wharf::task::yield_now().await;
        }
        9
    });
    runtime.block_on(wharf::task::yield_now());
    assert!(!task.is_finished());
    assert_eq!(runtime.block_on(task).unwrap(), 9);
}

#[test]
fn shutdown_lets_tasks_finish_and_says_whether_they_did() {
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        let finished = Arc::new(AtomicUsize::new(0));
        let inner = finished.clone();
        runtime.block_on(async move {
            for worker in 0..workers {
                let finished = inner.clone();
                drop(wharf::spawn_on(worker, move || async move {
                    wharf::time::sleep(Duration::from_millis(10)).await;
                    finished.fetch_add(1, Ordering::Relaxed);
                }));
            }
        });
        assert!(runtime.shutdown_timeout(Duration::from_secs(10)));
        assert_eq!(finished.load(Ordering::Relaxed), workers);

        let runtime = Runtime::builder().workers(workers).build().unwrap();
        runtime.block_on(async move {
            drop(wharf::spawn_on(workers - 1, pending::<()>));
        });
        assert!(!runtime.shutdown_timeout(Duration::from_millis(5)));
    }
}

#[test]
fn operation_that_outlives_its_runtime_still_gives_a_result() {
    let runtime = Runtime::new().unwrap();
    let join = runtime.block_on(std::future::poll_fn(|_| {
        std::task::Poll::Ready(wharf::spawn_blocking(|| 5))
    }));
    drop(runtime);
    // The task that waits for the closure was dropped with its runtime.
    let runtime = Runtime::new().unwrap();
    assert!(runtime.block_on(join).unwrap_err().is_cancelled());
}

#[test]
#[should_panic(expected = "cannot be entered from within a runtime")]
fn runtime_within_a_runtime_is_refused() {
    let outer = Runtime::new().unwrap();
    outer.block_on(async {
        let inner = Runtime::new().unwrap();
        inner.block_on(async {});
    });
}

#[test]
fn hooks_are_called_for_each_thread() {
    let started = Arc::new(AtomicUsize::new(0));
    let stopped = Arc::new(AtomicUsize::new(0));
    let (start, stop) = (started.clone(), stopped.clone());
    let runtime = Runtime::builder()
        .workers(3)
        .on_thread_start(move || _ = start.fetch_add(1, Ordering::Relaxed))
        .on_thread_stop(move || _ = stop.fetch_add(1, Ordering::Relaxed))
        .build()
        .unwrap();
    runtime.block_on(async {
        for worker in 1..3 {
            wharf::spawn_on(worker, || async {}).await.unwrap();
        }
    });
    assert_eq!(started.load(Ordering::Relaxed), 2);
    drop(runtime);
    assert_eq!(stopped.load(Ordering::Relaxed), 2);
}

#[wharf::test(workers = 2)]
async fn attribute_runs_a_test_with_so_many_workers() {
    assert_eq!(wharf::runtime::workers(), 2);
}

#[cfg_attr(windows, wharf::test(backend = "iocp"))]
#[cfg_attr(not(windows), wharf::test(backend = "epoll"))]
async fn attribute_runs_a_test_on_the_backend_that_it_names() {
    let named = if cfg!(windows) { "iocp" } else { "epoll" };
    assert_eq!(wharf::runtime::backend().name(), named);
}
