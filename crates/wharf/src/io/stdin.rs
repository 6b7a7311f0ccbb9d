//! Standard input, without loss.
//!
//! Owns a thread of the process that reads when somebody asks, and what it has read. A terminal is
//! shared with other processes, and so is its non-blocking mode: what suits a queue would break the
//! shell that started us. So standard input is the one thing here that a thread reads. The bytes
//! belong to the process and not to a future or a handle: whoever reads next gets them.
//!
//! ```text
//!            1 somebody reads, nothing is there       2 the thread has read
//!   QUIET -----------------------------------> ASKED -----------------------> QUIET, readers woken
//! ```

use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::thread;

use futures_core::Stream;

use super::PoolBuf;
use super::traits::{ReadSide, impl_read_side};

/// How much the thread reads at a time, in bytes.
const PIECE: usize = 64 * 1024;

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// Those before it have been taken.
    begin: usize,
    /// What the last read found behind those bytes: the end, or an error.
    found: Option<io::Result<()>>,
    is_asked: bool,
    has_thread: bool,
    waiting: Vec<Waker>,
}

struct Input {
    state: Mutex<Option<State>>,
    asked: Condvar,
}

static INPUT: Input = Input {
    state: Mutex::new(None),
    asked: Condvar::new(),
};

impl State {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }

    fn take(&mut self, count: usize) {
        self.begin += count;
        if self.begin == self.bytes.len() {
            self.bytes = Vec::new();
            self.begin = 0;
        }
    }

    /// Waits for more than is there, which the thread is asked for. Ready at the end, once.
    fn poll_more(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if let Some(found) = self.found.take() {
            return Poll::Ready(found);
        }
        if !self.has_thread {
            let builder = thread::Builder::new().name("wharf-stdin".to_owned());
            builder.spawn(read_when_asked)?;
            self.has_thread = true;
        }
        if !self.waiting.iter().any(|other| other.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
        self.is_asked = true;
        INPUT.asked.notify_one();
        Poll::Pending
    }

    fn poll_line(&mut self, cx: &Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let rest = self.rest();
        let len = match rest.iter().position(|byte| *byte == b'\n') {
            Some(position) => position + 1,
            None => {
                ready!(self.poll_more(cx))?;
                // The end: the last line has none of its own.
                self.rest().len()
            }
        };
        let line = self.rest()[..len].to_vec();
        self.take(len);
        Poll::Ready(Ok(line))
    }
}

fn lock() -> MutexGuard<'static, Option<State>> {
    INPUT.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with<R>(f: impl FnOnce(&mut State) -> R) -> R {
    f(lock().get_or_insert_default())
}

/// What the thread does.
fn read_when_asked() {
    let mut buf = vec![0; PIECE];
    loop {
        let mut guard = lock();
        while !guard.get_or_insert_default().is_asked {
            guard = INPUT
                .asked
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        let read = loop {
            match io::stdin().read(&mut buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let waiting = with(|state| {
            match read {
                Ok(0) => state.found = Some(Ok(())),
                Ok(count) => {
                    state.bytes.drain(..state.begin);
                    state.begin = 0;
                    state.bytes.extend_from_slice(&buf[..count]);
                }
                Err(error) => state.found = Some(Err(error)),
            }
            state.is_asked = false;
            std::mem::take(&mut state.waiting)
        });
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Standard input. Any number of these may be made: they read from the same, and each byte goes to
/// one of them.
#[must_use]
pub fn stdin() -> Stdin {
    Stdin { _private: () }
}

/// Standard input; from [`stdin`].
///
/// Nothing is read before somebody asks. What has been read and not taken stays for the next one who
/// reads, from whatever handle, task or runtime: dropping a future or a handle loses nothing. It works
/// with terminals, pipes and files, on a thread of its own that does not keep the process from ending.
///
/// ```no_run
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let mut stdin = wharf::io::stdin();
/// let mut line = String::new();
/// while stdin.read_line(&mut line).await? > 0 {
///     print!("you said: {line}");
///     line.clear();
/// }
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Stdin {
    _private: (),
}

impl ReadSide for Stdin {
    fn poll_read_side(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        with(|state| {
            if state.rest().is_empty() {
                ready!(state.poll_more(cx))?;
            }
            let count = state.rest().len().min(buf.len());
            buf[..count].copy_from_slice(&state.rest()[..count]);
            state.take(count);
            Poll::Ready(Ok(count))
        })
    }

    fn poll_recv_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<PoolBuf>>> {
        with(|state| {
            if state.rest().is_empty() {
                ready!(state.poll_more(cx))?;
            }
            let piece = state.rest().to_vec();
            state.take(piece.len());
            Poll::Ready(Ok((!piece.is_empty()).then(|| PoolBuf::from(piece))))
        })
    }

    fn put_back_side(&mut self, piece: PoolBuf) {
        with(|state| {
            let mut bytes = piece.to_vec();
            bytes.extend_from_slice(state.rest());
            state.bytes = bytes;
            state.begin = 0;
        });
    }
}

impl_read_side!(Stdin);

impl Stdin {
    /// Reads a line, with its line feed, appends it to `line`, and returns its length in bytes: 0 at
    /// the end. The last line may have no line feed.
    ///
    /// Dropping the future loses nothing: no byte is taken before the line is whole.
    ///
    /// # Errors
    /// `InvalidData` if the line is not UTF-8, and it is passed over; that of the system.
    pub async fn read_line(&mut self, line: &mut String) -> io::Result<usize> {
        let text = poll_fn(poll_text).await?;
        line.push_str(&text);
        Ok(text.len())
    }

    /// The lines that come, without their line feeds, as a stream.
    #[must_use]
    pub fn lines(self) -> StdinLines {
        StdinLines { _stdin: self }
    }
}

fn poll_text(cx: &mut Context<'_>) -> Poll<io::Result<String>> {
    let line = ready!(with(|state| state.poll_line(cx)))?;
    let text = String::from_utf8(line);
    Poll::Ready(text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// The lines of standard input; from [`Stdin::lines`]. Dropping this, or a future of it, loses
/// nothing.
#[derive(Debug)]
pub struct StdinLines {
    _stdin: Stdin,
}

impl StdinLines {
    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// As [`Stdin::read_line`].
    pub async fn next_line(&mut self) -> io::Result<Option<String>> {
        poll_fn(|cx| self.poll_next_line(cx)).await
    }

    fn poll_next_line(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<String>>> {
        let mut text = ready!(poll_text(cx))?;
        if text.is_empty() {
            return Poll::Ready(Ok(None));
        }
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Poll::Ready(Ok(Some(text)))
    }
}

impl Stream for StdinLines {
    type Item = io::Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_line(cx).map(Result::transpose)
    }
}
