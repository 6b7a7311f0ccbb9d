//! How the bytes of a URL become a file name on each system, and what else differs there.
//!
//! The only file of this crate that asks which system it is compiled for.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

#[cfg(test)]
pub(crate) use system::EVERY_NAME;
pub(crate) use system::{
    LOOK_FLAGS, identity, is_no_file, is_no_name, is_want, name_from_bytes, open_to_look,
};

#[cfg(unix)]
mod system {
    use super::{File, Metadata, OsString, Path, io};
    use std::fs::OpenOptions;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    /// Whether every string of bytes is a name.
    #[cfg(test)]
    pub(crate) const EVERY_NAME: bool = true;

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

    /// For opening whatever has a name, without waiting for the other end of a pipe and without
    /// taking a terminal for its own.
    pub(crate) const LOOK_FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

    /// Opens whatever has this name for reading, with [`LOOK_FLAGS`].
    pub(crate) fn open_to_look(path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(LOOK_FLAGS).open(path)
    }

    /// Device and number of a file: what tells it from every other.
    pub(crate) fn identity(metadata: &Metadata) -> (u64, u64) {
        (metadata.dev(), metadata.ino())
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

#[cfg(windows)]
mod system {
    use super::{File, Metadata, OsString, Path, io};
    use std::fs::OpenOptions;
    use std::os::windows::fs::{MetadataExt, OpenOptionsExt};

    /// Names that are devices, with whatever extension (Windows, "Naming Files, Paths, and
    /// Namespaces").
    const DEVICES: &[&str] = &["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"];
    /// The same with one digit behind, or one that is written high.
    const NUMBERED_DEVICES: &[&str] = &["COM", "LPT"];

    fn is_device(name: &str) -> bool {
        let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ');
        let is = |device: &&str| stem.eq_ignore_ascii_case(device);
        if DEVICES.iter().any(is) {
            return true;
        }
        let Some((at, number)) = stem.char_indices().next_back() else {
            return false;
        };
        let is_number = number.is_ascii_digit() || matches!(number, '\u{b9}' | '\u{b2}' | '\u{b3}');
        is_number
            && NUMBERED_DEVICES
                .iter()
                .any(|device| stem[..at].eq_ignore_ascii_case(device))
    }

    /// Whether every string of bytes is a name.
    #[cfg(test)]
    pub(crate) const EVERY_NAME: bool = false;

    /// The file name that these bytes are; `None` if the system cannot have such a name, or would
    /// take it for something else: a device, another stream of a file, a path, or the same name
    /// without the dots and spaces at its end.
    pub(crate) fn name_from_bytes(bytes: Vec<u8>) -> Option<OsString> {
        let name = String::from_utf8(bytes).ok()?;
        let is_special = |letter: char| letter < ' ' || r#"<>:"/\|?*"#.contains(letter);
        let is_cut = name.ends_with(['.', ' ']) && name != "." && name != "..";
        let is_name = !name.contains(is_special) && !is_cut && !is_device(&name);
        is_name.then(|| name.into())
    }

    /// For opening whatever has a name: nothing more than what the queue opens everything with.
    pub(crate) const LOOK_FLAGS: i32 = 0;

    /// Opens whatever has this name for reading, a directory too.
    pub(crate) fn open_to_look(path: &Path) -> io::Result<File> {
        const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
        OpenOptions::new()
            .read(true)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path)
    }

    /// What tells a file from others: when it was made and when it was written. (The number that
    /// the file system gives it is not told by the standard library.)
    pub(crate) fn identity(metadata: &Metadata) -> (u64, u64) {
        (metadata.creation_time(), metadata.last_write_time())
    }

    /// Whether a path names nothing, in a way that the standard library has no word for: it leads
    /// in a circle, or is too long, or is no name.
    pub(crate) fn is_no_name(error: &io::Error) -> bool {
        const INVALID_NAME: i32 = 123;
        const BAD_PATHNAME: i32 = 161;
        const FILENAME_EXCED_RANGE: i32 = 206;
        const CANT_RESOLVE_FILENAME: i32 = 1921;
        matches!(
            error.raw_os_error(),
            Some(INVALID_NAME | BAD_PATHNAME | FILENAME_EXCED_RANGE | CANT_RESOLVE_FILENAME)
        )
    }

    /// Whether what has the name is no file: a device that is not there.
    pub(crate) fn is_no_file(error: &io::Error) -> bool {
        const NOT_READY: i32 = 21;
        error.raw_os_error() == Some(NOT_READY)
    }

    /// Whether the process or the system has run out of something that comes back.
    pub(crate) fn is_want(error: &io::Error) -> bool {
        const TOO_MANY_OPEN_FILES: i32 = 4;
        const NOT_ENOUGH_MEMORY: i32 = 8;
        const NO_SYSTEM_RESOURCES: i32 = 1450;
        matches!(
            error.raw_os_error(),
            Some(TOO_MANY_OPEN_FILES | NOT_ENOUGH_MEMORY | NO_SYSTEM_RESOURCES)
        )
    }
}

#[cfg(all(test, windows))]
mod tests {
    use super::name_from_bytes;

    #[test]
    fn names_that_mean_something_else_are_none() {
        for name in [
            "nul",
            "NUL.txt",
            "com1",
            "Com\u{b9}.log",
            "aux .c",
            "a:b",
            "c:",
            r"a\b",
            "a/b",
            "x.",
            "x ",
            "a\u{1}",
            "a*",
            "conin$",
        ] {
            assert_eq!(name_from_bytes(name.into()), None, "{name}");
        }
        assert_eq!(name_from_bytes(vec![0xff]), None);
        for name in ["nulls", "com", "com10", "a.b", "..", "\u{e4} b", "console"] {
            assert!(name_from_bytes(name.into()).is_some(), "{name}");
        }
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
