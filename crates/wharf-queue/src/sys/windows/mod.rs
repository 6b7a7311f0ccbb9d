//! Windows: handles, errors, and the parts below.

#![expect(unsafe_code)]
// UNSAFETY: calls for the clock and for random bytes, with pointers to locals.

mod address;
pub(crate) mod afd;
pub(crate) mod call;
pub(crate) mod control;
pub(crate) mod datagram;
mod entry;
mod error;
mod file;
mod handle;
pub(crate) mod port;
pub(crate) mod process;
mod scratch;
pub(crate) mod socket;
pub(crate) mod timer;

use std::io;

use windows_sys::Win32::Security::Authentication::Identity::RtlGenRandom;
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

use super::address::{Address, UnixAddress};
use super::control_call::{Control, Reply};
pub(crate) use address::{RawAddress, SOCK_DGRAM, SOCK_STREAM, domain_of, path_of_name};
pub use entry::RawEntry;
pub use error::is_out_of_resources;
pub(crate) use error::{
    ABORTED, BROKEN_PIPE, CONNECTION_RESET, END_OF_FILE, FILE_TOO_LARGE, NOT_A_SOCKET,
    OUT_OF_THREADS, RawError, UNSUPPORTED, error_from_raw, from_status, last_error,
};
pub(crate) use file::{OpenHow, OpenOptions, Path, RawPath, StatBuf};
pub use handle::{AsHandle, BorrowedHandle, OwnedHandle, RawHandle};
pub(crate) use process::PidFd;
pub(crate) use scratch::Scratch;

pub(crate) const POLL_READ: u16 = 1;
pub(crate) const POLL_WRITE: u16 = 2;
pub(crate) const POLL_ERROR: u16 = 4;
pub(crate) const POLL_HANG_UP: u16 = 8;
pub(crate) const POLL_INVALID: u16 = 16;

/// The longest read, write, send or receive of one call. Lengths are numbers of 32 bits here, of
/// which some calls take 31 (TransmitFile); this is the most that Linux moves.
pub(crate) const MAX_TRANSFER: usize = 0x7fff_f000;

pub(crate) fn raw_of(owned: &OwnedHandle) -> RawHandle {
    owned.raw()
}

pub(crate) fn into_raw(owned: OwnedHandle) -> RawHandle {
    owned.into_raw()
}

/// A second handle for what the first one is for; not inherited.
pub(crate) fn duplicate(resource: &impl AsHandle) -> io::Result<OwnedHandle> {
    resource.as_system_handle().try_clone_to_owned()
}

/// Makes a handle owned again that [`into_raw`] gave up, or that the system has just made.
pub(crate) fn from_raw(raw: RawHandle) -> OwnedHandle {
    OwnedHandle::from_raw(raw)
}

/// The handle that a completion's result is.
pub(crate) fn raw_from_result(result: usize) -> RawHandle {
    RawHandle::from_result(result)
}

/// Lends a handle that `_owner` keeps open.
pub(crate) fn borrow_raw<T>(_owner: &T, raw: RawHandle) -> BorrowedHandle<'_> {
    BorrowedHandle::new(raw)
}

/// Closes a handle. Its errors mean nothing to us: it is gone in any case.
pub(crate) fn close(raw: RawHandle) {
    drop(from_raw(raw));
}

/// The monotonic clock in nanoseconds (`QueryPerformanceCounter`).
pub(crate) fn monotonic_nanos() -> u64 {
    static FREQUENCY: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let frequency = *FREQUENCY.get_or_init(|| {
        let mut frequency = 0i64;
        // SAFETY: the number is valid for writing; the call cannot fail.
        unsafe { QueryPerformanceFrequency(&raw mut frequency) };
        frequency.max(1) as u64
    });
    let mut count = 0i64;
    // SAFETY: the number is valid for writing; the call cannot fail.
    unsafe { QueryPerformanceCounter(&raw mut count) };
    (u128::from(count as u64) * 1_000_000_000 / u128::from(frequency)) as u64
}

/// A random number of the system's (`RtlGenRandom`).
pub(crate) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for its length.
    let got = unsafe { RtlGenRandom(bytes.as_mut_ptr().cast(), bytes.len() as u32) };
    debug_assert!(got);
    u64::from_ne_bytes(bytes)
}
