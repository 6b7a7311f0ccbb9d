//! What openat2(2) reads and what statx(2) fills.

#![expect(unsafe_code)]
// UNSAFETY: `statx` and `open_how` are plain data that the kernel fills and reads.

use std::fmt;
use std::mem::MaybeUninit;

use crate::op::{FileType, Metadata};
use crate::sys::time;

/// What openat2(2) is told: like `OpenOptions`, and not to leave the directory.
#[repr(transparent)]
pub(crate) struct OpenHow(libc::open_how);

impl Default for OpenHow {
    fn default() -> OpenHow {
        // SAFETY: all zeros is a valid `open_how`.
        OpenHow(unsafe { MaybeUninit::zeroed().assume_init() })
    }
}

impl OpenHow {
    pub(crate) fn set(&mut self, flags: i32, mode: u32) {
        let creates = flags & libc::O_CREAT != 0;
        // openat2(2) refuses what openat(2) ignores: a mode without a file that is made.
        self.0.mode = if creates { mode.into() } else { 0 };
        self.0.flags = flags as u64;
        self.0.resolve = libc::RESOLVE_BENEATH;
    }

    pub(crate) fn raw(this: *const OpenHow) -> *const libc::open_how {
        this.cast()
    }

    /// The same, but only if the caches of the kernel know the way, and within one file system.
    /// `None` if the opening itself might still wait: for the other side of a pipe, for a lease.
    pub(crate) fn cached(this: *const OpenHow) -> Option<OpenHow> {
        // SAFETY: the operation lends the record for reading.
        let mut how = OpenHow(unsafe { *Self::raw(this) });
        if how.0.flags & libc::O_NONBLOCK as u64 == 0 {
            return None;
        }
        how.0.resolve |= libc::RESOLVE_CACHED | libc::RESOLVE_NO_XDEV;
        Some(how)
    }
}

impl fmt::Debug for OpenHow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenHow({:#o})", self.0.flags)
    }
}

/// What statx(2) fills.
#[repr(transparent)]
pub(crate) struct StatBuf(libc::statx);

impl Default for StatBuf {
    fn default() -> StatBuf {
        // SAFETY: all zeros is a valid `statx`.
        StatBuf(unsafe { MaybeUninit::zeroed().assume_init() })
    }
}

impl StatBuf {
    /// What statx(2) is asked for.
    pub(crate) const MASK: u32 = libc::STATX_BASIC_STATS | libc::STATX_BTIME;

    pub(crate) fn metadata(&self) -> Metadata {
        let stat = &self.0;
        let file_type = match u32::from(stat.stx_mode) & libc::S_IFMT {
            libc::S_IFREG => FileType::File,
            libc::S_IFDIR => FileType::Dir,
            libc::S_IFLNK => FileType::Symlink,
            _ => FileType::Other,
        };
        let has_birth = stat.stx_mask & libc::STATX_BTIME != 0;
        Metadata {
            file_type,
            len: stat.stx_size,
            mode: u32::from(stat.stx_mode) & 0o7777,
            modified: time(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            accessed: time(stat.stx_atime.tv_sec, stat.stx_atime.tv_nsec),
            created: has_birth.then(|| time(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
            device: libc::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            links: u64::from(stat.stx_nlink),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            blocks: stat.stx_blocks,
        }
    }

    /// For statx(2) and its ring operation.
    pub(crate) fn raw(this: *mut StatBuf) -> *mut libc::statx {
        this.cast()
    }
}
