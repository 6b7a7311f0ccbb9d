//! One worker: a thread, its queue, and everything that lives on it.
//!
//! Owns the list of tasks to run, the order of a turn, and the end of a worker. What is waited for
//! (operations, timers, streams) belongs to `engine`, `time` and `net`; here it is only asked.
//!
//! ```text
//!   turn:  run tasks (at most TASKS_A_TURN, and few that use up their budget)
//!          hand over what streams have gathered
//!          wait on the queue: not at all if tasks are ready, else until a timer is due
//!          report completions, take messages, fire timers: all of which wake tasks
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use async_task::Runnable;
use wharf_queue::{Completion, Moment, Queue};

use super::home::{Home, Message};
use super::{Options, Team};
use crate::engine::Operations;
use crate::net::Sources;
use crate::promise::Promises;
use crate::slab::{Key, Slab};
use crate::task::{Meta, coop};
use crate::time::Timers;

/// How many tasks run before the worker looks at its queue again.
pub(crate) const TASKS_A_TURN: usize = 128;

/// For how many of those a task counts that has used up its budget. If it is the only one that is
/// ready it would else do so all the turn long, and whoever waits for the queue, another thread or a
/// timer would wait for as many reads of cached files as that is.
const TASKS_A_BUDGET: usize = TASKS_A_TURN / 4;

/// For how many tasks of a turn the poll counts that has just ended.
#[inline]
pub(crate) fn weight_of_a_poll() -> usize {
    match coop::is_used_up() {
        true => TASKS_A_BUDGET,
        false => 1,
    }
}

thread_local! {
    /// The worker that this thread is running.
    pub(crate) static CURRENT: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
    /// Every worker that was made on this thread and has not been freed, running or not.
    static HERE: RefCell<Vec<Rc<Worker>>> = const { RefCell::new(Vec::new()) };
}

/// The worker that this thread is running, if it is running one.
#[inline]
pub(crate) fn current() -> Option<Rc<Worker>> {
    CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten()
}

/// The worker that this thread is running.
///
/// # Panics
/// If it runs none.
#[inline]
#[track_caller]
pub(crate) fn expect_current() -> Rc<Worker> {
    match current() {
        Some(worker) => worker,
        None => panic!(
            "this needs a wharf runtime: call it from within Runtime::block_on, a spawned task, \
             or a function with #[wharf::main] or #[wharf::test]"
        ),
    }
}

/// The worker with this identity, if this thread is running it.
#[inline]
pub(crate) fn running(id: u64) -> Option<Rc<Worker>> {
    let found = CURRENT.try_with(|current| {
        let current = current.borrow();
        let worker = current.as_ref()?;
        (worker.home.id == id).then(|| worker.clone())
    });
    found.ok().flatten()
}

/// The worker with this identity, if it lives on this thread; also one that is not running now.
#[inline]
pub(crate) fn here(id: u64) -> Option<Rc<Worker>> {
    running(id).or_else(|| resting(id))
}

#[cold]
fn resting(id: u64) -> Option<Rc<Worker>> {
    HERE.try_with(|here| {
        let here = here.borrow();
        here.iter().find(|worker| worker.home.id == id).cloned()
    })
    .ok()
    .flatten()
}

pub(crate) struct Worker {
    pub(crate) home: Arc<Home>,
    /// The team knows the homes; so it is the worker's, and not the home's.
    pub(crate) team: Arc<Team>,
    pub(crate) queue: Queue,
    pub(crate) options: Rc<Options>,
    ready: RefCell<VecDeque<Runnable<Meta>>>,
    /// Every task, with what makes it run.
    pub(crate) tasks: RefCell<Slab<Waker>>,
    /// The names of those that have one.
    pub(crate) names: RefCell<HashMap<Key, Rc<str>>>,
    /// Those that are run when they are aborted, and end themselves; see `seam`.
    pub(crate) unwinding: RefCell<HashSet<Key>>,
    /// The worker ends, and has aborted those.
    pub(crate) aborts_unwinding: Cell<bool>,
    /// Tasks that were aborted and have not ended: usually none.
    aborts: RefCell<HashSet<Key>>,
    pub(crate) running: Cell<Option<Key>>,
    /// The task that is running was aborted and is to end itself.
    pub(crate) is_ended: Cell<bool>,
    /// It is within [`Queue::wait`]: what is woken there, by the drop of a buffer that nobody wants,
    /// must end the wait.
    is_waiting: Cell<bool>,
    pub(crate) operations: RefCell<Operations>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) sources: Sources,
    closing: Cell<bool>,
    /// What goes on past the end of the tasks; see `promise`.
    pub(crate) promises: Promises,
}

