//! The overlapped calls of Winsock and of files, and those that do not wait.
//!
//! Each call that begins something gives [`Begun`], or the code of an error; after an error no packet
//! comes, with the one exception that `receive` documents. Lengths are cut to what one call takes.

#![expect(unsafe_code)]
// UNSAFETY: calls with the pointers that an operation lends, and its `OVERLAPPED`.

use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::Networking::WinSock as winsock;
use windows_sys::Win32::Networking::WinSock::{SOCKET, WSABUF, WSADATA, WSAGetLastError};
use windows_sys::Win32::Storage::FileSystem::{GetFileSizeEx, ReadFile, WriteFile};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::core::GUID;

use super::error::{MORE_DATA, NOT_A_SOCKET, PENDING, meaning};
use super::{MAX_TRANSFER, RawAddress, RawError, RawHandle, Scratch, datagram, last_error};
use crate::buf::{RawBuf, RawBufMut};

/// How a call began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begun {
    /// It has ended at once, with so many bytes. A packet comes all the same, unless the handle is
    /// set to skip those.
    Done(u32),
    /// It is in flight; a packet tells its end.
    Pending,
}

type Result<T> = std::result::Result<T, RawError>;

/// Starts Winsock, once for the process.
pub(crate) fn startup() -> Result<()> {
    static STARTED: OnceLock<i32> = OnceLock::new();
    let result = *STARTED.get_or_init(|| {
        // SAFETY: all zeros is a valid record.
        let mut data: WSADATA = unsafe { std::mem::zeroed() };
        // SAFETY: the record is valid for writing.
        unsafe { winsock::WSAStartup(0x202, &raw mut data) }
    });
    if result == 0 { Ok(()) } else { Err(result) }
}

pub(super) fn socket_error() -> RawError {
    // SAFETY: a call without arguments.
    meaning(unsafe { WSAGetLastError() })
}

/// Turns the result of a call of Winsock, which is 0 or an error, into a count or the code.
pub(super) fn check(result: i32) -> Result<i32> {
    match result {
        winsock::SOCKET_ERROR => Err(socket_error()),
        result => Ok(result),
    }
}

/// As [`check`], for an overlapped call of which `success` tells whether it has ended well.
fn begun(success: bool, bytes: u32) -> Result<Begun> {
    if success {
        return Ok(Begun::Done(bytes));
    }
    match last_error() {
        PENDING => Ok(Begun::Pending),
        error => Err(error),
    }
}

fn socket_of(raw: RawHandle) -> Result<SOCKET> {
    if raw.is_socket() {
        Ok(raw.socket())
    } else {
        Err(NOT_A_SOCKET)
    }
}

fn cut(len: usize) -> u32 {
    len.min(MAX_TRANSFER) as u32
}

fn list_of(pointer: *mut u8, len: usize) -> WSABUF {
    WSABUF {
        len: cut(len),
        buf: pointer,
    }
}

/// Begins to receive into one buffer. Of datagrams, `WSAEMSGSIZE` means that one was received in
/// part; unless the socket skips packets, one follows.
pub(crate) fn receive(
    raw: RawHandle,
    buf: RawBufMut,
    overlapped: *mut OVERLAPPED,
) -> Result<Begun> {
    let list = list_of(buf.pointer, buf.len);
    receive_list(raw, &raw const list, 1, overlapped)
}

/// Begins to wait until a stream has something, without taking it: a receive of nothing.
pub(crate) fn await_bytes(raw: RawHandle, overlapped: *mut OVERLAPPED) -> Result<Begun> {
    let list = list_of(ptr::null_mut(), 0);
    receive_list(raw, &raw const list, 1, overlapped)
}

