//! A listening socket, as it lives on its worker: a multishot accept, and the connections that nobody
//! has taken yet.
//!
//! ```text
//!            1 arm                2 the limit is reached
//!   RESTING ------> ARMED -----------------------------> ENDING
//!      ^              | 3 error of the listener              | 3 the cancel has taken effect
//!      +--------------+--------------------------------------+
//! ```
//!
//! 1 by an accept that finds nothing, or when half of the waiting connections are taken.
//! 2 cancels; what the kernel accepted before that still arrives.
//! 3 the final completion. An error is told to one accept, and the next one arms again.
//!
//! What another thread asked for is accepted here and put into a place that belongs to the listener,
//! never to the future: the next accept, from any thread, finds it first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wharf_queue::{Address, Handle, Outcome, Prepare, SubmitError, Token, op};

use super::place::{self, Place, register, wake_all};
use super::sources::Tag;
use super::stream::StreamRef;
use crate::engine;
use crate::runtime::home::{Home, Message, gone};
use crate::runtime::worker::{self, Worker};
use crate::slab::Key;
use crate::task::{self, coop};

/// How many connections wait in the process before the rest waits in the kernel.
const WAITING: usize = 128;

/// A connection that was accepted, with its addresses.
pub(super) struct Accepted {
    pub(super) stream: StreamRef,
    pub(super) local: Address,
    pub(super) peer: Address,
}

impl Accepted {
    pub(super) fn new(worker: &Worker, socket: Handle) -> Accepted {
        Accepted {
            local: socket.local_addr().unwrap_or(Address::Unnamed),
            // A peer that is gone already has no address; the first read will say so.
            peer: socket.peer_addr().unwrap_or(Address::Unnamed),
            stream: StreamRef::new(worker, socket),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Default)]
enum State {
    #[default]
    Resting,
    Armed(Token<op::AcceptMulti>),
    Ending,
}

#[derive(Default)]
struct Accepts {
    state: State,
    waiting: VecDeque<io::Result<Handle>>,
    wakers: Vec<Waker>,
}

pub(crate) struct Listener {
    pub(super) socket: Handle,
    key: Cell<Option<Key>>,
    accepts: RefCell<Accepts>,
}

impl Listener {
    fn insert(worker: &Worker, socket: Handle) -> Key {
        let listener = Rc::new(Listener {
            socket,
            key: Cell::new(None),
            accepts: RefCell::default(),
        });
        let key = worker
            .sources
            .listeners
            .borrow_mut()
            .insert(listener.clone());
        listener.key.set(Some(key));
        key
    }

    fn key(&self) -> Key {
        self.key.get().expect("set when it was inserted")
    }

    fn poll_accept(&self, worker: &Rc<Worker>, cx: &mut Context<'_>) -> Poll<io::Result<Handle>> {
        if coop::proceed(cx).is_pending() {
            return Poll::Pending;
        }
        let mut accepts = self.accepts.borrow_mut();
        let accepted = accepts.waiting.pop_front();
        if accepted.is_none() {
            register(&mut accepts.wakers, cx);
        }
        if accepted.is_none() || accepts.waiting.len() <= WAITING / 2 {
            if let Err(error) = self.arm(&mut accepts, worker) {
                accepts.waiting.push_back(Err(error));
                cx.waker().wake_by_ref();
            }
        }
        match accepted {
            Some(accepted) => Poll::Ready(accepted),
            None => Poll::Pending,
        }
    }

    fn arm(&self, accepts: &mut Accepts, worker: &Rc<Worker>) -> io::Result<()> {
        if accepts.state != State::Resting {
            return Ok(());
        }
        let user_data = Tag::Accept.user_data(self.key());
        let submission = op::AcceptMulti::new(&self.socket).user_data(user_data);
        match worker.queue.submit(submission) {
            Ok(token) => accepts.state = State::Armed(token),
            // The limit of operations is reached: those who wait look again each turn.
            Err(SubmitError::Full(_)) => worker.sources.wake_next_turn(&mut accepts.wakers),
            Err(refused) => return Err(refused.into()),
        }
        Ok(())
    }

