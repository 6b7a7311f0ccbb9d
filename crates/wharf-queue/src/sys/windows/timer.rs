//! A timer of the system's pool that posts to a port: for loops that wait for the port from outside.

#![expect(unsafe_code)]
// UNSAFETY: a callback is registered with a context that must outlive it.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::Threading::{
    CloseThreadpoolTimer, CreateThreadpoolTimer, PTP_CALLBACK_INSTANCE, PTP_TIMER,
    SetThreadpoolTimer, WaitForThreadpoolTimerCallbacks,
};

use super::port::{Key, Port};
use super::{RawError, last_error};

/// Posts a packet with [`Key::Wake`] when it is due.
#[derive(Debug)]
pub(crate) struct PostTimer {
    timer: PTP_TIMER,
    port: *const Port,
}

unsafe extern "system" fn due(_: PTP_CALLBACK_INSTANCE, port: *mut c_void, _: PTP_TIMER) {
    // SAFETY: the timer holds a count of the port until no callback runs any more.
    unsafe { &*port.cast::<Port>() }.post(Key::Wake, 0);
}

impl PostTimer {
    pub(crate) fn new(port: &Arc<Port>) -> Result<PostTimer, RawError> {
        let port = Arc::into_raw(port.clone());
        // SAFETY: the context, the port, lives until the timer has been closed.
        let timer =
            unsafe { CreateThreadpoolTimer(Some(due), port.cast_mut().cast(), ptr::null()) };
        if timer == 0 {
            let error = last_error();
            // SAFETY: the count was taken above, and nobody was told of it.
            drop(unsafe { Arc::from_raw(port) });
            return Err(error);
        }
        Ok(PostTimer { timer, port })
    }

    /// Sets it, in place of what it was set to; `None` takes that back.
    pub(crate) fn set(&self, after: Option<Duration>) {
        // Relative times are negative, in units of 100 ns; rounded up.
        let due = after.map(|after| {
            let ticks = i64::try_from(after.as_nanos().div_ceil(100)).unwrap_or(i64::MAX);
            let ticks = -ticks;
            FILETIME {
                dwLowDateTime: ticks as u32,
                dwHighDateTime: (ticks >> 32) as u32,
            }
        });
        let due = due.as_ref().map_or(ptr::null(), |due| &raw const *due);
        // SAFETY: the time is null or valid for reading.
        unsafe { SetThreadpoolTimer(self.timer, due, 0, 0) };
    }
}

impl Drop for PostTimer {
    fn drop(&mut self) {
        self.set(None);
        // SAFETY: the timer is this value's alone; no callback begins any more.
        unsafe { WaitForThreadpoolTimerCallbacks(self.timer, 1) };
        // SAFETY: no callback runs any more.
        unsafe { CloseThreadpoolTimer(self.timer) };
        // SAFETY: the count was taken in `new`.
        drop(unsafe { Arc::from_raw(self.port) });
    }
}