fn receive_list(
    raw: RawHandle,
    list: *const WSABUF,
    count: u32,
    overlapped: *mut OVERLAPPED,
) -> Result<Begun> {
    let socket = socket_of(raw)?;
    let (mut bytes, mut flags) = (0u32, 0u32);
    let (bytes_at, flags_at) = (&raw mut bytes, &raw mut flags);
    // SAFETY: the operation lends the buffers for writing; the list, the count and the flags are
    // read and written before the call returns only.
    let result =
        unsafe { winsock::WSARecv(socket, list, count, bytes_at, flags_at, overlapped, None) };
    begun(result == 0, bytes)
}

/// Begins to receive a message: into several buffers, with the sender's address if it is asked for.
pub(crate) fn receive_message(
    raw: RawHandle,
    scratch: *mut Scratch,
    overlapped: *mut OVERLAPPED,
) -> Result<Begun> {
    let socket = socket_of(raw)?;
    let (list, count) = Scratch::buffers(scratch, 0);
    let (from, from_len) = Scratch::address_room(scratch);
    if from.is_null() {
        return receive_list(raw, list, count, overlapped);
    }
    let (mut bytes, mut flags) = (0u32, 0u32);
    let (bytes_at, flags_at) = (&raw mut bytes, &raw mut flags);
    // SAFETY: the operation lends the buffers and the room for the address until its end; the rest
    // is read and written before the call returns only.
    let result = unsafe {
        winsock::WSARecvFrom(
            socket, list, count, bytes_at, flags_at, from, from_len, overlapped, None,
        )
    };
    begun(result == 0, bytes)
}

/// Begins to send one buffer. It ends when all of it, as much as one call takes, is handed over.
pub(crate) fn send(raw: RawHandle, buf: RawBuf, overlapped: *mut OVERLAPPED) -> Result<Begun> {
    let list = list_of(buf.pointer.cast_mut(), buf.len);
    send_list(raw, &raw const list, 1, overlapped)
}

fn send_list(
    raw: RawHandle,
    list: *const WSABUF,
    count: u32,
    overlapped: *mut OVERLAPPED,
) -> Result<Begun> {
    let socket = socket_of(raw)?;
    let mut bytes = 0u32;
    // SAFETY: the operation lends the buffers for reading; the list and the count are read and
    // written before the call returns only.
    let result =
        unsafe { winsock::WSASend(socket, list, count, &raw mut bytes, 0, overlapped, None) };
    begun(result == 0, bytes)
}

/// Begins to send a message from its `done`-th byte on, to the address that it may have.
pub(crate) fn send_message(
    raw: RawHandle,
    scratch: *mut Scratch,
    done: usize,
    overlapped: *mut OVERLAPPED,
) -> Result<Begun> {
    let socket = socket_of(raw)?;
    let (list, count) = Scratch::buffers(scratch, done);
    let (to, to_len) = Scratch::address(scratch);
    if to.is_null() {
        return send_list(raw, list, count, overlapped);
    }
    let mut bytes = 0u32;
    let bytes_at = &raw mut bytes;
    // SAFETY: as in `send_list`; the address is initialised for its length.
    let result = unsafe {
        winsock::WSASendTo(
            socket, list, count, bytes_at, 0, to, to_len, overlapped, None,
        )
    };
    begun(result == 0, bytes)
}

/// Begins to read at the offset that stands in `overlapped`.
pub(crate) fn read(raw: RawHandle, buf: RawBufMut, overlapped: *mut OVERLAPPED) -> Result<Begun> {
    let mut bytes = 0u32;
    let (handle, len) = (raw.handle(), cut(buf.len));
    // SAFETY: the operation lends the buffer for writing.
    let success = unsafe { ReadFile(handle, buf.pointer, len, &raw mut bytes, overlapped) };
    begun(success != 0, bytes)
}

/// Begins to write at the offset that stands in `overlapped`.
pub(crate) fn write(raw: RawHandle, buf: RawBuf, overlapped: *mut OVERLAPPED) -> Result<Begun> {
    let mut bytes = 0u32;
    let (handle, len) = (raw.handle(), cut(buf.len));
    // SAFETY: the operation lends the buffer for reading.
    let success = unsafe { WriteFile(handle, buf.pointer, len, &raw mut bytes, overlapped) };
    begun(success != 0, bytes)
}

