//! Socket addresses as the C library has them.

#![expect(unsafe_code)]
// UNSAFETY: `sockaddr_storage` is looked at as the family's own type.

use std::ffi::OsStr;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(crate) use libc::{SOCK_DGRAM, SOCK_STREAM};

use super::{Address, RawError, UnixAddress};
use crate::sys::native;

/// An address of the C library's without anything in it. The BSDs' have a field for the length too,
/// which their kernels set by the length that the call gives.
fn zeroed<T: Copy>() -> T {
    // SAFETY: only used for address types, for which all zeros are valid: the family AF_UNSPEC.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// An address as the kernel reads and writes it.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) len: libc::socklen_t,
}

impl RawAddress {
    pub(crate) const CAPACITY: libc::socklen_t =
        size_of::<libc::sockaddr_storage>() as libc::socklen_t;

    pub(crate) fn empty() -> RawAddress {
        let storage = zeroed();
        RawAddress { storage, len: 0 }
    }

    fn put<T>(&mut self, address: T, len: usize) {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        // SAFETY: the storage is large enough and aligned for every address type.
        unsafe { (&raw mut self.storage).cast::<T>().write(address) };
        self.len = len as libc::socklen_t;
    }

    /// # Errors
    /// `EINVAL` for a Unix name that is too long, or for no address.
    pub(crate) fn set(&mut self, address: &Address) -> Result<(), RawError> {
        match address {
            Address::Ip(SocketAddr::V4(address)) => {
                let mut raw: libc::sockaddr_in = zeroed();
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                raw.sin_port = address.port().to_be();
                raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
                self.put(raw, size_of::<libc::sockaddr_in>());
            }
            Address::Ip(SocketAddr::V6(address)) => {
                let mut raw: libc::sockaddr_in6 = zeroed();
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.sin6_port = address.port().to_be();
                raw.sin6_flowinfo = address.flowinfo();
                raw.sin6_addr.s6_addr = address.ip().octets();
                raw.sin6_scope_id = address.scope_id();
                self.put(raw, size_of::<libc::sockaddr_in6>());
            }
            Address::Unix(UnixAddress { name }) => {
                let mut raw: libc::sockaddr_un = zeroed();
                raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
                // A path needs room for its terminating zero (unix(7)).
                let is_path = name.first() != Some(&0);
                if !is_path && !native::HAS_ABSTRACT_NAMES {
                    return Err(libc::EINVAL);
                }
                if name.len() + usize::from(is_path) > raw.sun_path.len() || name.is_empty() {
                    return Err(libc::EINVAL);
                }
                for (to, from) in raw.sun_path.iter_mut().zip(name) {
                    *to = *from as libc::c_char;
                }
                let len = mem::offset_of!(libc::sockaddr_un, sun_path) + name.len();
                self.put(raw, len + usize::from(is_path));
            }
            Address::Unnamed => return Err(libc::EINVAL),
        }
        Ok(())
    }

    pub(crate) fn get(&self) -> Address {
        let bytes: *const u8 = (&raw const self.storage).cast();
        let len = (self.len as usize).min(size_of::<libc::sockaddr_storage>());
        // SAFETY: the storage is initialised and at least that long.
        Address::parse(unsafe { std::slice::from_raw_parts(bytes, len) })
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
        let family = bytes.get(mem::offset_of!(libc::sockaddr, sa_family)..);
        let family = family
            .and_then(read::<libc::sa_family_t>)
            .map_or(libc::AF_UNSPEC, i32::from);
        let address = match family {
            libc::AF_INET => read::<libc::sockaddr_in>(bytes).map(|raw| {
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Address::Ip(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
            }),
            libc::AF_INET6 => read::<libc::sockaddr_in6>(bytes).map(|raw| {
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                let port = u16::from_be(raw.sin6_port);
                let (flow, scope) = (raw.sin6_flowinfo, raw.sin6_scope_id);
                Address::Ip(SocketAddrV6::new(ip, port, flow, scope).into())
            }),
            libc::AF_UNIX => {
                let name = &bytes[mem::offset_of!(libc::sockaddr_un, sun_path).min(bytes.len())..];
                let name = match name.first() {
                    None => &[],
                    // An abstract name is as long as it is, zeros included.
                    Some(0) if native::HAS_ABSTRACT_NAMES => name,
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
    match address {
        Address::Ip(SocketAddr::V4(_)) => libc::AF_INET,
        Address::Ip(SocketAddr::V6(_)) => libc::AF_INET6,
        Address::Unix(_) | Address::Unnamed => libc::AF_UNIX,
    }
}

/// The path that the name of a Unix socket is.
#[expect(
    clippy::unnecessary_wraps,
    reason = "not every name is a path on other systems"
)]
pub(crate) fn path_of_name(name: &[u8]) -> Option<&Path> {
    Some(Path::new(OsStr::from_bytes(name)))
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
        ] {
            assert_eq!(round_trip(&address), address);
        }
        let hidden = Address::from(UnixAddress::abstract_name(b"a\0b"));
        if native::HAS_ABSTRACT_NAMES {
            assert_eq!(round_trip(&hidden), hidden);
        } else {
            assert_eq!(RawAddress::empty().set(&hidden), Err(libc::EINVAL));
        }
    }

    #[test]
    fn a_unix_name_that_is_too_long_is_refused() {
        let long = "x".repeat(108);
        let mut raw = RawAddress::empty();
        assert_eq!(raw.set(&Address::from(Path::new(&long))), Err(libc::EINVAL));
        assert_eq!(raw.set(&Address::Unnamed), Err(libc::EINVAL));
    }

    #[test]
    fn short_and_foreign_bytes_are_unnamed() {
        assert_eq!(Address::parse(&[]), Address::Unnamed);
        assert_eq!(Address::parse(&[2, 0, 1]), Address::Unnamed);
        assert_eq!(Address::parse(&[99, 0, 1, 2, 3]), Address::Unnamed);
    }
}
