//! The kqueue selector, and with it the kqueue backend of macOS and FreeBSD.
//!
//! Owns the kernel event queue, who waits for which child, and the events that the kernel does not
//! make: of a filter that could not be added, because what it would tell has happened. Everything
//! else is the emulation's.
//!
//! A filter is known to the kernel by its number and kind alone, so that a second one for the same
//! child would replace the first. There is one for each child, therefore, and a list of those who
//! wait for it.

use std::collections::BTreeMap;
use std::io;

use super::readiness::{Emulation, Event, Selector};
use super::{BackendKind, BackendReport, Config, Sleep};
use crate::notify::Wake;
use crate::sys::kqueue::{Filter, GONE, Kqueue, Note, Trigger};
use crate::sys::{self, RawError, RawHandle};
use crate::time::Moment;

/// The kqueue backend.
pub(crate) type KqueueBackend = Emulation<KqueueSelector>;

/// The key of each child's filter: with it come the keys of those who wait for the child.
const CHILDREN: u64 = 1 << 62;

pub(crate) struct KqueueSelector {
    queue: Kqueue,
    trigger: Trigger,
    /// Children by their number, each with the keys of those who wait for it.
    children: Vec<(RawHandle, Vec<u64>)>,
    /// What the next wait reports besides what the kernel does.
    own: Vec<Event>,
    notes: Vec<Note>,
    has_timer: bool,
}

impl KqueueBackend {
    pub(super) fn open(config: Config) -> io::Result<KqueueBackend> {
        Ok(Emulation::new(KqueueSelector::new()?, config))
    }
}

fn explain(what: &str, error: RawError) -> io::Error {
    let out_of_descriptors = sys::call::is_limit_of_descriptors(error);
    let error = sys::error_from_raw(error);
    let message = if out_of_descriptors {
        format!(
            "kqueue is not to be had: no descriptor is left; raise the limit of open files \
             (ulimit -n): {error}"
        )
    } else {
        format!("kqueue is not to be had: {what} failed: {error}")
    };
    io::Error::new(error.kind(), message)
}

impl KqueueSelector {
    fn new() -> io::Result<KqueueSelector> {
        let queue = Kqueue::new().map_err(|error| explain("kqueue", error))?;
        let trigger = queue
            .trigger()
            .map_err(|error| explain("adding the user event", error))?;
        Ok(KqueueSelector {
            queue,
            trigger,
            children: Vec::new(),
            own: Vec::new(),
            notes: Vec::new(),
            has_timer: false,
        })
    }

    /// Turns what the kernel says into events, one for each who waits.
    fn take_notes(&mut self, events: &mut Vec<Event>) {
        for note in self.notes.drain(..) {
            match note.filter {
                None => {}
                Some(Filter::Process) => {
                    let process = (note.key & !CHILDREN) as RawHandle;
                    let at = self.children.iter().position(|child| child.0 == process);
                    if let Some(at) = at {
                        let (_, keys) = self.children.swap_remove(at);
                        events.extend(keys.into_iter().map(exited));
                    }
                }
                Some(Filter::Read) => events.push(Event {
                    key: note.key,
                    readable: true,
                    writable: note.end,
                    closed: note.end,
                }),
                Some(Filter::Write) => events.push(Event {
                    key: note.key,
                    readable: note.end,
                    writable: true,
                    closed: note.end,
                }),
            }
        }
    }
}

fn exited(key: u64) -> Event {
    Event {
        key,
        readable: true,
        writable: false,
        closed: true,
    }
}

