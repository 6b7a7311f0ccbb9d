//! Names, options and metadata of files.

#![expect(unsafe_code)]
// UNSAFETY: calls that fill plain records.

use std::fs::{File, OpenOptions as StdOptions};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsRawHandle as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Storage::FileSystem as files;

use super::error::INVALID;
use super::{RawError, RawHandle, last_error};
use crate::op::{FileType, Metadata};

/// A path. One with a zero in it cannot be expressed.
#[derive(Clone, Debug)]
pub(crate) struct Path(PathBuf);

/// Leads to a [`Path`].
pub(crate) type RawPath = *const Path;

impl Path {
    pub(crate) fn new(path: &std::path::Path) -> Path {
        Path(path.to_owned())
    }

    /// # Errors
    /// `ERROR_INVALID_PARAMETER` for a path with a zero in it.
    pub(crate) fn raw(&self) -> Result<RawPath, RawError> {
        if self.0.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(INVALID);
        }
        Ok(self)
    }

    /// The path that a pointer of [`Path::raw`] leads to.
    pub(crate) fn get<'a>(raw: RawPath) -> &'a std::path::Path {
        // SAFETY: an operation lends its paths until it has ended.
        unsafe { &(*raw).0 }
    }
}

/// The options of an open.
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

const READ: i32 = 1;
const WRITE: i32 = 2;
const APPEND: i32 = 4;
const TRUNCATE: i32 = 8;
const CREATE: i32 = 16;
const CREATE_NEW: i32 = 32;
const DIRECT: i32 = 64;
/// The flags of `CreateFileW` stand in the upper half.
const CUSTOM: i32 = !0xffff;

impl OpenOptions {
    /// Whether reads and writes will go past the cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    /// # Errors
    /// `ERROR_INVALID_PARAMETER` for options that contradict each other, by the rules of
    /// `std::fs::OpenOptions`, and for custom flags that are none.
    pub(crate) fn flags(&self) -> Result<i32, RawError> {
        let write = self.write || self.append;
        let read = self.read.unwrap_or(!write);
        let changes = self.truncate || self.create || self.create_new;
        let nothing = !read && !write;
        if nothing
            || (changes && !write)
            || self.truncate && self.append && !self.create_new
            || self.custom_flags & !CUSTOM != 0
        {
            return Err(INVALID);
        }
        let bits = [
            (read, READ),
            (self.write, WRITE),
            (self.append, APPEND),
            (self.truncate, TRUNCATE),
            (self.create, CREATE),
            (self.create_new, CREATE_NEW),
            (self.direct, DIRECT),
        ];
        let set = bits.iter().filter(|(set, _)| *set);
        Ok(set.fold(self.custom_flags, |flags, (_, bit)| flags | bit))
    }
}

/// Opens a file or a directory for overlapped calls. Of the permission bits only one has a meaning:
/// a file that is made without any for writing is read-only.
pub(super) fn open(path: &std::path::Path, flags: i32, mode: u32) -> std::io::Result<File> {
    let has = |bit| flags & bit != 0;
    let direct = if has(DIRECT) {
        files::FILE_FLAG_NO_BUFFERING
    } else {
        0
    };
    let custom = (flags & CUSTOM) as u32;
    // This is what lets a directory be opened (CreateFileW), and a directory is not written to.
    let dir = if has(WRITE | APPEND) {
        0
    } else {
        files::FILE_FLAG_BACKUP_SEMANTICS
    };
    let read_only = if mode & 0o222 == 0 {
        files::FILE_ATTRIBUTE_READONLY
    } else {
        0
    };
    StdOptions::new()
        .read(has(READ))
        .write(has(WRITE))
        .append(has(APPEND))
        .truncate(has(TRUNCATE))
        .create(has(CREATE))
        .create_new(has(CREATE_NEW))
        .custom_flags(custom | direct | dir | files::FILE_FLAG_OVERLAPPED)
        .attributes(read_only)
        .open(path)
}

/// Nothing: no call of this system opens below a directory and not elsewhere.
#[derive(Default, Debug)]
pub(crate) struct OpenHow(());

impl OpenHow {
    pub(crate) fn set(&mut self, _flags: i32, _mode: u32) {}
}

/// What is known of a file.
#[derive(Default)]
pub(crate) struct StatBuf(Option<Metadata>);

fn time(stamp: FILETIME) -> SystemTime {
    /// From the beginning of 1601 to that of 1970, in units of 100 ns (FILETIME).
    const TO_UNIX: u64 = 116_444_736_000_000_000;
    let ticks = u64::from(stamp.dwHighDateTime) << 32 | u64::from(stamp.dwLowDateTime);
    let span = |ticks: u64| Duration::new(ticks / 10_000_000, (ticks % 10_000_000) as u32 * 100);
    match ticks.checked_sub(TO_UNIX) {
        Some(after) => SystemTime::UNIX_EPOCH + span(after),
        None => SystemTime::UNIX_EPOCH - span(TO_UNIX - ticks),
    }
}

