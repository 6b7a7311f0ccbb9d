//! Calls that do not wait: new sockets, addresses, options; and what a handle needs to be used with
//! a port.

#![expect(unsafe_code)]
// UNSAFETY: calls with pointers to locals.

use std::io;
use std::net::Ipv4Addr;
use std::ptr;
use std::time::Duration;

use windows_sys::Wdk::Storage::FileSystem::{
    FileReplaceCompletionInformation, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{HANDLE, STATUS_SUCCESS};
use windows_sys::Win32::Networking::WinSock as winsock;
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_DISK, GetFileType};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use super::error::{INVALID, UNSUPPORTED};
use super::port::{Key, Port};
use super::socket::check;
use super::{Address, RawAddress, RawError, RawHandle, StatBuf, error_from_raw};
use super::{Control, Reply};
use crate::handle::{HandleKind, MulticastV4, MulticastV6, SocketOption};

/// The port that handles are used with, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home<'a> {
    pub(crate) port: &'a Port,
    /// Streams send no packet for what ends well at once.
    pub(crate) skip_streams: bool,
}

/// Makes the call. `raw` is the handle that it is about; unused where there is none.
///
/// # Errors
/// The system's.
pub(crate) fn perform(home: Home<'_>, raw: RawHandle, control: Control) -> io::Result<Reply> {
    match control {
        Control::Attach(raw) => attach(home, raw),
        Control::Inspect(raw) => inspect(raw),
        // There is no call that would tell.
        Control::Cached(..) => Ok(Reply::Flag(false)),
        Control::ReadCached(..) => Ok(Reply::Bytes(None)),
        Control::Socket(kind) => new_socket(kind.domain, kind.kind, kind.protocol).map(Reply::Raw),
        // No call makes a pair here, and what could be made of a listener is not private; pipes without
        // a name do not complete.
        Control::Pair(_) | Control::Pipe(_) | Control::PeerCredentials => Err(UNSUPPORTED),
        Control::Bind(address) => bind(raw, &address).map(|()| Reply::Nothing),
        Control::Listen(backlog) => {
            // SAFETY: a call with two numbers.
            check(unsafe { winsock::listen(raw.socket(), backlog) }).map(|_| Reply::Nothing)
        }
        Control::LocalAddress => address_by(winsock::getsockname, raw).map(Reply::Address),
        Control::PeerAddress => address_by(winsock::getpeername, raw).map(Reply::Address),
        Control::SetOption(option) => set_socket_option(raw, option).map(|()| Reply::Nothing),
    }
    .map_err(error_from_raw)
}

fn inspect(raw: RawHandle) -> Result<Reply, RawError> {
    let mut stat = StatBuf::default();
    StatBuf::fill(&raw mut stat, raw)?;
    // It has to be attached to the port yet.
    let (metadata, is_file) = (Box::new(stat.metadata()), false);
    Ok(Reply::Inspected { metadata, is_file })
}

fn attach(home: Home<'_>, raw: RawHandle) -> Result<Reply, RawError> {
    if raw.is_socket() {
        let kind = match get_option(raw, winsock::SOL_SOCKET, winsock::SO_TYPE)? {
            winsock::SOCK_STREAM => HandleKind::Stream,
            _ => HandleKind::Datagram,
        };
        set_nonblocking(raw)?;
        let blocking = false;
        return Ok(Reply::Attached { kind, blocking });
    }
    // SAFETY: a call with a handle.
    let kind = match unsafe { GetFileType(raw.handle()) } {
        FILE_TYPE_DISK => HandleKind::File,
        _ => HandleKind::Pipe,
    };
    let blocking = match associate(home.port, raw) {
        Ok(()) => false,
        // It was not opened for overlapped calls, or is a console: calls on it block.
        Err(INVALID) => true,
        Err(error) => return Err(error),
    };
    if !blocking {
        // A pipe of messages may give a part of one at once, which is no success and no failure, so
        // that only the packet tells.
        Port::set_modes(raw, kind == HandleKind::File)?;
    }
    Ok(Reply::Attached { kind, blocking })
}

/// Calls that do not say otherwise do not wait from now on.
fn set_nonblocking(raw: RawHandle) -> Result<(), RawError> {
    let mut yes = 1u32;
    // SAFETY: the number is valid for reading and writing.
    check(unsafe { winsock::ioctlsocket(raw.socket(), winsock::FIONBIO, &raw mut yes) }).map(drop)
}

