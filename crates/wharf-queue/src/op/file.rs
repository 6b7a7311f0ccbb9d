//! Operations on files and directories by name, and on the whole of an open file.
//!
//! Owns the typed builders and their results. Paths are converted to the system's form once, when
//! the builder is made; a path that the system cannot express completes with `InvalidInput`.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Done, Op, OpKind, Operation};
use crate::completion::Outcome;
use crate::handle::Handle;
use crate::queue::Queue;
use crate::slot::Slot;
use crate::sys;

macro_rules! operation {
    ($name:ident, $output:ty, |$this:ident| $lower:expr, |$me:ident, $done:ident| $finish:expr) => {
        operation!($name, $output, handles: |_me| [None, None],
            |$this| $lower, |$me, $done| $finish);
    };
    ($name:ident, $output:ty, handles: |$h:ident| $handles:expr,
        |$this:ident| $lower:expr, |$me:ident, $done:ident| $finish:expr) => {
        #[expect(private_interfaces, reason = "the hidden methods seal the trait")]
        impl Operation for $name {
            type Output = $output;
            const KIND: OpKind = OpKind::$name;

            fn handles(&self) -> [Option<&Handle>; 2] {
                let $h = self;
                $handles
            }

            fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
                let $this = self;
                Ok($lower)
            }

            fn finish(self, $done: Done<'_>) -> Self::Output {
                let $me = self;
                $finish
            }
        }
    };
}

/// Opens a file.
///
/// Gives `Outcome<Handle>`. If it is cancelled or its completion is dropped, the descriptor is
/// closed. The options mean what those of [`std::fs::OpenOptions`] mean. What is opened need not be
/// a file: a named pipe, a terminal or another device is put into non-blocking mode, as
/// [`Queue::attach`](crate::Queue::attach) does it; opening a named pipe waits for its other side.
///
/// Source: openat(2) with `O_CLOEXEC`; `IORING_OP_OPENAT` on io_uring, the pool elsewhere.
#[derive(Debug)]
pub struct Open {
    path: sys::Path,
    options: sys::OpenOptions,
    beneath: Option<Beneath>,
}

/// The directory that an open may not leave, and what the kernel is told of that.
#[derive(Debug)]
struct Beneath {
    dir: Handle,
    how: sys::OpenHow,
}

impl Open {
    /// Opens `path` for reading, unless other options are chosen.
    pub fn new(path: impl AsRef<Path>) -> Open {
        Open {
            path: sys::Path::new(path.as_ref()),
            options: sys::OpenOptions::default(),
            beneath: None,
        }
    }

    /// Opens below the open directory `dir` and nowhere else: the path is taken from there, and
    /// nothing that it leads through may leave it. The kernel checks this while it walks, so that
    /// nobody can exchange a name in between.
    ///
    /// A path that is absolute, or that leaves by `..` or by a symbolic link, gives
    /// [`CrossesDevices`](std::io::ErrorKind::CrossesDevices); a link to an absolute path counts as
    /// leaving wherever it leads. [`WouldBlock`](std::io::ErrorKind::WouldBlock) means that names
    /// were changed meanwhile, and that trying again makes sense. Where the system has no such
    /// call, it gives [`Unsupported`](std::io::ErrorKind::Unsupported).
    ///
    /// Opened with `O_NONBLOCK` ([`custom_flags`](Open::custom_flags)), which says that the opening
    /// itself need not wait for anybody, it is tried at once on backends whose files are the pool's,
    /// and succeeds there if the system has the names on the way in its cache.
    ///
    /// Source: openat2(2) with `RESOLVE_BENEATH`, since Linux 5.6.
    #[must_use]
    pub fn beneath(mut self, dir: &Handle) -> Open {
        self.beneath = Some(Beneath {
            dir: dir.clone(),
            how: sys::OpenHow::default(),
        });
        self
    }

