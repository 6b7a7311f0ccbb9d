//! Listing a directory, as a stream of entries.
//!
//! Owns the list. It is read whole, by one operation, when the stream is made, so that what happens
//! to the directory meanwhile does not disturb it; what happened since shows at each entry.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use futures_core::Stream;

use super::names::list;
use super::{FileType, Metadata, symlink_metadata};

/// Lists a directory: every name in it but `.` and `..`, in the file system's order. The list is
/// made whole, on the pool, and takes memory for each name.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let mut entries = wharf::fs::read_dir(".").await?;
/// while let Some(entry) = entries.next_entry().await? {
///     println!("{:?} {:?}", entry.path(), entry.file_type().await?);
/// }
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Errors
/// That of the system: `NotFound`, also if it vanishes while it is read, `NotADirectory`.
///
/// # Panics
/// When it is polled outside a runtime.
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref().to_owned();
    let entries = list(path.clone()).await?;
    Ok(ReadDir {
        dir: path.into(),
        entries: entries.into_iter(),
    })
}

/// The entries of a directory; from [`read_dir`]. It is a [`Stream`] that is always ready.
pub struct ReadDir {
    dir: Arc<Path>,
    entries: vec::IntoIter<(OsString, Option<FileType>)>,
}

impl ReadDir {
    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// None now: the list was made before.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        Ok(self.next())
    }

    fn next(&mut self) -> Option<DirEntry> {
        let (name, file_type) = self.entries.next()?;
        Some(DirEntry {
            dir: self.dir.clone(),
            name,
            file_type,
        })
    }

    /// How many entries are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.entries.len()
    }
}

impl Stream for ReadDir {
    type Item = io::Result<DirEntry>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.next().map(Ok))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining(), Some(self.remaining()))
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadDir({:?}, {} left)", self.dir, self.remaining())
    }
}

/// One name in a directory.
#[derive(Clone)]
pub struct DirEntry {
    dir: Arc<Path>,
    name: OsString,
    file_type: Option<FileType>,
}

impl DirEntry {
    /// The name alone.
    #[must_use]
    pub fn file_name(&self) -> &OsStr {
        &self.name
    }

    /// The name behind that of the directory, as it was given to [`read_dir`].
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// The kind of file. Most file systems say it along with the name, and then it costs nothing.
    ///
    /// # Errors
    /// As [`metadata`](DirEntry::metadata).
    pub async fn file_type(&self) -> io::Result<FileType> {
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => Ok(self.metadata().await?.file_type()),
        }
    }

    /// The metadata of the entry itself, even if it is a symbolic link.
    ///
    /// # Errors
    /// That of the system: `NotFound` if it has gone since.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        symlink_metadata(self.path()).await
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirEntry({:?})", self.path())
    }
}
