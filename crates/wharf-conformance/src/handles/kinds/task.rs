//! Tasks: their outputs belong to the handle, or to the set, and not to the future that waits.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use wharf::task::{JoinHandle, JoinSet};

use super::{Items, Kind};
use crate::handles::{After, BoxFuture, PATIENCE, Scene, WORKERS};

/// Lets a task end, from any thread.
#[derive(Clone, Default)]
struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_open: bool,
    /// The task is gone: it has ended, or was dropped.
    is_left: bool,
    waiting: Option<Waker>,
}

impl Gate {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn open(&self) {
        let waiting = self.with(|state| {
            state.is_open = true;
            state.waiting.take()
        });
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    fn is_left(&self) -> bool {
        self.with(|state| state.is_left)
    }

    /// For a task, which may be gone before it has begun.
    fn entrance(&self) -> Entrance {
        Entrance(self.clone())
    }
}

/// A task's side of its gate. Says so when the task is gone.
struct Entrance(Gate);

impl Entrance {
    /// What a task does: it waits for its gate, and gives its number.
    async fn pass(self, number: u32) -> u32 {
        poll_fn(|cx| {
            self.0.with(|state| {
                if state.is_open {
                    return Poll::Ready(number);
                }
                state.waiting = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.with(|state| state.is_left = true);
    }
}

/// A task that was aborted, by its runtime's end for example, as an error.
fn cancelled(error: wharf::task::JoinError) -> io::Error {
    assert!(error.is_cancelled(), "{error}");
    io::ErrorKind::NotConnected.into()
}

/// Tasks that are awaited in the order in which they were spawned.
struct Joining {
    handles: VecDeque<(JoinHandle<u32>, u32)>,
    /// Those of tasks that were not let go.
    closed: VecDeque<(Gate, u32)>,
    spawn: fn(Entrance, u32) -> JoinHandle<u32>,
    items: Items<u32>,
    next: u32,
}

impl Joining {
    fn scene(spawn: fn(Entrance, u32) -> JoinHandle<u32>) -> Box<dyn Scene> {
        Box::new(Joining {
            handles: VecDeque::new(),
            closed: VecDeque::new(),
            spawn,
            items: Items::new(),
            next: 0,
        })
    }

    fn spawn(&mut self) {
        let gate = Gate::default();
        let handle = (self.spawn)(gate.entrance(), self.next);
        self.handles.push_back((handle, self.next));
        self.closed.push_back((gate, self.next));
        self.next += 1;
    }
}

impl Scene for Joining {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        if self.handles.is_empty() {
            self.spawn();
        }
        Box::pin(async {
            let (handle, number) = self.handles.front_mut().expect("one was spawned");
            let output = handle.await.map_err(cancelled)?;
            assert_eq!(output, *number);
            self.handles.pop_front();
            self.items.get(&output);
            Ok(())
        })
    }

    fn bring(&mut self) {
        if self.closed.is_empty() {
            self.spawn();
        }
        let (gate, number) = self.closed.pop_front().expect("one was spawned");
        self.items.bring(number);
        gate.open();
    }

    fn is_outstanding(&self) -> bool {
        !self.items.outstanding.is_empty()
    }

    /// A task whose handle is dropped goes on, and ends when it is let.
    fn close(self: Box<Self>) -> After {
        let closed = self.closed;
        drop(self.handles);
        let is_kept = closed.iter().all(|(gate, _)| !gate.is_left());
        closed.iter().for_each(|(gate, _)| gate.open());
        Box::new(move || {
            assert!(is_kept, "a task ended with its handle");
            all_leave(closed);
        })
    }
}

/// Waits until the tasks are gone. Those of this worker are already.
fn all_leave(tasks: impl IntoIterator<Item = (Gate, u32)>) {
    let begin = std::time::Instant::now();
    for (gate, number) in tasks {
        while !gate.is_left() {
            assert!(begin.elapsed() < PATIENCE, "task {number} does not end");
            std::thread::yield_now();
        }
    }
}

/// Tasks of a set, awaited in whatever order they end.
struct JoiningSet {
    set: JoinSet<u32>,
    closed: VecDeque<(Gate, u32)>,
    items: Items<u32>,
    next: u32,
}

impl JoiningSet {
    fn scene() -> Box<dyn Scene> {
        Box::new(JoiningSet {
            set: JoinSet::new(),
            closed: VecDeque::new(),
            items: Items::new(),
            next: 0,
        })
    }

    /// On this worker and on others, by turns.
    fn spawn(&mut self) {
        let (gate, number) = (Gate::default(), self.next);
        let entrance = gate.entrance();
        self.closed.push_back((gate, number));
        if number % 2 == 0 {
            self.set.spawn(entrance.pass(number));
        } else {
            let make = move || entrance.pass(number);
            self.set.spawn_on(number as usize % WORKERS, make);
        }
        self.next += 1;
    }
}

impl Scene for JoiningSet {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        // Some that do not end are always in it.
        while self.closed.len() < 3 {
            self.spawn();
        }
        Box::pin(async {
            let joined = self.set.join_next().await.expect("it is not empty");
            self.items.get(&joined.map_err(cancelled)?);
            Ok(())
        })
    }

    fn bring(&mut self) {
        if self.closed.is_empty() {
            self.spawn();
        }
        // The last one first: the order is that of their ends.
        let (gate, number) = self.closed.pop_back().expect("one was spawned");
        self.items.bring(number);
        gate.open();
    }

    fn is_outstanding(&self) -> bool {
        !self.items.outstanding.is_empty()
    }

    /// A set that is dropped aborts its tasks.
    fn close(self: Box<Self>) -> After {
        let closed = self.closed;
        drop(self.set);
        Box::new(move || all_leave(closed))
    }
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "join_handle",
        make: || {
            let spawn = |entrance: Entrance, number| wharf::spawn(entrance.pass(number));
            Box::pin(async move { Joining::scene(spawn) })
        },
    },
    Kind {
        name: "join_handle_of_another_worker",
        make: || {
            let spawn = |entrance: Entrance, number| {
                let other = wharf::runtime::worker() + 1;
                wharf::spawn_on(other, move || entrance.pass(number))
            };
            Box::pin(async move { Joining::scene(spawn) })
        },
    },
    Kind {
        name: "join_set",
        make: || Box::pin(async { JoiningSet::scene() }),
    },
];
