//! The calls that macOS and FreeBSD make in a way of their own.
//!
//! Owns what `sys::unix` asks of each system, under the same names on all of them, where the two
//! agree; where they do not, `macos` and `freebsd` follow. A call that may be interrupted is
//! repeated here.
//!
//! Both refuse a vector of more than `INT_MAX` bytes instead of cutting it short (readv(2),
//! sendmsg(2)), so it is cut here: see `Cut`.

#![expect(unsafe_code)]
// UNSAFETY: system calls with pointers to locals, and with those that an operation lends.

use super::StatBuf;
use crate::handle::PeerCredentials;
use crate::op::{Support, Target};
use crate::sys::call::retry;
use crate::sys::{MAX_TRANSFER, RawError, RawHandle, RawPath, check};

#[cfg(target_os = "freebsd")]
pub(crate) use super::freebsd::*;
#[cfg(target_os = "macos")]
pub(crate) use super::macos::*;

/// How the emulation does a splice.
pub(crate) const SPLICE: Support =
    Support::Unsupported("only Linux moves bytes between two descriptors of any kind");

/// Whether Unix sockets have names that are no paths.
pub(crate) const HAS_ABSTRACT_NAMES: bool = false;

/// Entering and leaving a group of IPv6 (ip6(4)).
pub(crate) const JOIN_V6: i32 = libc::IPV6_JOIN_GROUP;
pub(crate) const LEAVE_V6: i32 = libc::IPV6_LEAVE_GROUP;

/// Who is at the other end of a Unix socket (getpeereid(3)).
pub(crate) fn peer_credentials(fd: RawHandle) -> Result<PeerCredentials, RawError> {
    let (mut uid, mut gid) = (libc::uid_t::MAX, libc::gid_t::MAX);
    // SAFETY: both numbers are valid for writing.
    check(unsafe { libc::getpeereid(fd, &raw mut uid, &raw mut gid) })?;
    let pid = None;
    Ok(PeerCredentials { uid, gid, pid })
}

/// There is no splice(2); the operation is refused before it comes here.
pub(crate) fn splice(_: (Target, u64), _: (Target, u64), _: u32) -> Result<i64, RawError> {
    Err(libc::ENOSYS)
}

/// send(2), once.
///
/// # Safety
/// `pointer` is valid for reading `len` bytes.
pub(crate) unsafe fn send(fd: RawHandle, pointer: *const u8, len: usize, flags: i32) -> i64 {
    // SAFETY: the caller's promise.
    broken(unsafe { libc::send(fd, pointer.cast(), len, flags) as i64 })
}

/// recv(2), once.
///
/// # Safety
/// `pointer` is valid for writing `len` bytes.
pub(crate) unsafe fn receive(fd: RawHandle, pointer: *mut u8, len: usize, flags: i32) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { libc::recv(fd, pointer.cast(), len, flags) as i64 }
}

/// sendmsg(2), once.
///
/// # Safety
/// The header leads to buffers that are valid for reading.
pub(crate) unsafe fn send_message(fd: RawHandle, header: *const libc::msghdr, flags: i32) -> i64 {
    // SAFETY: the caller's promise.
    let mut header = unsafe { *header };
    // SAFETY: as many buffers as the header says lie there.
    let mut cut = unsafe { Cut::new(header.msg_iov, header.msg_iovlen as usize) };
    let (buffers, count) = cut.buffers();
    header.msg_iov = buffers.cast_mut();
    header.msg_iovlen = count as _;
    // SAFETY: the caller's promise, for the same buffers or fewer.
    broken(unsafe { libc::sendmsg(fd, &raw const header, flags) as i64 })
}

/// recvmsg(2), once.
///
/// # Safety
/// The header leads to buffers that are valid for writing.
pub(crate) unsafe fn receive_message(fd: RawHandle, header: *mut libc::msghdr, flags: i32) -> i64 {
    // SAFETY: the caller's promise.
    let header = unsafe { &mut *header };
    let (first, count) = (header.msg_iov, header.msg_iovlen);
    // SAFETY: as many buffers as the header says lie there.
    let mut cut = unsafe { Cut::new(first, count as usize) };
    let (buffers, cut_count) = cut.buffers();
    header.msg_iov = buffers.cast_mut();
    header.msg_iovlen = cut_count as _;
    // SAFETY: the caller's promise, for the same buffers or fewer.
    let result = unsafe { libc::recvmsg(fd, header, flags) as i64 };
    header.msg_iov = first;
    header.msg_iovlen = count;
    result
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
    let mut cut = unsafe { Cut::new(buffers, count as usize) };
    let (buffers, count) = cut.buffers();
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
    let mut cut = unsafe { Cut::new(buffers, count as usize) };
    let (buffers, count) = cut.buffers();
    // SAFETY: the caller's promise.
    unsafe { libc::pwritev(fd, buffers, count as i32, offset) as i64 }
}

/// The metadata of an open file, or of what a path leads to (stat(2)).
pub(crate) fn stat(
    fd: Option<RawHandle>,
    path: Option<RawPath>,
    follow: bool,
    stat: *mut StatBuf,
) -> Result<i64, RawError> {
    let stat = StatBuf::raw(stat);
    let Some(path) = path else {
        let fd = fd.unwrap_or(-1);
        // SAFETY: the operation lends the record for writing.
        return retry(|| unsafe { libc::fstat(fd, stat) }.into());
    };
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    // SAFETY: the path ends with a zero, and the operation lends the record for writing.
    retry(|| unsafe { libc::fstatat(libc::AT_FDCWD, path, stat, flags) }.into())
}

/// A random number of the kernel's (arc4random(3)).
pub(crate) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for its length.
    unsafe { libc::arc4random_buf(bytes.as_mut_ptr().cast(), bytes.len()) };
    u64::from_ne_bytes(bytes)
}

/// A vector of buffers, cut to what one call takes.
struct Cut {
    first: *const libc::iovec,
    count: usize,
    /// The only buffer, where already the first one is too long.
    short: Option<libc::iovec>,
}

impl Cut {
    /// # Safety
    /// `first` leads to `count` buffers, which stay there.
    unsafe fn new(first: *const libc::iovec, count: usize) -> Cut {
        let none = Cut {
            first,
            count: 0,
            short: None,
        };
        if count == 0 {
            return none;
        }
        // SAFETY: the caller's promise.
        let buffers = unsafe { std::slice::from_raw_parts(first, count) };
        let mut left = MAX_TRANSFER;
        let fits = buffers.iter().take_while(|buffer| {
            let fits = buffer.iov_len <= left;
            left = left.saturating_sub(buffer.iov_len);
            fits
        });
        match fits.count() {
            0 => Cut {
                count: 1,
                short: Some(libc::iovec {
                    iov_base: buffers[0].iov_base,
                    iov_len: MAX_TRANSFER,
                }),
                ..none
            },
            count => Cut { count, ..none },
        }
    }

    /// The first buffer, and how many there are. They lie there as long as the cut does.
    fn buffers(&mut self) -> (*const libc::iovec, usize) {
        match &self.short {
            Some(short) => (&raw const *short, 1),
            None => (self.first, self.count),
        }
    }
}
