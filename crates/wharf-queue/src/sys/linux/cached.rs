//! Calls that answer from the kernel's caches, or not at all.
//!
//! Owns what is asked of the page cache and of the cache of names without waiting for a device. It
//! keeps no state; what a system or a file never answers, its callers remember.

#![expect(unsafe_code)]
// UNSAFETY: system calls with the pointers that an operation lends, and with pointers to locals.

use std::mem::MaybeUninit;

use super::OpenHow;
use crate::op::{Op, Target};
use crate::sys::{RawError, RawHandle, RawPath, Scratch, check};

/// What the caches said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cached {
    /// The operation's result, as completions carry it.
    Answer(i64),
    /// They do not know, or only the ordinary call can tell.
    Miss,
    /// They are never asked with success: there is no such call, or not for this file.
    Never,
}

/// Reads at an offset what is in the page cache, by preadv2(2) with `RWF_NOWAIT`.
///
/// The answer is that of the ordinary call: a count that is short because the rest is not in the
/// cache is no answer.
pub(crate) fn read(op: &Op) -> Cached {
    let one;
    let (fd, (buffers, count), len, offset) = match *op {
        Op::Read { fd, buf, offset } => {
            one = libc::iovec {
                iov_base: buf.pointer.cast(),
                iov_len: buf.len,
            };
            (fd, (&raw const one, 1), buf.len, offset)
        }
        Op::ReadVectored {
            fd,
            scratch,
            offset,
        } => (
            fd,
            Scratch::buffers(scratch),
            Scratch::total(scratch),
            offset,
        ),
        _ => return Cached::Never,
    };
    let Ok(at) = i64::try_from(offset) else {
        return Cached::Miss;
    };
    // SAFETY: the operation lends the buffers for writing.
    let read =
        match check(
            unsafe { libc::preadv2(fd.raw, buffers, count as i32, at, libc::RWF_NOWAIT) } as i64,
        ) {
            Ok(read) => read,
            Err(libc::EOPNOTSUPP | libc::ENOSYS) => return Cached::Never,
            // Whatever it is, the ordinary call says it too.
            Err(_) => return Cached::Miss,
        };
    if read == 0 || read as usize == len || is_end(fd, at.saturating_add(read)) {
        Cached::Answer(read)
    } else {
        Cached::Miss
    }
}

/// Whether the file ends at `offset`, as far as can be said at once.
fn is_end(fd: Target, offset: i64) -> bool {
    read_byte(fd.raw, offset) == 0
}

/// Whether a part of a file is in the page cache: all of it where the system counts that, else its
/// first and its last byte.
pub(crate) fn holds(fd: RawHandle, offset: u64, len: u64) -> bool {
    let last = offset.checked_add(len.saturating_sub(1));
    let is_there = |at: u64| i64::try_from(at).is_ok_and(|at| read_byte(fd, at) == 1);
    // The last first: what is not even in the file has nothing to count.
    last.is_some_and(is_there)
        && match pages(fd, offset, len) {
            Some((cached, all)) => cached >= all,
            None => is_there(offset),
        }
}

/// How many pages of a part of a file are in the page cache, and how many there are, by cachestat(2).
/// `None` where that is not told: before Linux 6.5, and for files of others.
fn pages(fd: RawHandle, offset: u64, len: u64) -> Option<(u64, u64)> {
    /// The same on every architecture; not every one has it in `libc`.
    const CACHESTAT: libc::c_long = 451;
    // `struct cachestat_range`, and `struct cachestat`, whose first field is the pages that are there.
    let (range, mut stat) = ([offset, len], [0u64; 5]);
    let (range, out) = (range.as_ptr(), stat.as_mut_ptr());
    // SAFETY: both are valid for their lengths, and the flags are none.
    let result = unsafe { libc::syscall(CACHESTAT, fd, range, out, 0u32) };
    // SAFETY: a call with a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let all = offset.checked_add(len)?.div_ceil(page) - offset / page;
    (result == 0).then_some((stat[0], all))
}