    /// Asks for the metadata of what is opened along with it. This costs no turn of the queue, and
    /// no system call more: the queue has to look what it is in any case.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use wharf_queue::{Queue, op};
    /// let queue = Queue::new()?;
    /// let open = queue.submit(op::Open::new("Cargo.toml").with_metadata())?;
    /// let completion = queue.wait(None)?.next().expect("the only operation");
    /// let (_file, metadata) = completion.take(open).expect("it is of that").into_result()?;
    /// assert!(metadata.is_file() && metadata.len > 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_metadata(self) -> OpenWithMetadata {
        OpenWithMetadata { open: self }
    }

    fn attach(&self, queue: &Queue, owned: sys::OwnedHandle) -> io::Result<Handle> {
        let handle = queue.attach(owned)?;
        queue.note_direct(&handle, self.options.is_direct());
        Ok(handle)
    }

    /// Opens for reading.
    #[must_use]
    pub fn read(mut self, yes: bool) -> Open {
        self.options.read = Some(yes);
        self
    }

    /// Opens for writing.
    #[must_use]
    pub fn write(mut self, yes: bool) -> Open {
        self.options.write = yes;
        self
    }

    /// Every write goes to the end of the file, wherever its offset says.
    #[must_use]
    pub fn append(mut self, yes: bool) -> Open {
        self.options.append = yes;
        self
    }

    /// Cuts the file to length 0.
    #[must_use]
    pub fn truncate(mut self, yes: bool) -> Open {
        self.options.truncate = yes;
        self
    }

    /// Makes the file if it does not exist.
    #[must_use]
    pub fn create(mut self, yes: bool) -> Open {
        self.options.create = yes;
        self
    }

    /// Makes the file, and fails if it exists.
    #[must_use]
    pub fn create_new(mut self, yes: bool) -> Open {
        self.options.create_new = yes;
        self
    }

    /// The permission bits of a file that is made, before the process's umask; 0o666 if not set.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Open {
        self.options.mode = mode;
        self
    }

    /// Bypasses the page cache (`O_DIRECT`): offsets, lengths and
    /// [addresses](crate::AlignedBuf) must be multiples of the block size.
    #[must_use]
    pub fn direct(mut self, yes: bool) -> Open {
        self.options.direct = yes;
        self
    }

    /// Further bits for the system's open call.
    #[must_use]
    pub fn custom_flags(mut self, flags: i32) -> Open {
        self.options.custom_flags = flags;
        self
    }
}

operation!(
    Open, Outcome<Handle>,
    handles: |me| [me.beneath.as_ref().map(|beneath| &beneath.dir), None],
    |this| {
        let (path, flags) = (this.path.raw()?, this.options.flags()?);
        let mode = this.options.mode;
        match &mut this.beneath {
            None => Op::Open { path, flags, mode },
            Some(Beneath { dir, how }) => {
                how.set(flags, mode);
                Op::OpenBeneath { dir: dir.target(), path, how: &raw const *how }
            }
        }
    },
    |me, done| done.outcome_attached(|queue, owned| me.attach(queue, owned))
);

/// [`Open`], with the metadata of what was opened; made by [`Open::with_metadata`].
///
/// Gives `Outcome<(Handle, Metadata)>`.
///
/// Source: as [`Open`], and statx(2).
#[derive(Debug)]
pub struct OpenWithMetadata {
    open: Open,
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl Operation for OpenWithMetadata {
    type Output = Outcome<(Handle, Metadata)>;
    const KIND: OpKind = OpKind::Open;

    fn handles(&self) -> [Option<&Handle>; 2] {
        self.open.handles()
    }

    fn lower(&mut self, slot: &Slot) -> Result<Op, sys::RawError> {
        self.open.lower(slot)
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        let direct = self.open.options.is_direct();
        done.outcome_attached(|queue, owned| {
            let (handle, metadata) = queue.attach_and_look(owned)?;
            queue.note_direct(&handle, direct);
            Ok((handle, metadata))
        })
    }
}

/// The kind of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A pipe, a socket, a device.
    Other,
}

/// What the system knows about a file, from [`Stat`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Metadata {
    /// The kind of file.
    pub file_type: FileType,
    /// Its length in bytes.
    pub len: u64,
    /// The permission bits of `stat(2)`.
    pub mode: u32,
    /// When its contents were last changed.
    pub modified: SystemTime,
    /// When it was last read, as far as the file system keeps it.
    pub accessed: SystemTime,
    /// When it was made, where the file system knows.
    pub created: Option<SystemTime>,
    /// The device and the number of the file on it: its identity.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
    /// The number of names it has.
    pub links: u64,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The space it takes, in units of 512 bytes.
    pub blocks: u64,
}

impl Metadata {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Dir
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file_type == FileType::File
    }
}

/// Asks for a file's metadata.
///
/// Gives `Outcome<Metadata>`.
///
/// Source: statx(2).
pub struct Stat {
    handle: Option<Handle>,
    path: Option<sys::Path>,
    follow: bool,
    stat: sys::StatBuf,
}

impl Stat {
    /// Of the file that `path` leads to.
    pub fn path(path: impl AsRef<Path>) -> Stat {
        let path = Some(sys::Path::new(path.as_ref()));
        Stat {
            handle: None,
            path,
            follow: true,
            stat: sys::StatBuf::default(),
        }
    }

    /// Of `path` itself, even if it is a symbolic link.
    pub fn link(path: impl AsRef<Path>) -> Stat {
        Stat {
            follow: false,
            ..Stat::path(path)
        }
    }

    /// Of an open file.
    #[must_use]
    pub fn handle(handle: &Handle) -> Stat {
        let handle = Some(handle.clone());
        Stat {
            handle,
            path: None,
            follow: true,
            stat: sys::StatBuf::default(),
        }
    }
}

