//! Standard output and error output.
//!
//! Owns, for each of the two, what was written and not passed on yet. As for standard input, their
//! mode is shared with other processes, so a thread of the worker's pool passes on, by the standard
//! library's own handles: what is written here and by `println!` goes out in some order, each whole.

use std::fmt;
use std::io::{self, IoSlice, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::conduit::ROOM;
use super::traits::{WriteSide, impl_write_side};
use crate::fs::run;
use crate::promise;
use crate::runtime::home::gone;
use crate::runtime::worker;

use wharf_queue::op;

struct State {
    gathered: Vec<u8>,
    is_passing: bool,
    failure: Option<io::Error>,
    waiting: Vec<Waker>,
}

/// One of the two, for the whole process.
struct Output {
    name: &'static str,
    state: Mutex<State>,
    write: fn(&[u8]) -> io::Result<()>,
}

impl Output {
    const fn new(name: &'static str, write: fn(&[u8]) -> io::Result<()>) -> Output {
        let state = State {
            gathered: Vec::new(),
            is_passing: false,
            failure: None,
            waiting: Vec::new(),
        };
        Output {
            name,
            state: Mutex::new(state),
            write,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = f(&mut state);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        result
    }

    fn give_up(&self, error: io::Error) {
        self.change(|state| {
            state.is_passing = false;
            state.gathered = Vec::new();
            state.failure.get_or_insert(error);
        });
    }

    fn poll_write(
        &'static self,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let worker = worker::expect_current();
        let mut state = self.lock();
        if let Some(error) = state.failure.take() {
            return Poll::Ready(Err(error));
        }
        let room = ROOM.saturating_sub(state.gathered.len());
        if room == 0 {
            state.wait(cx);
            return Poll::Pending;
        }
        let mut taken = 0;
        for buf in bufs {
            let count = buf.len().min(room - taken);
            state.gathered.extend_from_slice(&buf[..count]);
            taken += count;
        }
        let was_passing = state.is_passing;
        state.is_passing |= taken > 0;
        drop(state);
        if !was_passing && taken > 0 {
            let passing = Passing {
                output: self,
                has_ended: false,
            };
            promise::keep(&worker, async move {
                // If the closure is not run, what it holds says so.
                let _ended = run(op::Blocking::new(|| passing.pass_on())).await;
            });
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if let Some(error) = state.failure.take() {
            return Poll::Ready(Err(error));
        }
        if !state.is_passing {
            return Poll::Ready(Ok(()));
        }
        state.wait(cx);
        Poll::Pending
    }
}

/// Passing on that has been announced; says so if it does not happen.
struct Passing {
    output: &'static Output,
    has_ended: bool,
}

impl Passing {
    /// Writes what was gathered until there is nothing: what a thread of the pool does.
    fn pass_on(mut self) {
        let output = self.output;
        loop {
            let gathered = output.change(|state| {
                state.is_passing = !state.gathered.is_empty();
                std::mem::take(&mut state.gathered)
            });
            if gathered.is_empty() {
                break;
            }
            if let Err(error) = (output.write)(&gathered) {
                output.give_up(error);
                break;
            }
        }
        self.has_ended = true;
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if !self.has_ended {
            self.output.give_up(gone());
        }
    }
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|other| other.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }
}

static STDOUT: Output = Output::new("Stdout", |bytes| {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
});

static STDERR: Output = Output::new("Stderr", |bytes| io::stderr().lock().write_all(bytes));

macro_rules! output {
    ($(#[$doc:meta])* $name:ident, $(#[$function:meta])* $make:ident, $output:ident) => {
        $(#[$function])*
        #[must_use]
        pub fn $make() -> $name {
            $name { output: &$output }
        }

        $(#[$doc])*
        pub struct $name {
            output: &'static Output,
        }

        impl WriteSide for $name {
            fn poll_write_side(
                &mut self,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.output.poll_write(cx, bufs)
            }

            fn poll_flush_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.output.poll_flush(cx)
            }

            fn poll_close_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.output.poll_flush(cx)
            }
        }

        impl_write_side!($name);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.output.name)
            }
        }
    };
}

output!(
    /// Standard output; from [`stdout`].
    ///
    /// What a write has taken is passed on in order, also past the end of the runtime, as long as
    /// [`linger`](crate::runtime::Builder::linger) allows; [`flush`](Stdout::flush) waits for it.
    /// Writing panics outside a runtime.
    ///
    /// ```
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// let mut stdout = wharf::io::stdout();
    /// stdout.write_all(b"hello\n").await?;
    /// stdout.flush().await?;
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    Stdout,
    /// Standard output. Any number of these may be made; they write to the same.
    stdout,
    STDOUT
);

output!(
    /// The error output; from [`stderr`]. It is written as [`Stdout`] is.
    Stderr,
    /// The error output. Any number of these may be made; they write to the same.
    stderr,
    STDERR
);
