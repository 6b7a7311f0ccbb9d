//! The completion port: packets in, packets out.
//!
//! Owns the port's handle and what its keys mean. What an operation's packet leads to is the
//! backend's. Sources: CreateIoCompletionPort, GetQueuedCompletionStatusEx,
//! PostQueuedCompletionStatus, CancelIoEx (Microsoft).

#![expect(unsafe_code)]
// UNSAFETY: calls with pointers to locals, and to the requests of operations in flight.

use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    GetLastError, INVALID_HANDLE_VALUE, NTSTATUS, WAIT_IO_COMPLETION, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::SetFileCompletionNotificationModes;
use windows_sys::Win32::System::IO::{
    CancelIoEx, CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};

use super::{RawError, RawHandle, last_error};

/// What a packet is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// An operation: the value is the address of its `OVERLAPPED`.
    Operation = 1,
    /// Another thread wakes the queue.
    Wake = 2,
    /// A registered wait is over: the value is what it was registered with.
    Wait = 3,
}

/// A packet as it was taken out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// `None` for a key that is not ours.
    pub(crate) key: Option<Key>,
    pub(crate) value: usize,
    pub(crate) status: NTSTATUS,
    pub(crate) bytes: u32,
}

/// How many packets are taken out at a time.
const BATCH: usize = 256;

/// A completion port.
#[derive(Debug)]
pub(crate) struct Port(OwnedHandle);

/// Room for a batch of packets, used again and again.
pub(crate) struct Batch {
    entries: Box<[OVERLAPPED_ENTRY; BATCH]>,
    count: usize,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        let none = OVERLAPPED_ENTRY {
            lpCompletionKey: 0,
            lpOverlapped: ptr::null_mut(),
            Internal: 0,
            dwNumberOfBytesTransferred: 0,
        };
        Batch {
            entries: Box::new([none; BATCH]),
            count: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The packet at a place.
    pub(crate) fn packet(&self, at: usize) -> Packet {
        let entry = &self.entries[at];
        let key = match entry.lpCompletionKey {
            key if key == Key::Operation as usize => Some(Key::Operation),
            key if key == Key::Wake as usize => Some(Key::Wake),
            key if key == Key::Wait as usize => Some(Key::Wait),
            _ => None,
        };
        Packet {
            key,
            value: entry.lpOverlapped as usize,
            // For a posted packet this is nothing; for an operation its status.
            status: entry.Internal as NTSTATUS,
            bytes: entry.dwNumberOfBytesTransferred,
        }
    }
}

/// Milliseconds, rounded up, so that no timer fires early, and below the number that means for ever.
fn millis(timeout: Option<Duration>) -> u32 {
    let Some(timeout) = timeout else {
        return INFINITE;
    };
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(u32::MAX).min(INFINITE - 1)
}

impl Port {
    /// Makes a port for one thread.
    pub(crate) fn new() -> Result<Port, RawError> {
        // SAFETY: a call with numbers. It fails with null, not with the invalid handle.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        if port.is_null() {
            return Err(last_error());
        }
        // SAFETY: the call has just made it, and nobody else knows of it.
        Ok(Port(unsafe { OwnedHandle::from_raw_handle(port) }))
    }

    pub(crate) fn raw(&self) -> RawHandle {
        RawHandle::of_handle(self.0.as_raw_handle())
    }

    /// Lets the end of what is begun on a handle come to this port, for ever.
    ///
    /// # Errors
    /// `ERROR_INVALID_PARAMETER` for a handle that is not for overlapped calls, and for one that
    /// belongs to a port already.
    pub(crate) fn associate(&self, raw: RawHandle) -> Result<(), RawError> {
        let port = self.0.as_raw_handle();
        // SAFETY: a call with handles and a number.
        let same =
            unsafe { CreateIoCompletionPort(raw.handle(), port, Key::Operation as usize, 0) };
        if same.is_null() {
            return Err(last_error());
        }
        Ok(())
    }

    /// From now on a call on `raw` that succeeds at once sends no packet, if `skip`; and none sets
    /// the handle's own event, which nobody waits for.
    pub(crate) fn set_modes(raw: RawHandle, skip: bool) -> Result<(), RawError> {
        let skip = if skip {
            FILE_SKIP_COMPLETION_PORT_ON_SUCCESS
        } else {
            0
        };
        let modes = (skip | FILE_SKIP_SET_EVENT_ON_HANDLE) as u8;
        // SAFETY: a call with a handle and a number.
        if unsafe { SetFileCompletionNotificationModes(raw.handle(), modes) } == 0 {
            return Err(last_error());
        }
        Ok(())
    }

    /// Puts a packet of our own in. It fails only without memory; then nothing comes.
    pub(crate) fn post(&self, key: Key, value: usize) -> bool {
        let port = self.0.as_raw_handle();
        // SAFETY: the last argument is handed through as it is, and never followed.
        unsafe {
            PostQueuedCompletionStatus(port, 0, key as usize, value as *const OVERLAPPED) != 0
        }
    }

    /// Waits for packets; `None` waits for ever. It returns as soon as there is one, with all that
    /// there are, or none if the time is up.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        batch: &mut Batch,
    ) -> Result<(), RawError> {
        batch.count = 0;
        let (port, timeout) = (self.0.as_raw_handle(), millis(timeout));
        let (entries, room) = (batch.entries.as_mut_ptr(), BATCH as u32);
        let mut count = 0u32;
        // SAFETY: the entries are valid for writing for their number. The wait is not alertable.
        let done =
            unsafe { GetQueuedCompletionStatusEx(port, entries, room, &raw mut count, timeout, 0) };
        if done != 0 {
            batch.count = (count as usize).min(BATCH);
            return Ok(());
        }
        // SAFETY: a call without arguments.
        match unsafe { GetLastError() } {
            WAIT_TIMEOUT | WAIT_IO_COMPLETION => Ok(()),
            _ => Err(last_error()),
        }
    }
}

/// Asks for the early end of one call. Its packet comes in any case, and tells how it ended. Returns
/// false if the system does not find the call: then it has ended, and its packet is on the way. (Or,
/// on Wine, it is just being moved on, and is to be cancelled again.)
pub(crate) fn cancel(raw: RawHandle, overlapped: *mut OVERLAPPED) -> bool {
    // SAFETY: the request is in flight on this handle, which is open until that has ended.
    unsafe { CancelIoEx(raw.handle(), overlapped) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_never_mean_for_ever() {
        assert_eq!(millis(None), INFINITE);
        assert_eq!(millis(Some(Duration::ZERO)), 0);
        assert_eq!(millis(Some(Duration::from_nanos(1))), 1);
        assert_eq!(millis(Some(Duration::from_micros(1001))), 2);
        assert_eq!(millis(Some(Duration::MAX)), INFINITE - 1);
    }

    #[test]
    fn posted_packets_come_out_in_one_batch_in_order() {
        let (port, mut batch) = (Port::new().expect("a port"), Batch::new());
        for value in 1..=5 {
            assert!(port.post(Key::Wait, value));
        }
        port.wait(None, &mut batch).expect("works");
        let values: Vec<_> = (0..batch.len()).map(|at| batch.packet(at).value).collect();
        assert_eq!(values, [1, 2, 3, 4, 5]);
        port.wait(Some(Duration::from_micros(1)), &mut batch)
            .expect("works");
        assert_eq!(batch.len(), 0);
    }
}