/// Reads a part of a file that is in the page cache; `None` if not all of it is, or the file ends
/// before.
pub(crate) fn read_whole(fd: RawHandle, offset: u64, len: usize) -> Option<Vec<u8>> {
    let at = i64::try_from(offset).ok()?;
    let mut bytes: Vec<u8> = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    let one = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: len,
    };
    // SAFETY: there is room for that many bytes.
    let read = unsafe { libc::preadv2(fd, &raw const one, 1, at, libc::RWF_NOWAIT) };
    if usize::try_from(read) != Ok(len) {
        return None;
    }
    // SAFETY: the call has written all of them.
    unsafe { bytes.set_len(len) };
    Some(bytes)
}

/// Reads one byte at once: 1, 0 at the end of the file, or less if that cannot be said.
fn read_byte(fd: RawHandle, offset: i64) -> isize {
    let mut byte = [0u8];
    let one = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: byte.len(),
    };
    // SAFETY: one writable byte.
    unsafe { libc::preadv2(fd, &raw const one, 1, offset, libc::RWF_NOWAIT) }
}

/// Opens below a directory what the cache of names knows the way to, by openat2(2) with
/// `RESOLVE_CACHED`, since Linux 5.12.
pub(crate) fn open(dir: Target, path: RawPath, how: *const OpenHow) -> Cached {
    let Some(how) = OpenHow::cached(how) else {
        return Cached::Miss;
    };
    let (how, size) = (OpenHow::raw(&raw const how), size_of::<libc::open_how>());
    // SAFETY: the path ends with a zero, and the record is a local.
    match check(unsafe { libc::syscall(libc::SYS_openat2, dir.raw, path, how, size) }) {
        Ok(fd) => Cached::Answer(fd),
        // The cache knows of names that there are none, too.
        Err(error @ (libc::ENOENT | libc::ENOTDIR)) => Cached::Answer(-i64::from(error)),
        Err(libc::ENOSYS) => Cached::Never,
        Err(_) => Cached::Miss,
    }
}

/// Whether reads of a descriptor go past the page cache, so that they wait for the device however
/// they are made.
pub(crate) fn is_direct(fd: RawHandle) -> bool {
    // SAFETY: a call with numbers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags < 0 || flags & libc::O_DIRECT != 0
}

/// Whether a file lies on a file system that is known to answer from this machine's memory what it
/// has cached. Others (networks, user space) may wait for somebody even to open what they know.
pub(crate) fn is_local(fd: RawHandle) -> bool {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `stat` is valid for writing.
    let result: Result<i64, RawError> = check(unsafe { libc::fstatfs(fd, stat.as_mut_ptr()) });
    // SAFETY: all zeros is a valid `statfs`, and the call may have filled it.
    let stat = unsafe { stat.assume_init() };
    // The magic numbers fit, whatever the width of the field.
    result.is_ok() && LOCAL.contains(&(stat.f_type as u32))
}

/// statfs(2): ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, SquashFS, EROFS, ZFS.
const LOCAL: [u32; 8] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0x0102_1994,
    0x7371_7368,
    0xe0f5_e1e2,
    0x2fc1_2fc1,
];

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn part_is_held_only_if_its_middle_is() {
        const LEN: u64 = 4 << 20;
        let path = std::env::temp_dir().join(format!("wharf-cached-{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        let mut file = options.open(&path).expect("made");
        std::fs::remove_file(&path).expect("it is there");
        file.write_all(&vec![1; LEN as usize]).expect("room");
        file.sync_all().expect("a disk");
        let fd = file.as_raw_fd();
        if let Some((cached, all)) = pages(fd, 0, LEN) {
            assert_eq!(holds(fd, 0, LEN), cached == all);
        }
        assert!(!holds(fd, 0, LEN + 1));
        // SAFETY: a call with numbers.
        unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED) };
        for end in [0, LEN - 1] {
            file.read_exact_at(&mut [0], end).expect("there");
        }
        // A file system in memory forgets nothing, and an old system does not count.
        match pages(fd, 0, LEN) {
            Some((cached, all)) if cached < all => assert!(!holds(fd, 0, LEN)),
            _ => assert!(holds(fd, 0, LEN)),
        }
    }
}