/// How long a file is.
pub(crate) fn file_size(raw: RawHandle) -> Result<u64> {
    let mut size = 0i64;
    // SAFETY: the number is valid for writing.
    if unsafe { GetFileSizeEx(raw.handle(), &raw mut size) } == 0 {
        return Err(last_error());
    }
    Ok(size.max(0) as u64)
}

/// Begins to send `len` bytes of a file, from the offset that stands in `overlapped` on. No length
/// at all means the whole file to the call, so that is not to be asked for.
pub(crate) fn send_file(
    socket: RawHandle,
    file: RawHandle,
    len: usize,
    overlapped: *mut OVERLAPPED,
) -> Result<Begun> {
    let socket = socket_of(socket)?;
    debug_assert!(len > 0);
    let (len, none) = (cut(len), ptr::null());
    // SAFETY: the handles are open until the packet comes.
    let success =
        unsafe { winsock::TransmitFile(socket, file.handle(), len, 0, overlapped, none, 0) };
    // It tells no count itself; the request that has ended has it.
    let mut bytes = 0;
    if success != 0 {
        // SAFETY: a call that has ended has filled the request.
        bytes = unsafe { (*overlapped).InternalHigh as u32 };
    }
    begun(success != 0, bytes)
}

/// The calls that are asked for by name, for each family of addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extensions {
    accept: winsock::LPFN_ACCEPTEX,
    connect: winsock::LPFN_CONNECTEX,
}

/// The room of an `AcceptEx` for two addresses: each has 16 bytes more than the longest of them.
pub(crate) const ACCEPT_ROOM: usize = 2 * ACCEPT_ADDRESS;
const ACCEPT_ADDRESS: usize = size_of::<winsock::SOCKADDR_STORAGE>() + 16;

fn extension<F: Copy>(socket: SOCKET, id: GUID) -> Result<Option<F>> {
    const { assert!(size_of::<Option<F>>() == size_of::<usize>()) };
    let mut function: Option<F> = None;
    let mut bytes = 0u32;
    // SAFETY: the identifier is valid for reading and the function's place for writing, each for
    // its length; the call fills it with a function of the type that the identifier names.
    let result = unsafe {
        winsock::WSAIoctl(
            socket,
            winsock::SIO_GET_EXTENSION_FUNCTION_POINTER,
            (&raw const id).cast(),
            size_of::<GUID>() as u32,
            (&raw mut function).cast(),
            size_of::<Option<F>>() as u32,
            &raw mut bytes,
            ptr::null_mut(),
            None,
        )
    };
    check(result)?;
    Ok(function)
}

type AcceptEx = unsafe extern "system" fn(
    SOCKET,
    SOCKET,
    *mut core::ffi::c_void,
    u32,
    u32,
    u32,
    *mut u32,
    *mut OVERLAPPED,
) -> windows_sys::core::BOOL;
type ConnectEx = unsafe extern "system" fn(
    SOCKET,
    *const winsock::SOCKADDR,
    i32,
    *const core::ffi::c_void,
    u32,
    *mut u32,
    *mut OVERLAPPED,
) -> windows_sys::core::BOOL;

impl Extensions {
    /// Asks the provider of a socket.
    pub(crate) fn of(raw: RawHandle) -> Result<Extensions> {
        let socket = socket_of(raw)?;
        Ok(Extensions {
            accept: extension::<AcceptEx>(socket, winsock::WSAID_ACCEPTEX)?,
            connect: extension::<ConnectEx>(socket, winsock::WSAID_CONNECTEX)?,
        })
    }

