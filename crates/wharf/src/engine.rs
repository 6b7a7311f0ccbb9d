//! The engine: how a future becomes an operation of the queue, and how its result comes back.
//!
//! [`submit`] is the one way for `fs`, `process`, `signal` and the like to the queue of the current
//! worker. It owns who waits for which operation. It does not own operations or their buffers (the
//! queue does), nor what streams and listeners have in flight (`net`).
//!
//! ```text
//!             1 submit            2 report                3 poll
//!   (future) --------> IN_FLIGHT ---------> KEPT, waker --------> output
//!                          | 4 drop            | 4 drop
//!                          +----> discarded <--+
//! ```
//!
//! 1 [`submit`]: the operation is in the queue; its token is all that the future holds. What the
//!   system answers at once is KEPT from here on.
//! 2 [`Worker::operation_completed`] keeps the result in the queue and wakes the task.
//! 3 [`OpFuture::poll`] takes the result by its token, unless the task has had its share.
//! 4 [`OpFuture::drop`] gives it up: it is cancelled, and what it brings is dropped by its type.
//!
//! A future that outlives its runtime still gets its result, with its buffer in it: closing the
//! worker cancels the operation, and the worker is freed when the last result has been taken.
//!
//! Steady state allocates nothing: the table below is indexed by the token's small number.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use wharf_queue::{Completion, Handle, Operation, Prepare, SubmitError, Token};

use crate::runtime::home::{Home, gone};
use crate::runtime::worker::{self, Worker};
use crate::slab::{Key, Slab};
use crate::task::coop;

/// What an operation's future waits for.
#[derive(Default)]
struct Entry {
    /// The operation that has this place now.
    token: Option<Token>,
    waker: Option<Waker>,
    completed: bool,
}

/// Who waits for which operation of a worker, by the token's index.
#[derive(Default)]
pub(crate) struct Operations {
    entries: Vec<Entry>,
    waited_for: usize,
}

impl Operations {
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waited_for > 0
    }

    fn insert(&mut self, token: Token, completed: bool) {
        let index = token.index();
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, Entry::default);
        }
        self.entries[index] = Entry {
            token: Some(token),
            waker: None,
            completed,
        };
        self.waited_for += 1;
    }

    fn get(&mut self, token: Token) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(token.index())?;
        (entry.token == Some(token)).then_some(entry)
    }

    fn remove(&mut self, token: Token) -> bool {
        let Some(entry) = self.get(token) else {
            return false;
        };
        *entry = Entry::default();
        self.waited_for -= 1;
        true
    }
}

/// An operation that the queue did not take, and why.
pub(crate) struct Refused<O> {
    /// The operation, with what was lent to it.
    #[allow(dead_code, reason = "for callers that give a lent buffer back")]
    pub(crate) op: O,
    /// Why.
    pub(crate) error: io::Error,
}

impl<O> From<SubmitError<O>> for Refused<O> {
    fn from(refused: SubmitError<O>) -> Refused<O> {
        let mut op = None;
        let error = refused.map(|inner| op = Some(inner)).into();
        let op = op.expect("every refusal carries its operation");
        Refused { op, error }
    }
}

impl<O> From<Refused<O>> for io::Error {
    fn from(refused: Refused<O>) -> io::Error {
        refused.error
    }
}

impl<O> fmt::Debug for Refused<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refused({})", self.error)
    }
}

/// Submits an operation to the queue of the current worker. It is in flight from now on, polled or
/// not.
///
/// # Errors
/// [`Refused`], with the operation inside: the handle is closed or another worker's, the backend
/// cannot do it, the configured limit is reached, or the worker is ending.
///
/// # Panics
/// Outside a runtime; for a multishot operation, which needs a source of its own.
#[track_caller]
pub(crate) fn submit<P: Prepare>(operation: P) -> Result<OpFuture<P::Op>, Refused<P::Op>> {
    submit_to(&worker::expect_current(), operation)
}

/// As [`submit`], to a worker of this thread.
pub(crate) fn submit_to<P: Prepare>(
    worker: &Rc<Worker>,
    operation: P,
) -> Result<OpFuture<P::Op>, Refused<P::Op>> {
    assert!(
        !<P::Op as Operation>::KIND.is_multishot(),
        "a multishot operation has more than one result"
    );
    if worker.is_closing() && !worker.is_keeping_promises() {
        let op = operation.prepare().into_op();
        return Err(Refused { op, error: gone() });
    }
    let token = worker.queue.submit(operation)?;
    let completed = worker.queue.keep_if_completed(token);
    if completed {
        coop::spend_on_work();
    }
    let mut operations = worker.operations.borrow_mut();
    operations.insert(token.erase(), completed);
    drop(operations);
    Ok(OpFuture {
        home: worker.home.clone(),
        token: Some(token),
    })
}