impl fmt::Debug for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stat({:?}, {:?})", self.handle, self.path)
    }
}

operation!(
    Stat, Outcome<Metadata>,
    handles: |me| [me.handle.as_ref(), None],
    |this| Op::Stat {
        fd: this.handle.as_ref().map(Handle::target),
        path: this.path.as_ref().map(sys::Path::raw).transpose()?,
        follow: this.follow,
        stat: &raw mut this.stat,
    },
    |me, done| done.outcome().map(|_| me.stat.metadata())
);

/// Gives a file another name; what had that name is replaced.
///
/// Gives `Outcome<()>`.
///
/// Source: renameat(2).
#[derive(Debug)]
pub struct Rename {
    from: sys::Path,
    to: sys::Path,
}

impl Rename {
    /// Renames `from` to `to`.
    pub fn new(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Rename {
        Rename {
            from: sys::Path::new(from.as_ref()),
            to: sys::Path::new(to.as_ref()),
        }
    }
}

operation!(
    Rename,
    Outcome<()>,
    |this| Op::Rename {
        from: this.from.raw()?,
        to: this.to.raw()?
    },
    |_me, done| done.outcome().map(drop)
);

/// Removes a name: of a file, or of an empty directory.
///
/// Gives `Outcome<()>`.
///
/// Source: unlinkat(2).
#[derive(Debug)]
pub struct Remove {
    path: sys::Path,
    dir: bool,
}

impl Remove {
    /// Removes a file's name.
    pub fn file(path: impl AsRef<Path>) -> Remove {
        Remove {
            path: sys::Path::new(path.as_ref()),
            dir: false,
        }
    }

    /// Removes an empty directory.
    pub fn dir(path: impl AsRef<Path>) -> Remove {
        Remove {
            path: sys::Path::new(path.as_ref()),
            dir: true,
        }
    }
}

operation!(
    Remove,
    Outcome<()>,
    |this| Op::Remove {
        path: this.path.raw()?,
        dir: this.dir
    },
    |_me, done| done.outcome().map(drop)
);

/// Makes a directory.
///
/// Gives `Outcome<()>`.
///
/// Source: mkdirat(2).
#[derive(Debug)]
pub struct CreateDir {
    path: sys::Path,
    mode: u32,
}

impl CreateDir {
    /// Makes the directory `path`, whose parent exists.
    pub fn new(path: impl AsRef<Path>) -> CreateDir {
        CreateDir {
            path: sys::Path::new(path.as_ref()),
            mode: 0o777,
        }
    }

    /// The permission bits before the process's umask; 0o777 if not set.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> CreateDir {
        self.mode = mode;
        self
    }
}

operation!(
    CreateDir,
    Outcome<()>,
    |this| Op::CreateDir {
        path: this.path.raw()?,
        mode: this.mode
    },
    |_me, done| done.outcome().map(drop)
);

/// Gives a file a second name.
///
/// Gives `Outcome<()>`.
///
/// Source: linkat(2).
#[derive(Debug)]
pub struct HardLink {
    from: sys::Path,
    to: sys::Path,
}

impl HardLink {
    /// Makes `to` a name of the file `from`.
    pub fn new(from: impl AsRef<Path>, to: impl AsRef<Path>) -> HardLink {
        HardLink {
            from: sys::Path::new(from.as_ref()),
            to: sys::Path::new(to.as_ref()),
        }
    }
}

operation!(
    HardLink,
    Outcome<()>,
    |this| Op::HardLink {
        from: this.from.raw()?,
        to: this.to.raw()?
    },
    |_me, done| done.outcome().map(drop)
);

/// Makes a symbolic link.
///
/// Gives `Outcome<()>`.
///
/// Source: symlinkat(2).
#[derive(Debug)]
pub struct SymbolicLink {
    target: sys::Path,
    link: sys::Path,
}

impl SymbolicLink {
    /// Makes `link` a symbolic link that says `target`.
    pub fn new(target: impl AsRef<Path>, link: impl AsRef<Path>) -> SymbolicLink {
        SymbolicLink {
            target: sys::Path::new(target.as_ref()),
            link: sys::Path::new(link.as_ref()),
        }
    }
}

operation!(
    SymbolicLink,
    Outcome<()>,
    |this| Op::SymbolicLink {
        target: this.target.raw()?,
        link: this.link.raw()?
    },
    |_me, done| done.outcome().map(drop)
);

/// The system's lengths are signed, and no file is that long: one error everywhere.
fn file_length(len: u64) -> Result<u64, sys::RawError> {
    i64::try_from(len)
        .map(|_| len)
        .map_err(|_| sys::FILE_TOO_LARGE)
}

/// Sets a file's length.
///
/// Gives `Outcome<()>`.
///
/// Source: ftruncate(2); `IORING_OP_FTRUNCATE` since Linux 6.9, else the pool.
#[derive(Debug)]
pub struct Truncate {
    file: Handle,
    len: u64,
}

