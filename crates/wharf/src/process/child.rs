//! A process that was started, and the wait for its end.
//!
//! Owns a share in the standard library's child, so that it can be killed while its exit is waited
//! for. The wait belongs to the child and not to a future, so that dropping one loses nothing.
//!
//! ```text
//!             1 wait                2 the process ends
//!   RUNNING ---------> WAITED_FOR ---------------------> ENDED, the status is known
//!      | 3 drop            | 3 drop
//!      +-------------------+--> a task waits for it; past the runtime, `orphans`
//! ```

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Output};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use wharf_queue::op;

use super::orphans::Orphan;
use super::{ChildStderr, ChildStdin, ChildStdout};
use crate::carried::Carried;
use crate::runtime::worker;
use crate::{engine, promise, task};

pub(super) type Shared = Arc<Mutex<std::process::Child>>;

pub(super) fn lock(child: &Mutex<std::process::Child>) -> MutexGuard<'_, std::process::Child> {
    // A child has no invariant that a panic could have broken.
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that was started by [`Command::spawn`](super::Command::spawn).
///
/// Dropping it lets the process go on, unless it is to be killed then; in either case it is waited
/// for in the background.
pub struct Child {
    shared: Shared,
    waiting: Option<Carried<op::ChildExit<Shared>>>,
    status: Option<ExitStatus>,
    kills_on_drop: bool,
    /// The way to its input, if that is piped and was not taken.
    pub stdin: Option<ChildStdin>,
    /// The way to its output, if that is piped and was not taken.
    pub stdout: Option<ChildStdout>,
    /// The way to its messages, if that is piped and was not taken.
    pub stderr: Option<ChildStderr>,
}

impl Child {
    pub(super) fn new(mut child: std::process::Child, kills_on_drop: bool) -> Child {
        Child {
            stdin: child.stdin.take().map(ChildStdin::from),
            stdout: child.stdout.take().map(ChildStdout::from),
            stderr: child.stderr.take().map(ChildStderr::from),
            shared: Arc::new(Mutex::new(child)),
            waiting: None,
            status: None,
            kills_on_drop,
        }
    }

    /// The number of the process; `None` when it has been waited for, because the system may give
    /// the number to another one then.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.status.is_none().then(|| lock(&self.shared).id())
    }

    /// Waits for the process to end. Its input is closed first, so that it is not waiting for us.
    ///
    /// Dropping the future loses nothing: the next wait, or [`try_wait`](Child::try_wait), gives the
    /// status. It may be called again, and gives the same.
    ///
    /// # Errors
    /// That of the system: that no descriptor is left, for example; then it can be called again.
    ///
    /// # Panics
    /// When it is polled outside a runtime.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.stdin = None;
        poll_fn(|cx| self.poll_wait(cx)).await
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        if let Some(status) = self.status {
            return Poll::Ready(Ok(status));
        }
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            none => {
                let exit = op::ChildExit::new(self.shared.clone());
                none.insert(engine::submit(exit)?.into())
            }
        };
        let answer = ready!(Pin::new(waiting).poll(cx));
        self.waiting = None;
        let status = answer?.0.into_result()?;
        self.status = Some(status);
        Poll::Ready(Ok(status))
    }

    /// The status, if the process has ended.
    ///
    /// # Errors
    /// That of the system.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = lock(&self.shared).try_wait()?;
        }
        Ok(self.status)
    }

    /// Kills the process, without waiting for its end. It is no error if it has ended.
    ///
    /// # Errors
    /// That of the system.
    pub fn start_kill(&mut self) -> io::Result<()> {
        lock(&self.shared).kill()
    }

    /// Kills the process and waits for its end. If the future is dropped, it is killed all the same.
    ///
    /// # Errors
    /// As [`start_kill`](Child::start_kill) and [`wait`](Child::wait).
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await.map(drop)
    }

    /// Waits for the process to end, and reads what it writes meanwhile to those pipes that were not
    /// taken. Its input is closed first.
    ///
    /// # Errors
    /// The first of the pipes and of [`wait`](Child::wait); then the child is dropped.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        self.stdin = None;
        let (mut out, mut err) = (self.stdout.take(), self.stderr.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let reading_out = async {
            match &mut out {
                Some(out) => out.read_to_end(&mut stdout).await,
                None => Ok(0),
            }
        };
        let reading_err = async {
            match &mut err {
                Some(err) => err.read_to_end(&mut stderr).await,
                None => Ok(0),
            }
        };
        let reading = futures_lite::future::try_zip(reading_out, reading_err);
        let (_, status) = futures_lite::future::try_zip(reading, self.wait()).await?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.waiting = None;
        if !matches!(self.try_wait(), Ok(None)) {
            return;
        }
        if self.kills_on_drop {
            // It may have ended just now.
            let _ended = self.start_kill();
        }
        let orphan = Orphan::new(self.shared.clone());
        let Some(worker) = worker::current() else {
            return;
        };
        if self.kills_on_drop {
            // It ends at once, so that even the end of the runtime can wait for that.
            promise::keep(&worker, orphan.wait());
        } else {
            drop(task::spawn_in(&worker, None, orphan.wait()));
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