    /// Begins to accept a connection into `socket`, a fresh one of the listener's family. `room` has
    /// [`ACCEPT_ROOM`] bytes.
    pub(crate) fn accept(
        &self,
        listener: RawHandle,
        socket: RawHandle,
        room: *mut u8,
        overlapped: *mut OVERLAPPED,
    ) -> Result<Begun> {
        let accept = self.accept.ok_or(super::UNSUPPORTED)?;
        let (listener, socket) = (socket_of(listener)?, socket.socket());
        let address = ACCEPT_ADDRESS as u32;
        let mut bytes = 0u32;
        // No bytes are waited for: a client that says nothing would hold the accept up.
        // SAFETY: the request lends the room until the packet comes.
        let success = unsafe {
            accept(
                listener,
                socket,
                room.cast(),
                0,
                address,
                address,
                &raw mut bytes,
                overlapped,
            )
        };
        begun(success != 0, bytes)
    }

    /// Begins to connect a socket, which must be bound.
    pub(crate) fn connect(
        &self,
        raw: RawHandle,
        scratch: *mut Scratch,
        overlapped: *mut OVERLAPPED,
    ) -> Result<Begun> {
        let connect = self.connect.ok_or(super::UNSUPPORTED)?;
        let socket = socket_of(raw)?;
        let (to, len) = Scratch::address(scratch);
        // SAFETY: the address is initialised for its length and stays until the packet comes.
        let success =
            unsafe { connect(socket, to, len, ptr::null(), 0, ptr::null_mut(), overlapped) };
        begun(success != 0, 0)
    }
}

fn set_context(raw: RawHandle, option: i32, value: *const u8, len: usize) -> Result<()> {
    // SAFETY: the value is null or valid for reading for its length.
    check(unsafe {
        winsock::setsockopt(raw.socket(), winsock::SOL_SOCKET, option, value, len as i32)
    })
    .map(drop)
}

/// Makes an accepted socket inherit from its listener; before that it has no addresses (AcceptEx).
pub(crate) fn finish_accept(socket: RawHandle, listener: RawHandle) -> Result<()> {
    let listener = listener.socket();
    let (value, len) = ((&raw const listener).cast(), size_of::<SOCKET>());
    set_context(socket, winsock::SO_UPDATE_ACCEPT_CONTEXT, value, len)
}

/// Makes a connected socket a whole one; before that it has no addresses (ConnectEx).
pub(crate) fn finish_connect(socket: RawHandle) -> Result<()> {
    set_context(socket, winsock::SO_UPDATE_CONNECT_CONTEXT, ptr::null(), 0)
}

