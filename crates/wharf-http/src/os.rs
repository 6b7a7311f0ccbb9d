//! How the bytes of a URL become a file name on each system, and what else differs there.
//!
//! The only file of this crate that asks which system it is compiled for.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

pub(crate) use system::{
    identity, is_no_file, is_no_name, is_want, name_from_bytes, open_to_look, read_at,
};

#[cfg(unix)]
mod system {
    use super::{File, Metadata, OsString, Path, io};
    use std::fs::OpenOptions;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

    /// The file name that these bytes are; `None` if the system cannot have such a name.
    ///
    /// On Unix every string of bytes is a name.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "elsewhere not all bytes are names"
    )]
    pub(crate) fn name_from_bytes(bytes: Vec<u8>) -> Option<OsString> {
        Some(OsString::from_vec(bytes))
    }

    /// Opens whatever has this name for reading, without waiting for the other end of a pipe and
    /// without taking a terminal for its own.
    pub(crate) fn open_to_look(path: &Path) -> io::Result<File> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        OpenOptions::new().read(true).custom_flags(flags).open(path)
    }

    /// Device and number of a file: what tells it from every other.
    pub(crate) fn identity(metadata: &Metadata) -> (u64, u64) {
        (metadata.dev(), metadata.ino())
    }

    pub(crate) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buf, offset)
    }

    /// Whether a path names nothing, in a way that the standard library has no word for: it leads
    /// in a circle, or is too long.
    pub(crate) fn is_no_name(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENAMETOOLONG))
    }

    /// Whether what has the name is no file: a socket, or a device that is not there.
    pub(crate) fn is_no_file(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV))
    }

    /// Whether the process or the system has run out of something that comes back.
    pub(crate) fn is_want(error: &io::Error) -> bool {
        let passing = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];
        error
            .raw_os_error()
            .is_some_and(|raw| passing.contains(&raw))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use crate::target::{Rules, Target, encode};
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_that_are_not_utf_8_come_back_byte_for_byte() {
        let target = Target::parse("/%ff%fe", Rules::new(false)).unwrap();
        let name = &target.names()[0];
        assert_eq!(name.as_bytes(), [0xff, 0xfe]);
        assert_eq!(encode(name), "%FF%FE");
    }
}
