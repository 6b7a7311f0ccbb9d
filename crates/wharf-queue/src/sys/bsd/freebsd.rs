//! The calls of FreeBSD that macOS makes differently.

#![expect(unsafe_code)]
// UNSAFETY: system calls with pointers to locals.

use super::OpenHow;
use crate::sys::call::retry;
use crate::sys::signal::without_sigpipe;
use crate::sys::{MAX_TRANSFER, RawError, RawHandle, RawPath};

/// Added to each send and receive: no waiting, and no signal if the peer has gone.
pub(crate) const MESSAGE_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// The flag of open(2) for reads and writes past the page cache.
pub(crate) const DIRECT: i32 = libc::O_DIRECT;
/// The time before the first probe of a quiet connection (tcp(4)).
pub(crate) const KEEP_ALIVE_IDLE: i32 = libc::TCP_KEEPIDLE;
/// Sharing of a port, by which what arrives is spread: `SO_REUSEPORT` alone gives all of it to one
/// of those who share (setsockopt(2)).
pub(crate) const REUSE_PORT: i32 = libc::SO_REUSEPORT_LB;
/// What a close does with bytes that are not sent, in seconds.
pub(crate) const LINGER: i32 = libc::SO_LINGER;
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

/// A pipe, non-blocking, as large as the system makes it (pipe2(2)).
pub(crate) fn pipe(_capacity: u32) -> Result<[RawHandle; 2], RawError> {
    let mut pair = [-1; 2];
    let out = pair.as_mut_ptr();
    // SAFETY: there is room for two descriptors.
    retry(|| unsafe { libc::pipe2(out, libc::O_CLOEXEC | libc::O_NONBLOCK) }.into())?;
    Ok(pair)
}

/// The next connection of a listener, non-blocking (accept4(2)).
pub(crate) fn accept(listener: RawHandle) -> Result<i64, RawError> {
    let none = std::ptr::null_mut();
    // SAFETY: no address is asked for.
    retry(|| unsafe { libc::accept4(listener, none, none.cast(), SOCKET_FLAGS) }.into())
}

/// What a socket that somebody else made is given when it is attached: nothing.
pub(crate) fn prepare_socket(_: RawHandle) -> Result<(), RawError> {
    Ok(())
}

/// What a send has come to.
pub(super) fn broken(result: i64) -> i64 {
    result
}

/// Makes room in a file (posix_fallocate(2)). It cannot do so without making the file longer.
pub(crate) fn allocate(
    fd: RawHandle,
    offset: i64,
    len: i64,
    keep_size: bool,
) -> Result<i64, RawError> {
    if keep_size {
        return Err(libc::EOPNOTSUPP);
    }
    loop {
        // The result is the error itself.
        // SAFETY: a call with numbers.
        match unsafe { libc::posix_fallocate(fd, offset, len) } {
            0 => return Ok(0),
            libc::EINTR => {}
            error => return Err(error),
        }
    }
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

/// Opens by a path that does not lead out of the directory (open(2), `O_RESOLVE_BENEATH`, since
/// FreeBSD 13).
pub(crate) fn open_beneath(
    dir: RawHandle,
    path: RawPath,
    how: *const OpenHow,
) -> Result<i64, RawError> {
    // SAFETY: the operation lends the record for reading.
    let OpenHow { flags, mode } = unsafe { *how };
    let flags = flags | libc::O_RESOLVE_BENEATH;
    // SAFETY: the path ends with a zero.
    match retry(|| unsafe { libc::openat(dir, path, flags, mode) }.into()) {
        // The same as elsewhere for a path that leads out.
        Err(libc::ENOTCAPABLE) => Err(libc::EXDEV),
        result => result,
    }
}

/// Sends once out of a file; the kernel may send less than asked for. 0 is the end of the file.
pub(crate) fn send_file(
    socket: RawHandle,
    file: RawHandle,
    offset: u64,
    len: usize,
) -> Result<usize, RawError> {
    let at = i64::try_from(offset).map_err(|_| libc::EINVAL)?;
    // No bytes would mean all of them (sendfile(2)).
    let len = match len.min(MAX_TRANSFER) {
        0 => return Ok(0),
        len => len,
    };
    without_sigpipe(|| {
        let mut sent = 0;
        let result = retry(|| {
            let none = std::ptr::null_mut();
            // SAFETY: the count leads to a local, and there is no header.
            let result = unsafe { libc::sendfile(file, socket, at, len, none, &raw mut sent, 0) };
            // It may have sent a part before it was interrupted or would have had to wait.
            if sent > 0 { 0 } else { result.into() }
        });
        result.map(|_| sent as usize)
    })
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
