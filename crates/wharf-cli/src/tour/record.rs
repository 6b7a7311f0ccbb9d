//! What happened when: each operation of the tour, from its submission to its completion.
//!
//! Owns the times. An operation counts as completed when the `wait` that brought its completion has
//! returned, since that is when the program can know. Only the first operations are kept, so that a
//! large file takes no more memory than a small one.

use std::collections::HashMap;
use std::time::Duration;

use wharf_queue::{Moment, Queue};

/// How many spans are kept.
const KEPT: usize = 4096;

/// Operations that do one job after the other, and so share a row of the timeline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Lane {
    /// Opening the file, making connections.
    Prepare(usize),
    /// One of the buffers that are read into at the same time.
    Read(usize),
    /// The sending end of a connection.
    Send(usize),
    /// The receiving end of a connection.
    Receive(usize),
    /// The thread itself, while it is blocked in `wait`.
    Wait,
}

impl Lane {
    /// The lane's name, counted from 1.
    pub(crate) fn name(self) -> String {
        match self {
            Lane::Prepare(number) => format!("prepare {}", number + 1),
            Lane::Read(number) => format!("read {}", number + 1),
            Lane::Send(number) => format!("send {}", number + 1),
            Lane::Receive(number) => format!("receive {}", number + 1),
            Lane::Wait => "blocked".to_owned(),
        }
    }

    /// What is done on it.
    pub(crate) fn class(self) -> Class {
        match self {
            Lane::Prepare(_) => Class::Prepare,
            Lane::Read(_) => Class::Read,
            Lane::Send(_) => Class::Send,
            Lane::Receive(_) => Class::Receive,
            Lane::Wait => Class::Wait,
        }
    }
}

/// What lanes of one kind have in common: a colour, a sign, an entry of the legend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Class {
    Prepare,
    Read,
    Send,
    Receive,
    Wait,
}

/// An operation, or a wait, with its beginning and its end.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) lane: Lane,
    /// What it was, for a person.
    pub(crate) what: String,
    /// From the beginning of the tour to the submission.
    pub(crate) submitted: Duration,
    /// And to the completion.
    pub(crate) completed: Duration,
}

struct Open {
    lane: Lane,
    what: String,
    submitted: Moment,
}

/// What was recorded: a moment in the life of the tour, or all of it.
pub(crate) struct Recorder {
    start: Moment,
    open: HashMap<u64, Open>,
    next_number: u64,
    /// In the order of their completion.
    spans: Vec<Span>,
    pub(crate) totals: Totals,
}

/// Numbers over the whole run, also of what is not kept.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Totals {
    /// Operations that have completed.
    pub(crate) operations: u64,
    /// How often the thread waited.
    pub(crate) waits: u64,
    /// How long it was blocked.
    pub(crate) blocked: Duration,
    /// The most operations that were in flight at a time.
    pub(crate) deepest: usize,
}

impl Recorder {
    pub(crate) fn new(start: Moment) -> Recorder {
        Recorder {
            start,
            open: HashMap::new(),
            next_number: 0,
            spans: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// The number of an operation that is about to be submitted: its `user_data`.
    pub(crate) fn submit(&mut self, queue: &Queue, lane: Lane, what: String) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let submitted = queue.now();
        self.open.insert(
            number,
            Open {
                lane,
                what,
                submitted,
            },
        );
        self.totals.deepest = self.totals.deepest.max(self.open.len());
        number
    }

    /// The operation of this number was reported complete by the wait that ended at `now`. What it
    /// came to is added to what it was. Returns its lane.
    pub(crate) fn complete(&mut self, number: u64, now: Moment, result: &str) -> Option<Lane> {
        let Open {
            lane,
            what,
            submitted,
        } = self.open.remove(&number)?;
        self.totals.operations += 1;
        self.keep(lane, format!("{what}{result}"), submitted, now);
        Some(lane)
    }

    /// The thread was blocked.
    pub(crate) fn waited(&mut self, from: Moment, to: Moment) {
        self.totals.waits += 1;
        self.totals.blocked += to.saturating_duration_since(from);
        self.keep(Lane::Wait, "blocked in wait".to_owned(), from, to);
    }

    fn keep(&mut self, lane: Lane, what: String, submitted: Moment, completed: Moment) {
        if self.spans.len() < KEPT {
            self.spans.push(Span {
                lane,
                what,
                submitted: submitted.saturating_duration_since(self.start),
                completed: completed.saturating_duration_since(self.start),
            });
        }
    }

    /// The first `count` operations in the order of their submission, and the waits that ended no
    /// later than the last of them.
    pub(crate) fn first(&self, count: usize) -> Timeline {
        let is_wait = |span: &&Span| span.lane == Lane::Wait;
        let mut spans: Vec<Span> = self.spans.iter().filter(|s| !is_wait(s)).cloned().collect();
        spans.sort_by_key(|span| (span.submitted, span.completed));
        spans.truncate(count);
        let end = spans
            .iter()
            .map(|span| span.completed)
            .max()
            .unwrap_or_default();
        let shown = spans.len() as u64;
        let waits = self.spans.iter().filter(is_wait);
        spans.extend(waits.filter(|span| span.completed <= end).cloned());
        Timeline {
            spans,
            end: end.max(Duration::from_micros(1)),
            shown,
            all: self.totals.operations,
        }
    }
}

/// A part of what was recorded, to be drawn.
pub(crate) struct Timeline {
    /// Operations in the order of their submission, and behind them the waits.
    pub(crate) spans: Vec<Span>,
    /// When the last of them had completed; not zero.
    pub(crate) end: Duration,
    /// How many of them are operations.
    pub(crate) shown: u64,
    /// How many operations there were in all.
    pub(crate) all: u64,
}

impl Timeline {
    /// The operations without the waits.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.lane != Lane::Wait)
    }

    /// The lanes that occur, in the order of the tour.
    pub(crate) fn lanes(&self) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = self.spans.iter().map(|span| span.lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        lanes
    }
}

/// A number of bytes for a person.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count == 1 {
        return "1 byte".to_owned();
    }
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut value = count as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"KiB");
    while value >= 1023.95 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// A duration for a person.
pub(crate) fn time(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..10_000 => format!("{micros} us"),
        10_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (count, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (4096, "4 KiB"),
            (1024 * 1024 - 1, "1 MiB"),
            (1 << 20, "1 MiB"),
            (3 << 30, "3 GiB"),
            (1_900_000, "1.8 MiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert!(bytes(u64::MAX).ends_with("PiB"));
    }
}