/// An operation in flight; gives [`Operation::Output`].
///
/// It may be *held* by a future that is `Send`, but once begun it belongs to its worker's thread:
/// tasks never migrate, and for a handle that is used elsewhere see [`Local`].
///
/// Dropping it cancels the operation and drops, by its type, whatever it brings.
///
/// # Panics
/// When it is polled on another thread than the one that submitted it, or again after its output.
#[must_use = "dropping an operation cancels it"]
pub(crate) struct OpFuture<O: Operation> {
    home: Arc<Home>,
    token: Option<Token<O>>,
}

impl<O: Operation> Unpin for OpFuture<O> {}

impl<O: Operation> OpFuture<O> {
    /// The worker whose thread it belongs to.
    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// What cancels it in the queue, as long as it has not given its output.
    pub(crate) fn token(&self) -> Option<Token> {
        self.token.map(Token::erase)
    }

    /// Asks for its early end; its output tells the truth. On its own thread only.
    pub(crate) fn cancel(&self) {
        if let (Some(worker), Some(token)) = (worker::here(self.home.id), self.token) {
            worker.queue.cancel(token);
        }
    }
}

impl<O: Operation> Future for OpFuture<O> {
    type Output = O::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        let token = self.token.expect("an operation gives its output once");
        let Some(worker) = worker::here(self.home.id) else {
            panic!("an operation that has begun on one thread was polled on another");
        };
        let mut operations = worker.operations.borrow_mut();
        let entry = operations
            .get(token.erase())
            .expect("the entry lives as long as the future");
        if !entry.completed {
            match &mut entry.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        // A waker may be woken here.
        drop(operations);
        ready!(coop::proceed(cx));
        worker.operations.borrow_mut().remove(token.erase());
        self.token = None;
        let output = worker.queue.take(token);
        worker.release_if_unused();
        Poll::Ready(output.expect("a completed operation was kept"))
    }
}

impl<O: Operation> Drop for OpFuture<O> {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else {
            return;
        };
        self.home.run(move |worker| {
            if worker.operations.borrow_mut().remove(token.erase()) {
                worker.queue.discard(token);
                worker.release_if_unused();
            }
        });
    }
}

impl<O: Operation> fmt::Debug for OpFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpFuture({:?})", O::KIND)
    }
}

impl Worker {
    /// An operation of a future has its result.
    pub(crate) fn operation_completed(&self, completion: Completion<'_>) {
        // Those that were given up never come here, and multishot ones are refused.
        let Ok(token) = completion.keep() else { return };
        let mut operations = self.operations.borrow_mut();
        let Some(entry) = operations.get(token) else {
            drop(operations);
            return self.queue.discard(token);
        };
        entry.completed = true;
        let waker = entry.waker.take();
        drop(operations);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Cancels the operations of futures that outlive the runtime, and waits for their results.
    pub(crate) fn cancel_operations(self: &Rc<Worker>) {
        let until = self.now() + self.options.teardown_timeout;
        loop {
            let open: Vec<Token> = {
                let operations = self.operations.borrow();
                let open = operations.entries.iter().filter(|entry| !entry.completed);
                open.filter_map(|entry| entry.token).collect()
            };
            if open.is_empty() || self.now() >= until {
                return;
            }
            for token in open {
                self.queue.cancel(token);
            }
            self.wait(Some(Duration::from_millis(100)));
        }
    }
}

/// Values that belong to a worker's thread and are reached by handles that may be anywhere.
pub(crate) type Locals = Slab<Rc<dyn std::any::Any>>;

/// A handle, `Send` and `Sync`, to a value that lives on a worker's thread, such as a queue's
/// [`Handle`]. On that thread it costs a comparison and a look into a table; elsewhere the worker
/// is asked to carry things out. Dropping it drops the value, on its thread.
pub(crate) struct Local<T: 'static> {
    home: Arc<Home>,
    key: Key,
    value: std::marker::PhantomData<fn() -> T>,
}

