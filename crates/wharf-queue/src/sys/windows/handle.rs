//! The system's handles: sockets and other kernel objects behind one type.
//!
//! Windows closes and duplicates a socket by other calls than a file, so a handle remembers which of
//! the two it is.

#![expect(unsafe_code)]
// UNSAFETY: raw handles become owned ones.

use std::fmt;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::windows::io as std_io;
use std::os::windows::io::{
    AsHandle as _, AsRawHandle as _, AsRawSocket as _, AsSocket as _, FromRawHandle, FromRawSocket,
    IntoRawHandle, IntoRawSocket,
};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Stdio};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::SOCKET;

/// The system's handle: a socket's or another kernel object's.
///
/// Only the lower 32 bits of a handle are significant, and its two lowest bits are the program's own
/// (Windows, *Interprocess communication between 32-bit and 64-bit applications*, and *Kernel
/// objects*). So the kind fits into the lowest bit, and a handle is as small as a descriptor is
/// elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawHandle(u32);

const SOCKET_BIT: u32 = 1;

impl RawHandle {
    /// No handle at all, for calls that are about none.
    pub(crate) const NONE: RawHandle = RawHandle(0);

    pub(crate) fn of_socket(socket: SOCKET) -> RawHandle {
        RawHandle(socket as u32 | SOCKET_BIT)
    }

    pub(crate) fn of_handle(handle: HANDLE) -> RawHandle {
        RawHandle(handle as usize as u32 & !SOCKET_BIT)
    }

    /// Whether it is a socket's.
    #[must_use]
    pub fn is_socket(self) -> bool {
        self.0 & SOCKET_BIT != 0
    }

    /// The socket, if it is one.
    #[must_use]
    pub fn as_socket(self) -> Option<std_io::RawSocket> {
        self.is_socket().then(|| self.value() as std_io::RawSocket)
    }

    /// The handle, if it is not a socket's.
    #[must_use]
    pub fn as_handle(self) -> Option<std_io::RawHandle> {
        (!self.is_socket()).then(|| self.handle())
    }

    fn value(self) -> isize {
        (self.0 & !SOCKET_BIT) as i32 as isize
    }

    /// As the calls for files and ports take it; sockets are kernel objects too.
    pub(crate) fn handle(self) -> HANDLE {
        self.value() as HANDLE
    }

    /// As the calls of Winsock take it. Of what is no socket they say `WSAENOTSOCK`.
    pub(crate) fn socket(self) -> SOCKET {
        self.value() as SOCKET
    }

    /// As a number for a completion's result, and back.
    pub(crate) fn to_result(self) -> i64 {
        i64::from(self.0)
    }

    pub(crate) fn from_result(result: usize) -> RawHandle {
        RawHandle(result as u32)
    }
}

impl fmt::Debug for RawHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_socket() { "socket" } else { "handle" };
        write!(f, "{kind} {:#x}", self.value())
    }
}

/// A handle that is closed when it is dropped. It is made from the standard library's sockets,
/// files and pipes, and becomes them again.
#[derive(Debug)]
pub struct OwnedHandle(RawHandle);

impl OwnedHandle {
    pub(super) fn from_raw(raw: RawHandle) -> OwnedHandle {
        OwnedHandle(raw)
    }

    pub(super) fn into_raw(self) -> RawHandle {
        ManuallyDrop::new(self).0
    }

    /// The system's handle, which stays this one's.
    #[must_use]
    pub fn raw(&self) -> RawHandle {
        self.0
    }

    /// The socket.
    ///
    /// # Errors
    /// The handle itself, if it is not a socket's.
    pub fn into_socket(self) -> Result<std_io::OwnedSocket, OwnedHandle> {
        if self.0.is_socket() {
            Ok(self.any_socket())
        } else {
            Err(self)
        }
    }

    fn any_socket(self) -> std_io::OwnedSocket {
        let raw = self.into_raw();
        // SAFETY: the socket was this value's alone, which is gone.
        unsafe { std_io::OwnedSocket::from_raw_socket(raw.value() as std_io::RawSocket) }
    }

    /// The handle of a file, a pipe or another object.
    ///
    /// # Errors
    /// The handle itself, if it is a socket's.
    pub fn into_handle(self) -> Result<std_io::OwnedHandle, OwnedHandle> {
        if self.0.is_socket() {
            Err(self)
        } else {
            Ok(self.any_handle())
        }
    }

    fn any_handle(self) -> std_io::OwnedHandle {
        let raw = self.into_raw();
        // SAFETY: the handle was this value's alone, which is gone.
        unsafe { std_io::OwnedHandle::from_raw_handle(raw.handle()) }
    }
}

impl Drop for OwnedHandle {
    fn drop(&mut self) {
        let raw = self.0;
        if raw.is_socket() {
            // SAFETY: the socket is this value's alone.
            drop(unsafe { std_io::OwnedSocket::from_raw_socket(raw.value() as _) });
        } else {
            // SAFETY: the handle is this value's alone.
            drop(unsafe { std_io::OwnedHandle::from_raw_handle(raw.handle()) });
        }
    }
}

impl From<std_io::OwnedSocket> for OwnedHandle {
    fn from(socket: std_io::OwnedSocket) -> OwnedHandle {
        OwnedHandle(RawHandle::of_socket(socket.into_raw_socket() as SOCKET))
    }
}

