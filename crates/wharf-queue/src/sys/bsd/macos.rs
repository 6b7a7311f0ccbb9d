//! The calls of macOS that FreeBSD makes differently.
//!
//! macOS can make no descriptor that is close-on-exec and non-blocking from the start: a child that
//! another thread starts at the same moment inherits it, as with the standard library.

#![expect(unsafe_code)]
// UNSAFETY: system calls with pointers to locals.

use super::OpenHow;
use crate::sys::call::retry;
use crate::sys::signal::without_sigpipe;
use crate::sys::{MAX_TRANSFER, RawError, RawHandle, RawPath, beneath, check, close, last_error};

/// Added to each send and receive: no waiting. That there is no signal if the peer has gone is a
/// property of the socket; see `prepare_socket`.
pub(crate) const MESSAGE_FLAGS: i32 = libc::MSG_DONTWAIT;
/// The time before the first probe of a quiet connection (tcp(4)).
pub(crate) const KEEP_ALIVE_IDLE: i32 = libc::TCP_KEEPALIVE;
/// Sharing of a port. macOS does not spread what arrives: one of those who share gets it.
pub(crate) const REUSE_PORT: i32 = libc::SO_REUSEPORT;
/// What a close does with bytes that are not sent, in seconds: `SO_LINGER` counts in hundredths.
pub(crate) const LINGER: i32 = libc::SO_LINGER_SEC;
/// Stands for `F_NOCACHE`, which is set once the file is open; open(2) has no flag for it and does
/// not use this bit.
pub(crate) const DIRECT: i32 = i32::MIN;

/// A new socket, non-blocking.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> Result<i64, RawError> {
    // SAFETY: a call with numbers.
    let raw = retry(|| unsafe { libc::socket(domain, kind, protocol) }.into())?;
    prepare(raw)
}

/// Two sockets that are connected to each other, non-blocking (socketpair(2)).
pub(crate) fn pair(domain: i32, kind: i32, protocol: i32) -> Result<[RawHandle; 2], RawError> {
    let mut pair = [-1; 2];
    let out = pair.as_mut_ptr();
    // SAFETY: there is room for two descriptors.
    retry(|| unsafe { libc::socketpair(domain, kind, protocol, out) }.into())?;
    let first = prepare(pair[0].into());
    // A socket that could not be prepared is closed.
    let second = prepare(pair[1].into());
    for (result, other) in [(first, pair[1]), (second, pair[0])] {
        if let Err(error) = result {
            if first.is_ok() || second.is_ok() {
                close(other);
            }
            return Err(error);
        }
    }
    Ok(pair)
}

/// A pipe, non-blocking, as large as the system makes it (pipe(2)).
pub(crate) fn pipe(_capacity: u32) -> Result<[RawHandle; 2], RawError> {
    let mut pair = [-1; 2];
    let out = pair.as_mut_ptr();
    // SAFETY: there is room for two descriptors.
    retry(|| unsafe { libc::pipe(out) }.into())?;
    let prepared = set_flags(pair[0]).and_then(|()| set_flags(pair[1]));
    prepared
        .map(|()| pair)
        .inspect_err(|_| pair.into_iter().for_each(close))
}

/// The next connection of a listener, non-blocking.
pub(crate) fn accept(listener: RawHandle) -> Result<i64, RawError> {
    let none = std::ptr::null_mut();
    // SAFETY: no address is asked for.
    let raw = retry(|| unsafe { libc::accept(listener, none, none.cast()) }.into())?;
    match prepare(raw) {
        // setsockopt(2) says so of a connection that its client has reset already.
        Err(libc::EINVAL) => Err(libc::ECONNABORTED),
        result => result,
    }
}

/// Gives a new socket the properties that all of ours have, or closes it.
fn prepare(raw: i64) -> Result<i64, RawError> {
    let fd = raw as RawHandle;
    let prepared = set_flags(fd).and_then(|()| prepare_socket(fd));
    prepared.map(|()| raw).inspect_err(|_| close(fd))
}

fn set_flags(fd: RawHandle) -> Result<(), RawError> {
    // SAFETY: a call with numbers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: a call with numbers.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })? as i32;
    // SAFETY: a call with numbers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// Lets a socket give an error, not a signal, when its peer has gone (`SO_NOSIGPIPE`).
pub(crate) fn prepare_socket(fd: RawHandle) -> Result<(), RawError> {
    let yes = 1i32;
    let len = size_of::<i32>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_NOSIGPIPE);
    // SAFETY: the value is valid for reading, for the length that is given.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const yes).cast(), len) }).map(drop)
}

/// What a send has come to. One on a connection that is just being torn down says `EPROTOTYPE`,
/// where all others say `EPIPE`.
pub(super) fn broken(result: i64) -> i64 {
    if result == -1 {
        // SAFETY: a call without arguments.
        let error = unsafe { libc::__error() };
        // SAFETY: the C library's error of this thread, which we may read and write.
        let error = unsafe { &mut *error };
        if *error == libc::EPROTOTYPE {
            *error = libc::EPIPE;
        }
    }
    result
}

