//! Waiting, timers and other threads (C9).

use std::time::{Duration, Instant};

use wharf_queue::op;

use crate::{Factory, finish, next};

super::cases!(
    "C9" wait_ends_when_its_time_is_up_and_not_before,
    "C9" timers_complete_in_order_and_never_early,
    "C9" notification_before_the_wait_is_not_lost,
    "C9" storm_of_notifications_costs_one_call_a_sleep,
    "C9" posted_completions_arrive_in_order,
    "C9" kept_result_is_taken_later,
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