impl<T: 'static> Local<T> {
    /// Gives a value to the current worker.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub(crate) fn new(value: T) -> Local<T> {
        let worker = worker::expect_current();
        let key = worker.sources.locals.borrow_mut().insert(Rc::new(value));
        Local {
            home: worker.home.clone(),
            key,
            value: std::marker::PhantomData,
        }
    }

    /// The value, if this is its thread and its runtime has not ended.
    pub(crate) fn get(&self) -> Option<Rc<T>> {
        let worker = worker::here(self.home.id)?;
        let value = worker.sources.locals.borrow().get(self.key)?.clone();
        value.downcast().ok()
    }

    /// The worker that it lives on.
    #[allow(dead_code, reason = "for handles that do more than submit operations")]
    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Calls `f` with the value: at once on its own thread, else by a message to it.
    ///
    /// # Errors
    /// `NotConnected` if its runtime has ended.
    #[allow(
        dead_code,
        reason = "for handles of files, processes and foreign descriptors"
    )]
    pub(crate) async fn with<R, F>(&self, f: F) -> io::Result<R>
    where
        F: FnOnce(&T) -> R + Send + 'static,
        R: Send + 'static,
    {
        if let Some(value) = self.get() {
            return Ok(f(&value));
        }
        let (id, key) = (self.home.id, self.key);
        self.home
            .call(move || async move {
                let value = lookup::<T>(id, key).ok_or_else(gone)?;
                Ok(f(&value))
            })
            .await?
    }

    /// Submits the operation that `make` makes of the value, on the value's thread, and gives its
    /// output. Here, no message and no allocation is needed; elsewhere, both are.
    ///
    /// # Errors
    /// That the runtime has ended, or that the queue refused the operation.
    #[allow(
        dead_code,
        reason = "for handles of files, processes and foreign descriptors"
    )]
    pub(crate) async fn submit<P, F>(&self, make: F) -> io::Result<<P::Op as Operation>::Output>
    where
        P: Prepare,
        <P::Op as Operation>::Output: Send,
        F: FnOnce(&T) -> P + Send + 'static,
    {
        if worker::here(self.home.id).is_some() {
            let submitted = {
                let worker = worker::here(self.home.id).ok_or_else(gone)?;
                let value = self.get().ok_or_else(gone)?;
                submit_to(&worker, make(&value))?
            };
            return Ok(submitted.await);
        }
        self.submit_by_message(make).await
    }

    /// As [`Local::submit`], always by a message to the value's thread, and without borrowing this.
    pub(crate) fn submit_by_message<P, F>(
        &self,
        make: F,
    ) -> impl Future<Output = io::Result<<P::Op as Operation>::Output>> + Send + use<T, P, F>
    where
        P: Prepare,
        <P::Op as Operation>::Output: Send,
        F: FnOnce(&T) -> P + Send + 'static,
    {
        let (home, key) = (self.home.clone(), self.key);
        async move {
            let id = home.id;
            home.call(move || async move {
                let submitted = {
                    let worker = worker::here(id).ok_or_else(gone)?;
                    let value = lookup::<T>(id, key).ok_or_else(gone)?;
                    submit_to(&worker, make(&value))?
                };
                Ok(submitted.await)
            })
            .await?
        }
    }

    /// Takes the value away from its thread's table and does something with it there. Does nothing
    /// if the runtime has ended.
    pub(crate) fn end(&self, f: impl FnOnce(&Rc<Worker>, &T) + Send + 'static) {
        let key = self.key;
        self.home.run(move |worker| {
            let value = worker.sources.locals.borrow_mut().remove(key);
            if let Some(value) = value.and_then(|value| value.downcast::<T>().ok()) {
                f(worker, &value);
            }
        });
    }

    /// Takes the value back, on its thread; `None` elsewhere, if the runtime has ended, or while
    /// somebody is using it.
    pub(crate) fn take(&self) -> Option<T> {
        let worker = worker::here(self.home.id)?;
        let value = worker.sources.locals.borrow_mut().remove(self.key)?;
        Rc::into_inner(value.downcast().ok()?)
    }
}

#[allow(
    dead_code,
    reason = "for handles of files, processes and foreign descriptors"
)]
fn lookup<T: 'static>(id: u64, key: Key) -> Option<Rc<T>> {
    let worker = worker::here(id)?;
    let value = worker.sources.locals.borrow().get(key)?.clone();
    value.downcast().ok()
}

impl<T: 'static> Drop for Local<T> {
    fn drop(&mut self) {
        let key = self.key;
        self.home.run(move |worker| {
            let value = worker.sources.locals.borrow_mut().remove(key);
            drop(value);
        });
    }
}

impl<T: 'static> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local({:?})", self.home)
    }
}

/// Closes what `take` gives up on its worker, and waits until the descriptor has been given back.
///
/// # Errors
/// That of the close; `NotConnected` if there is nothing to close any more.
pub(crate) async fn close_at(
    home: &Arc<Home>,
    take: impl FnOnce(&Rc<Worker>) -> Option<Handle> + Send + 'static,
) -> io::Result<()> {
    let begin = move |worker: &Rc<Worker>| {
        let handle = take(worker).ok_or_else(gone)?;
        submit_to(worker, wharf_queue::op::Close::new(handle.clone())).map_err(|refused| {
            worker.queue.cancel_all(&handle);
            io::Error::from(refused)
        })
    };
    if worker::here(home.id).is_none() {
        let closed = home.call(move || async move {
            let closing = begin(&worker::expect_current())?;
            closing.await.into_result()
        });
        return closed.await?;
    }
    let closing = {
        let worker = worker::here(home.id).ok_or_else(gone)?;
        begin(&worker)?
    };
    closing.await.into_result()
}

/// Closes a handle in the background: cancels what is in flight on it, waits for that, and gives
/// the descriptor back.
pub(crate) fn close_in_background(worker: &Worker, handle: Handle) {
    let close = wharf_queue::op::Close::new(handle.clone());
    match worker.queue.submit(close) {
        Ok(token) => worker.queue.discard(token),
        // There is no place for it, or a close is under way already. The last reference closes it as
        // well, and that is with what is in flight.
        Err(_) => drop(worker.queue.cancel_all(&handle)),
    }
}