/// A link to another name: a symbolic one, or a directory that stands for another.
fn is_link(raw: RawHandle) -> bool {
    const SYMLINK: u32 = 0xa000_000c;
    const MOUNT_POINT: u32 = 0xa000_0003;
    let mut tag = files::FILE_ATTRIBUTE_TAG_INFO {
        FileAttributes: 0,
        ReparseTag: 0,
    };
    let len = size_of_val(&tag) as u32;
    let (class, pointer) = (files::FileAttributeTagInfo, (&raw mut tag).cast());
    // SAFETY: the record is valid for writing for its length.
    let known = unsafe { files::GetFileInformationByHandleEx(raw.handle(), class, pointer, len) };
    known != 0 && matches!(tag.ReparseTag, SYMLINK | MOUNT_POINT)
}

fn allocated(raw: RawHandle) -> u64 {
    // SAFETY: all zeros is a valid record.
    let mut standard: files::FILE_STANDARD_INFO = unsafe { std::mem::zeroed() };
    let len = size_of_val(&standard) as u32;
    let (class, pointer) = (files::FileStandardInfo, (&raw mut standard).cast());
    // SAFETY: the record is valid for writing for its length.
    unsafe { files::GetFileInformationByHandleEx(raw.handle(), class, pointer, len) };
    standard.AllocationSize.max(0) as u64
}

/// Asks for everything about an open file.
fn metadata_of(raw: RawHandle) -> Result<Metadata, RawError> {
    // SAFETY: all zeros is a valid record.
    let mut info: files::BY_HANDLE_FILE_INFORMATION = unsafe { std::mem::zeroed() };
    // SAFETY: the record is valid for writing.
    if unsafe { files::GetFileInformationByHandle(raw.handle(), &raw mut info) } == 0 {
        return Err(last_error());
    }
    let has = |bit| info.dwFileAttributes & bit != 0;
    let file_type = if has(files::FILE_ATTRIBUTE_REPARSE_POINT) && is_link(raw) {
        FileType::Symlink
    } else if has(files::FILE_ATTRIBUTE_DIRECTORY) {
        FileType::Dir
    } else {
        FileType::File
    };
    let write = if has(files::FILE_ATTRIBUTE_READONLY) {
        0
    } else {
        0o222
    };
    let search = if file_type == FileType::Dir { 0o111 } else { 0 };
    let both = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    Ok(Metadata {
        file_type,
        len: both(info.nFileSizeHigh, info.nFileSizeLow),
        mode: 0o444 | write | search,
        modified: time(info.ftLastWriteTime),
        accessed: time(info.ftLastAccessTime),
        created: Some(time(info.ftCreationTime)),
        device: info.dwVolumeSerialNumber.into(),
        inode: both(info.nFileIndexHigh, info.nFileIndexLow),
        links: info.nNumberOfLinks.into(),
        uid: 0,
        gid: 0,
        blocks: allocated(raw).div_ceil(512),
    })
}

/// Opens a file to be asked about, which needs no right to read it.
fn open_to_ask(path: &std::path::Path, follow: bool) -> std::io::Result<File> {
    let itself = if follow {
        0
    } else {
        files::FILE_FLAG_OPEN_REPARSE_POINT
    };
    StdOptions::new()
        .access_mode(0)
        .custom_flags(files::FILE_FLAG_BACKUP_SEMANTICS | itself)
        .open(path)
}

impl StatBuf {
    pub(crate) fn metadata(&self) -> Metadata {
        self.0.clone().expect("the operation has filled it")
    }

    /// Fills the record with what is known of an open file.
    pub(super) fn fill(this: *mut StatBuf, raw: RawHandle) -> Result<(), RawError> {
        let metadata = metadata_of(raw)?;
        // SAFETY: the operation lends its record to the thread that carries it out.
        unsafe { (*this).0 = Some(metadata) };
        Ok(())
    }

    /// The same by a name.
    pub(super) fn fill_by_name(
        this: *mut StatBuf,
        path: &std::path::Path,
        follow: bool,
    ) -> std::io::Result<()> {
        let file = open_to_ask(path, follow)?;
        let raw = RawHandle::of_handle(file.as_raw_handle());
        StatBuf::fill(this, raw).map_err(super::error_from_raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let options = OpenOptions::default();
        assert_eq!(options.flags(), Ok(READ));
        for refused in [
            OpenOptions {
                truncate: true,
                ..options
            },
            OpenOptions {
                read: Some(false),
                ..options
            },
            OpenOptions {
                append: true,
                truncate: true,
                ..options
            },
            OpenOptions {
                custom_flags: 1,
                ..options
            },
        ] {
            assert_eq!(refused.flags(), Err(INVALID), "{refused:?}");
        }
        let append = OpenOptions {
            append: true,
            ..options
        };
        assert_eq!(append.flags(), Ok(APPEND));
    }

    #[test]
    fn a_path_with_a_zero_in_it_is_refused() {
        assert_eq!(Path::new("a\0b".as_ref()).raw(), Err(INVALID));
    }

    #[test]
    fn times_count_from_their_own_beginning() {
        let stamp = |ticks: u64| FILETIME {
            dwLowDateTime: ticks as u32,
            dwHighDateTime: (ticks >> 32) as u32,
        };
        let epoch = 116_444_736_000_000_000;
        assert_eq!(time(stamp(epoch)), SystemTime::UNIX_EPOCH);
        let second = Duration::from_secs(1);
        assert_eq!(
            time(stamp(epoch + 10_000_000)),
            SystemTime::UNIX_EPOCH + second
        );
        assert_eq!(
            time(stamp(epoch - 10_000_000)),
            SystemTime::UNIX_EPOCH - second
        );
    }
}