/// Makes room in a file (fcntl(2), `F_PREALLOCATE`). That is only to be had behind its end: a range
/// that begins before it is refused.
pub(crate) fn allocate(
    fd: RawHandle,
    offset: i64,
    len: i64,
    keep_size: bool,
) -> Result<i64, RawError> {
    let end = offset.checked_add(len).ok_or(libc::EFBIG)?;
    if offset < 0 || len <= 0 {
        return Err(libc::EINVAL);
    }
    // SAFETY: all zeros is a valid `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the record is valid for writing.
    retry(|| unsafe { libc::fstat(fd, &raw mut stat) }.into())?;
    if offset < stat.st_size {
        return Err(libc::ENOTSUP);
    }
    let mut store = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: end - stat.st_size,
        fst_bytesalloc: 0,
    };
    // SAFETY: the record is valid for reading and writing.
    retry(|| unsafe { libc::fcntl(fd, libc::F_PREALLOCATE, &raw mut store) }.into())?;
    if keep_size {
        return Ok(0);
    }
    // SAFETY: a call with numbers.
    retry(|| unsafe { libc::ftruncate(fd, end) }.into())
}

/// Brings a file to the disk. fsync(2) leaves it in the drive's own memory, so this asks the drive
/// too (fcntl(2), `F_FULLFSYNC`), where the file system is one that can ask.
pub(crate) fn sync(fd: RawHandle, _data_only: bool) -> Result<i64, RawError> {
    // SAFETY: a call with numbers.
    match retry(|| unsafe { libc::fcntl(fd, libc::F_FULLFSYNC) }.into()) {
        // SAFETY: a call with a number.
        Err(libc::ENOTSUP) => retry(|| unsafe { libc::fsync(fd) }.into()),
        result => result,
    }
}

/// Opens by a path that ends with a zero (openat(2)).
pub(crate) fn open(path: RawPath, flags: i32, mode: u32) -> Result<i64, RawError> {
    open_at(libc::AT_FDCWD, path, flags, mode)
}

fn open_at(dir: RawHandle, path: RawPath, flags: i32, mode: u32) -> Result<i64, RawError> {
    let plain = flags & !DIRECT;
    // SAFETY: the path ends with a zero.
    let raw = retry(|| unsafe { libc::openat(dir, path, plain, mode) }.into())?;
    if flags & DIRECT != 0 {
        // SAFETY: a call with numbers.
        check(unsafe { libc::fcntl(raw as RawHandle, libc::F_NOCACHE, 1) })
            .inspect_err(|_| close(raw as RawHandle))?;
    }
    Ok(raw)
}

/// Opens by a path that does not lead out of the directory, which macOS cannot do in one call.
pub(crate) fn open_beneath(
    dir: RawHandle,
    path: RawPath,
    how: *const OpenHow,
) -> Result<i64, RawError> {
    // SAFETY: the operation lends the record for reading.
    let OpenHow { flags, mode } = unsafe { *how };
    // SAFETY: the path ends with a zero, and the operation lends it.
    let path = unsafe { std::ffi::CStr::from_ptr(path) };
    let follows = flags & libc::O_NOFOLLOW == 0;
    beneath::open(dir, path, follows, |dir, name| {
        open_at(dir, name.as_ptr(), flags | libc::O_NOFOLLOW, mode)
    })
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
        len => len as i64,
    };
    without_sigpipe(|| {
        let mut sent = 0;
        let result = retry(|| {
            // In: how many to send. Out: how many were sent, also with an error.
            sent = len;
            let none = std::ptr::null_mut();
            // SAFETY: the count leads to a local, and there is no header.
            let result = unsafe { libc::sendfile(file, socket, at, &raw mut sent, none, 0) };
            let is_part = result == -1 && matches!(last_error(), libc::EAGAIN | libc::EINTR);
            if is_part && sent > 0 {
                0
            } else {
                result.into()
            }
        });
        result.map(|_| sent as usize)
    })
}

/// Takes back a pending signal of a blocked set, if there is one.
pub(crate) fn take_signal(set: &libc::sigset_t) {
    // There is no wait with a time-out, so it is looked first. The signal of a broken pipe goes to
    // the thread that broke it, so that no other takes it meanwhile.
    // SAFETY: all zeros is a valid set.
    let mut pending: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid for writing.
    unsafe { libc::sigpending(&raw mut pending) };
    // SAFETY: the set is valid for reading.
    if unsafe { libc::sigismember(&raw const pending, libc::SIGPIPE) } == 1 {
        let mut signal = 0;
        // SAFETY: the set is valid for reading, the number for writing.
        unsafe { libc::sigwait(&raw const *set, &raw mut signal) };
    }
}
