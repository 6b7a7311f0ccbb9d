//! What `wharf-fiber` needs of the scheduler, and nothing else does: tasks that end themselves.
//!
//! Owns the spawning of such tasks and the questions they ask, and the way to streams by a shared
//! reference. A future is ended by dropping it. A
//! fiber cannot be: its frames would vanish under the kernel and under those who borrow from them.
//! So when such a task is aborted, or its runtime ends, it is *run*, asks [`is_aborted`], and ends
//! itself; see `Worker::run_tasks` and `Worker::end_unwinding`.
//!
//! This module is no part of the public interface and follows no version.

use std::future::Future;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use wharf_queue::{IoBuf, IoBufMut};

use crate::runtime::worker::{self, CURRENT};
use crate::slab::Key;
use crate::task::{self, JoinError, JoinHandle};

/// Names a task for as long as its worker lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskId {
    worker: u64,
    key: Key,
}

/// Spawns a task on the current worker that is run when it is aborted, until it ends by itself.
///
/// # Panics
/// Outside a runtime.
#[track_caller]
pub fn spawn_unwinding<F>(name: Option<Rc<str>>, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    task::spawn_unwinding_in(&worker::expect_current(), name, future)
}

/// The task that this thread is running, if it is running one.
#[inline]
#[must_use]
pub fn running() -> Option<TaskId> {
    CURRENT.with(|current| {
        let current = current.borrow();
        let worker = current.as_ref()?;
        Some(TaskId {
            worker: worker.home.id,
            key: worker.running.get()?,
        })
    })
}

/// Whether the task that is running has been aborted.
#[inline]
#[must_use]
pub fn is_aborted() -> bool {
    CURRENT.with(|current| {
        let current = current.borrow();
        current.as_ref().is_some_and(|worker| worker.is_ended.get())
    })
}

/// Calls `f`, in which what is ready says so although the task has used up its budget: for polls that
/// are not repeated.
pub fn without_budget<R>(f: impl FnOnce() -> R) -> R {
    task::coop::without_limit(f)
}

/// The error of a task that was cancelled.
#[must_use]
pub fn cancelled() -> JoinError {
    JoinError::cancelled()
}

/// A stream as fibers use it: by a shared reference, for one fiber a direction at a time.
pub trait Duplex {
    /// See [`TcpStream::read`](crate::net::TcpStream::read).
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    /// See [`TcpStream::write_vectored`](crate::net::TcpStream::write_vectored).
    fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
    /// See [`TcpStream::peek`](crate::net::TcpStream::peek).
    fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    /// See [`TcpStream::shutdown_read`](crate::net::TcpStream::shutdown_read).
    fn shutdown_read(&self) -> io::Result<()>;
    /// Reads into a lent buffer, without a copy if nothing has come yet. Dropping the future loses
    /// nothing, and drops the buffer as soon as the system lets go of it.
    fn read_lent<B: IoBufMut + Send>(&self, buf: B)
    -> impl Future<Output = (io::Result<usize>, B)>;
    /// Sends all of a lent buffer without a copy. Dropping the future drops the buffer as soon as the
    /// system lets go of it: if it `has_begun`, what is not sent yet is sent from a copy; else
    /// nothing of it is sent.
    fn write_lent<B: IoBuf + Send>(
        &self,
        buf: B,
        has_begun: &AtomicBool,
    ) -> impl Future<Output = (io::Result<usize>, B)>;
    /// See [`TcpStream::flush`](crate::net::TcpStream::flush).
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// See [`TcpStream::shutdown`](crate::net::TcpStream::shutdown).
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}