impl Truncate {
    /// Cuts `file` to `len` bytes, or makes it longer with zeros.
    #[must_use]
    pub fn new(file: &Handle, len: u64) -> Truncate {
        Truncate {
            file: file.clone(),
            len,
        }
    }
}

operation!(
    Truncate, Outcome<()>,
    handles: |me| [Some(&me.file), None],
    |this| Op::Truncate { fd: this.file.target(), len: file_length(this.len)? },
    |_me, done| done.outcome().map(drop)
);

/// Reserves space for a file.
///
/// Gives `Outcome<()>`.
///
/// Source: fallocate(2).
#[derive(Debug)]
pub struct Allocate {
    file: Handle,
    offset: u64,
    len: u64,
    keep_size: bool,
}

impl Allocate {
    /// Reserves `len` bytes from `offset` on; the file grows to that length if it is shorter.
    #[must_use]
    pub fn new(file: &Handle, offset: u64, len: u64) -> Allocate {
        Allocate {
            file: file.clone(),
            offset,
            len,
            keep_size: false,
        }
    }

    /// Leaves the file's length as it is.
    #[must_use]
    pub fn keep_size(mut self) -> Allocate {
        self.keep_size = true;
        self
    }
}

operation!(
    Allocate, Outcome<()>,
    handles: |me| [Some(&me.file), None],
    |this| Op::Allocate {
        fd: this.file.target(),
        offset: file_length(this.offset)?,
        len: file_length(this.len)?,
        keep_size: this.keep_size,
    },
    |_me, done| done.outcome().map(drop)
);

/// Waits until a file's data, and its metadata, are on the disk.
///
/// Gives `Outcome<()>`.
///
/// Source: fsync(2), fdatasync(2).
#[derive(Debug)]
pub struct Sync {
    file: Handle,
    data_only: bool,
}

impl Sync {
    /// Data and metadata.
    #[must_use]
    pub fn all(file: &Handle) -> Sync {
        Sync {
            file: file.clone(),
            data_only: false,
        }
    }

    /// Data, and the metadata that is needed to read it back.
    #[must_use]
    pub fn data(file: &Handle) -> Sync {
        Sync {
            file: file.clone(),
            data_only: true,
        }
    }
}

operation!(
    Sync, Outcome<()>,
    handles: |me| [Some(&me.file), None],
    |this| Op::Sync { fd: this.file.target(), data_only: this.data_only },
    |_me, done| done.outcome().map(drop)
);

/// One name in a directory, from [`ReadDir`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name alone, without the directory.
    pub name: OsString,
    /// The kind of file, if the file system says it along with the name.
    pub file_type: Option<FileType>,
}

/// What the pool needs to list a directory, and where it puts the list.
pub(crate) struct ReadDirJob {
    pub(crate) path: PathBuf,
    pub(crate) entries: Vec<DirEntry>,
}

/// Lists a directory: every name in it but `.` and `..`, in the file system's order.
///
/// Gives `Outcome<Vec<DirEntry>>`. The list is made whole, on the pool, on every backend.
///
/// Source: readdir(3).
pub struct ReadDir {
    job: ReadDirJob,
}

impl ReadDir {
    /// Lists the directory `path`.
    pub fn new(path: impl AsRef<Path>) -> ReadDir {
        ReadDir {
            job: ReadDirJob {
                path: path.as_ref().to_owned(),
                entries: Vec::new(),
            },
        }
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadDir({:?})", self.job.path)
    }
}

operation!(
    ReadDir,
    Outcome<Vec<DirEntry>>,
    |this| Op::ReadDir {
        job: &raw mut this.job
    },
    |me, done| done.outcome().map(|_| me.job.entries)
);

/// What the pool needs to copy a file.
pub(crate) struct CopyJob {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
}

/// Copies a file's contents and permissions; the destination is made or replaced.
///
/// Gives `Outcome<u64>`, the bytes copied. It runs on the pool; once it has begun it cannot be
/// cancelled.
///
/// Source: [`std::fs::copy`].
pub struct CopyFile {
    job: CopyJob,
}

impl CopyFile {
    /// Copies `from` to `to`.
    pub fn new(from: impl AsRef<Path>, to: impl AsRef<Path>) -> CopyFile {
        CopyFile {
            job: CopyJob {
                from: from.as_ref().to_owned(),
                to: to.as_ref().to_owned(),
            },
        }
    }
}

impl fmt::Debug for CopyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyFile({:?}, {:?})", self.job.from, self.job.to)
    }
}

operation!(
    CopyFile,
    Outcome<u64>,
    |this| Op::CopyFile {
        job: &raw mut this.job
    },
    |_me, done| done.outcome().map(|copied| copied as u64)
);
