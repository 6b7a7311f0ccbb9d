//! Socket addresses as Windows has them.

#![expect(unsafe_code)]
// UNSAFETY: `sockaddr_storage` is looked at as the family's own type.

use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::Path;

use windows_sys::Win32::Networking::WinSock as winsock;

pub(crate) use winsock::{SOCK_DGRAM, SOCK_STREAM};

use super::error::INVALID;
use super::{Address, RawError, UnixAddress};

/// An address as the kernel reads and writes it.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    pub(crate) storage: winsock::SOCKADDR_STORAGE,
    pub(crate) len: i32,
}

impl RawAddress {
    pub(crate) const CAPACITY: i32 = size_of::<winsock::SOCKADDR_STORAGE>() as i32;

    pub(crate) fn empty() -> RawAddress {
        // SAFETY: all zeros is a valid `sockaddr_storage`, of the family AF_UNSPEC.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        RawAddress { storage, len: 0 }
    }

    fn put<T>(&mut self, address: T, len: usize) {
        const { assert!(size_of::<T>() <= size_of::<winsock::SOCKADDR_STORAGE>()) };
        // SAFETY: the storage is large enough and aligned for every address type.
        unsafe { (&raw mut self.storage).cast::<T>().write(address) };
        self.len = len as i32;
    }

    /// # Errors
    /// `EINVAL` for a Unix name that is too long, or for no address.
    pub(crate) fn set(&mut self, address: &Address) -> Result<(), RawError> {
        match address {
            Address::Ip(SocketAddr::V4(address)) => {
                let raw = winsock::SOCKADDR_IN {
                    sin_family: winsock::AF_INET,
                    sin_port: address.port().to_be(),
                    sin_addr: winsock::IN_ADDR {
                        S_un: winsock::IN_ADDR_0 {
                            S_addr: u32::from_ne_bytes(address.ip().octets()),
                        },
                    },
                    sin_zero: [0; 8],
                };
                self.put(raw, size_of::<winsock::SOCKADDR_IN>());
            }
            Address::Ip(SocketAddr::V6(address)) => {
                let raw = winsock::SOCKADDR_IN6 {
                    sin6_family: winsock::AF_INET6,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: winsock::IN6_ADDR {
                        u: winsock::IN6_ADDR_0 {
                            Byte: address.ip().octets(),
                        },
                    },
                    Anonymous: winsock::SOCKADDR_IN6_0 {
                        sin6_scope_id: address.scope_id(),
                    },
                };
                self.put(raw, size_of::<winsock::SOCKADDR_IN6>());
            }
            Address::Unix(UnixAddress { name }) => {
                let mut raw = winsock::SOCKADDR_UN {
                    sun_family: winsock::AF_UNIX,
                    sun_path: [0; 108],
                };
                // A path needs room for its terminating zero (`SOCKADDR_UN`).
                let is_path = name.first() != Some(&0);
                if name.len() + usize::from(is_path) > raw.sun_path.len() || name.is_empty() {
                    return Err(INVALID);
                }
                for (to, from) in raw.sun_path.iter_mut().zip(name) {
                    *to = *from as i8;
                }
                let len = mem::offset_of!(winsock::SOCKADDR_UN, sun_path) + name.len();
                self.put(raw, len + usize::from(is_path));
            }
            Address::Unnamed => return Err(INVALID),
        }
        Ok(())
    }

    /// The bytes that are valid.
    pub(crate) fn bytes(&self) -> &[u8] {
        let bytes: *const u8 = (&raw const self.storage).cast();
        let len = usize::try_from(self.len).unwrap_or(0);
        // SAFETY: the storage is initialised and at least that long.
        unsafe { std::slice::from_raw_parts(bytes, len.min(Self::CAPACITY as usize)) }
    }

    pub(crate) fn get(&self) -> Address {
        Address::parse(self.bytes())
    }
}

