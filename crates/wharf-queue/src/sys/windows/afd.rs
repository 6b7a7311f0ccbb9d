//! Readiness of a socket, as a request to the driver that all of Winsock's sockets are: one of the
//! calls that `select` is made of. For the operation `Poll`, for datagrams and for looking without
//! taking; what moves bytes does without it.
//!
//! The call is not documented; event loops have used it for many years, and Wine has it.

#![expect(unsafe_code)]
// UNSAFETY: calls of the native interface, with pointers to locals and to a request.

use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::ptr;

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{FILE_OPEN, NtCreateFile};
use windows_sys::Wdk::System::IO::NtDeviceIoControlFile;
use windows_sys::Win32::Foundation::{HANDLE, STATUS_PENDING, STATUS_SUCCESS, UNICODE_STRING};
use windows_sys::Win32::Networking::WinSock as winsock;
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_READ, FILE_SHARE_WRITE, SYNCHRONIZE};
use windows_sys::Win32::System::IO::{IO_STATUS_BLOCK, OVERLAPPED};

use super::port::Port;
use super::socket::Begun;
use super::{
    POLL_ERROR, POLL_HANG_UP, POLL_INVALID, POLL_READ, POLL_WRITE, RawError, RawHandle, from_status,
};

const IOCTL_AFD_POLL: u32 = 0x0001_2024;
const RECEIVE: u32 = 0x1;
const SEND: u32 = 0x4;
const DISCONNECT: u32 = 0x8;
const ABORT: u32 = 0x10;
const LOCAL_CLOSE: u32 = 0x20;
const ACCEPT: u32 = 0x80;
const CONNECT_FAIL: u32 = 0x100;

/// What the driver is asked, and where it answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PollInfo {
    timeout: i64,
    count: u32,
    exclusive: u32,
    handle: HANDLE,
    events: u32,
    status: i32,
}

impl PollInfo {
    /// The readiness that was found, as the bits of `POLL_*`.
    pub(crate) fn found(&self) -> u16 {
        let events = if self.count == 0 { 0 } else { self.events };
        let mut found = 0;
        for (bits, is) in [
            (RECEIVE | ACCEPT | DISCONNECT | ABORT, POLL_READ),
            (SEND | CONNECT_FAIL, POLL_WRITE),
            (ABORT | CONNECT_FAIL, POLL_ERROR),
            (DISCONNECT | ABORT, POLL_HANG_UP),
            (LOCAL_CLOSE, POLL_INVALID),
        ] {
            if events & bits != 0 {
                found |= is;
            }
        }
        found
    }
}

/// The driver, opened for one port.
#[derive(Debug)]
pub(crate) struct Afd(OwnedHandle);

impl Afd {
    pub(crate) fn open(port: &Port) -> Result<Afd, RawError> {
        let name: Vec<u16> = "\\Device\\Afd\\Wharf".encode_utf16().collect();
        let bytes = (name.len() * 2) as u16;
        let name = UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            Buffer: name.as_ptr().cast_mut(),
        };
        let attributes = OBJECT_ATTRIBUTES {
            Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
            RootDirectory: ptr::null_mut(),
            ObjectName: &raw const name,
            Attributes: 0,
            SecurityDescriptor: ptr::null(),
            SecurityQualityOfService: ptr::null(),
        };
        // SAFETY: all zeros is a valid record.
        let mut status_block: IO_STATUS_BLOCK = unsafe { std::mem::zeroed() };
        let mut handle: HANDLE = ptr::null_mut();
        // SAFETY: everything is valid for reading or writing during the call.
        let status = unsafe {
            NtCreateFile(
                &raw mut handle,
                SYNCHRONIZE,
                &raw const attributes,
                &raw mut status_block,
                ptr::null(),
                0,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                FILE_OPEN,
                0,
                ptr::null(),
                0,
            )
        };
        if status != STATUS_SUCCESS {
            return Err(from_status(status));
        }
        // SAFETY: the call has just made it, and nobody else knows of it.
        let afd = Afd(unsafe { OwnedHandle::from_raw_handle(handle) });
        port.associate(afd.raw())?;
        Port::set_modes(afd.raw(), false)?;
        Ok(afd)
    }

    pub(crate) fn raw(&self) -> RawHandle {
        RawHandle::of_handle(self.0.as_raw_handle())
    }

    /// Begins to wait for `events` of a socket, some of `POLL_*`. A packet always comes, unless this
    /// is an error; then `info` holds what was found.
    pub(crate) fn poll(
        &self,
        raw: RawHandle,
        events: u16,
        info: *mut PollInfo,
        overlapped: *mut OVERLAPPED,
    ) -> Result<Begun, RawError> {
        let mut wanted = ABORT | LOCAL_CLOSE | CONNECT_FAIL;
        if events & POLL_READ != 0 {
            wanted |= RECEIVE | ACCEPT | DISCONNECT;
        }
        if events & POLL_WRITE != 0 {
            wanted |= SEND;
        }
        let question = PollInfo {
            timeout: i64::MAX,
            count: 1,
            exclusive: 0,
            handle: base_socket(raw)? as HANDLE,
            events: wanted,
            status: 0,
        };
        // SAFETY: the request lends the record until the packet comes.
        unsafe { info.write(question) };
        let len = size_of::<PollInfo>() as u32;
        // The first two words of an OVERLAPPED are its status block.
        // SAFETY: the request lends both records until the packet comes.
        let status = unsafe {
            NtDeviceIoControlFile(
                self.0.as_raw_handle(),
                ptr::null_mut(),
                None,
                overlapped.cast_const().cast(),
                overlapped.cast(),
                IOCTL_AFD_POLL,
                info.cast_const().cast(),
                len,
                info.cast(),
                len,
            )
        };
        match status {
            STATUS_SUCCESS | STATUS_PENDING => Ok(Begun::Pending),
            status => Err(from_status(status)),
        }
    }
}

/// The driver's own socket, below what other programs have layered over it (`SIO_BASE_HANDLE`).
fn base_socket(raw: RawHandle) -> Result<winsock::SOCKET, RawError> {
    if !raw.is_socket() {
        return Err(super::error::NOT_A_SOCKET);
    }
    let mut base: winsock::SOCKET = 0;
    let mut bytes = 0u32;
    // SAFETY: the place for the answer is valid for writing for its length.
    let result = unsafe {
        winsock::WSAIoctl(
            raw.socket(),
            winsock::SIO_BASE_HANDLE,
            ptr::null(),
            0,
            (&raw mut base).cast(),
            size_of::<winsock::SOCKET>() as u32,
            &raw mut bytes,
            ptr::null_mut(),
            None,
        )
    };
    super::socket::check(result)?;
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_the_drivers() {
        assert_eq!(size_of::<PollInfo>(), 32);
        let none = PollInfo {
            timeout: 0,
            count: 0,
            exclusive: 0,
            handle: ptr::null_mut(),
            events: RECEIVE,
            status: 0,
        };
        assert_eq!(none.found(), 0, "what was asked for is not what was found");
        let reset = PollInfo {
            count: 1,
            events: ABORT,
            ..none
        };
        assert_eq!(reset.found(), POLL_READ | POLL_ERROR | POLL_HANG_UP);
    }
}
