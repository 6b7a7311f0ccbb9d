//! A child process as a handle, and the wait for it by a thread of the system's pool.

#![expect(unsafe_code)]
// UNSAFETY: a callback is registered with a context that must outlive it.

use std::os::windows::io::{AsHandle as _, AsRawHandle as _, OwnedHandle};
use std::process::Child;
use std::ptr;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE,
};

use super::port::{Key, Port};
use super::{RawError, RawHandle, last_error};

/// A handle that is signalled when a process has exited; not inherited.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedHandle);

impl PidFd {
    pub(crate) fn open(child: &Child) -> Result<PidFd, RawError> {
        child
            .as_handle()
            .try_clone_to_owned()
            .map(PidFd)
            .map_err(|error| error.raw_os_error().unwrap_or(super::error::INVALID))
    }

    pub(crate) fn raw(&self) -> RawHandle {
        RawHandle::of_handle(self.0.as_raw_handle())
    }
}

/// What the callback needs: where to post, and what.
struct Context {
    port: Arc<Port>,
    value: usize,
}

/// A wait for a handle that posts a packet with [`Key::Wait`] to a port, once.
pub(crate) struct Wait {
    registration: HANDLE,
    context: *mut Context,
}

unsafe extern "system" fn signalled(context: *mut std::ffi::c_void, _: bool) {
    // SAFETY: the context lives until the wait has been unregistered, which waits for this callback
    // to be over (UnregisterWaitEx with INVALID_HANDLE_VALUE).
    let context = unsafe { &*context.cast::<Context>() };
    context.port.post(Key::Wait, context.value);
}

impl Wait {
    /// Posts `value` to `port` when `handle` is signalled. The handle stays open until the wait is
    /// dropped.
    pub(crate) fn register(
        handle: RawHandle,
        port: &Arc<Port>,
        value: usize,
    ) -> Result<Wait, RawError> {
        let port = port.clone();
        let context = Box::into_raw(Box::new(Context { port, value }));
        let mut registration = ptr::null_mut();
        let flags = WT_EXECUTEINWAITTHREAD | WT_EXECUTEONLYONCE;
        // SAFETY: the context stays valid until `drop` has unregistered the wait.
        let registered = unsafe {
            RegisterWaitForSingleObject(
                &raw mut registration,
                handle.handle(),
                Some(signalled),
                context.cast(),
                INFINITE,
                flags,
            )
        };
        if registered == 0 {
            let error = last_error();
            // SAFETY: made above, and nobody was told of it.
            drop(unsafe { Box::from_raw(context) });
            return Err(error);
        }
        Ok(Wait {
            registration,
            context,
        })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // This waits for a callback that is running, which does nothing but post. A wait that could
        // not be unregistered may still call back: then the context stays, which costs a few bytes.
        // SAFETY: the registration is this value's alone.
        let gone = unsafe { UnregisterWaitEx(self.registration, INVALID_HANDLE_VALUE) };
        if gone != 0 {
            // SAFETY: made in `register`; no callback runs any more.
            drop(unsafe { Box::from_raw(self.context) });
        }
    }
}
