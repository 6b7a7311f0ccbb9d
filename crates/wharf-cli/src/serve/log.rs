//! The access log: lines from the workers to standard output, which may be slow.
//!
//! A worker only appends to a buffer; a thread of its own writes. So nobody's request waits for a
//! terminal, and a reader that has stopped reading costs lines and not service.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wharf_http::Access;

/// How long lines are gathered, so that a busy server does not wake the writer for each: no longer
/// than somebody who looks on would notice.
const GATHERING: Duration = Duration::from_millis(20);

/// What waits to be written at most. Lines beyond it are counted instead.
const WAITING_BYTES: usize = 4 << 20;

#[derive(Default)]
struct State {
    waiting: String,
    time: Timestamp,
    lost_lines: u64,
    is_over: bool,
}

/// A moment as text. Many lines share a millisecond, and then it is written once.
#[derive(Default)]
struct Timestamp {
    since_epoch_ms: u128,
    text: String,
}

impl Timestamp {
    fn set(&mut self, time: SystemTime) {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_epoch_ms = since_epoch.as_millis();
        if self.since_epoch_ms != since_epoch_ms || self.text.is_empty() {
            self.since_epoch_ms = since_epoch_ms;
            self.text = humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).to_string();
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes lines, from any thread.
#[derive(Clone)]
pub(super) struct Log {
    shared: Arc<Shared>,
}

/// The thread that writes them.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// Starts to write to `out`.
pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Log, Writer)> {
    let shared = Arc::new(Shared::default());
    let theirs = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("access log".to_owned())
        .spawn(move || write(&theirs, out))?;
    let log = Log {
        shared: Arc::clone(&shared),
    };
    Ok((log, Writer { shared, thread }))
}

impl Log {
    /// One line, with the time before it.
    pub(super) fn access(&self, access: &Access<'_>) {
        let now = SystemTime::now();
        let mut state = self.shared.lock();
        if state.waiting.len() > WAITING_BYTES {
            state.lost_lines += 1;
            return;
        }
        let was_empty = state.waiting.is_empty();
        let State { waiting, time, .. } = &mut *state;
        time.set(now);
        // Writing to a string cannot fail.
        let _ = fmt::Write::write_fmt(waiting, format_args!("{} {access}\n", time.text));
        drop(state);
        if was_empty {
            self.shared.changed.notify_one();
        }
    }
}

impl Writer {
    /// Writes what is left and ends.
    pub(super) fn finish(self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_one();
        // It has no panic of its own to tell.
        drop(self.thread.join());
    }
}

/// Writes until the end. When nobody reads any more, lines are thrown away.
fn write(shared: &Shared, mut out: impl Write) {
    let mut taken = String::new();
    loop {
        let mut state = shared.lock();
        while state.waiting.is_empty() && state.lost_lines == 0 && !state.is_over {
            state = shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !state.is_over {
            // It wakes up earlier when the end comes, or by accident, and neither does harm.
            let waited = shared.changed.wait_timeout(state, GATHERING);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut taken, &mut state.waiting);
        let lost_lines = std::mem::take(&mut state.lost_lines);
        let is_over = state.is_over;
        drop(state);
        let mut written = out.write_all(taken.as_bytes());
        if lost_lines > 0 {
            let told = writeln!(
                out,
                "{lost_lines} lines lost: the log is not read fast enough"
            );
            written = written.and(told);
        }
        // Whoever read it has had enough, which is no failure of the server.
        drop(written.and_then(|()| out.flush()));
        taken.clear();
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Shared, State, write};
    use std::sync::Mutex;

    #[test]
    fn what_waits_is_written_before_the_end_and_what_is_lost_is_said() {
        let state = State {
            waiting: "one\ntwo\n".to_owned(),
            lost_lines: 3,
            is_over: true,
            ..State::default()
        };
        let shared = Shared {
            state: Mutex::new(state),
            ..Shared::default()
        };
        let mut out = Vec::new();
        write(&shared, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "one\ntwo\n3 lines lost: the log is not read fast enough\n"
        );
    }
}
