//! The calls that Linux makes in a way of its own.
//!
//! Owns what `sys::unix` asks of each system, under the same names on all of them. A call that may
//! be interrupted is repeated here.

#![expect(unsafe_code)]
// UNSAFETY: system calls with pointers to locals, and with those that an operation lends.

use std::os::fd::OwnedFd;

use super::{OpenHow, StatBuf};
use crate::handle::PeerCredentials;
use crate::op::{Op, Support, Target};
use crate::sys::call::retry;
use crate::sys::signal::without_sigpipe;
use crate::sys::{MAX_TRANSFER, RawError, RawHandle, RawPath, check, from_raw, last_error};

/// Added to each send and receive: no waiting, and no signal if the peer has gone.
pub(crate) const MESSAGE_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// The flag of open(2) for reads and writes past the page cache.
pub(crate) const DIRECT: i32 = libc::O_DIRECT;
/// How the emulation does a splice.
pub(crate) const SPLICE: Support = Support::Emulated;
/// The time before the first probe of a quiet connection (tcp(7)).
pub(crate) const KEEP_ALIVE_IDLE: i32 = libc::TCP_KEEPIDLE;
/// Entering and leaving a group of IPv6 (ipv6(7)).
pub(crate) const JOIN_V6: i32 = libc::IPV6_ADD_MEMBERSHIP;
pub(crate) const LEAVE_V6: i32 = libc::IPV6_DROP_MEMBERSHIP;
/// Sharing of a port, by which what arrives is spread (socket(7)).
pub(crate) const REUSE_PORT: i32 = libc::SO_REUSEPORT;
/// What a close does with bytes that are not sent, in seconds.
pub(crate) const LINGER: i32 = libc::SO_LINGER;
/// Whether Unix sockets have names that are no paths (unix(7)).
pub(crate) const HAS_ABSTRACT_NAMES: bool = true;
/// The flags with which sockets are made.
const SOCKET_FLAGS: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// A new socket, non-blocking.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> Result<i64, RawError> {
    // SAFETY: a call with numbers.
    retry(|| unsafe { libc::socket(domain, kind | SOCKET_FLAGS, protocol) }.into())
}

/// Two sockets that are connected to each other, non-blocking (socketpair(2)).
pub(crate) fn pair(domain: i32, kind: i32, protocol: i32) -> Result<[RawHandle; 2], RawError> {
    let mut pair = [-1; 2];
    let (kind, out) = (kind | SOCKET_FLAGS, pair.as_mut_ptr());
    // SAFETY: there is room for two descriptors.
    retry(|| unsafe { libc::socketpair(domain, kind, protocol, out) }.into())?;
    Ok(pair)
}

/// A pipe, non-blocking, for about `capacity` bytes; 0 for what the system chooses (pipe(7)).
pub(crate) fn pipe(capacity: u32) -> Result<[RawHandle; 2], RawError> {
    let mut pair = [-1; 2];
    let out = pair.as_mut_ptr();
    // SAFETY: there is room for two descriptors.
    retry(|| unsafe { libc::pipe2(out, libc::O_CLOEXEC | libc::O_NONBLOCK) }.into())?;
    if capacity > 0 {
        let capacity = i32::try_from(capacity).unwrap_or(i32::MAX);
        // A user has a limited number of pages for pipes: then it stays as it is.
        // SAFETY: a call with numbers.
        unsafe { libc::fcntl(pair[1], libc::F_SETPIPE_SZ, capacity) };
    }
    Ok(pair)
}

/// Who is at the other end of a Unix socket (unix(7), `SO_PEERCRED`). Of another socket there is
/// nobody to tell.
pub(crate) fn peer_credentials(fd: RawHandle) -> Result<PeerCredentials, RawError> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: libc::uid_t::MAX,
        gid: libc::gid_t::MAX,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    let out = (&raw mut peer).cast();
    // SAFETY: the record is valid for writing, for the length that is given.
    check(unsafe { libc::getsockopt(fd, level, name, out, &raw mut len) })?;
    match u32::try_from(peer.pid) {
        Ok(pid) if pid > 0 => Ok(PeerCredentials {
            uid: peer.uid,
            gid: peer.gid,
            pid: Some(pid),
        }),
        _ => Err(libc::ENOTCONN),
    }
}

