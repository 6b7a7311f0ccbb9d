//! Thin safe wrappers of the system: the only place, with the backends' rings and ports, that names
//! `libc` or another binding.
//!
//! What each platform provides:
//!
//! | item | what it is |
//! |---|---|
//! | `RawHandle`, `OwnedHandle`, `BorrowedHandle`, `raw_of`, `into_raw`, `from_raw`, `borrow_raw`, `close`, `AsHandle`, `duplicate` | the system's handles |
//! | `raw_from_result` | the handle that a completion's number is |
//! | `RawError`, `error_from_raw` | error codes, positive, and their `io::Error` |
//! | `RawAddress`, `domain_of`, `path_of_name`, `SOCK_*` | how it writes the addresses and kinds of sockets |
//! | `Scratch` | the message header of an operation in flight: buffers, address, result flags |
//! | `datagram` | how a datagram and its sender lie in a pool's buffer |
//! | `Path`, `RawPath`, `OpenOptions`, `OpenHow`, `StatBuf` | names, options and metadata of files |
//! | `PidFd` | a child process as something to wait for |
//! | `control` | making the calls that do not wait |
//! | `RawEntry` | an operation that wharf does not know |
//! | `native` | on Unix: the calls that differ from one system to the next |
//! | `cached` | asking the caches of the system, where it has calls for that |
//! | `call` | carrying out an operation by the ordinary system call |
//! | `POLL_*` | the bits of readiness |

mod address;
mod control_call;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
mod bsd;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub(crate) use address::SocketKind;
pub use address::{Address, UnixAddress};
pub(crate) use control_call::{Control, Reply};

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
pub(crate) use bsd::*;
#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;