/// Makes a socket ready for overlapped calls whose end comes to the port: before the first of them,
/// since a handle stays with its port, and one that has none yet can be handed to another queue.
pub(crate) fn prepare(home: Home<'_>, raw: RawHandle, kind: HandleKind) -> Result<(), RawError> {
    associate(home.port, raw)?;
    let is_stream = kind == HandleKind::Stream;
    // A datagram that does not fit is told apart by its packet only.
    Port::set_modes(raw, is_stream && home.skip_streams)?;
    set_nonblocking(raw)?;
    if !is_stream {
        // An answer "nobody is there" to one datagram is no error of the next receive. Sockets of
        // other families do not know these.
        for code in [winsock::SIO_UDP_CONNRESET, winsock::SIO_UDP_NETRESET] {
            let no = 0u32;
            let mut bytes = 0u32;
            // SAFETY: the number is valid for reading for its length.
            unsafe {
                winsock::WSAIoctl(
                    raw.socket(),
                    code,
                    (&raw const no).cast(),
                    size_of::<u32>() as u32,
                    ptr::null_mut(),
                    0,
                    &raw mut bytes,
                    ptr::null_mut(),
                    None,
                )
            };
        }
    }
    Ok(())
}

/// `FILE_COMPLETION_INFORMATION` of the native interface.
#[repr(C)]
struct Completion {
    port: HANDLE,
    key: *mut std::ffi::c_void,
}

/// Moves a handle to another port, or to none (`NtSetInformationFile`, since Windows 8.1).
fn replace_port(raw: RawHandle, completion: &Completion) -> bool {
    // SAFETY: all zeros is a valid record.
    let mut status_block: IO_STATUS_BLOCK = unsafe { std::mem::zeroed() };
    let information = (&raw const *completion).cast();
    let len = size_of::<Completion>() as u32;
    let class = FileReplaceCompletionInformation;
    // SAFETY: the records are valid for reading and writing during the call.
    let status = unsafe {
        NtSetInformationFile(raw.handle(), &raw mut status_block, information, len, class)
    };
    status == STATUS_SUCCESS
}

fn associate(port: &Port, raw: RawHandle) -> Result<(), RawError> {
    match port.associate(raw) {
        Err(INVALID) => {
            let (port, key) = (port.raw().handle(), Key::Operation as usize as *mut _);
            if replace_port(raw, &Completion { port, key }) {
                Ok(())
            } else {
                Err(INVALID)
            }
        }
        result => result,
    }
}

/// Lets go of a handle, so that another queue can have it. Where the system cannot, the handle stays
/// with this port, and attaching it elsewhere is an error.
pub(crate) fn dissociate(raw: RawHandle) {
    let none = Completion {
        port: ptr::null_mut(),
        key: ptr::null_mut(),
    };
    replace_port(raw, &none);
}

/// Makes a socket that programs which are started do not inherit.
pub(crate) fn new_socket(domain: i32, kind: i32, protocol: i32) -> Result<RawHandle, RawError> {
    let flags = winsock::WSA_FLAG_OVERLAPPED | winsock::WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: a call with numbers.
    let socket = unsafe { winsock::WSASocketW(domain, kind, protocol, ptr::null(), 0, flags) };
    if socket == winsock::INVALID_SOCKET {
        return Err(super::socket::socket_error());
    }
    Ok(RawHandle::of_socket(socket))
}

fn bind(raw: RawHandle, address: &Address) -> Result<(), RawError> {
    let mut storage = RawAddress::empty();
    storage.set(address)?;
    let pointer = (&raw const storage.storage).cast();
    // SAFETY: the address is initialised for its length.
    check(unsafe { winsock::bind(raw.socket(), pointer, storage.len) }).map(drop)
}

type AddressCall =
    unsafe extern "system" fn(winsock::SOCKET, *mut winsock::SOCKADDR, *mut i32) -> i32;

