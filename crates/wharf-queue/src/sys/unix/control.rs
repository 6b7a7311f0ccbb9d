//! Calls that do not wait: new sockets, addresses, options.

#![expect(unsafe_code)]
// UNSAFETY: system calls with pointers to locals.

use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Address, RawAddress, RawHandle, SocketKind, check, error_from_raw};
use super::{Control, Reply};
use crate::handle::{HandleKind, MulticastV4, MulticastV6, SocketOption};
use crate::op::FileType;
use crate::sys::{StatBuf, cached, native};

fn checked(result: i32) -> io::Result<i32> {
    check(result)
        .map(|result| result as i32)
        .map_err(error_from_raw)
}

/// Makes the call, on the kernel. `raw` is the handle that it is about; unused where there is none.
///
/// # Errors
/// The system's.
pub(crate) fn perform(raw: RawHandle, control: Control) -> io::Result<Reply> {
    match control {
        Control::Attach(raw) => attach(raw).map(|kind| Reply::Attached {
            kind,
            blocking: false,
        }),
        Control::Inspect(raw) => inspect(raw),
        Control::Cached(offset, len) => Ok(Reply::Flag(cached::holds(raw, offset, len))),
        Control::ReadCached(offset, len) => Ok(Reply::Bytes(cached::read_whole(raw, offset, len))),
        Control::Socket(kind) => socket(kind).map(Reply::Raw),
        Control::Pair(kind) => pair(kind).map(Reply::Pair),
        Control::Pipe(capacity) => native::pipe(capacity)
            .map(Reply::Pair)
            .map_err(error_from_raw),
        Control::Bind(address) => bind(raw, &address),
        Control::Listen(backlog) => {
            // SAFETY: a call with two numbers.
            checked(unsafe { libc::listen(raw, backlog) }).map(|_| Reply::Nothing)
        }
        Control::LocalAddress => address_by(libc::getsockname, raw),
        Control::PeerAddress => address_by(libc::getpeername, raw),
        Control::PeerCredentials => native::peer_credentials(raw)
            .map(Reply::Credentials)
            .map_err(error_from_raw),
        Control::SetOption(option) => set_socket_option(raw, option),
    }
}

fn inspect(raw: RawHandle) -> io::Result<Reply> {
    let mut stat = StatBuf::default();
    native::stat(Some(raw), None, true, &raw mut stat).map_err(error_from_raw)?;
    let metadata = Box::new(stat.metadata());
    let is_file = matches!(metadata.file_type, FileType::File | FileType::Dir);
    Ok(Reply::Inspected { metadata, is_file })
}

