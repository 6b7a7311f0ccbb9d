//! Lending: the caller's own slice as the buffer of an operation, without a copy.
//!
//! Owns the time for which a slice is lent. The queue has custody of a buffer from submission to the
//! final completion and drops it then (contract C2); a buffer that is a slice of a fiber's caller
//! tells the fiber so when it is dropped, and the fiber does not go on before that, whatever becomes
//! of the future that was handed the buffer.
//!
//! ```text
//!   lend_mut ---> future, with LentMut ---> queue, kernel ---> completion ---> LentMut dropped
//!      |  ready, failed, cancelled or panicked                                   | released
//!      +----> the future is dropped ----> suspended until released <-------------+
//! ```

#![expect(unsafe_code)]
// UNSAFETY: a slice with a lifetime is handed out as a buffer without one; that it comes back before
// its lifetime ends is known to this file, and not to the compiler.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use wharf::io::{IoBuf, IoBufMut};

use crate::switch::Control;

/// Whether a lent slice has come back, and who waits for that.
#[derive(Default)]
struct Lease {
    state: Mutex<LeaseState>,
}

#[derive(Default)]
struct LeaseState {
    is_released: bool,
    waker: Option<Waker>,
}

impl Lease {
    fn change<R>(&self, f: impl FnOnce(&mut LeaseState) -> R) -> R {
        // Nothing under the lock can panic halfway.
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn release(&self) {
        let waker = self.change(|state| {
            state.is_released = true;
            state.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Suspends the fiber until the slice has come back. A cancel does not shorten this.
    fn wait_released(&self, control: &Control) {
        loop {
            let is_released = self.change(|state| {
                if !state.is_released {
                    state.waker = Some(control.waker().clone());
                }
                state.is_released
            });
            if is_released {
                return;
            }
            control.suspend_in_any_case();
        }
    }
}

/// A lent slice that is read from.
pub(crate) struct Lent {
    pointer: *const u8,
    len: usize,
    lease: Arc<Lease>,
}

/// A lent slice that is filled.
pub(crate) struct LentMut {
    pointer: *mut u8,
    len: usize,
    lease: Arc<Lease>,
}

// SAFETY: it stands for a `&[u8]`, which is `Send`; its drop may be on any thread.
unsafe impl Send for Lent {}
// SAFETY: it stands for a `&mut [u8]`, which is `Send`; its drop may be on any thread.
unsafe impl Send for LentMut {}

impl IoBuf for Lent {
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the slice was lent in `lend`, which has not returned: this value still exists.
        unsafe { slice::from_raw_parts(self.pointer, self.len) }
    }
}

impl IoBuf for LentMut {
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the slice was lent in `lend_mut`, which has not returned: this value still exists.
        unsafe { slice::from_raw_parts(self.pointer, self.len) }
    }
}

// SAFETY: the region and the bytes are the same memory, of a fixed size.
unsafe impl IoBufMut for LentMut {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: as in `as_bytes`; the slice was lent exclusively, and those who fill it write
        // initialised bytes only.
        unsafe { slice::from_raw_parts_mut(self.pointer.cast(), self.len) }
    }

    unsafe fn set_filled(&mut self, _filled: usize) {}
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.lease.release();
    }
}

impl Drop for LentMut {
    fn drop(&mut self) {
        self.lease.release();
    }
}

/// Runs `f`, and then waits until the slice has come back, even if `f` panics.
fn until_released<R>(control: &Control, lease: &Lease, f: impl FnOnce() -> R) -> R {
    let result = catch_unwind(AssertUnwindSafe(f));
    lease.wait_released(control);
    match result {
        Ok(result) => result,
        Err(payload) => resume_unwind(payload),
    }
}

/// Calls `f` with `buf` as a buffer of its own, and returns when that has come back: `f` may give it to
/// an operation, and drop the operation's future.
///
/// The fiber must not be unwinding: it may have to be suspended.
pub(crate) fn lend_mut<R>(control: &Control, buf: &mut [u8], f: impl FnOnce(LentMut) -> R) -> R {
    let lease = Arc::<Lease>::default();
    let lent = LentMut {
        pointer: buf.as_mut_ptr(),
        len: buf.len(),
        lease: lease.clone(),
    };
    until_released(control, &lease, || f(lent))
}

/// As [`lend_mut`], for a buffer that is read from.
pub(crate) fn lend<R>(control: &Control, buf: &[u8], f: impl FnOnce(Lent) -> R) -> R {
    let lease = Arc::<Lease>::default();
    let lent = Lent {
        pointer: buf.as_ptr(),
        len: buf.len(),
        lease: lease.clone(),
    };
    until_released(control, &lease, || f(lent))
}
