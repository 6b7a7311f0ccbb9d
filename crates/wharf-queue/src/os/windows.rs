//! Windows: overlapped calls that wharf does not know, and named pipes.

#![expect(unsafe_code)]
// UNSAFETY: the extension point hands memory to a call that wharf cannot check; and the calls that
// make pipes.

use std::ffi::{OsStr, c_void};
use std::fmt;
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
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_READMODE_MESSAGE,
    PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_TYPE_MESSAGE, PIPE_UNLIMITED_INSTANCES,
};

pub use crate::sys::RawEntry;

use crate::completion::Outcome;
use crate::handle::Handle;
use crate::op::{Done, Op, OpKind, Operation};
use crate::slot::Slot;
use crate::sys::socket::Begun;
use crate::sys::{self, OwnedHandle, RawHandle};

/// How a call of a [`RawOp`] began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// A packet tells its end: it is in flight, or it has ended and sends one all the same.
    Pending,
    /// It has ended, and no packet comes.
    Done {
        /// What the packet would have told: bytes that were moved.
        value: u32,
    },
}

/// An overlapped call that wharf does not know, with everything that it lends: the same custody as
/// for any other operation.
///
/// Gives `(Outcome<u32>, P)`: the count of bytes that the packet tells, or the call's error.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use wharf_queue::Queue;
/// use wharf_queue::os::windows::{PipeOptions, connect_pipe};
/// let name = format!(r"\\.\pipe\wharf-doc-{}", std::process::id());
/// let queue = Queue::new()?;
/// let server = queue.attach(PipeOptions::new().create(&name)?)?;
/// let connect = queue.submit(connect_pipe(&server))?;
/// let client = std::fs::OpenOptions::new().read(true).write(true).open(&name)?;
/// let completion = queue.wait(None)?.next().unwrap();
/// completion.take(connect).unwrap().0.into_result()?;
/// # drop(client);
/// # Ok(()) }
/// ```
pub struct RawOp<P, F> {
    payload: P,
    call: Option<F>,
    handle: Handle,
    entry: Option<RawEntry>,
}

impl<P, F> RawOp<P, F>
where
    P: 'static,
    F: FnOnce(&mut P, RawHandle, *mut c_void) -> io::Result<Start> + 'static,
{
    /// Makes an operation on `handle`. `call` is run once, when the payload is at its final address;
    /// it is given the payload, the handle, and the `OVERLAPPED` for its call. A cancel ends it by
    /// `CancelIoEx`.
    ///
    /// # Safety
    /// The call reads and writes only memory inside the payload, or owned by it, or that lives
    /// until the final completion in some other way; it is made on the handle with the `OVERLAPPED`
    /// that is given; and exactly one packet comes of it if, and only if, `call` returns
    /// [`Start::Pending`].
    pub unsafe fn new(handle: &Handle, payload: P, call: F) -> RawOp<P, F> {
        RawOp {
            payload,
            call: Some(call),
            handle: handle.clone(),
            entry: None,
        }
    }

    /// Makes the call.
    ///
    /// # Safety
    /// `this` points to such an operation that nobody else uses meanwhile.
    unsafe fn run(this: *mut u8, overlapped: *mut OVERLAPPED) -> Result<Begun, sys::RawError> {
        // SAFETY: the caller's promise.
        let this = unsafe { &mut *this.cast::<RawOp<P, F>>() };
        let call = this.call.take().expect("a call is made once");
        match call(&mut this.payload, this.handle.raw(), overlapped.cast()) {
            Ok(Start::Pending) => Ok(Begun::Pending),
            Ok(Start::Done { value }) => Ok(Begun::Done(value)),
            Err(error) => Err(error.raw_os_error().unwrap_or(sys::UNSUPPORTED)),
        }
    }
}

impl<P, F> fmt::Debug for RawOp<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawOp")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<P, F> Operation for RawOp<P, F>
where
    P: 'static,
    F: FnOnce(&mut P, RawHandle, *mut c_void) -> io::Result<Start> + 'static,
{
    type Output = (Outcome<u32>, P);
    const KIND: OpKind = OpKind::Raw;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let entry = RawEntry {
            raw: self.handle.raw(),
            call: RawOp::<P, F>::run,
            context: (&raw mut *self).cast(),
        };
        Ok(Op::Raw {
            entry: self.entry.insert(entry),
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        (done.outcome().map(|value| value as u32), self.payload)
    }
}

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
