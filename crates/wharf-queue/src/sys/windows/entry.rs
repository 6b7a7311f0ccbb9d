//! An operation that wharf does not know, as an overlapped call.

#![expect(unsafe_code)]
// UNSAFETY: a function is called with the context that it was stored with.

use windows_sys::Win32::System::IO::OVERLAPPED;

use super::socket::Begun;
use super::{RawError, RawHandle};

/// Makes the call: the context, and the call's `OVERLAPPED`.
pub(crate) type RawCall = unsafe fn(*mut u8, *mut OVERLAPPED) -> Result<Begun, RawError>;

/// An overlapped call, made by [`os::windows::RawOp`](crate::os::windows::RawOp).
#[derive(Clone, Copy, Debug)]
pub struct RawEntry {
    pub(crate) raw: RawHandle,
    pub(crate) call: RawCall,
    pub(crate) context: *mut u8,
}

impl RawEntry {
    /// The handle that the call is on.
    pub(crate) fn handle(this: *const RawEntry) -> RawHandle {
        // SAFETY: the operation keeps its entry in its slot.
        unsafe { (*this).raw }
    }

    /// Makes the call, once.
    pub(crate) fn call(
        this: *const RawEntry,
        overlapped: *mut OVERLAPPED,
    ) -> Result<Begun, RawError> {
        // SAFETY: the operation keeps its entry in its slot.
        let RawEntry { call, context, .. } = unsafe { *this };
        // SAFETY: the entry says that the call may be made with its context, once.
        unsafe { call(context, overlapped) }
    }
}
