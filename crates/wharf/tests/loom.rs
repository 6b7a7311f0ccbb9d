//! Models of the two protocols between threads: waking and parking (`wharf-queue/src/notify.rs`) and
//! the hand-in queue (`src/runtime/inbox.rs`), on their own and together as a worker uses them.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p wharf --test loom --release`; without the flag there is
//! nothing in here. The files are the real ones; this one only brings loom's atomics.
//!
//! A wake that is lost shows as a deadlock, which loom reports with the interleaving.

#![cfg(loom)]

mod primitive {
    //! loom's, in place of the standard library's.
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering};
}

#[path = "../src/runtime/inbox.rs"]
#[allow(dead_code, reason = "the models do not use all of it")]
mod inbox;
#[path = "../../wharf-queue/src/notify.rs"]
#[allow(dead_code, unreachable_pub, reason = "the models do not use all of it")]
mod notify;

use std::sync::Arc as StdArc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use inbox::Inbox;
use notify::{Shared, Wake};

/// The system's side of a sleep: an event counter, as an eventfd is one.
#[derive(Clone)]
struct Event {
    state: Arc<(Mutex<bool>, Condvar)>,
    writes: Arc<AtomicUsize>,
}

impl Event {
    fn new() -> Event {
        Event {
            state: Arc::new((Mutex::new(false), Condvar::new())),
            writes: Arc::new(AtomicUsize::new(0)),
        }
    }

    fn sleep(&self) {
        let (signalled, changed) = &*self.state;
        let mut signalled = signalled.lock().unwrap();
        while !*signalled {
            signalled = changed.wait(signalled).unwrap();
        }
        *signalled = false;
    }
}

impl Wake for Event {
    fn wake(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let (signalled, changed) = &*self.state;
        *signalled.lock().unwrap() = true;
        changed.notify_one();
    }
}

/// What `Queue::wait` does (`Core::turn`), as far as waking is concerned. Returns whether it slept.
fn wait(shared: &Shared, event: &Event) -> bool {
    let mut slept = false;
    loop {
        shared.awake();
        if !shared.has_notified() && shared.park() {
            slept = true;
            event.sleep();
        }
        shared.awake();
        if shared.take_notified() {
            return slept;
        }
    }
}

fn notify(shared: &StdArc<Shared>) {
    notify::Notifier::new(shared.clone()).notify();
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn notification_is_never_lost_and_costs_one_call_a_sleep() {
    model(|| {
        let event = Event::new();
        let shared = StdArc::new(Shared::new(Box::new(event.clone())));
        let notifiers: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || notify(&shared))
            })
            .collect();
        let slept = wait(&shared, &event);
        for notifier in notifiers {
            notifier.join().unwrap();
        }
        // A second sleep may have been refused, never been begun.
        assert!(event.writes.load(Ordering::Relaxed) <= usize::from(slept));
    });
}

#[test]
fn every_item_handed_in_is_taken_once() {
    model(|| {
        let inbox = Arc::new(Inbox::new());
        let event = Event::new();
        let shared = StdArc::new(Shared::new(Box::new(event.clone())));
        let senders: Vec<_> = (0..2)
            .map(|number| {
                let (inbox, shared) = (inbox.clone(), shared.clone());
                thread::spawn(move || inbox.push(number, || notify(&shared)).unwrap())
            })
            .collect();
        // A worker's loop: take what is there, then wait.
        let mut taken = Vec::new();
        loop {
            inbox.take_all(|number| taken.push(number));
            if taken.len() == 2 {
                break;
            }
            wait(&shared, &event);
        }
        taken.sort_unstable();
        assert_eq!(taken, [0, 1]);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn item_handed_in_at_the_end_is_taken_or_given_back() {
    model(|| {
        let inbox = Arc::new(Inbox::new());
        let sender = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(7, || {}).is_ok())
        };
        let mut taken = 0;
        inbox.take_all(|_| taken += 1);
        inbox.close();
        inbox.take_all(|_| taken += 1);
        let was_accepted = sender.join().unwrap();
        inbox.take_all(|_| taken += 1);
        assert_eq!(taken, usize::from(was_accepted));
    });
}
