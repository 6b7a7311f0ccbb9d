//! An operation that may be polled on any thread.
//!
//! Owns the choice between the two ways of an operation: in the queue of this thread's worker, or
//! carried out by the worker where its handle lives. Handles keep such an operation in themselves,
//! not in a future, so that a future that is dropped loses nothing of what it brings.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use wharf_queue::{Operation, Prepare};

use crate::engine::{self, Local, OpFuture};
use crate::runtime::home::gone;
use crate::runtime::worker;

type ByMessage<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// An operation in flight, here or on another thread. Dropping it cancels it.
pub(crate) struct Carried<O: Operation> {
    way: Way<O>,
}

enum Way<O: Operation> {
    Here(OpFuture<O>),
    /// The lock is never taken: it makes a handle `Sync` that holds this and lends it to one only.
    There(Mutex<ByMessage<O::Output>>),
    /// While it goes from one to the other.
    Between,
}

fn answered<T>(answer: &mut Mutex<T>) -> &mut T {
    answer.get_mut().unwrap_or_else(PoisonError::into_inner)
}

impl<O: Operation> Unpin for Carried<O> {}

impl<O: Operation> From<OpFuture<O>> for Carried<O> {
    fn from(operation: OpFuture<O>) -> Carried<O> {
        Carried {
            way: Way::Here(operation),
        }
    }
}

impl<O: Operation> Future for Carried<O>
where
    O::Output: Send,
{
    type Output = io::Result<O::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.way {
            Way::Here(operation) if worker::here(operation.home().id).is_some() => {
                Pin::new(operation).poll(cx).map(Ok)
            }
            Way::There(answer) => answered(answer).as_mut().poll(cx),
            Way::Here(_) | Way::Between => self.poll_elsewhere(cx),
        }
    }
}

impl<O: Operation> Carried<O>
where
    O::Output: Send,
{
    /// Its handle has been moved to another thread since it began.
    #[cold]
    fn poll_elsewhere(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<O::Output>> {
        let Way::Here(operation) = std::mem::replace(&mut self.way, Way::Between) else {
            return Poll::Ready(Err(gone()));
        };
        let home = operation.home().clone();
        let mut answer: ByMessage<O::Output> =
            Box::pin(async move { home.call(move || operation).await });
        let polled = answer.as_mut().poll(cx);
        self.way = Way::There(Mutex::new(answer));
        polled
    }
}

impl<O: Operation> fmt::Debug for Carried<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Carried({:?})", O::KIND)
    }
}

impl<T: 'static> Local<T> {
    /// Begins the operation that `make` makes of the value. On the value's thread it is in flight
    /// from now on, and nothing is allocated; elsewhere it is sent there when it is first polled.
    ///
    /// # Errors
    /// That the runtime has ended, or that the queue refused the operation.
    pub(crate) fn start<P, F>(&self, make: F) -> io::Result<Carried<P::Op>>
    where
        P: Prepare + 'static,
        <P::Op as Operation>::Output: Send,
        F: FnOnce(&T) -> P + Send + 'static,
    {
        if let Some(worker) = worker::here(self.home().id) {
            let value = self.get().ok_or_else(gone)?;
            return Ok(engine::submit_to(&worker, make(&value))?.into());
        }
        Ok(Carried {
            way: Way::There(Mutex::new(Box::pin(self.submit_by_message(make)))),
        })
    }
}