/// The next connection of a listener, non-blocking.
pub(crate) fn accept(listener: RawHandle) -> Result<i64, RawError> {
    let none = std::ptr::null_mut();
    // SAFETY: no address is asked for.
    retry(|| unsafe { libc::accept4(listener, none, none.cast(), SOCKET_FLAGS) }.into())
}

/// What a socket that somebody else made is given when it is attached: nothing.
pub(crate) fn prepare_socket(_: RawHandle) -> Result<(), RawError> {
    Ok(())
}

/// send(2), once.
///
/// Not by the C library's `send`: that is a point where a thread may be cancelled (pthreads(7)),
/// for which it executes two locked instructions more in a program with threads.
///
/// # Safety
/// `pointer` is valid for reading `len` bytes.
pub(crate) unsafe fn send(fd: RawHandle, pointer: *const u8, len: usize, flags: i32) -> i64 {
    let nobody = std::ptr::null::<libc::sockaddr>();
    // SAFETY: the caller's promise; no address is given.
    unsafe { libc::syscall(libc::SYS_sendto, fd, pointer, len, flags, nobody, 0) }
}

/// recv(2), once, without the C library's point of cancellation; see `send`.
///
/// # Safety
/// `pointer` is valid for writing `len` bytes.
pub(crate) unsafe fn receive(fd: RawHandle, pointer: *mut u8, len: usize, flags: i32) -> i64 {
    let nobody = std::ptr::null_mut::<libc::sockaddr>();
    // SAFETY: the caller's promise; no address is asked for.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, pointer, len, flags, nobody, nobody) }
}

/// sendmsg(2), once.
///
/// # Safety
/// The header leads to buffers that are valid for reading.
pub(crate) unsafe fn send_message(fd: RawHandle, header: *const libc::msghdr, flags: i32) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { libc::sendmsg(fd, header, flags) as i64 }
}

/// recvmsg(2), once.
///
/// # Safety
/// The header leads to buffers that are valid for writing.
pub(crate) unsafe fn receive_message(fd: RawHandle, header: *mut libc::msghdr, flags: i32) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { libc::recvmsg(fd, header, flags) as i64 }
}

/// preadv(2), once.
///
/// # Safety
/// The buffers are valid for writing.
pub(crate) unsafe fn read_vectored(
    fd: RawHandle,
    (buffers, count): (*const libc::iovec, u32),
    offset: i64,
) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { libc::preadv(fd, buffers, count as i32, offset) as i64 }
}

/// pwritev(2), once.
///
/// # Safety
/// The buffers are valid for reading.
pub(crate) unsafe fn write_vectored(
    fd: RawHandle,
    (buffers, count): (*const libc::iovec, u32),
    offset: i64,
) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { libc::pwritev(fd, buffers, count as i32, offset) as i64 }
}

/// Makes room in a file (fallocate(2)).
pub(crate) fn allocate(
    fd: RawHandle,
    offset: i64,
    len: i64,
    keep_size: bool,
) -> Result<i64, RawError> {
    let mode = if keep_size {
        libc::FALLOC_FL_KEEP_SIZE
    } else {
        0
    };
    // SAFETY: a call with numbers.
    retry(|| unsafe { libc::fallocate(fd, mode, offset, len) }.into())
}

/// Brings a file to the disk (fsync(2)).
pub(crate) fn sync(fd: RawHandle, data_only: bool) -> Result<i64, RawError> {
    if data_only {
        // SAFETY: a call with a number.
        return retry(|| unsafe { libc::fdatasync(fd) }.into());
    }
    // SAFETY: a call with a number.
    retry(|| unsafe { libc::fsync(fd) }.into())
}

/// Opens by a path that ends with a zero (openat(2)).
pub(crate) fn open(path: RawPath, flags: i32, mode: u32) -> Result<i64, RawError> {
    // SAFETY: the path ends with a zero.
    retry(|| unsafe { libc::openat(libc::AT_FDCWD, path, flags, mode) }.into())
}