fn address_by(call: AddressCall, raw: RawHandle) -> Result<Address, RawError> {
    let mut storage = RawAddress::empty();
    storage.len = RawAddress::CAPACITY;
    let pointer = (&raw mut storage.storage).cast();
    // SAFETY: the storage is valid for writing, for the length that is given.
    check(unsafe { call(raw.socket(), pointer, &raw mut storage.len) })?;
    Ok(storage.get())
}

/// The family of addresses of a listener.
///
/// # Errors
/// `WSAEINVAL` for a socket that does not listen.
pub(crate) fn listener_family(raw: RawHandle) -> Result<i32, RawError> {
    if get_option(raw, winsock::SOL_SOCKET, winsock::SO_ACCEPTCONN)? == 0 {
        return Err(winsock::WSAEINVAL);
    }
    let mut storage = RawAddress::empty();
    storage.len = RawAddress::CAPACITY;
    let pointer = (&raw mut storage.storage).cast();
    // SAFETY: the storage is valid for writing, for the length that is given.
    check(unsafe { winsock::getsockname(raw.socket(), pointer, &raw mut storage.len) })?;
    Ok(storage.storage.ss_family.into())
}

fn set_socket_option(raw: RawHandle, option: SocketOption) -> Result<(), RawError> {
    use winsock::{IPPROTO_IP as V4, IPPROTO_IPV6 as V6, IPPROTO_TCP as TCP, SOL_SOCKET as SOCKET};
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let (level, name, value) = match option {
        SocketOption::NoDelay(yes) => (TCP, winsock::TCP_NODELAY, yes.into()),
        // A port can be bound while connections linger without it; what `SO_REUSEADDR` means here
        // is that others may take the port away (Windows, "Using SO_REUSEADDR"). Members of a group
        // share theirs in that way.
        SocketOption::ReuseAddress(_) if is_stream(raw)? => return Ok(()),
        SocketOption::ReuseAddress(yes) => (SOCKET, winsock::SO_REUSEADDR, yes.into()),
        SocketOption::ReusePort(_) => return Err(UNSUPPORTED),
        SocketOption::KeepAlive(yes) => (SOCKET, winsock::SO_KEEPALIVE, yes.into()),
        SocketOption::KeepAliveIdle(time) => (TCP, winsock::TCP_KEEPIDLE, whole_seconds(time)),
        SocketOption::KeepAliveInterval(time) => (TCP, winsock::TCP_KEEPINTVL, whole_seconds(time)),
        SocketOption::KeepAliveProbes(count) => (TCP, winsock::TCP_KEEPCNT, number(count)),
        SocketOption::Broadcast(yes) => (SOCKET, winsock::SO_BROADCAST, yes.into()),
        SocketOption::OnlyV6(yes) => (V6, winsock::IPV6_V6ONLY, yes.into()),
        SocketOption::ReceiveBuffer(bytes) => (SOCKET, winsock::SO_RCVBUF, number(bytes)),
        SocketOption::SendBuffer(bytes) => (SOCKET, winsock::SO_SNDBUF, number(bytes)),
        SocketOption::Ttl(hops) => (V4, winsock::IP_TTL, number(hops)),
        SocketOption::HopsV6(hops) => (V6, winsock::IPV6_UNICAST_HOPS, number(hops)),
        SocketOption::MulticastTtlV4(hops) => (V4, winsock::IP_MULTICAST_TTL, number(hops)),
        SocketOption::MulticastHopsV6(hops) => (V6, winsock::IPV6_MULTICAST_HOPS, number(hops)),
        SocketOption::MulticastLoopV4(yes) => (V4, winsock::IP_MULTICAST_LOOP, yes.into()),
        SocketOption::MulticastLoopV6(yes) => (V6, winsock::IPV6_MULTICAST_LOOP, yes.into()),
        SocketOption::MulticastInterfaceV6(index) => {
            (V6, winsock::IPV6_MULTICAST_IF, number(index))
        }
        SocketOption::MulticastInterfaceV4(address) => {
            return set_option(raw, V4, winsock::IP_MULTICAST_IF, &in_address(address));
        }
        SocketOption::JoinV4(group) => return join_v4(raw, winsock::IP_ADD_MEMBERSHIP, group),
        SocketOption::LeaveV4(group) => return join_v4(raw, winsock::IP_DROP_MEMBERSHIP, group),
        SocketOption::JoinV6(group) => return join_v6(raw, winsock::IPV6_ADD_MEMBERSHIP, group),
        SocketOption::LeaveV6(group) => return join_v6(raw, winsock::IPV6_DROP_MEMBERSHIP, group),
        SocketOption::Linger(duration) => {
            let seconds = duration.map_or(0, whole_seconds);
            let linger = winsock::LINGER {
                l_onoff: duration.is_some().into(),
                l_linger: u16::try_from(seconds).unwrap_or(u16::MAX),
            };
            return set_option(raw, SOCKET, winsock::SO_LINGER, &linger);
        }
    };
    set_option(raw, level, name, &value)
}