/// Tries whether a queue can be made and woken.
pub(super) fn probe() -> BackendReport {
    let made = KqueueSelector::new();
    let (available, reason) = match made {
        Ok(_) => (true, "kqueue works".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    BackendReport {
        kind: BackendKind::Kqueue,
        available,
        reason,
        features: BTreeMap::from([("user_event", available)]),
    }
}

impl Wake for Trigger {
    fn wake(&self) {
        Trigger::wake(self);
    }
}

impl Selector for KqueueSelector {
    const TELLS_URGENT_BYTES: bool = false;

    fn add(&mut self, raw: RawHandle, key: u64) -> Result<(), RawError> {
        let (read, write) = self.queue.add(raw, key);
        if let (Err(error), Err(_)) = (read, write) {
            return Err(error);
        }
        if read.is_err() || write.is_err() {
            // What has one direction only, or has lost its other side: the call tells which.
            self.own.push(Event {
                key,
                readable: read.is_err(),
                writable: write.is_err(),
                closed: false,
            });
        }
        Ok(())
    }

    fn remove(&mut self, raw: RawHandle) {
        self.queue.remove(raw);
    }

    fn add_child(&mut self, raw: RawHandle, key: u64) -> Result<(), RawError> {
        if let Some((_, keys)) = self.children.iter_mut().find(|child| child.0 == raw) {
            keys.push(key);
            return Ok(());
        }
        match self.queue.add_process(raw, CHILDREN | raw as u64) {
            Ok(()) => self.children.push((raw, vec![key])),
            Err(GONE) => self.own.push(exited(key)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn remove_child(&mut self, raw: RawHandle, key: u64) {
        self.own.retain(|event| event.key != key);
        let Some(at) = self.children.iter().position(|child| child.0 == raw) else {
            return;
        };
        let keys = &mut self.children[at].1;
        keys.retain(|other| *other != key);
        if keys.is_empty() {
            self.children.swap_remove(at);
            self.queue.remove_process(raw);
        }
    }

    fn wait(&mut self, sleep: Sleep, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = match sleep {
            _ if !self.own.is_empty() => Some(std::time::Duration::ZERO),
            Sleep::Not => Some(std::time::Duration::ZERO),
            Sleep::For(duration) => Some(duration),
            Sleep::Forever => None,
        };
        self.queue
            .wait(timeout, &mut self.notes)
            .map_err(sys::error_from_raw)?;
        events.append(&mut self.own);
        self.take_notes(events);
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Box<dyn Wake>> {
        Ok(Box::new(self.trigger.clone()))
    }

    fn arm(&mut self, deadline: Option<Moment>) -> io::Result<RawHandle> {
        let now = Moment::from_nanos(sys::monotonic_nanos());
        let after = deadline.map(|deadline| deadline.saturating_duration_since(now));
        if after.is_some() || self.has_timer {
            self.queue.set_timer(after).map_err(sys::error_from_raw)?;
            self.has_timer = after.is_some();
        }
        if !self.own.is_empty() {
            self.trigger.wake();
        }
        Ok(self.queue.raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(selector: &mut KqueueSelector, sleep: Sleep) -> Vec<u64> {
        let mut events = Vec::new();
        selector
            .wait(sleep, &mut events)
            .expect("the queue is open");
        let mut keys: Vec<u64> = events.iter().map(|event| event.key).collect();
        keys.sort_unstable();
        keys
    }

    /// A child that lives until its input is closed.
    fn child() -> std::process::Child {
        let mut cat = std::process::Command::new("cat");
        cat.stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null());
        cat.spawn().expect("there is a cat")
    }

    #[test]
    fn each_who_waits_for_a_child_is_told() {
        let mut selector = KqueueSelector::new().expect("a queue");
        let mut child = child();
        let process = sys::PidFd::open(&child).expect("a child");
        for key in [1, 2, 3] {
            selector.add_child(process.raw(), key).expect("a child");
        }
        selector.remove_child(process.raw(), 2);
        assert_eq!(keys(&mut selector, Sleep::Not), []);
        drop(child.stdin.take());
        assert_eq!(keys(&mut selector, Sleep::Forever), [1, 3]);
        // It is a zombie now, of which the kernel may say that it is gone.
        selector.add_child(process.raw(), 4).expect("a child");
        assert_eq!(keys(&mut selector, Sleep::Forever), [4]);
        child.wait().expect("a child");
    }

    #[test]
    fn child_is_told_of_once() {
        let mut queue = Kqueue::new().expect("a queue");
        let mut child = child();
        let process = sys::PidFd::open(&child).expect("a child");
        queue.add_process(process.raw(), 7).expect("a child");
        drop(child.stdin.take());
        let mut notes = Vec::new();
        while notes.is_empty() {
            queue.wait(None, &mut notes).expect("the queue is open");
        }
        assert_eq!(notes.len(), 1);
        child.wait().expect("a child");
        let now = Some(std::time::Duration::ZERO);
        queue.wait(now, &mut notes).expect("the queue is open");
        assert_eq!(notes.len(), 1, "{notes:?}");
    }
}
