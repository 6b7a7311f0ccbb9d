//! An attached file or pipe, and the bytes on their way out to it.
//!
//! Owns the outgoing side of everything here that is not a socket: a write copies into a bounded
//! buffer and is over; a *pump*, a promise of the home worker, writes that out in order, whatever
//! becomes of the handle. So a write that is pending has begun nothing, and one that returned will
//! be carried out (contract C4). What comes in is [`Incoming`](super::incoming::Incoming)'s matter.
//!
//! ```text
//!            1 poll_write             2 pump takes all           3 nothing more
//!   IDLE --------------> PUMPING ------------------> PUMPING -----------------> IDLE
//!                          (gathering)    (one buffer in flight, one gathering)
//!                            | 4 an error: what was gathered is given up, and the error is told
//!                            +--> IDLE   to the next write or flush
//! ```
//!
//! It may be used from any thread: the lock is held for a copy at most.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wharf_queue::{Handle, HandleKind};

use super::chunk::{Place, Single};
use super::spare;
use super::write_all::WriteAll;
use crate::engine::Local;
use crate::promise;
use crate::runtime::home::gone;

/// How many bytes may be gathered while others are in flight.
pub(crate) const ROOM: usize = 256 * 1024;

pub(crate) struct Conduit {
    handle: Local<Handle>,
    kind: HandleKind,
    outgoing: Mutex<Outgoing>,
}

#[derive(Default)]
struct Outgoing {
    gathered: Vec<u8>,
    /// Where the first of them goes; `None` for where the system puts it.
    offset: Option<u64>,
    is_pumping: bool,
    /// Owned writes that nobody waits for and that are being finished.
    in_background: usize,
    failure: Option<io::Error>,
    waiting: Vec<Waker>,
}

impl Outgoing {
    fn is_settled(&self) -> bool {
        !self.is_pumping && self.in_background == 0
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|other| other.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    /// How many more bytes can be taken for this place.
    fn room(&self, place: Place) -> usize {
        if self.gathered.is_empty() {
            return ROOM;
        }
        let next = self.offset.map(|at| at + self.gathered.len() as u64);
        let follows = match place {
            Place::At(offset) => next == Some(offset),
            Place::Next => next.is_none(),
        };
        if follows {
            ROOM.saturating_sub(self.gathered.len())
        } else {
            0
        }
    }
}

impl Conduit {
    /// Gives an attached handle to the current worker.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub(crate) fn new(handle: Handle) -> Arc<Conduit> {
        let kind = handle.kind();
        Arc::new(Conduit {
            handle: Local::new(handle),
            kind,
            outgoing: Mutex::default(),
        })
    }

    pub(crate) fn handle(&self) -> &Local<Handle> {
        &self.handle
    }