/// Binds a socket to any address of the family of `to`, as `ConnectEx` needs it; one that is bound
/// stays so.
pub(crate) fn bind_any(raw: RawHandle, scratch: *mut Scratch) -> Result<()> {
    let (to, _) = Scratch::address(scratch);
    // SAFETY: the address begins with its family.
    let family = unsafe { (*to).sa_family };
    let mut any = RawAddress::empty();
    any.storage.ss_family = family;
    let len = match family {
        winsock::AF_INET => size_of::<winsock::SOCKADDR_IN>(),
        winsock::AF_INET6 => size_of::<winsock::SOCKADDR_IN6>(),
        _ => size_of::<winsock::SOCKADDR_UN>(),
    };
    let pointer = (&raw const any.storage).cast();
    // SAFETY: the address is initialised for its length.
    match check(unsafe { winsock::bind(raw.socket(), pointer, len as i32) }) {
        // It is bound already.
        Ok(_) | Err(winsock::WSAEINVAL) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Connects a socket for datagrams, which does not wait: only the address is noted.
pub(crate) fn connect_now(raw: RawHandle, scratch: *mut Scratch) -> Result<()> {
    let socket = socket_of(raw)?;
    let (to, len) = Scratch::address(scratch);
    // SAFETY: the address is initialised for its length.
    check(unsafe { winsock::connect(socket, to, len) }).map(drop)
}

/// Receives without waiting; `WSAEWOULDBLOCK` if there is nothing.
pub(crate) fn receive_now(raw: RawHandle, room: &mut [u8]) -> Result<usize> {
    let socket = socket_of(raw)?;
    let (pointer, len) = (room.as_mut_ptr(), cut(room.len()) as i32);
    // SAFETY: the room is valid for writing for its length; the socket does not block.
    check(unsafe { winsock::recv(socket, pointer, len, 0) }).map(|len| len as usize)
}

/// Receives one datagram without waiting into a pool's buffer, with its header. Returns the record's
/// length.
pub(crate) fn receive_record(raw: RawHandle, record: &mut [u8]) -> Result<usize> {
    let mut from = RawAddress::empty();
    from.len = RawAddress::CAPACITY;
    let (head, payload) = record.split_at_mut(datagram::HEADER_LEN);
    let (pointer, len) = (payload.as_mut_ptr(), cut(payload.len()) as i32);
    let storage = (&raw mut from.storage).cast();
    let socket = socket_of(raw)?;
    // SAFETY: the room and the address are valid for writing for their lengths.
    let result = unsafe { winsock::recvfrom(socket, pointer, len, 0, storage, &raw mut from.len) };
    let (len, truncated) = match check(result) {
        Ok(len) => (len as usize, false),
        // It was longer; the buffer is full of it.
        Err(winsock::WSAEMSGSIZE) => (payload.len(), true),
        Err(error) => return Err(error),
    };
    Ok(datagram::write_header(head, from.bytes(), len, truncated))
}

/// Looks at what there is, without waiting and without taking it.
pub(crate) fn peek(raw: RawHandle, buf: RawBufMut) -> Result<usize> {
    let (pointer, len) = (buf.pointer, cut(buf.len) as i32);
    let socket = socket_of(raw)?;
    // SAFETY: the operation lends the buffer for writing; the socket does not block.
    match check(unsafe { winsock::recv(socket, pointer, len, winsock::MSG_PEEK) }) {
        Ok(len) => Ok(len as usize),
        Err(winsock::WSAEMSGSIZE) => Ok(len as usize),
        Err(error) => Err(error),
    }
}

/// The same for a message. Whether it was truncated is noted in the record.
pub(crate) fn peek_message(raw: RawHandle, scratch: *mut Scratch) -> Result<usize> {
    let socket = socket_of(raw)?;
    let (list, count) = Scratch::buffers(scratch, 0);
    let (from, from_len) = Scratch::address_room(scratch);
    let (mut bytes, mut flags) = (0u32, winsock::MSG_PEEK as u32);
    let (bytes_at, flags_at, none) = (&raw mut bytes, &raw mut flags, ptr::null_mut());
    // SAFETY: the operation lends the buffers and the room for the address.
    let result = unsafe {
        winsock::WSARecvFrom(
            socket, list, count, bytes_at, flags_at, from, from_len, none, None,
        )
    };
    match check(result) {
        Ok(_) => Ok(bytes as usize),
        Err(winsock::WSAEMSGSIZE) => {
            Scratch::set_truncated(scratch);
            Ok(Scratch::total(scratch))
        }
        Err(error) => Err(error),
    }
}

/// Whether a code says that a call would have to wait.
pub(crate) fn would_block(error: RawError) -> bool {
    error == winsock::WSAEWOULDBLOCK
}

/// Whether a code says that a datagram, or a message of a pipe, was longer than the buffer: the call
/// has been carried out, and unless the handle skips packets, one follows.
pub(crate) fn is_truncated(error: RawError) -> bool {
    matches!(error, winsock::WSAEMSGSIZE | MORE_DATA)
}

/// Whether a code of an accept is only about a client that has left again.
pub(crate) fn client_left(error: RawError) -> bool {
    matches!(
        error,
        winsock::WSAECONNRESET | winsock::WSAECONNABORTED | winsock::WSAENOTCONN
    )
}
