//! Calls that do not wait, as data: what is asked for, and what it gives. Each system's `control` makes
//! them.

use std::io;

use super::{Address, RawHandle, SocketKind};
use crate::handle::{HandleKind, PeerCredentials, SocketOption};
use crate::op::Metadata;

/// A call that does not wait.
#[derive(Clone, Debug)]
pub(crate) enum Control {
    /// Finds out what a handle is, and gets it ready to be used: a socket or a pipe of Unix is made
    /// non-blocking, whatever Windows has is told of its port.
    Attach(RawHandle),
    /// What is known of a handle that was just opened. On Unix, a file is ready to be used then.
    Inspect(RawHandle),
    /// Whether a part of a file, offset and length, is in the cache, as far as the system tells.
    #[cfg_attr(windows, allow(dead_code, reason = "no call would tell"))]
    Cached(u64, u64),
    /// The bytes of a part of a file, offset and length, if they are in the cache.
    #[cfg_attr(windows, allow(dead_code, reason = "no call would tell"))]
    ReadCached(u64, usize),
    Socket(SocketKind),
    /// Two sockets that are connected to each other.
    #[cfg_attr(windows, allow(dead_code, reason = "it is refused"))]
    Pair(SocketKind),
    /// A pipe, of this many bytes if the system lets one say so.
    #[cfg_attr(windows, allow(dead_code, reason = "it is refused"))]
    Pipe(u32),
    Bind(Address),
    Listen(i32),
    LocalAddress,
    PeerAddress,
    PeerCredentials,
    SetOption(SocketOption),
}

/// What a [`Control`] gives back.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Nothing,
    Attached {
        kind: HandleKind,
        /// Whether it can only be used by calls that block: never on Unix.
        blocking: bool,
    },
    /// The metadata, and whether nothing more has to be done to use it as a file.
    Inspected {
        metadata: Box<Metadata>,
        is_file: bool,
    },
    Flag(bool),
    Bytes(Option<Vec<u8>>),
    Raw(RawHandle),
    #[cfg_attr(windows, allow(dead_code, reason = "what would give it is refused"))]
    Pair([RawHandle; 2]),
    Address(Address),
    #[cfg_attr(windows, allow(dead_code, reason = "what would give it is refused"))]
    Credentials(PeerCredentials),
}

fn unexpected() -> io::Error {
    io::Error::other("the backend answered a control call with something else")
}

impl Reply {
    /// What kind of handle it is, and whether it can only be used by calls that block.
    pub(crate) fn into_attached(self) -> io::Result<(HandleKind, bool)> {
        match self {
            Reply::Attached { kind, blocking } => Ok((kind, blocking)),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn into_inspected(self) -> io::Result<(Metadata, bool)> {
        match self {
            Reply::Inspected { metadata, is_file } => Ok((*metadata, is_file)),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn into_flag(self) -> io::Result<bool> {
        match self {
            Reply::Flag(flag) => Ok(flag),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn into_bytes(self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Reply::Bytes(bytes) => Ok(bytes),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn into_raw(self) -> io::Result<RawHandle> {
        match self {
            Reply::Raw(raw) => Ok(raw),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn into_pair(self) -> io::Result<[RawHandle; 2]> {
        match self {
            Reply::Pair(pair) => Ok(pair),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn into_credentials(self) -> io::Result<PeerCredentials> {
        match self {
            Reply::Credentials(credentials) => Ok(credentials),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn into_address(self) -> io::Result<Address> {
        match self {
            Reply::Address(address) => Ok(address),
            _ => Err(unexpected()),
        }
    }
}
