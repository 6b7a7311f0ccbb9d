//! Socket addresses, and the kinds of socket that suit them.
//!
//! Owns what they are on every system. How the kernel has them written is each system's `RawAddress`.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use super::{SOCK_DGRAM, SOCK_STREAM, domain_of, path_of_name};
use crate::handle::HandleKind;

/// The address of a socket, of any family.
///
/// ```
/// use std::net::SocketAddr;
/// use wharf_queue::Address;
/// let address: Address = "127.0.0.1:80".parse::<SocketAddr>().unwrap().into();
/// assert_eq!(address.ip().unwrap().port(), 80);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Address {
    /// An internet address with a port.
    Ip(SocketAddr),
    /// A name in the file system, or of the abstract namespace (unix(7), `SOCKADDR_UN`).
    Unix(UnixAddress),
    /// No address: of a Unix socket that is bound to none, or of a connected peer that the system
    /// does not name.
    Unnamed,
}

/// The address of a Unix socket.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnixAddress {
    /// A path; or a zero byte and an abstract name.
    pub(super) name: Vec<u8>,
}

impl UnixAddress {
    /// The path, if it is one. On Windows, paths of sockets are in UTF-8.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self.name.first() {
            Some(0) => None,
            _ => path_of_name(&self.name),
        }
    }

    /// An address in the abstract namespace, which needs no file. Only Linux has it; elsewhere an
    /// operation with such an address fails, with `EINVAL` on Unix.
    #[must_use]
    pub fn abstract_name(name: &[u8]) -> UnixAddress {
        UnixAddress {
            name: [&[0], name].concat(),
        }
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => write!(f, "{path:?}"),
            None => write!(f, "@{:?}", String::from_utf8_lossy(&self.name[1..])),
        }
    }
}

impl Address {
    /// The internet address, if it is one.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) | Address::Unnamed => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(address) => write!(f, "{address:?}"),
            Address::Unnamed => f.write_str("unnamed"),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(UnixAddress {
            name: path.as_os_str().as_encoded_bytes().to_owned(),
        })
    }
}

impl From<UnixAddress> for Address {
    fn from(address: UnixAddress) -> Address {
        Address::Unix(address)
    }
}

/// What socket(2) and `WSASocketW` are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketKind {
    pub(crate) domain: i32,
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
    pub(crate) handle: HandleKind,
}

impl SocketKind {
    pub(crate) fn stream_for(address: &Address) -> SocketKind {
        let (domain, kind) = (domain_of(address), SOCK_STREAM);
        SocketKind {
            domain,
            kind,
            protocol: 0,
            handle: HandleKind::Stream,
        }
    }

    pub(crate) fn datagram_for(address: &Address) -> SocketKind {
        let (domain, kind) = (domain_of(address), SOCK_DGRAM);
        SocketKind {
            domain,
            kind,
            protocol: 0,
            handle: HandleKind::Datagram,
        }
    }
}
