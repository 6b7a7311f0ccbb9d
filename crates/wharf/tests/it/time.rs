//! Sleeping, deadlines, intervals.

use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::StreamExt;
use wharf::time::{
    Instant, MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout,
};

use crate::fs::poll_once;
use crate::on_each_backend;

const SHORT: Duration = Duration::from_millis(3);

#[test]
fn sleep_is_never_over_early() {
    on_each_backend(1, async || {
        for micros in [1, 10, 100, 1000, 3000] {
            let duration = Duration::from_micros(micros);
            let start = Instant::now();
            sleep(duration).await;
            assert!(start.elapsed() >= duration);
        }
    });
}

/// Sleeps that begin together; the order in which they end. `None` if this thread was held up for so
/// long that the first was over before the last began.
async fn order_of_sleeps(unit: Duration) -> Option<Vec<u32>> {
    let start = Instant::now();
    let (sender, receiver) = async_channel::unbounded();
    let began = Rc::new(Cell::new(start));
    for n in [5u32, 1, 4, 2, 3] {
        let (sender, began) = (sender.clone(), began.clone());
        drop(wharf::spawn(async move {
            let mut sleeping = std::pin::pin!(sleep_until(start + unit * n));
            let over = poll_once(sleeping.as_mut()).await;
            began.set(Instant::now());
            if over.is_none() {
                sleeping.await;
            }
            sender.send(n).await.expect("somebody listens");
        }));
    }
    drop(sender);
    let mut order = Vec::new();
    while let Ok(n) = receiver.recv().await {
        order.push(n);
    }
    (began.get() < start + unit).then_some(order)
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    on_each_backend(1, async || {
        let mut unit = SHORT;
        let order = loop {
            match order_of_sleeps(unit).await {
                Some(order) => break order,
                None => unit *= 2,
            }
        };
        assert_eq!(order, [1, 2, 3, 4, 5]);
    });
}

#[test]
fn timeout_gives_the_output_or_says_that_time_is_up() {
    on_each_backend(1, async || {
        assert_eq!(timeout(Duration::MAX, ready(1)).await, Ok(1));
        assert_eq!(timeout(Duration::ZERO, ready(2)).await, Ok(2));
        let elapsed = timeout(SHORT, pending::<()>()).await.unwrap_err();
        assert_eq!(
            std::io::Error::from(elapsed).kind(),
            std::io::ErrorKind::TimedOut
        );
    });
}

#[test]
fn dropped_sleep_leaves_no_timer_that_fires() {
    on_each_backend(1, async || {
        for _ in 0..1000 {
            let _elapsed = timeout(Duration::ZERO, sleep(Duration::from_secs(3600))).await;
        }
        // Were one of them left, this would not be the earliest.
        let start = Instant::now();
        sleep(SHORT).await;
        assert!(start.elapsed() >= SHORT);
    });
}

#[test]
fn interval_ticks_at_equal_distances_and_skips_what_it_is_told_to() {
    on_each_backend(1, async || {
        let start = Instant::now();
        let mut ticks = interval_at(start, SHORT);
        for n in 0..5 {
            assert_eq!(ticks.tick().await, start + SHORT * n);
        }
        let mut ticks = interval(SHORT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let first = ticks.tick().await;
        sleep(SHORT * 5).await;
        ticks.tick().await;
        let next = ticks.tick().await;
        assert!(next - first >= SHORT * 5);
        assert_eq!((next - first).as_nanos() % SHORT.as_nanos(), 0);
    });
}

#[test]
fn sleep_can_be_moved() {
    on_each_backend(1, async || {
        let mut moved = sleep(Duration::MAX);
        assert!(timeout(Duration::ZERO, &mut moved).await.is_err());
        moved.reset(Instant::now() + SHORT);
        moved.await;
    });
}

#[test]
fn many_timers_all_fire() {
    on_each_backend(1, async || {
        let start = Instant::now();
        let tasks: Vec<_> = (0..20_000u64)
            .map(|n| {
                let deadline = start + Duration::from_micros(n * 7919 % 20_000);
                wharf::spawn(async move {
                    sleep_until(deadline).await;
                    assert!(Instant::now() >= deadline);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn interval_is_a_stream_of_its_ticks() {
    on_each_backend(1, async || {
        let period = Duration::from_millis(1);
        let start = Instant::now();
        let mut ticks = interval_at(start, period).take(3);
        for tick in [start, start + period, start + period + period] {
            assert_eq!(ticks.next().await, Some(tick));
        }
        assert_eq!(ticks.next().await, None);
        assert_eq!(start + period - period, start);
        assert!(start - Duration::MAX <= start);
    });
}

#[test]
fn timeout_of_what_is_ready_gives_it_although_the_task_has_had_its_share() {
    on_each_backend(1, async || {
        let listener = wharf::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        std::io::Write::write_all(&mut peer, &[7; 1000]).unwrap();
        let reading = wharf::spawn(async move {
            // With its first byte all of it has come.
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            for _ in 1..1000 {
                let read = timeout(Duration::ZERO, stream.read(&mut byte)).await;
                assert_eq!(read.expect("it is there").unwrap(), 1);
            }
        });
        reading.await.unwrap();
    });
}
