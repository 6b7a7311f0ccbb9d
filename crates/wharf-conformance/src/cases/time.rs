//! Waiting, timers and other threads (C9).

use std::time::{Duration, Instant};

use std::io::Write;

use wharf_queue::{Prepare, Queue, op};

use crate::fixture::host::ForeignLoop;
use crate::peer::pair;
use crate::{Factory, finish, look, next};

super::cases!(
    "C9" wait_ends_when_its_time_is_up_and_not_before,
    "C9" timers_complete_in_order_and_never_early,
    "C9" notification_before_the_wait_is_not_lost,
    "C9" storm_of_notifications_costs_one_call_a_sleep,
    "C9" posted_completions_arrive_in_order,
    "C9" kept_result_is_taken_later,
    "C9" deadlines_of_any_size_are_never_early,
    "C9" operations_go_on_in_a_storm_of_posts,
    "C9" armed_descriptor_shows_whatever_a_wait_would_bring,
    "C9" [linux "counters that are read like a pipe are Linux's"] armed_descriptor_shows_a_foreign_counter,
    "C9" notifier_outlives_its_queue,
);

fn wait_ends_when_its_time_is_up_and_not_before(factory: &Factory) {
    let queue = factory.queue();
    for micros in [0, 1, 700, 3000] {
        let (timeout, before) = (Duration::from_micros(micros), Instant::now());
        let batch = queue.wait(timeout).expect("works");
        assert!(batch.is_empty() && !batch.notified());
        assert!(before.elapsed() >= timeout);
    }
}

fn timers_complete_in_order_and_never_early(factory: &Factory) {
    let queue = factory.queue();
    let before = queue.now();
    let timers: Vec<_> = (0..50u64)
        .map(|number| {
            let due = before + Duration::from_micros(number * 37 % 50 * 100);
            (queue.submit(op::Timer::at(due)).expect("room").erase(), due)
        })
        .collect();
    let mut last = before;
    for _ in 0..50 {
        let completion = next(&queue);
        let now = queue.now();
        let (_, due) = timers
            .iter()
            .find(|(token, _)| *token == completion.token())
            .expect("one");
        assert!(now >= *due && *due >= last);
        last = *due;
    }
}

fn notification_before_the_wait_is_not_lost(factory: &Factory) {
    let queue = factory.queue();
    let notifier = queue.notifier();
    std::thread::spawn(move || notifier.notify())
        .join()
        .expect("no panic");
    assert!(queue.wait(None).expect("works").notified());
    let batch = queue.wait(Duration::ZERO).expect("works");
    assert!(!batch.notified(), "it counts once");
}

fn storm_of_notifications_costs_one_call_a_sleep(factory: &Factory) {
    let queue = factory.queue();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let notifier = queue.notifier();
            std::thread::spawn(move || (0..10_000).for_each(|_| notifier.notify()))
        })
        .collect();
    let mut waits = 0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        drop(
            queue
                .wait(Duration::from_millis(1))
                .map(|batch| batch.is_empty()),
        );
        waits += 1;
    }
    let calls = queue.stats().system_calls;
    assert!(
        calls <= 2 * waits + 4,
        "{calls} system calls in {waits} waits"
    );
}

fn posted_completions_arrive_in_order(factory: &Factory) {
    let queue = factory.queue();
    let notifier = queue.notifier();
    let poster = std::thread::spawn(move || (0..1000).for_each(|n| notifier.post(n, n as i64 * 2)));
    for expected in 0..1000 {
        let completion = next(&queue);
        assert_eq!(
            (completion.user_data(), completion.posted()),
            (expected, Some(expected as i64 * 2))
        );
    }
    poster.join().expect("no panic");
}

fn kept_result_is_taken_later(factory: &Factory) {
    let queue = factory.queue();
    let token = queue.submit(op::Blocking::new(|| "value")).expect("room");
    assert!(queue.take(token).is_none());
    let kept = next(&queue).keep().expect("final");
    assert_eq!(kept, token.erase());
    let nop = queue.submit(op::Nop::new()).expect("room");
    finish(&queue, nop).into_result().expect("nothing");
    let value = queue
        .take(token)
        .expect("kept")
        .into_result()
        .expect("returned");
    assert_eq!(value, "value");
    assert!(queue.take(token).is_none());
}

fn deadlines_of_any_size_are_never_early(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    for nanos in [
        1, 999, 1_000, 1_001, 999_999, 1_000_001, 2_500_000, 5_999_999,
    ] {
        let timeout = Duration::from_nanos(nanos);
        let before = (Instant::now(), queue.now());
        let recv = op::Recv::new(&socket, vec![0; 4]).timeout(timeout);
        let recv = queue.submit(recv).expect("room");
        assert!(finish(&queue, recv).0.is_timed_out());
        assert!(before.0.elapsed() >= timeout && queue.now() >= before.1 + timeout);
        let before = Instant::now();
        let timer = queue.submit(op::Timer::after(timeout)).expect("room");
        finish(&queue, timer).into_result().expect("due");
        assert!(before.elapsed() >= timeout);
        let before = Instant::now();
        assert!(queue.wait(timeout).expect("works").is_empty());
        assert!(before.elapsed() >= timeout);
    }
}