impl Worker {
    /// Makes a worker on this thread.
    pub(crate) fn new(
        index: usize,
        team: &Arc<Team>,
        options: Rc<Options>,
    ) -> io::Result<Rc<Worker>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let queue = options.queue()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = Home::new(id, index, queue.notifier());
        let worker = Rc::new(Worker {
            home: Arc::new(home),
            team: team.clone(),
            queue,
            options,
            ready: RefCell::default(),
            tasks: RefCell::new(Slab::new()),
            names: RefCell::default(),
            unwinding: RefCell::default(),
            aborts_unwinding: Cell::default(),
            aborts: RefCell::default(),
            running: Cell::new(None),
            is_ended: Cell::new(false),
            is_waiting: Cell::new(false),
            operations: RefCell::default(),
            timers: RefCell::default(),
            sources: Sources::default(),
            closing: Cell::new(false),
            promises: Promises::default(),
        });
        HERE.with(|here| here.borrow_mut().push(worker.clone()));
        Ok(worker)
    }

    /// Makes this the worker that the thread is running, until the guard is dropped.
    ///
    /// # Panics
    /// If the thread is running one already.
    #[track_caller]
    pub(crate) fn enter(self: &Rc<Worker>) -> Entered {
        assert!(
            current().is_none(),
            "a runtime cannot be entered from within a runtime: the thread would wait for itself"
        );
        self.enter_within()
    }

    /// As [`Worker::enter`], also from within another runtime: for the end of this one.
    fn enter_within(self: &Rc<Worker>) -> Entered {
        Entered {
            outer: CURRENT.with(|current| current.borrow_mut().replace(self.clone())),
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.queue.now()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    #[inline]
    pub(crate) fn make_ready(&self, runnable: Runnable<Meta>) {
        self.ready.borrow_mut().push_back(runnable);
    }

    pub(crate) fn abort(&self, key: Key) {
        let tasks = self.tasks.borrow();
        let Some(waker) = tasks.get(key).cloned() else {
            return;
        };
        drop(tasks);
        if self.aborts.borrow_mut().insert(key) {
            waker.wake();
        }
    }

    /// A task has ended, in whatever way.
    pub(crate) fn task_ended(&self, key: Key) {
        let waker = self.tasks.borrow_mut().remove(key);
        drop(waker);
        // Mostly these are empty, and then nothing is hashed.
        if !self.aborts.borrow().is_empty() {
            self.aborts.borrow_mut().remove(&key);
        }
        if !self.unwinding.borrow().is_empty() {
            self.unwinding.borrow_mut().remove(&key);
        }
        if !self.names.borrow().is_empty() {
            self.names.borrow_mut().remove(&key);
        }
    }

    fn is_aborted(&self, key: Key) -> bool {
        let aborts = self.aborts.borrow();
        !aborts.is_empty() && aborts.contains(&key)
    }

    /// Runs up to `limit` of the tasks that are ready now, those that have waited longest first.
    /// Returns how many, by their weights.
    pub(crate) fn run_tasks(&self, limit: usize) -> usize {
        let count = self.ready.borrow().len();
        let mut weight = 0;
        for _ in 0..count {
            if weight >= limit {
                break;
            }
            let Some(runnable) = self.ready.borrow_mut().pop_front() else {
                break;
            };
            let key = runnable.metadata().key;
            if self.is_aborted(key) {
                if !self.unwinding.borrow().contains(&key) {
                    drop(runnable);
                    weight += 1;
                    continue;
                }
                self.is_ended.set(true);
            }
            coop::refill();
            self.running.set(Some(key));
            runnable.run();
            self.running.set(None);
            self.is_ended.set(false);
            weight += weight_of_a_poll();
        }
        weight
    }

    /// Runs tasks until none is ready or it is time to look at the queue.
    pub(crate) fn run_turn(&self) {
        let mut left = TASKS_A_TURN;
        while left > 0 {
            match self.run_tasks(left) {
                0 => return,
                weight => left = left.saturating_sub(weight),
            }
        }
    }

    /// Whether there is something to run.
    fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty() || self.home.is_root_woken()
    }

    /// Looks at the queue once, sleeping if it may and there is nothing to do.
    pub(crate) fn look(self: &Rc<Worker>, may_sleep: bool) {
        self.flush_sources();
        let timeout = match may_sleep && !self.has_ready() {
            false => Some(Duration::ZERO),
            true => self.until_next_timer(),
        };
        self.wait(timeout);
    }

    /// Looks at the queue of a worker that is not running, without sleeping, for as long as that brings
    /// its operations on. Tasks do not run.
    #[cold]
    pub(crate) fn look_while_resting(self: &Rc<Worker>) {
        /// A send, a cancel, a close, and some to spare: whatever takes longer is not waited for.
        const LOOKS: usize = 8;
        if self.is_closing() {
            return;
        }
        let _entered = self.enter_within();
        for _ in 0..LOOKS {
            let before = self.queue.in_flight();
            self.flush_sources();
            let submitted = self.queue.in_flight();
            self.wait(Some(Duration::ZERO));
            if self.queue.in_flight() == submitted && before == submitted {
                return;
            }
        }
    }

    fn until_next_timer(&self) -> Option<Duration> {
        let next = self.timers.borrow().next_deadline()?;
        Some(next.saturating_duration_since(self.now()))
    }

    /// Waits on the queue and reports what it brings.
    ///
    /// # Panics
    /// If the queue itself fails, which leaves nothing to go on with.
    pub(crate) fn wait(self: &Rc<Worker>, timeout: Option<Duration>) {
        let sleeps = timeout != Some(Duration::ZERO);
        if sleeps {
            self.options.hooks.call(&self.options.hooks.before_park);
        }
        self.is_waiting.set(true);
        let waited = self.queue.wait(timeout);
        self.is_waiting.set(false);
        let batch = match waited {
            Ok(batch) => batch,
            Err(error) => panic!("the completion queue has failed: {error}"),
        };
        for completion in batch {
            self.report(completion);
        }
        if sleeps {
            self.options.hooks.call(&self.options.hooks.after_unpark);
        }
        self.take_messages();
        self.fire_timers();
    }

    fn report(self: &Rc<Worker>, completion: Completion<'_>) {
        match completion.user_data() {
            0 => self.operation_completed(completion),
            _ => self.source_completed(completion),
        }
    }

    pub(crate) fn take_messages(self: &Rc<Worker>) {
        self.home.take_messages(|message| match message {
            Message::Run(runnable) => self.make_ready(runnable),
            Message::Call(call) => call(self),
        });
    }

    fn fire_timers(&self) {
        if self.timers.borrow().next_deadline().is_none() {
            return;
        }
        let now = self.now();
        loop {
            // The waker is called when nothing is borrowed: it may be anybody's.
            let Some(waker) = self.timers.borrow_mut().pop_expired(now) else {
                return;
            };
            waker.wake();
        }
    }

    /// Runs until it is told to stop: the life of a worker's thread.
    pub(crate) fn run_until_stopped(self: &Rc<Worker>) {
        let _entered = self.enter();
        while !self.home.is_stopping() {
            self.run_turn();
            self.look(true);
        }
    }

    /// Runs tasks and the queue until no task is left or the time is up. Returns how many are left.
    pub(crate) fn drain_tasks(self: &Rc<Worker>, until: Moment) -> usize {
        loop {
            self.run_turn();
            let left = self.tasks.borrow().len();
            let now = self.now();
            if left == 0 || now >= until {
                return left;
            }
            self.flush_sources();
            let rest = until.saturating_duration_since(now);
            self.wait(Some(match self.has_ready() {
                true => Duration::ZERO,
                false => self.until_next_timer().map_or(rest, |next| next.min(rest)),
            }));
        }
    }

    /// Ends the worker: drops every task, sends what streams have promised to send, and cancels
    /// what is in flight. Results that a living future still waits for stay with it.
    pub(crate) fn close(self: &Rc<Worker>) {
        let entered = self.enter_within();
        self.end_unwinding();
        self.closing.set(true);
        self.drop_tasks();
        self.await_other_workers();
        self.keep_promises();
        self.close_sources();
        self.cancel_operations();
        self.home.close_inbox();
        self.take_messages();
        // A message may have brought a task that was woken; tasks are gone, so it is closed.
        self.ready.borrow_mut().clear();
        drop(entered);
        self.release_if_unused();
    }

    /// Aborts the tasks that end themselves, and runs until they have done so or the time for
    /// teardown is up. Other tasks go on meanwhile: one of these may wait for them.
    fn end_unwinding(self: &Rc<Worker>) {
        let until = self.now() + self.options.teardown_timeout;
        // From now on the same is done to those that are spawned.
        self.aborts_unwinding.set(true);
        let mut keys: Vec<Key> = self.unwinding.borrow().iter().copied().collect();
        // Always in the same order, whatever the hashes are.
        keys.sort_unstable();
        keys.iter().for_each(|key| self.abort(*key));
        while !self.unwinding.borrow().is_empty() && self.now() < until {
            self.run_turn();
            if self.unwinding.borrow().is_empty() {
                return;
            }
            self.flush_sources();
            let rest = until.saturating_duration_since(self.now());
            self.wait(Some(match self.has_ready() {
                true => Duration::ZERO,
                false => self.until_next_timer().map_or(rest, |next| next.min(rest)),
            }));
        }
    }

    /// Drops every task. A task that another thread is waking at this moment is on its way here;
    /// there is nothing to do but to wait for it.
    fn drop_tasks(self: &Rc<Worker>) {
        loop {
            let wakers: Vec<Waker> = {
                let tasks = self.tasks.borrow();
                tasks.iter().map(|(_, waker)| waker.clone()).collect()
            };
            wakers.into_iter().for_each(Waker::wake);
            loop {
                let Some(runnable) = self.ready.borrow_mut().pop_front() else {
                    break;
                };
                drop(runnable);
            }
            if self.tasks.borrow().is_empty() {
                return;
            }
            self.wait(Some(Duration::from_millis(1)));
        }
    }

    /// Waits until the tasks of the other workers are dropped too: what they have written to handles
    /// of this worker is on its way here then. One that is blocked is not waited for without end.
    fn await_other_workers(self: &Rc<Worker>) {
        let team = &self.team;
        team.tasks_are_dropped();
        let until = self.now() + self.options.teardown_timeout;
        while !team.is_without_tasks() && self.now() < until {
            self.wait(Some(until.saturating_duration_since(self.now())));
        }
        self.take_messages();
    }

    /// Lets go of a closed worker, unless a future has yet to take a result from it.
    pub(crate) fn release_if_unused(&self) {
        let is_used = self.operations.borrow().is_waited_for() || self.has_lent();
        if !self.closing.get() || is_used {
            return;
        }
        let released = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            let position = here
                .iter()
                .position(|worker| worker.home.id == self.home.id)?;
            Some(here.swap_remove(position))
        });
        drop(released);
    }
}

/// Ends [`Worker::enter`].
pub(crate) struct Entered {
    outer: Option<Rc<Worker>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let outer = self.outer.take();
        let inner = CURRENT
            .try_with(|current| std::mem::replace(&mut *current.borrow_mut(), outer))
            .ok();
        drop(inner);
    }
}