/// Whole seconds, rounded up.
fn whole_seconds(time: Duration) -> i32 {
    let whole = time
        .as_secs()
        .saturating_add((time.subsec_nanos() > 0).into());
    i32::try_from(whole).unwrap_or(i32::MAX)
}

fn in_address(address: Ipv4Addr) -> winsock::IN_ADDR {
    winsock::IN_ADDR {
        S_un: winsock::IN_ADDR_0 {
            S_addr: u32::from_ne_bytes(address.octets()),
        },
    }
}

/// Joins or leaves a group.
fn join_v4(raw: RawHandle, name: i32, group: MulticastV4) -> Result<(), RawError> {
    let request = winsock::IP_MREQ {
        imr_multiaddr: in_address(group.group),
        imr_interface: in_address(group.interface),
    };
    set_option(raw, winsock::IPPROTO_IP, name, &request)
}

/// Joins or leaves a group.
fn join_v6(raw: RawHandle, name: i32, group: MulticastV6) -> Result<(), RawError> {
    let request = winsock::IPV6_MREQ {
        ipv6mr_multiaddr: winsock::IN6_ADDR {
            u: winsock::IN6_ADDR_0 {
                Byte: group.group.octets(),
            },
        },
        ipv6mr_interface: group.interface,
    };
    set_option(raw, winsock::IPPROTO_IPV6, name, &request)
}

fn is_stream(raw: RawHandle) -> Result<bool, RawError> {
    let kind = get_option(raw, winsock::SOL_SOCKET, winsock::SO_TYPE)?;
    Ok(kind == winsock::SOCK_STREAM)
}

fn set_option<T>(raw: RawHandle, level: i32, name: i32, value: &T) -> Result<(), RawError> {
    let len = size_of::<T>() as i32;
    let value = (&raw const *value).cast();
    // SAFETY: the value is valid for reading, for the length that is given.
    check(unsafe { winsock::setsockopt(raw.socket(), level, name, value, len) }).map(drop)
}

fn get_option(raw: RawHandle, level: i32, name: i32) -> Result<i32, RawError> {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as i32;
    let pointer = (&raw mut value).cast();
    // SAFETY: the value is valid for writing, for the length that is given.
    check(unsafe { winsock::getsockopt(raw.socket(), level, name, pointer, &raw mut len) })?;
    Ok(value)
}

/// Whether every provider of streams gives sockets that are kernel objects of their own, so that
/// what ends at once may send no packet (SetFileCompletionNotificationModes, remarks).
pub(crate) fn streams_are_kernel_objects() -> bool {
    let protocols = [winsock::IPPROTO_TCP, 0];
    let mut len = 0u32;
    // SAFETY: the list ends with zero; without room only the length is told.
    unsafe { winsock::WSAEnumProtocolsW(protocols.as_ptr(), ptr::null_mut(), &raw mut len) };
    let room = len as usize / size_of::<winsock::WSAPROTOCOL_INFOW>() + 1;
    let mut list: Vec<winsock::WSAPROTOCOL_INFOW> = Vec::with_capacity(room);
    len = (room * size_of::<winsock::WSAPROTOCOL_INFOW>()) as u32;
    // SAFETY: the list ends with zero; the room is valid for writing for its length.
    let count =
        unsafe { winsock::WSAEnumProtocolsW(protocols.as_ptr(), list.as_mut_ptr(), &raw mut len) };
    if count <= 0 {
        return false;
    }
    // SAFETY: the call has filled so many.
    unsafe { list.set_len((count as usize).min(room)) };
    list.iter()
        .all(|protocol| protocol.dwServiceFlags1 & winsock::XP1_IFS_HANDLES != 0)
}
