//! Error codes: the one table by which what Windows says becomes what the contract says.
//!
//! A completion carries an `NTSTATUS`; calls give codes of Win32 or of Winsock. All become one raw
//! code, chosen so that its `io::ErrorKind` is the one of the contract's error table. Where the
//! standard library has no kind for Winsock's own code, the neighbouring code of Win32 stands for
//! it; the table says so.
//!
//! Sources: *System error codes*, *Windows Sockets error codes*, *NTSTATUS values* (Microsoft).

#![expect(unsafe_code)]
// UNSAFETY: two calls that take a number and give a number.

use std::io;

use windows_sys::Win32::Foundation as win32;
use windows_sys::Win32::Foundation::NTSTATUS;
use windows_sys::Win32::Networking::WinSock as winsock;

/// A code of Win32 or of Winsock, positive.
pub(crate) type RawError = i32;

const fn code(win32: u32) -> RawError {
    win32 as RawError
}

pub(crate) const BROKEN_PIPE: RawError = code(win32::ERROR_BROKEN_PIPE);
pub(crate) const INVALID: RawError = code(win32::ERROR_INVALID_PARAMETER);
pub(crate) const UNSUPPORTED: RawError = code(win32::ERROR_CALL_NOT_IMPLEMENTED);
/// An operation has failed, and says itself how: no user sees this, but a chain breaks at it.
pub(crate) const FAILED: RawError = code(win32::ERROR_GEN_FAILURE);
pub(crate) const NOT_SEEKABLE: RawError = code(win32::ERROR_SEEK_ON_DEVICE);
pub(crate) const IS_A_DIRECTORY: RawError = code(win32::ERROR_DIRECTORY_NOT_SUPPORTED);
pub(crate) const NAME_TOO_LONG: RawError = code(win32::ERROR_FILENAME_EXCED_RANGE);
pub(crate) const NOT_A_DIRECTORY: RawError = code(win32::ERROR_DIRECTORY);
pub(crate) const ACCESS_DENIED: RawError = code(win32::ERROR_ACCESS_DENIED);
/// Ended early, and not by us.
pub(crate) const ABORTED: RawError = winsock::WSAECONNABORTED;
pub(crate) const PENDING: RawError = code(win32::ERROR_IO_PENDING);
pub(crate) const END_OF_FILE: RawError = code(win32::ERROR_HANDLE_EOF);
pub(crate) const MORE_DATA: RawError = code(win32::ERROR_MORE_DATA);
pub(crate) const CONNECTION_RESET: RawError = winsock::WSAECONNRESET;
pub(crate) const NOT_A_SOCKET: RawError = winsock::WSAENOTSOCK;

/// A length or an offset that no file can have.
pub(crate) const FILE_TOO_LARGE: RawError = code(win32::ERROR_FILE_TOO_LARGE);

/// What it means when no thread can be started and the system says no more.
pub(crate) const OUT_OF_THREADS: RawError = code(win32::ERROR_NO_SYSTEM_RESOURCES);

/// The error of a code, with its kind.
pub(crate) fn error_from_raw(raw: RawError) -> io::Error {
    io::Error::from_raw_os_error(raw)
}

/// The code of the calling thread, after a call that failed. Winsock keeps its own in the same
/// place.
pub(crate) fn last_error() -> RawError {
    // SAFETY: a call without arguments.
    meaning(unsafe { win32::GetLastError() } as RawError)
}

/// Whether an error means that the process or the system has run out of handles or memory for the
/// moment: it may be over soon.
#[must_use]
pub fn is_out_of_resources(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(is_shortage)
}

/// The same of a raw code.
pub(crate) fn is_shortage(error: RawError) -> bool {
    matches!(error, winsock::WSAEMFILE | winsock::WSAENOBUFS)
        || matches!(
            error as u32,
            win32::ERROR_TOO_MANY_OPEN_FILES
                | win32::ERROR_NO_SYSTEM_RESOURCES
                | win32::ERROR_NOT_ENOUGH_MEMORY
                | win32::ERROR_OUTOFMEMORY
                | win32::ERROR_NOT_ENOUGH_QUOTA
        )
}

/// Puts codes that mean the same, but whose kind the standard library does not know, into the words
/// of the contract.
pub(crate) fn meaning(raw: RawError) -> RawError {
    match raw {
        // After a shutdown of one's own side (WSASend).
        winsock::WSAESHUTDOWN => BROKEN_PIPE,
        // The keep-alive of the protocol, and a wait of the network's, found the connection dead.
        winsock::WSAENETRESET => winsock::WSAECONNRESET,
        _ => match raw as u32 {
            // Of sockets, by way of the file system's calls: the connection was reset.
            win32::ERROR_NETNAME_DELETED => winsock::WSAECONNRESET,
            win32::ERROR_CONNECTION_REFUSED => winsock::WSAECONNREFUSED,
            win32::ERROR_CONNECTION_ABORTED => winsock::WSAECONNABORTED,
            win32::ERROR_PORT_UNREACHABLE => winsock::WSAECONNREFUSED,
            win32::ERROR_HOST_UNREACHABLE => winsock::WSAEHOSTUNREACH,
            win32::ERROR_NETWORK_UNREACHABLE => winsock::WSAENETUNREACH,
            win32::ERROR_SEM_TIMEOUT => winsock::WSAETIMEDOUT,
            // A name that cannot be: the standard library calls it invalid; here there is none such.
            win32::ERROR_INVALID_NAME | win32::ERROR_BAD_PATHNAME => {
                code(win32::ERROR_FILE_NOT_FOUND)
            }
            // Somebody else ended it: never to be taken for a time-out, as its kind would be.
            win32::ERROR_OPERATION_ABORTED => winsock::WSAECONNABORTED,
            _ => raw,
        },
    }
}

