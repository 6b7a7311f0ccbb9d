//! Calls that do not wait: new sockets, addresses, options.

#![expect(unsafe_code)]
// UNSAFETY: system calls with pointers to locals.

use std::io;
use std::mem::MaybeUninit;

use super::{Address, RawAddress, RawHandle, SocketKind, check, error_from_raw};
use crate::handle::{HandleKind, SocketOption};

/// A call that does not wait.
#[derive(Clone, Debug)]
pub(crate) enum Control {
    /// Finds out what a descriptor is, and makes a socket or a pipe non-blocking.
    Attach(RawHandle),
    Socket(SocketKind),
    Bind(Address),
    Listen(i32),
    LocalAddress,
    PeerAddress,
    SetOption(SocketOption),
}

/// What a [`Control`] gives back.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Nothing,
    Kind(HandleKind),
    Raw(RawHandle),
    Address(Address),
}

fn unexpected() -> io::Error {
    io::Error::other("the backend answered a control call with something else")
}

impl Reply {
    pub(crate) fn into_kind(self) -> io::Result<HandleKind> {
        match self {
            Reply::Kind(kind) => Ok(kind),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn into_raw(self) -> io::Result<RawHandle> {
        match self {
            Reply::Raw(raw) => Ok(raw),
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
        Control::Attach(raw) => attach(raw).map(Reply::Kind),
        Control::Socket(kind) => socket(kind).map(Reply::Raw),
        Control::Bind(address) => bind(raw, &address),
        Control::Listen(backlog) => {
            // SAFETY: a call with two numbers.
            checked(unsafe { libc::listen(raw, backlog) }).map(|_| Reply::Nothing)
        }
        Control::LocalAddress => address_by(libc::getsockname, raw),
        Control::PeerAddress => address_by(libc::getpeername, raw),
        Control::SetOption(option) => set_socket_option(raw, option),
    }
}

fn attach(raw: RawHandle) -> io::Result<HandleKind> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `stat` is valid for writing.
    checked(unsafe { libc::fstat(raw, stat.as_mut_ptr()) })?;
    // SAFETY: all zeros is a valid `stat`, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => match get_option(raw, libc::SOL_SOCKET, libc::SO_TYPE)? {
            libc::SOCK_STREAM => HandleKind::Stream,
            _ => HandleKind::Datagram,
        },
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
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a call with numbers.
    checked(unsafe { libc::socket(kind.domain, kind.kind | flags, kind.protocol) })
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
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let (level, name, value) = match option {
        SocketOption::NoDelay(yes) => (libc::IPPROTO_TCP, libc::TCP_NODELAY, yes.into()),
        SocketOption::ReuseAddress(yes) => (libc::SOL_SOCKET, libc::SO_REUSEADDR, yes.into()),
        SocketOption::ReusePort(yes) => (libc::SOL_SOCKET, libc::SO_REUSEPORT, yes.into()),
        SocketOption::KeepAlive(yes) => (libc::SOL_SOCKET, libc::SO_KEEPALIVE, yes.into()),
        SocketOption::Broadcast(yes) => (libc::SOL_SOCKET, libc::SO_BROADCAST, yes.into()),
        SocketOption::OnlyV6(yes) => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, yes.into()),
        SocketOption::ReceiveBuffer(bytes) => (libc::SOL_SOCKET, libc::SO_RCVBUF, number(bytes)),
        SocketOption::SendBuffer(bytes) => (libc::SOL_SOCKET, libc::SO_SNDBUF, number(bytes)),
        SocketOption::Ttl(hops) => (libc::IPPROTO_IP, libc::IP_TTL, number(hops)),
        SocketOption::Linger(duration) => {
            // Whole seconds, rounded up (socket(7)).
            let seconds = duration.map(|duration| {
                let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
                i32::try_from(whole).unwrap_or(i32::MAX)
            });
            let linger = libc::linger {
                l_onoff: seconds.is_some().into(),
                l_linger: seconds.unwrap_or(0),
            };
            return set_option(raw, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
        }
    };
    set_option(raw, level, name, &value)
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