/// Opens by a path that does not lead out of the directory (openat2(2)).
pub(crate) fn open_beneath(
    dir: RawHandle,
    path: RawPath,
    how: *const OpenHow,
) -> Result<i64, RawError> {
    let how = OpenHow::raw(how);
    let (call, size) = (libc::SYS_openat2, size_of::<libc::open_how>());
    // SAFETY: the path ends with a zero, and the operation lends the record for reading.
    retry(|| unsafe { libc::syscall(call, dir, path, how, size) })
}

/// The metadata of an open file, or of what a path leads to (statx(2)).
pub(crate) fn stat(
    fd: Option<RawHandle>,
    path: Option<RawPath>,
    follow: bool,
    stat: *mut StatBuf,
) -> Result<i64, RawError> {
    let (at, path, flags) = stat_target(fd, path, follow);
    let mask = StatBuf::MASK;
    // SAFETY: the path ends with a zero, and the operation lends the record for writing.
    retry(|| unsafe { libc::statx(at, path, flags, mask, StatBuf::raw(stat)) }.into())
}

/// The first three arguments of statx(2).
pub(crate) fn stat_target(
    fd: Option<RawHandle>,
    path: Option<RawPath>,
    follow: bool,
) -> (RawHandle, RawPath, i32) {
    let no_follow = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    match (fd, path) {
        (_, Some(path)) => (libc::AT_FDCWD, path, no_follow),
        (fd, None) => (fd.unwrap_or(-1), c"".as_ptr(), libc::AT_EMPTY_PATH),
    }
}

/// Moves bytes between two descriptors, one of which is a pipe (splice(2)).
pub(crate) fn splice(
    (from, from_offset): (Target, u64),
    (to, to_offset): (Target, u64),
    len: u32,
) -> Result<i64, RawError> {
    let (mut from_at, mut to_at) = (from_offset as i64, to_offset as i64);
    let none = std::ptr::null_mut();
    let from_at = if from_offset == Op::CURRENT {
        none
    } else {
        &raw mut from_at
    };
    let to_at = if to_offset == Op::CURRENT {
        none
    } else {
        &raw mut to_at
    };
    let (from, to, len) = (from.raw, to.raw, len as usize);
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    without_sigpipe(|| {
        // SAFETY: the offsets are null or lead to locals.
        retry(|| unsafe { libc::splice(from, from_at, to, to_at, len, flags) } as i64)
    })
}

/// Sends once out of a file; the kernel may send less than asked for. 0 is the end of the file.
pub(crate) fn send_file(
    socket: RawHandle,
    file: RawHandle,
    offset: u64,
    len: usize,
) -> Result<usize, RawError> {
    let mut at = i64::try_from(offset).map_err(|_| libc::EINVAL)?;
    let len = len.min(MAX_TRANSFER);
    without_sigpipe(|| {
        // SAFETY: the offset leads to a local.
        retry(|| unsafe { libc::sendfile(socket, file, &raw mut at, len) } as i64)
    })
    .map(|sent| sent as usize)
}

/// Takes back a pending signal of a blocked set, if there is one (sigtimedwait(2)).
pub(crate) fn take_signal(set: &libc::sigset_t) {
    let none = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the set and the time are valid for reading, and nothing is to be written.
    unsafe { libc::sigtimedwait(&raw const *set, std::ptr::null_mut(), &raw const none) };
}

/// A random number of the kernel's (getrandom(2)).
pub(crate) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for its length. Up to 256 bytes are given without interruption
    // once the pool is initialised, which it is long before user programs run.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    debug_assert_eq!(got, 8);
    u64::from_ne_bytes(bytes)
}

/// An event counter for waking from other threads (eventfd(2)).
pub(crate) fn event_fd() -> Result<OwnedFd, RawError> {
    // SAFETY: a call with numbers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        Err(last_error())
    } else {
        Ok(from_raw(fd))
    }
}

/// Sets an event counter to zero. It does not block, so that one that is zero already stays so.
pub(crate) fn drain_event(fd: RawHandle) {
    let mut count = [0u8; 8];
    // SAFETY: eight writable bytes.
    unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
}

/// Adds one to an event counter. It fails only when the counter is full, and then it is readable.
pub(crate) fn signal_event(fd: RawHandle) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight initialised bytes.
    unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
}