impl Address {
    /// Reads an address of the kernel's out of bytes, which need not be aligned.
    pub(crate) fn parse(bytes: &[u8]) -> Address {
        fn read<T: Copy>(bytes: &[u8]) -> Option<T> {
            // SAFETY: only used for address types, for which all bytes are valid, and the length
            // is checked.
            (bytes.len() >= size_of::<T>())
                .then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
        }
        let family = read::<u16>(bytes).unwrap_or(winsock::AF_UNSPEC);
        let address = match family {
            winsock::AF_INET => read::<winsock::SOCKADDR_IN>(bytes).map(|raw| {
                // SAFETY: every view of the address is valid.
                let ip = unsafe { raw.sin_addr.S_un.S_addr };
                let ip = Ipv4Addr::from(ip.to_ne_bytes());
                Address::Ip(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
            }),
            winsock::AF_INET6 => read::<winsock::SOCKADDR_IN6>(bytes).map(|raw| {
                // SAFETY: every view of the address is valid.
                let ip = Ipv6Addr::from(unsafe { raw.sin6_addr.u.Byte });
                let port = u16::from_be(raw.sin6_port);
                // SAFETY: both views of the scope are a number of 32 bits.
                let scope = unsafe { raw.Anonymous.sin6_scope_id };
                let flow = raw.sin6_flowinfo;
                Address::Ip(SocketAddrV6::new(ip, port, flow, scope).into())
            }),
            winsock::AF_UNIX => {
                let name =
                    &bytes[mem::offset_of!(winsock::SOCKADDR_UN, sun_path).min(bytes.len())..];
                let name = match name.first() {
                    None => &[],
                    // An abstract name is as long as it is, zeros included.
                    Some(0) => name,
                    Some(_) => name.split(|&byte| byte == 0).next().unwrap_or(name),
                };
                let unix = UnixAddress {
                    name: name.to_owned(),
                };
                (!name.is_empty()).then_some(Address::Unix(unix))
            }
            _ => None,
        };
        address.unwrap_or(Address::Unnamed)
    }
}

/// The domain of the sockets that have such addresses.
pub(crate) fn domain_of(address: &Address) -> i32 {
    i32::from(match address {
        Address::Ip(SocketAddr::V4(_)) => winsock::AF_INET,
        Address::Ip(SocketAddr::V6(_)) => winsock::AF_INET6,
        Address::Unix(_) | Address::Unnamed => winsock::AF_UNIX,
    })
}

/// The path that the name of a Unix socket is. Paths of sockets are in UTF-8 here.
pub(crate) fn path_of_name(name: &[u8]) -> Option<&Path> {
    std::str::from_utf8(name).ok().map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(address: &Address) -> Address {
        let mut raw = RawAddress::empty();
        raw.set(address).expect("a valid address");
        raw.get()
    }

    #[test]
    fn addresses_survive_the_kernel_form() {
        let v4: SocketAddr = "1.2.3.4:567".parse().expect("valid");
        let v6: SocketAddr = "[fe80::1%3]:567".parse().expect("valid");
        for address in [
            Address::from(v4),
            Address::from(v6),
            Address::from(Path::new("/a/socket")),
            Address::from(UnixAddress::abstract_name(b"a\0b")),
        ] {
            assert_eq!(round_trip(&address), address);
        }
    }

    #[test]
    fn a_unix_name_that_is_too_long_is_refused() {
        let long = "x".repeat(108);
        let mut raw = RawAddress::empty();
        assert_eq!(raw.set(&Address::from(Path::new(&long))), Err(INVALID));
        assert_eq!(raw.set(&Address::Unnamed), Err(INVALID));
    }

    #[test]
    fn short_and_foreign_bytes_are_unnamed() {
        assert_eq!(Address::parse(&[]), Address::Unnamed);
        assert_eq!(Address::parse(&[2, 0, 1]), Address::Unnamed);
        assert_eq!(Address::parse(&[99, 0, 1, 2, 3]), Address::Unnamed);
    }
}
