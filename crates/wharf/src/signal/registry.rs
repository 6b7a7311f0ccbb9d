//! Who listens for which signal.
//!
//! Owns the list of listeners and the mark that a signal has come. It is told of signals on an
//! ordinary thread, never within a signal handler, so it may take locks and wake.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use super::os;

#[derive(Default)]
struct State {
    has_come: bool,
    waker: Option<Waker>,
}

/// One who listens for one signal.
#[derive(Default)]
pub(super) struct Listener {
    state: Mutex<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listener {
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if std::mem::take(&mut state.has_come) {
            return Poll::Ready(());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn tell(&self) {
        let waker = {
            let mut state = lock(&self.state);
            state.has_come = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

type Listeners = HashMap<i32, Vec<Weak<Listener>>>;

static LISTENERS: Mutex<Option<Listeners>> = Mutex::new(None);

/// Adds a listener.
///
/// # Errors
/// Of the system, or that the signal cannot be caught.
pub(super) fn listen(signal: i32) -> io::Result<Arc<Listener>> {
    let listener = Arc::new(Listener::default());
    {
        let mut listeners = lock(&LISTENERS);
        let listeners = listeners.get_or_insert_default().entry(signal).or_default();
        listeners.retain(|other| other.strong_count() > 0);
        listeners.push(Arc::downgrade(&listener));
    }
    // It is on the list before the first signal can come.
    os::catch(signal, tell)?;
    Ok(listener)
}

/// A signal has come.
fn tell(signal: i32) {
    let told: Vec<Arc<Listener>> = {
        let mut listeners = lock(&LISTENERS);
        let Some(listeners) = listeners.as_mut().and_then(|all| all.get_mut(&signal)) else {
            return;
        };
        listeners.iter().filter_map(Weak::upgrade).collect()
    };
    // A waker is anybody's code: nothing is locked while it runs.
    told.iter().for_each(|listener| listener.tell());
}
