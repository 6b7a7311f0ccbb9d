//! What opening below a directory is told, and what stat(2) fills.

#![expect(unsafe_code)]
// UNSAFETY: `stat` is plain data that the kernel fills.

use std::mem::MaybeUninit;

use crate::op::{FileType, Metadata};
use crate::sys::time;

/// The flags and the mode of an open that must not leave its directory.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct OpenHow {
    pub(crate) flags: i32,
    pub(crate) mode: u32,
}

impl OpenHow {
    pub(crate) fn set(&mut self, flags: i32, mode: u32) {
        *self = OpenHow { flags, mode };
    }
}

/// What stat(2) fills.
#[repr(transparent)]
pub(crate) struct StatBuf(libc::stat);

impl Default for StatBuf {
    fn default() -> StatBuf {
        // SAFETY: all zeros is a valid `stat`.
        StatBuf(unsafe { MaybeUninit::zeroed().assume_init() })
    }
}

impl StatBuf {
    #[allow(clippy::unnecessary_cast, reason = "the two systems' types differ")]
    pub(crate) fn metadata(&self) -> Metadata {
        let stat = &self.0;
        let file_type = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => FileType::File,
            libc::S_IFDIR => FileType::Dir,
            libc::S_IFLNK => FileType::Symlink,
            _ => FileType::Other,
        };
        // A file system without times of birth says -1 (stat(2) of FreeBSD).
        let has_birth = stat.st_birthtime > 0;
        let moment = |seconds: libc::time_t, nanos: libc::c_long| {
            time(seconds, u32::try_from(nanos).unwrap_or(0))
        };
        Metadata {
            file_type,
            len: u64::try_from(stat.st_size).unwrap_or(0),
            mode: u32::from(stat.st_mode) & 0o7777,
            modified: moment(stat.st_mtime, stat.st_mtime_nsec),
            accessed: moment(stat.st_atime, stat.st_atime_nsec),
            created: has_birth.then(|| moment(stat.st_birthtime, stat.st_birthtime_nsec)),
            device: stat.st_dev as u64,
            inode: stat.st_ino,
            links: stat.st_nlink as u64,
            uid: stat.st_uid,
            gid: stat.st_gid,
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        }
    }

    /// For stat(2) and its like.
    pub(crate) fn raw(this: *mut StatBuf) -> *mut libc::stat {
        this.cast()
    }
}