impl From<std_io::OwnedHandle> for OwnedHandle {
    fn from(handle: std_io::OwnedHandle) -> OwnedHandle {
        OwnedHandle(RawHandle::of_handle(handle.into_raw_handle()))
    }
}

macro_rules! convert {
    ($($by:ident: $($type:ty),*;)*) => {
        $($(
            impl From<$type> for OwnedHandle {
                fn from(resource: $type) -> OwnedHandle {
                    OwnedHandle::from(std_io::$by::from(resource))
                }
            }
        )*)*
    };
}

convert! {
    OwnedSocket: TcpStream, TcpListener, UdpSocket;
    OwnedHandle: File, ChildStdin, ChildStdout, ChildStderr;
}

macro_rules! convert_back {
    ($($type:ty: $owned:ident),*) => {
        $(
            /// What is not of this kind becomes one whose calls fail, as a descriptor does elsewhere;
            /// [`OwnedHandle::into_socket`] and [`OwnedHandle::into_handle`] tell them apart.
            impl From<OwnedHandle> for $type {
                fn from(handle: OwnedHandle) -> $type {
                    <$type>::from(handle.$owned())
                }
            }
        )*
    };
}

convert_back! {
    TcpStream: any_socket,
    TcpListener: any_socket,
    UdpSocket: any_socket,
    File: any_handle,
    Stdio: any_handle
}

/// A handle that somebody else closes.
#[derive(Clone, Copy, Debug)]
pub struct BorrowedHandle<'a> {
    raw: RawHandle,
    owner: PhantomData<&'a OwnedHandle>,
}

impl BorrowedHandle<'_> {
    pub(super) fn new(raw: RawHandle) -> Self {
        let owner = PhantomData;
        BorrowedHandle { raw, owner }
    }

    /// The system's handle.
    #[must_use]
    pub fn raw(&self) -> RawHandle {
        self.raw
    }

    /// A second handle of the same object, which programs that are started do not inherit
    /// (`DuplicateHandle`, `WSADuplicateSocketW`).
    ///
    /// # Errors
    /// That of the system.
    pub fn try_clone_to_owned(&self) -> io::Result<OwnedHandle> {
        let raw = self.raw;
        if raw.is_socket() {
            // SAFETY: the owner keeps the socket open for as long as it is borrowed.
            let socket = unsafe { std_io::BorrowedSocket::borrow_raw(raw.value() as _) };
            return socket.try_clone_to_owned().map(OwnedHandle::from);
        }
        // SAFETY: the owner keeps the handle open for as long as it is borrowed.
        let handle = unsafe { std_io::BorrowedHandle::borrow_raw(raw.handle()) };
        handle.try_clone_to_owned().map(OwnedHandle::from)
    }
}

/// What has a handle that can be looked at and duplicated.
pub trait AsHandle {
    /// Lends the handle.
    fn as_system_handle(&self) -> BorrowedHandle<'_>;
}

impl AsHandle for OwnedHandle {
    fn as_system_handle(&self) -> BorrowedHandle<'_> {
        BorrowedHandle::new(self.0)
    }
}

impl AsHandle for BorrowedHandle<'_> {
    fn as_system_handle(&self) -> BorrowedHandle<'_> {
        *self
    }
}

impl<T: AsHandle> AsHandle for &T {
    fn as_system_handle(&self) -> BorrowedHandle<'_> {
        T::as_system_handle(self)
    }
}

macro_rules! lend_sockets {
    ($($type:ty),*) => {
        $(
            impl AsHandle for $type {
                fn as_system_handle(&self) -> BorrowedHandle<'_> {
                    let raw = self.as_socket().as_raw_socket();
                    BorrowedHandle::new(RawHandle::of_socket(raw as SOCKET))
                }
            }
        )*
    };
}

macro_rules! lend_handles {
    ($($type:ty),*) => {
        $(
            impl AsHandle for $type {
                fn as_system_handle(&self) -> BorrowedHandle<'_> {
                    let raw = self.as_handle().as_raw_handle();
                    BorrowedHandle::new(RawHandle::of_handle(raw))
                }
            }
        )*
    };
}

lend_sockets!(TcpStream, TcpListener, UdpSocket, std_io::OwnedSocket);
lend_handles!(
    File,
    ChildStdin,
    ChildStdout,
    ChildStderr,
    std_io::OwnedHandle,
    io::Stdin,
    io::Stdout,
    io::Stderr
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_values_survive_a_result() {
        for raw in [
            RawHandle::of_socket(0x1a4),
            RawHandle::of_handle(0x1a4 as HANDLE),
            RawHandle::of_handle(-4isize as HANDLE),
        ] {
            let back = RawHandle::from_result(raw.to_result() as usize);
            assert_eq!((back, back.handle()), (raw, raw.handle()));
        }
        assert!(RawHandle::of_socket(0x1a4).as_handle().is_none());
        assert_eq!(RawHandle::of_socket(0x1a4).as_socket(), Some(0x1a4));
    }

    #[test]
    fn resources_become_handles_and_themselves_again() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("bound");
        let owned = OwnedHandle::from(socket);
        let owned = owned.into_handle().expect_err("it is a socket");
        let socket = UdpSocket::from(owned);
        assert_eq!(socket.local_addr().expect("bound"), address);
    }
}
