//! A connected stream, as it lives on its worker.
//!
//! Owns the socket and both directions: `receive` what has come and nobody has read, `outgoing` what
//! is on its way out, and `send` how it goes. `foreign` is the way in from other threads, and `handle`
//! what users hold.
//!
//! ```text
//!                 handle dropped, all sent
//!   OPEN ---------------------------------------> closed, its key stale
//!     | handle dropped, not all sent                ^
//!     +-----------------> LINGERING ----------------+  all sent, failed, or the time is up
//! ```

mod foreign;
mod handle;
mod lent;
pub(crate) mod methods;
mod outgoing;
mod receive;
mod send;
mod send_file;
mod splice;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use wharf_queue::Handle;

pub(crate) use self::foreign::Foreign;
pub(crate) use self::handle::StreamRef;
pub(super) use self::handle::moved;
use self::outgoing::SendSide;
pub(super) use self::outgoing::{Returned, Ticket};
use self::receive::Receive;
pub(super) use self::splice::Pipe;
use super::Failure;
use super::sources::Sources;
use crate::engine;
use crate::runtime::home::gone;
use crate::runtime::worker::Worker;
use crate::slab::Key;

pub(crate) struct Stream {
    pub(super) socket: Handle,
    key: Cell<Option<Key>>,
    receive: RefCell<Receive>,
    send: RefCell<SendSide>,
    /// The way in from other threads, from its first use on.
    foreign: RefCell<Option<Arc<Foreign>>>,
    /// No handle is left.
    is_dropped: Cell<bool>,
    /// The runtime has ended, and it stays only for one who waits for a lent buffer.
    is_ended: Cell<bool>,
}

impl Stream {
    /// Gives a connected socket to a worker.
    pub(crate) fn insert(worker: &Worker, socket: Handle) -> Key {
        let stream = Rc::new(Stream {
            socket,
            key: Cell::new(None),
            receive: RefCell::default(),
            send: RefCell::default(),
            foreign: RefCell::default(),
            is_dropped: Cell::new(false),
            is_ended: Cell::new(false),
        });
        let key = worker.sources.streams.borrow_mut().insert(stream.clone());
        stream.key.set(Some(key));
        worker.home.connections.fetch_add(1, Ordering::Relaxed);
        key
    }

    /// Another thread uses it: its way in is known from now on.
    fn set_foreign(&self, foreign: &Arc<Foreign>) {
        if self.foreign.borrow().is_some() {
            return;
        }
        *self.foreign.borrow_mut() = Some(foreign.clone());
        self.tell_foreign_of_output(foreign);
    }

    fn answer_foreign(&self, asked: foreign::Asked, answer: Result<(), Failure>) {
        if let Some(foreign) = self.foreign.borrow().as_ref() {
            foreign.answer(asked, answer);
        }
    }

    #[inline]
    fn forget_foreign_flush(&self) {
        if let Some(foreign) = self.foreign.borrow().as_ref() {
            foreign.forget_flush();
        }
    }

    /// Waits until a side may be free. An error if the stream was closed meanwhile: its handle was
    /// dropped, and whoever waits here has been forgotten.
    fn poll_side(&self, worker: &Worker, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if worker.sources.stream(self.key()).is_none() {
            return Poll::Ready(Err(gone()));
        }
        worker.sources.claim(self.key(), cx);
        Poll::Pending
    }

    fn key(&self) -> Key {
        self.key.get().expect("set when it was inserted")
    }

    /// The last handle is gone: what was accepted is still sent, then the socket is closed.
    fn dropped(&self, worker: &Rc<Worker>) {
        self.is_dropped.set(true);
        self.take_foreign_output(worker, true);
        if self.is_all_sent() {
            return self.close(worker);
        }
        self.stop_receiving(worker);
        self.make_dirty(worker);
        worker.linger(self.key());
    }

    /// Closes the socket in the background, which cancels what is in flight on it. What comes for
    /// its key from now on is stale.
    pub(super) fn close(&self, worker: &Rc<Worker>) {
        if let Some(socket) = self.give_up(worker) {
            engine::close_in_background(worker, socket);
        }
    }

    /// Takes it out of the table, to be closed; `None` if that was done before.
    fn give_up(&self, worker: &Worker) -> Option<Handle> {
        worker.sources.streams.borrow_mut().remove(self.key())?;
        worker.home.connections.fetch_sub(1, Ordering::Relaxed);
        self.drop_hoard(&worker.sources);
        worker.sources.wake_claims(self.key());
        Some(self.socket.clone())
    }

    /// The runtime ends: handles that are left get an error from now on. One that waits for a lent
    /// buffer still gets that: then the stream stays, without its socket.
    pub(super) fn end(&self, worker: &Rc<Worker>) {
        self.fail_receive(Failure::gone());
        self.fail_send(worker, Failure::gone());
        if let Some(foreign) = self.foreign.borrow().as_ref() {
            foreign.fail(Failure::gone());
        }
        if self.is_awaited() {
            self.is_ended.set(true);
            engine::close_in_background(worker, self.socket.clone());
        } else {
            self.close(worker);
        }
    }

    /// Whether more can be received.
    fn is_open(&self) -> bool {
        !self.is_ended.get() && self.receive.borrow().end.is_none()
    }

    /// Takes the socket out, to be attached elsewhere. What was received and not read, and what is
    /// not sent yet, would be lost, so neither may be there.
    ///
    /// # Errors
    /// `WouldBlock` if operations are in flight or bytes wait.
    pub(super) fn take_out(&self, worker: &Rc<Worker>) -> io::Result<Handle> {
        if !self.is_all_sent() || !self.is_untouched() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        worker.sources.streams.borrow_mut().remove(self.key());
        worker.home.connections.fetch_sub(1, Ordering::Relaxed);
        Ok(self.socket.clone())
    }
}

impl Sources {
    pub(super) fn hoards(&self, more: usize) {
        self.hoarded.set(self.hoarded.get() + more);
    }

    pub(super) fn hoards_less(&self, less: usize) {
        self.hoarded.set(self.hoarded.get().saturating_sub(less));
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_stream_takes_few_bytes() {
        assert!(size_of::<Stream>() <= 304, "{}", size_of::<Stream>());
        assert!(size_of::<StreamRef>() <= 32, "{}", size_of::<StreamRef>());
    }
}
