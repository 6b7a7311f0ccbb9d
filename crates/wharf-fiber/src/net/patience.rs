//! How long a call waits before it gives up, as the standard library has it for sockets.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::wait::{is_fiber, wait_or_try};

/// A time-out in nanoseconds; 0 is none.
#[derive(Default)]
pub(super) struct Patience(AtomicU64);

impl Patience {
    pub(super) fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// As the standard library: a time-out of zero is an error.
    pub(super) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        let nanos = match timeout {
            None => 0,
            Some(Duration::ZERO) => return Err(io::ErrorKind::InvalidInput.into()),
            Some(some) => u64::try_from(some.as_nanos()).unwrap_or(u64::MAX),
        };
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    #[track_caller]
    pub(super) fn wait<T>(&self, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        match self.get() {
            // Outside a fiber it does not wait at all, and there may be no clock.
            Some(patience) if is_fiber() => wait_or_try(async {
                match wharf::time::timeout(patience, future).await {
                    Ok(result) => result,
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                }
            }),
            _ => wait_or_try(future),
        }
    }
}