fn operations_go_on_in_a_storm_of_posts(factory: &Factory) {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    /// So many may wait to be taken, so that two threads that post do not outrun one that takes.
    const WAITING: usize = 1000;
    let queue = factory.queue();
    let (stop, waiting) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (notifier, stop, waiting) = (queue.notifier(), &stop, &waiting);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if waiting.load(Ordering::Relaxed) < WAITING {
                        waiting.fetch_add(1, Ordering::Relaxed);
                        notifier.post(1, 2);
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let (mut rounds, mut posted) = (0, 0);
        while rounds < 100 || posted < WAITING {
            rounds += 1;
            let nop = queue.submit(op::Nop::new()).expect("room");
            let mut done = false;
            while !done {
                for completion in queue.wait(None).expect("works") {
                    if completion.posted().is_some() {
                        waiting.fetch_sub(1, Ordering::Relaxed);
                        posted += 1;
                    }
                    done |= completion.token() == nop.erase();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Whether the descriptor that `queue` arms is readable now, or becomes so in some time.
fn is_readable(watcher: &ForeignLoop, queue: &Queue, within: Duration) -> bool {
    watcher.is_readable(queue.arm().expect("a descriptor"), within)
}

/// Whether the descriptor rests while there is nothing. It may show something that is gone already,
/// but not again and again.
fn is_quiet(watcher: &ForeignLoop, queue: &Queue) -> bool {
    (0..5).any(|_| {
        queue.wait(Duration::ZERO).expect("works").for_each(drop);
        !is_readable(watcher, queue, Duration::from_millis(2))
    })
}

fn armed_descriptor_shows_whatever_a_wait_would_bring(factory: &Factory) {
    let long = Duration::from_secs(20);
    let watcher = ForeignLoop::new();
    let queue = factory.queue();
    let quiet = |queue: &Queue| is_quiet(&watcher, queue);
    assert!(quiet(&queue));
    let (socket, mut peer) = pair(&queue);
    for _ in 0..3 {
        // An operation's end.
        let recv = op::Recv::new(&socket, vec![0; 8]);
        let recv = queue.submit(recv).expect("room");
        assert!(quiet(&queue));
        peer.write_all(b"hello").expect("connected");
        assert!(is_readable(&watcher, &queue, long));
        assert_eq!(finish(&queue, recv).1, b"hello");
        assert!(quiet(&queue));
        // A timer, a deadline.
        let timer = op::Timer::after(Duration::from_millis(5));
        let timer = queue.submit(timer).expect("room");
        assert!(is_readable(&watcher, &queue, long));
        finish(&queue, timer).into_result().expect("due");
        assert!(quiet(&queue));
        let recv = op::Recv::new(&socket, vec![0; 8]);
        let recv = recv.timeout(Duration::from_millis(5));
        let recv = queue.submit(recv).expect("room");
        assert!(is_readable(&watcher, &queue, long));
        assert!(finish(&queue, recv).0.is_timed_out());
        assert!(quiet(&queue));
        // Another thread, before the sleep and during it.
        let notifier = queue.notifier();
        notifier.notify();
        assert!(is_readable(&watcher, &queue, long));
        assert!(queue.wait(Duration::ZERO).expect("works").notified());
        assert!(quiet(&queue));
        queue.arm().expect("a descriptor");
        let later = std::thread::spawn(move || notifier.post(7, 8));
        assert!(is_readable(&watcher, &queue, long));
        later.join().expect("no panic");
        assert_eq!(next(&queue).posted(), Some(8));
        // The pool.
        let closure = queue.submit(op::Blocking::new(|| 5)).expect("room");
        assert!(is_readable(&watcher, &queue, long));
        assert_eq!(finish(&queue, closure).into_result().expect("ran"), 5);
        // A result that waits to be taken.
        let nop = queue.submit(op::Nop::new()).expect("room");
        look(&queue);
        assert!(is_readable(&watcher, &queue, long));
        finish(&queue, nop).into_result().expect("nothing");
        assert!(quiet(&queue));
    }
}

fn armed_descriptor_shows_a_foreign_counter(factory: &Factory) {
    let watcher = ForeignLoop::new();
    let queue = factory.queue();
    let counter = crate::fixture::pipe::counter();
    let writer = std::fs::File::from(counter.try_clone().expect("a duplicate"));
    let counter = queue.attach(counter).expect("it can be read");
    for round in 0..5 {
        let read = queue.submit(op::Read::new(&counter, [0u8; 8]));
        let read = read.expect("room");
        assert!(is_quiet(&watcher, &queue), "round {round}");
        (&writer).write_all(&1u64.to_ne_bytes()).expect("open");
        let long = Duration::from_secs(20);
        assert!(is_readable(&watcher, &queue, long), "round {round}");
        assert_eq!(finish(&queue, read).1, 1u64.to_ne_bytes());
        // And while the loop sleeps: the counter is written after the descriptor is armed.
        let read = queue.submit(op::Read::new(&counter, [0u8; 8]));
        let read = read.expect("room");
        queue.wait(Duration::ZERO).expect("works").for_each(drop);
        let armed = queue.arm().expect("a descriptor");
        (&writer).write_all(&2u64.to_ne_bytes()).expect("open");
        assert!(watcher.is_readable(armed, long), "round {round}");
        assert_eq!(finish(&queue, read).1, 2u64.to_ne_bytes());
    }
}

fn notifier_outlives_its_queue(factory: &Factory) {
    let queue = factory.queue();
    let notifier = queue.notifier();
    let other = notifier.clone();
    drop(queue);
    notifier.notify();
    notifier.post(1, 2);
    std::thread::spawn(move || other.notify())
        .join()
        .expect("it does nothing");
}
