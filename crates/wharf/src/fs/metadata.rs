//! What the system knows about a file.

use std::io;
use std::time::SystemTime;

use wharf_queue::op::{self, FileType};

/// What the system knows about a file; from [`metadata`](super::metadata()),
/// [`File::metadata`](super::File::metadata) and [`DirEntry::metadata`](super::DirEntry::metadata).
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let metadata = wharf::fs::metadata(".").await?;
/// assert!(metadata.is_dir() && !metadata.is_file());
/// assert!(metadata.modified()? <= std::time::SystemTime::now());
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata(pub(super) op::Metadata);

impl Metadata {
    /// The kind of file.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.0.file_type
    }

    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a file is not a collection")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.0.file_type == FileType::Dir
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.file_type == FileType::File
    }

    /// Whether it is a symbolic link; only [`symlink_metadata`](super::symlink_metadata) finds one.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.0.file_type == FileType::Symlink
    }

    /// When its contents were last changed.
    ///
    /// # Errors
    /// None now; the signature is the standard library's.
    pub fn modified(&self) -> io::Result<SystemTime> {
        Ok(self.0.modified)
    }

    /// When it was last read, as far as the file system keeps it.
    ///
    /// # Errors
    /// None now; the signature is the standard library's.
    pub fn accessed(&self) -> io::Result<SystemTime> {
        Ok(self.0.accessed)
    }

    /// When it was made.
    ///
    /// # Errors
    /// `Unsupported` if the file system does not keep it.
    pub fn created(&self) -> io::Result<SystemTime> {
        self.0
            .created
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// The permission bits.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.0.mode
    }

    /// The device it is on, and its number there: its identity.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        (self.0.device, self.0.inode)
    }

    /// How many names it has.
    #[must_use]
    pub fn links(&self) -> u64 {
        self.0.links
    }

    /// The numbers of its owner and its group.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        (self.0.uid, self.0.gid)
    }

    /// The space it takes, in bytes: less than its length if it has holes.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.0.blocks.saturating_mul(512)
    }
}
