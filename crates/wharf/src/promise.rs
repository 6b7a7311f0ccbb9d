//! Promises: work that goes on in the background whatever becomes of the handle that began it.
//!
//! Owns such work from the time when nobody waits for it: bytes that a write has taken, a buffer
//! that an owned write lent, a child that was killed. While the runtime runs it is a task like any
//! other. Tasks are dropped with their runtime; a promise is not, it is kept first, as far as that
//! is done within the time for lingering.
//!
//! ```text
//!            1 keep                 2 polled to its end
//!   (future) -------> TASK -------------------------------> done
//!                       | 3 the tasks are dropped             ^
//!                       +-----------> LEFT -------------------+  4 keep_promises
//!                                       +---> dropped: the time is up
//! ```

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::runtime::home::{Home, Message, gone};
use crate::runtime::worker::Worker;
use crate::task::{self, Remote, coop};

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The promises of a worker whose tasks have been dropped.
#[derive(Default)]
pub(crate) struct Promises {
    left: RefCell<Vec<Work>>,
    /// They are being kept: operations may be submitted although the worker is ending.
    is_keeping: Cell<bool>,
}

/// Runs `work` on its worker, to its end if the time for lingering allows.
pub(crate) fn keep(worker: &Rc<Worker>, work: impl Future<Output = ()> + 'static) {
    let promise = Promise {
        worker: worker.clone(),
        work: Some(Box::pin(work)),
    };
    // On a worker that is ending there are no tasks: dropping the promise then leaves it there.
    drop(task::spawn_in(worker, None, promise));
}

/// As [`keep`], from any thread, for work that has an output. Dropping the future that this gives
/// leaves the work to go on.
///
/// # Errors
/// `NotConnected` if the worker has ended; the panic of the work as an error.
pub(crate) async fn carry<F, T>(
    home: Arc<Home>,
    make: impl FnOnce() -> F + Send + 'static,
) -> io::Result<T>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let remote = Remote::new();
    let guard = remote.clone().deliver();
    home.send(Message::Call(Box::new(move |worker| {
        keep(worker, async move { guard.deliver(Ok(make().await)) });
    })))
    .map_err(|_| gone())?;
    remote.output().await.map_err(io::Error::from)
}

/// The task that keeps a promise.
struct Promise {
    worker: Rc<Worker>,
    /// `None` when it is done, or has panicked.
    work: Option<Work>,
}

impl Future for Promise {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut work) = self.work.take() else {
            return Poll::Ready(());
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.worker.promises.left.borrow_mut().push(work);
        }
    }
}

/// Whether one of those that are left can go on without the queue.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Worker {
    pub(crate) fn is_keeping_promises(&self) -> bool {
        self.promises.is_keeping.get()
    }

    /// Goes on with what is left, until it is done or the time is up.
    pub(crate) fn keep_promises(self: &Rc<Worker>) {
        let until = self.now() + self.options.linger;
        self.promises.is_keeping.set(true);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            let mut left = std::mem::take(&mut *self.promises.left.borrow_mut());
            woken.0.store(false, Ordering::Release);
            left.retain_mut(|work| {
                coop::refill();
                work.as_mut().poll(&mut cx).is_pending()
            });
            // Some may have been added meanwhile.
            let mut promises = self.promises.left.borrow_mut();
            promises.append(&mut left);
            if promises.is_empty() || self.now() >= until {
                break;
            }
            drop(promises);
            // One may go on at once: it has had its share, or another has made way for it.
            let rest = match woken.0.load(Ordering::Acquire) {
                true => Duration::ZERO,
                false => until.saturating_duration_since(self.now()),
            };
            self.wait(Some(rest));
        }
        self.promises.is_keeping.set(false);
        let given_up = std::mem::take(&mut *self.promises.left.borrow_mut());
        drop(given_up);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::runtime::worker;

    #[test]
    fn promise_that_has_more_than_its_share_to_do_is_kept() {
        let builder = crate::Runtime::builder().linger(Duration::from_secs(2));
        let runtime = builder.build().unwrap();
        let kept = Rc::new(Cell::new(0));
        let count = kept.clone();
        runtime.block_on(async move {
            keep(&worker::expect_current(), async move {
                for _ in 0..10_000 {
                    poll_fn(coop::proceed).await;
                    count.set(count.get() + 1);
                }
            });
        });
        drop(runtime);
        assert_eq!(kept.get(), 10_000);
    }
}