    /// Whether it has offsets: it is a file, not a pipe, a terminal or the like.
    pub(crate) fn is_file(&self) -> bool {
        self.kind == HandleKind::File
    }

    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        // Nothing under the lock can panic halfway.
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, f: impl FnOnce(&mut Outgoing) -> R) -> R {
        let mut outgoing = self.lock();
        let result = f(&mut outgoing);
        let waiting = std::mem::take(&mut outgoing.waiting);
        drop(outgoing);
        waiting.into_iter().for_each(Waker::wake);
        result
    }

    /// Announces a write that nobody waits for any more.
    pub(crate) fn begin_background(self: &Arc<Self>) -> Background {
        self.lock().in_background += 1;
        Background {
            conduit: self.clone(),
            failure: None,
        }
    }

    /// Takes as many bytes as there is room for. They will be written in order.
    ///
    /// # Errors
    /// That of an earlier write.
    pub(crate) fn poll_write(
        self: &Arc<Self>,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
        place: Place,
    ) -> Poll<io::Result<usize>> {
        let mut outgoing = self.lock();
        if let Some(error) = outgoing.failure.take() {
            return Poll::Ready(Err(error));
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let room = outgoing.room(place);
        // An owned write that nobody waits for any more comes before it.
        if room == 0 || outgoing.in_background > 0 {
            outgoing.wait(cx);
            return Poll::Pending;
        }
        if outgoing.gathered.is_empty() {
            outgoing.offset = match place {
                Place::At(offset) => Some(offset),
                Place::Next => None,
            };
            if outgoing.gathered.capacity() == 0 {
                outgoing.gathered = spare::take(0);
            }
        }
        let mut taken = 0;
        for buf in bufs {
            let count = buf.len().min(room - taken);
            outgoing.gathered.extend_from_slice(&buf[..count]);
            taken += count;
        }
        let was_pumping = std::mem::replace(&mut outgoing.is_pumping, true);
        drop(outgoing);
        if !was_pumping {
            self.start_pump();
        }
        Poll::Ready(Ok(taken))
    }

    /// Waits until everything that was taken has been written.
    ///
    /// # Errors
    /// That of a write.
    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.lock();
        if let Some(error) = outgoing.failure.take() {
            return Poll::Ready(Err(error));
        }
        if outgoing.is_settled() {
            return Poll::Ready(Ok(()));
        }
        outgoing.wait(cx);
        Poll::Pending
    }

    /// As [`Conduit::poll_flush`], and leaves the error to be told to a write or flush.
    pub(crate) fn poll_settled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut outgoing = self.lock();
        if outgoing.is_settled() {
            return Poll::Ready(());
        }
        outgoing.wait(cx);
        Poll::Pending
    }

    /// Waits until the pump rests: for what names its own place, and need not wait for others that
    /// do.
    pub(crate) async fn pumped(&self) {
        std::future::poll_fn(|cx| {
            let mut outgoing = self.lock();
            if !outgoing.is_pumping {
                return Poll::Ready(());
            }
            outgoing.wait(cx);
            Poll::Pending
        })
        .await;
    }

    pub(crate) async fn settled(&self) {
        std::future::poll_fn(|cx| self.poll_settled(cx)).await;
    }

    pub(crate) async fn flush(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn start_pump(self: &Arc<Self>) {
        let pumping = Pumping {
            conduit: self.clone(),
            has_ended: false,
        };
        // If the worker has ended, the guard says so.
        self.handle
            .home()
            .run(move |worker| promise::keep(worker, pump(pumping)));
    }

    /// What was gathered and where it goes; `None`, and the pump has ended, if there is nothing.
    fn take_gathered(&self) -> Option<(Vec<u8>, Place)> {
        self.change(|outgoing| {
            if outgoing.gathered.is_empty() {
                outgoing.is_pumping = false;
                return None;
            }
            let place = outgoing.offset.map_or(Place::Next, Place::At);
            Some((std::mem::take(&mut outgoing.gathered), place))
        })
    }

    /// The pump ends without having written everything.
    fn give_up(&self, error: io::Error) {
        self.change(|outgoing| {
            outgoing.is_pumping = false;
            outgoing.gathered.clear();
            outgoing.failure.get_or_insert(error);
        });
    }
}

impl fmt::Debug for Conduit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on {:?}", self.kind, self.handle.home())
    }
}

/// A write that is being finished though nobody waits for it. Its error, if there is one, is kept
/// for the next call that can tell it.
pub(crate) struct Background {
    conduit: Arc<Conduit>,
    failure: Option<io::Error>,
}

impl Background {
    /// It has ended, with an error that is to be kept if there is one.
    pub(crate) fn failed(&mut self, failure: Option<io::Error>) {
        self.failure = failure;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let failure = self.failure.take();
        self.conduit.change(|outgoing| {
            outgoing.in_background -= 1;
            if outgoing.failure.is_none() {
                outgoing.failure = failure;
            }
        });
    }
}

/// A pump that has been announced; says so if it is dropped before its end.
struct Pumping {
    conduit: Arc<Conduit>,
    has_ended: bool,
}

impl Drop for Pumping {
    fn drop(&mut self) {
        if !self.has_ended {
            self.conduit.give_up(gone());
        }
    }
}

async fn pump(mut pumping: Pumping) {
    while let Some((buf, place)) = pumping.conduit.take_gathered() {
        let (result, buf) = WriteAll::new(pumping.conduit.clone(), Single::new(buf, place)).await;
        spare::give(buf);
        if let Err(error) = result {
            pumping.conduit.give_up(error);
            break;
        }
    }
    pumping.has_ended = true;
}