fn attach(raw: RawHandle) -> io::Result<HandleKind> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `stat` is valid for writing.
    checked(unsafe { libc::fstat(raw, stat.as_mut_ptr()) })?;
    // SAFETY: all zeros is a valid `stat`, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => {
            native::prepare_socket(raw).map_err(error_from_raw)?;
            match get_option(raw, libc::SOL_SOCKET, libc::SO_TYPE)? {
                libc::SOCK_STREAM => HandleKind::Stream,
                _ => HandleKind::Datagram,
            }
        }
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => return Ok(HandleKind::File),
        _ => HandleKind::Pipe,
    };
    // SAFETY: a call with numbers.
    let flags = checked(unsafe { libc::fcntl(raw, libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK == 0 {
        // SAFETY: a call with numbers.
        checked(unsafe { libc::fcntl(raw, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    }
    Ok(kind)
}

fn socket(kind: SocketKind) -> io::Result<RawHandle> {
    native::socket(kind.domain, kind.kind, kind.protocol)
        .map(|raw| raw as RawHandle)
        .map_err(error_from_raw)
}

fn pair(kind: SocketKind) -> io::Result<[RawHandle; 2]> {
    native::pair(kind.domain, kind.kind, kind.protocol).map_err(error_from_raw)
}

fn bind(raw: RawHandle, address: &Address) -> io::Result<Reply> {
    let mut storage = RawAddress::empty();
    storage.set(address).map_err(error_from_raw)?;
    let pointer = (&raw const storage.storage).cast();
    // SAFETY: the address is initialised for its length.
    checked(unsafe { libc::bind(raw, pointer, storage.len) }).map(|_| Reply::Nothing)
}

type AddressCall = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

fn address_by(call: AddressCall, raw: RawHandle) -> io::Result<Reply> {
    let mut storage = RawAddress::empty();
    storage.len = RawAddress::CAPACITY;
    let pointer = (&raw mut storage.storage).cast();
    // SAFETY: the storage is valid for writing, for the length that is given.
    checked(unsafe { call(raw, pointer, &raw mut storage.len) })?;
    Ok(Reply::Address(storage.get()))
}

fn set_socket_option(raw: RawHandle, option: SocketOption) -> io::Result<Reply> {
    use libc::{IPPROTO_IP as V4, IPPROTO_IPV6 as V6, IPPROTO_TCP as TCP, SOL_SOCKET as SOCKET};
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let (level, name, value) = match option {
        SocketOption::NoDelay(yes) => (TCP, libc::TCP_NODELAY, yes.into()),
        SocketOption::ReuseAddress(yes) => (SOCKET, libc::SO_REUSEADDR, yes.into()),
        SocketOption::ReusePort(yes) => (SOCKET, native::REUSE_PORT, yes.into()),
        SocketOption::KeepAlive(yes) => (SOCKET, libc::SO_KEEPALIVE, yes.into()),
        SocketOption::KeepAliveIdle(time) => (TCP, native::KEEP_ALIVE_IDLE, whole_seconds(time)),
        SocketOption::KeepAliveInterval(time) => (TCP, libc::TCP_KEEPINTVL, whole_seconds(time)),
        SocketOption::KeepAliveProbes(count) => (TCP, libc::TCP_KEEPCNT, number(count)),
        SocketOption::Broadcast(yes) => (SOCKET, libc::SO_BROADCAST, yes.into()),
        SocketOption::OnlyV6(yes) => (V6, libc::IPV6_V6ONLY, yes.into()),
        SocketOption::ReceiveBuffer(bytes) => (SOCKET, libc::SO_RCVBUF, number(bytes)),
        SocketOption::SendBuffer(bytes) => (SOCKET, libc::SO_SNDBUF, number(bytes)),
        SocketOption::Ttl(hops) => (V4, libc::IP_TTL, number(hops)),
        SocketOption::HopsV6(hops) => (V6, libc::IPV6_UNICAST_HOPS, number(hops)),
        SocketOption::MulticastTtlV4(hops) => (V4, libc::IP_MULTICAST_TTL, number(hops)),
        SocketOption::MulticastHopsV6(hops) => (V6, libc::IPV6_MULTICAST_HOPS, number(hops)),
        SocketOption::MulticastLoopV4(yes) => (V4, libc::IP_MULTICAST_LOOP, yes.into()),
        SocketOption::MulticastLoopV6(yes) => (V6, libc::IPV6_MULTICAST_LOOP, yes.into()),
        SocketOption::MulticastInterfaceV6(index) => (V6, libc::IPV6_MULTICAST_IF, number(index)),
        SocketOption::MulticastInterfaceV4(address) => {
            return set_option(raw, V4, libc::IP_MULTICAST_IF, &in_address(address));
        }
        SocketOption::JoinV4(group) => return join_v4(raw, libc::IP_ADD_MEMBERSHIP, group),
        SocketOption::LeaveV4(group) => return join_v4(raw, libc::IP_DROP_MEMBERSHIP, group),
        SocketOption::JoinV6(group) => return join_v6(raw, native::JOIN_V6, group),
        SocketOption::LeaveV6(group) => return join_v6(raw, native::LEAVE_V6, group),
        SocketOption::Linger(duration) => {
            let linger = libc::linger {
                l_onoff: duration.is_some().into(),
                l_linger: duration.map_or(0, whole_seconds),
            };
            return set_option(raw, SOCKET, native::LINGER, &linger);
        }
    };
    set_option(raw, level, name, &value)
}

/// Whole seconds, rounded up (socket(7), tcp(7)).
fn whole_seconds(time: Duration) -> i32 {
    let whole = time
        .as_secs()
        .saturating_add((time.subsec_nanos() > 0).into());
    i32::try_from(whole).unwrap_or(i32::MAX)
}

fn in_address(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    }
}

/// Joins or leaves a group (ip(7)).
fn join_v4(raw: RawHandle, name: i32, group: MulticastV4) -> io::Result<Reply> {
    let request = libc::ip_mreq {
        imr_multiaddr: in_address(group.group),
        imr_interface: in_address(group.interface),
    };
    set_option(raw, libc::IPPROTO_IP, name, &request)
}

/// Joins or leaves a group (ipv6(7)).
fn join_v6(raw: RawHandle, name: i32, group: MulticastV6) -> io::Result<Reply> {
    let request = libc::ipv6_mreq {
        ipv6mr_multiaddr: libc::in6_addr {
            s6_addr: group.group.octets(),
        },
        ipv6mr_interface: group.interface,
    };
    set_option(raw, libc::IPPROTO_IPV6, name, &request)
}

fn set_option<T>(raw: RawHandle, level: i32, name: i32, value: &T) -> io::Result<Reply> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is valid for reading, for the length that is given.
    checked(unsafe { libc::setsockopt(raw, level, name, (&raw const *value).cast(), len) })
        .map(|_| Reply::Nothing)
}

fn get_option(raw: RawHandle, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    let pointer = (&raw mut value).cast();
    // SAFETY: the value is valid for writing, for the length that is given.
    checked(unsafe { libc::getsockopt(raw, level, name, pointer, &raw mut len) })?;
    Ok(value)
}
