//! Named pipes: the two ways to have one, and waiting for a client.

#![expect(unsafe_code)]
// UNSAFETY: the calls that make pipes have no wrapper in the standard library.

use std::ffi::{OsStr, c_void};
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_PIPE_CONNECTED, GENERIC_READ, GENERIC_WRITE, GetLastError, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING,
    PIPE_ACCESS_DUPLEX, PIPE_ACCESS_INBOUND,
};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_READMODE_MESSAGE,
    PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_TYPE_MESSAGE, PIPE_UNLIMITED_INSTANCES,
};

use super::raw::{RawOp, Start};
use crate::handle::Handle;
use crate::sys::{self, OwnedHandle, RawHandle};

/// The call of [`connect_pipe`].
pub type ConnectPipe = RawOp<(), fn(&mut (), RawHandle, *mut c_void) -> io::Result<Start>>;

/// Waits until a client has opened the other side of a named pipe, which `server` is one of the
/// instances of. One that was there before the call counts.
///
/// Source: `ConnectNamedPipe`.
#[must_use]
pub fn connect_pipe(server: &Handle) -> ConnectPipe {
    fn connect(_: &mut (), raw: RawHandle, overlapped: *mut c_void) -> io::Result<Start> {
        // SAFETY: the operation lends the record until the packet comes.
        let done = unsafe { ConnectNamedPipe(raw.handle(), overlapped.cast()) };
        if done != 0 {
            return Ok(Start::Pending);
        }
        // SAFETY: a call without arguments.
        match unsafe { GetLastError() } {
            ERROR_IO_PENDING => Ok(Start::Pending),
            // The client came first; nothing was begun.
            ERROR_PIPE_CONNECTED => Ok(Start::Done { value: 0 }),
            error => Err(io::Error::from_raw_os_error(error as i32)),
        }
    }
    // SAFETY: the call lends nothing else, and tells whether a packet comes.
    unsafe {
        RawOp::new(
            server,
            (),
            connect as fn(&mut (), RawHandle, *mut c_void) -> _,
        )
    }
}

/// How the server's side of a named pipe is made.
#[derive(Clone, Debug)]
#[must_use]
pub struct PipeOptions {
    messages: bool,
    first: bool,
    inbound: bool,
    buffer: u32,
}

impl Default for PipeOptions {
    fn default() -> PipeOptions {
        PipeOptions {
            messages: false,
            first: false,
            inbound: false,
            buffer: 64 << 10,
        }
    }
}

fn wide(name: &OsStr) -> Vec<u16> {
    name.encode_wide().chain([0]).collect()
}

fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    Ok(sys::from_raw(RawHandle::of_handle(handle)))
}

impl PipeOptions {
    /// A pipe of bytes in both directions, for clients of this machine.
    pub fn new() -> PipeOptions {
        PipeOptions::default()
    }

    /// Messages keep their bounds. A message longer than the buffer of a read comes in several
    /// reads.
    pub fn messages(mut self, yes: bool) -> PipeOptions {
        self.messages = yes;
        self
    }

    /// Fails if there is an instance of the name already, so that nobody else's is joined.
    pub fn first_instance(mut self, yes: bool) -> PipeOptions {
        self.first = yes;
        self
    }

    /// The server only reads.
    pub fn inbound(mut self, yes: bool) -> PipeOptions {
        self.inbound = yes;
        self
    }

    /// Bytes that the system keeps in each direction; 65,536 if not set.
    pub fn buffer(mut self, bytes: u32) -> PipeOptions {
        self.buffer = bytes;
        self
    }

    /// Makes an instance of the pipe `name`, as `\\.\pipe\name`, to be attached to a queue.
    ///
    /// # Errors
    /// That of the system (`CreateNamedPipeW`).
    pub fn create(&self, name: impl AsRef<OsStr>) -> io::Result<OwnedHandle> {
        let name = wide(name.as_ref());
        let access = if self.inbound {
            PIPE_ACCESS_INBOUND
        } else {
            PIPE_ACCESS_DUPLEX
        };
        let first = if self.first {
            FILE_FLAG_FIRST_PIPE_INSTANCE
        } else {
            0
        };
        let mode = if self.messages {
            PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE
        } else {
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE
        };
        // SAFETY: the name ends with a zero; without attributes the handle is not inherited.
        let handle = unsafe {
            CreateNamedPipeW(
                name.as_ptr(),
                access | FILE_FLAG_OVERLAPPED | first,
                mode | PIPE_REJECT_REMOTE_CLIENTS,
                PIPE_UNLIMITED_INSTANCES,
                self.buffer,
                self.buffer,
                0,
                ptr::null(),
            )
        };
        owned(handle)
    }
}

/// Opens the client's side of a named pipe, to be attached to a queue. What the standard library
/// opens can only be used by calls that block.
///
/// # Errors
/// That of the system (`CreateFileW`); `ERROR_PIPE_BUSY` if all instances have clients.
pub fn open_pipe(name: impl AsRef<OsStr>, read: bool, write: bool) -> io::Result<OwnedHandle> {
    let name = wide(name.as_ref());
    let access = if read { GENERIC_READ } else { 0 } | if write { GENERIC_WRITE } else { 0 };
    let (flags, none) = (FILE_FLAG_OVERLAPPED, ptr::null_mut());
    // SAFETY: the name ends with a zero; without attributes the handle is not inherited.
    let handle = unsafe {
        CreateFileW(
            name.as_ptr(),
            access,
            0,
            ptr::null(),
            OPEN_EXISTING,
            flags,
            none,
        )
    };
    owned(handle)
}

/// Makes a pipe: the end to read from, the end to write to, both to be attached to queues. (Those of
/// `CreatePipe` can only be used by calls that block.)
///
/// # Errors
/// That of the system.
pub fn pipe() -> io::Result<(OwnedHandle, OwnedHandle)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (process, random) = (std::process::id(), sys::random());
    let name = format!(r"\\.\pipe\wharf-{process}-{number}-{random:x}");
    let options = PipeOptions::new().inbound(true).first_instance(true);
    let reader = options.create(&name)?;
    let writer = open_pipe(&name, false, true)?;
    Ok((reader, writer))
}