    /// The multishot accept has brought something.
    pub(super) fn accepted(&self, worker: &Rc<Worker>, outcome: Outcome<Handle>, more: bool) {
        let mut accepts = self.accepts.borrow_mut();
        if !more {
            accepts.state = State::Resting;
        }
        match outcome {
            Outcome::Completed(accepted) => accepts.waiting.push_back(accepted),
            Outcome::Cancelled { .. } | Outcome::TimedOut { .. } => {}
        }
        if let State::Armed(token) = accepts.state {
            if accepts.waiting.len() >= WAITING {
                worker.queue.cancel(token);
                accepts.state = State::Ending;
            }
        }
        if accepts.waiting.is_empty() && accepts.state != State::Resting {
            return;
        }
        // The cancel may have taken effect when everything was taken: then somebody arms again.
        drop(accepts);
        wake_all(&self.accepts, |accepts| &mut accepts.wakers);
    }

    /// Closes the socket, and the connections that nobody took.
    pub(super) fn close(&self, worker: &Rc<Worker>) {
        if let Some(socket) = self.give_up(worker) {
            engine::close_in_background(worker, socket);
        }
    }

    /// Takes it out of the table, to be closed, and closes the connections that nobody took; `None`
    /// if that was done before.
    fn give_up(&self, worker: &Worker) -> Option<Handle> {
        worker.sources.listeners.borrow_mut().remove(self.key())?;
        let mut accepts = self.accepts.borrow_mut();
        let waiting = std::mem::take(&mut accepts.waiting);
        let wakers = std::mem::take(&mut accepts.wakers);
        drop(accepts);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
        Some(self.socket.clone())
    }
}

/// What users' listener types hold.
pub(super) struct ListenerRef {
    home: Arc<Home>,
    key: Key,
    abroad: Arc<Place<Accepted>>,
}

impl ListenerRef {
    pub(super) fn new(worker: &Worker, socket: Handle) -> ListenerRef {
        ListenerRef {
            home: worker.home.clone(),
            key: Listener::insert(worker, socket),
            abroad: Arc::default(),
        }
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        if let Some(worker) = worker::here(self.home.id) {
            if let Some(accepted) = self.abroad.poll_here(cx) {
                return Poll::Ready(accepted);
            }
            let listener = worker.sources.listener(self.key).ok_or_else(gone)?;
            let accepted = listener.poll_accept(&worker, cx);
            return accepted.map(|accepted| Ok(Accepted::new(&worker, accepted?)));
        }
        let (polled, asks) = place::ready(self.abroad.poll_abroad(cx));
        if asks && self.ask().is_err() {
            return Poll::Ready(Err(gone()));
        }
        polled
    }

    /// Has the home worker accept one for another thread.
    fn ask(&self) -> Result<(), Message> {
        let (key, place) = (self.key, self.abroad.clone());
        self.home.send(Message::Call(Box::new(move |worker| {
            let inner = worker.clone();
            drop(task::spawn_in(worker, None, async move {
                let accepted = poll_fn(|cx| {
                    let listener = inner.sources.listener(key).ok_or_else(gone)?;
                    let accepted = listener.poll_accept(&inner, cx);
                    accepted.map(|accepted| Ok(Accepted::new(&inner, accepted?)))
                });
                place.put(accepted.await);
            }));
        })))
    }

    /// Closes it, and waits until that is done.
    pub(super) async fn close(self) -> io::Result<()> {
        let key = self.key;
        engine::close_at(&self.home, move |worker| {
            let listener = worker.sources.listener(key)?;
            listener.give_up(worker)
        })
        .await
    }
}

impl Drop for ListenerRef {
    fn drop(&mut self) {
        let key = self.key;
        self.home.run(move |worker| {
            if let Some(listener) = worker.sources.listener(key) {
                listener.close(worker);
            }
        });
    }
}

impl fmt::Debug for ListenerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on {:?}", self.home)
    }
}
