//! The epoll selector, and with it the epoll backend.
//!
//! Owns the epoll set, the event counter that wakes it and the timer that `arm` sets. Everything
//! else is the emulation's.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::readiness::{Emulation, Event, Selector};
use super::{BackendKind, BackendReport, Config, Sleep};
use crate::notify::Wake;
use crate::sys::selector::{EpollSet, TimerFd};
use crate::sys::{self, RawError, RawHandle};
use crate::time::Moment;

/// The epoll backend.
pub(crate) type Epoll = Emulation<EpollSelector>;

const WAKE_KEY: u64 = u64::MAX;
const TIMER_KEY: u64 = u64::MAX - 1;

pub(crate) struct EpollSelector {
    set: EpollSet,
    wake: Option<Arc<OwnedFd>>,
    timer: Option<TimerFd>,
}

impl Epoll {
    pub(super) fn open(config: Config) -> io::Result<Epoll> {
        Ok(Emulation::new(EpollSelector::new()?, config))
    }
}

fn explain(what: &str, error: RawError) -> io::Error {
    let out_of_descriptors = sys::call::is_limit_of_descriptors(error);
    let error = sys::error_from_raw(error);
    let message = if out_of_descriptors {
        format!(
            "epoll is not to be had: no descriptor is left; raise the limit of open files \
             (ulimit -n): {error}"
        )
    } else {
        format!("epoll is not to be had: {what} failed: {error}")
    };
    io::Error::new(error.kind(), message)
}

impl EpollSelector {
    fn new() -> io::Result<EpollSelector> {
        let set = EpollSet::new().map_err(|error| explain("epoll_create1", error))?;
        Ok(EpollSelector {
            set,
            wake: None,
            timer: None,
        })
    }
}

/// Tries whether a set can be made and woken.
pub(super) fn probe() -> BackendReport {
    let made = EpollSelector::new().and_then(|mut selector| selector.waker().map(drop));
    let (available, reason) = match made {
        Ok(()) => (true, "epoll and eventfd work".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    let features = BTreeMap::from([("eventfd", available), ("timerfd", TimerFd::new().is_ok())]);
    BackendReport {
        kind: BackendKind::Epoll,
        available,
        reason,
        features,
    }
}

/// The counter lives as long as any notifier, so that a late wake writes to no stranger.
struct EventFd(Arc<OwnedFd>);

impl Wake for EventFd {
    fn wake(&self) {
        sys::native::signal_event(self.0.as_raw_fd());
    }
}

impl Selector for EpollSelector {
    const TELLS_URGENT_BYTES: bool = true;

    fn add(&mut self, raw: RawHandle, key: u64) -> Result<(), RawError> {
        self.set.add(raw, key)
    }

    fn remove(&mut self, raw: RawHandle) {
        self.set.remove(raw);
    }

    fn add_child(&mut self, raw: RawHandle, key: u64) -> Result<(), RawError> {
        self.set.add_readable(raw, key)
    }

    fn remove_child(&mut self, raw: RawHandle, _key: u64) {
        self.set.remove(raw);
    }

    fn wait(&mut self, sleep: Sleep, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = match sleep {
            Sleep::Not => Some(std::time::Duration::ZERO),
            Sleep::For(duration) => Some(duration),
            Sleep::Forever => None,
        };
        self.set
            .wait(timeout, events)
            .map_err(sys::error_from_raw)?;
        // Edge-triggered, so that neither needs to be read: each write or expiry is a new edge.
        events.retain(|event| event.key != WAKE_KEY && event.key != TIMER_KEY);
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Box<dyn Wake>> {
        let event = sys::native::event_fd().map_err(|error| explain("eventfd", error))?;
        let event = Arc::new(event);
        self.set
            .add_readable(event.as_raw_fd(), WAKE_KEY)
            .map_err(|error| explain("epoll_ctl", error))?;
        self.wake = Some(event.clone());
        Ok(Box::new(EventFd(event)))
    }

    fn arm(&mut self, deadline: Option<Moment>) -> io::Result<RawHandle> {
        if self.timer.is_none() && deadline.is_some() {
            let timer = TimerFd::new().map_err(sys::error_from_raw)?;
            self.set
                .add_readable(timer.raw(), TIMER_KEY)
                .map_err(sys::error_from_raw)?;
            self.timer = Some(timer);
        }
        if let Some(timer) = &self.timer {
            timer
                .set(deadline.map(Moment::as_nanos))
                .map_err(sys::error_from_raw)?;
        }
        Ok(self.set.raw())
    }
}