/// The code of a completion's status, which is not a success.
pub(crate) fn from_status(status: NTSTATUS) -> RawError {
    match status {
        win32::STATUS_CONNECTION_RESET
        | win32::STATUS_REMOTE_DISCONNECT
        | win32::STATUS_CONNECTION_DISCONNECTED
        | win32::STATUS_LINK_FAILED
        | win32::STATUS_LINK_TIMEOUT
        | win32::STATUS_GRACEFUL_DISCONNECT => winsock::WSAECONNRESET,
        win32::STATUS_LOCAL_DISCONNECT
        | win32::STATUS_TRANSPORT_FULL
        | win32::STATUS_CONNECTION_ABORTED
        | win32::STATUS_CANCELLED
        | win32::STATUS_HANDLES_CLOSED => winsock::WSAECONNABORTED,
        win32::STATUS_CONNECTION_REFUSED
        | win32::STATUS_PORT_UNREACHABLE
        | win32::STATUS_REMOTE_NOT_LISTENING => winsock::WSAECONNREFUSED,
        win32::STATUS_HOST_UNREACHABLE
        | win32::STATUS_PROTOCOL_UNREACHABLE
        | win32::STATUS_INVALID_NETWORK_RESPONSE => winsock::WSAEHOSTUNREACH,
        win32::STATUS_NETWORK_UNREACHABLE => winsock::WSAENETUNREACH,
        win32::STATUS_IO_TIMEOUT | win32::STATUS_TIMEOUT => winsock::WSAETIMEDOUT,
        win32::STATUS_ADDRESS_ALREADY_ASSOCIATED | win32::STATUS_ADDRESS_ALREADY_EXISTS => {
            winsock::WSAEADDRINUSE
        }
        win32::STATUS_INVALID_CONNECTION | win32::STATUS_CONNECTION_INVALID => winsock::WSAENOTCONN,
        win32::STATUS_INSUFFICIENT_RESOURCES
        | win32::STATUS_TOO_MANY_ADDRESSES
        | win32::STATUS_PAGEFILE_QUOTA
        | win32::STATUS_WORKING_SET_QUOTA => winsock::WSAENOBUFS,
        win32::STATUS_PIPE_BROKEN
        | win32::STATUS_PIPE_CLOSING
        | win32::STATUS_PIPE_DISCONNECTED => BROKEN_PIPE,
        win32::STATUS_END_OF_FILE => END_OF_FILE,
        win32::STATUS_BUFFER_OVERFLOW => MORE_DATA,
        // SAFETY: a call with a number.
        _ => meaning(unsafe { win32::RtlNtStatusToDosError(status) } as RawError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn statuses_have_the_kinds_of_the_contract() {
        for (status, kind) in [
            (win32::STATUS_CONNECTION_RESET, ErrorKind::ConnectionReset),
            (
                win32::STATUS_CONNECTION_REFUSED,
                ErrorKind::ConnectionRefused,
            ),
            (
                win32::STATUS_CONNECTION_ABORTED,
                ErrorKind::ConnectionAborted,
            ),
            (win32::STATUS_LOCAL_DISCONNECT, ErrorKind::ConnectionAborted),
            (win32::STATUS_HANDLES_CLOSED, ErrorKind::ConnectionAborted),
            (win32::STATUS_CANCELLED, ErrorKind::ConnectionAborted),
            (win32::STATUS_PIPE_BROKEN, ErrorKind::BrokenPipe),
            (win32::STATUS_IO_TIMEOUT, ErrorKind::TimedOut),
            (win32::STATUS_DISK_FULL, ErrorKind::StorageFull),
            (win32::STATUS_ACCESS_DENIED, ErrorKind::PermissionDenied),
        ] {
            let error = error_from_raw(from_status(status));
            assert_eq!(error.kind(), kind, "{status:#x}: {error}");
        }
    }

    #[test]
    fn codes_without_a_kind_have_a_neighbour_with_one() {
        for (raw, kind) in [
            (winsock::WSAESHUTDOWN, ErrorKind::BrokenPipe),
            (
                code(win32::ERROR_NETNAME_DELETED),
                ErrorKind::ConnectionReset,
            ),
            (UNSUPPORTED, ErrorKind::Unsupported),
            (NOT_SEEKABLE, ErrorKind::NotSeekable),
            (IS_A_DIRECTORY, ErrorKind::IsADirectory),
            (NOT_A_DIRECTORY, ErrorKind::NotADirectory),
            (FILE_TOO_LARGE, ErrorKind::FileTooLarge),
        ] {
            assert_eq!(error_from_raw(meaning(raw)).kind(), kind, "{raw}");
        }
    }
}
