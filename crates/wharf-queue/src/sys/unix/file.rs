//! Names and options of files, and the times that they carry.

use std::ffi::{CString, c_char};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use super::RawError;
use crate::sys::native;

/// A path in the kernel's form. One with a zero byte in it cannot be expressed.
#[derive(Clone)]
pub(crate) struct Path(Option<CString>);

/// Leads to the bytes of a [`Path`].
pub(crate) type RawPath = *const c_char;

impl Path {
    pub(crate) fn new(path: &std::path::Path) -> Path {
        Path(CString::new(path.as_os_str().as_bytes()).ok())
    }

    /// # Errors
    /// `EINVAL` for a path with a zero byte.
    pub(crate) fn raw(&self) -> Result<RawPath, RawError> {
        self.0
            .as_ref()
            .map(|path| path.as_ptr())
            .ok_or(libc::EINVAL)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => path.fmt(f),
            None => f.write_str("(a path with a zero byte)"),
        }
    }
}

/// The options of open(2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenOptions {
    /// Not set: for reading, unless it is for writing.
    pub(crate) read: Option<bool>,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) truncate: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) direct: bool,
    pub(crate) mode: u32,
    pub(crate) custom_flags: i32,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            read: None,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            direct: false,
            mode: 0o666,
            custom_flags: 0,
        }
    }
}

impl OpenOptions {
    /// Whether reads and writes will go past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct || self.custom_flags & native::DIRECT != 0
    }

    /// # Errors
    /// `EINVAL` for options that contradict each other, by the rules of `std::fs::OpenOptions`.
    pub(crate) fn flags(&self) -> Result<i32, RawError> {
        let write = self.write || self.append;
        let access = match (self.read.unwrap_or(!write), write) {
            (true, false) => libc::O_RDONLY,
            (false, true) => libc::O_WRONLY,
            (true, true) => libc::O_RDWR,
            (false, false) => return Err(libc::EINVAL),
        };
        let changes = self.truncate || self.create || self.create_new;
        if changes && !write || self.truncate && self.append && !self.create_new {
            return Err(libc::EINVAL);
        }
        let creation = match (self.create, self.truncate, self.create_new) {
            (_, _, true) => libc::O_CREAT | libc::O_EXCL,
            (true, true, false) => libc::O_CREAT | libc::O_TRUNC,
            (true, false, false) => libc::O_CREAT,
            (false, true, false) => libc::O_TRUNC,
            (false, false, false) => 0,
        };
        let append = if self.append { libc::O_APPEND } else { 0 };
        let direct = if self.direct { native::DIRECT } else { 0 };
        let custom = self.custom_flags & !libc::O_ACCMODE;
        Ok(access | creation | append | direct | custom | libc::O_CLOEXEC)
    }
}

/// A time of the file system's, which may lie before 1970.
pub(crate) fn time(seconds: i64, nanos: u32) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(nanos));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    };
    whole
        .and_then(|whole| whole.checked_add(nanos))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let options = OpenOptions::default();
        assert_eq!(options.flags(), Ok(libc::O_RDONLY | libc::O_CLOEXEC));
        assert!(
            OpenOptions {
                truncate: true,
                ..options
            }
            .flags()
            .is_err()
        );
        assert!(
            OpenOptions {
                read: Some(false),
                ..options
            }
            .flags()
            .is_err()
        );
        let append = OpenOptions {
            append: true,
            ..options
        };
        assert_eq!(
            append.flags(),
            Ok(libc::O_WRONLY | libc::O_APPEND | libc::O_CLOEXEC)
        );
        assert!(
            OpenOptions {
                truncate: true,
                ..append
            }
            .flags()
            .is_err()
        );
    }

    #[test]
    fn a_path_with_a_zero_byte_is_refused() {
        assert_eq!(
            Path::new(std::path::Path::new("a\0b")).raw(),
            Err(libc::EINVAL)
        );
    }
}
