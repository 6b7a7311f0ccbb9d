//! The files below one root: opening without leaving it, reading, listing.
//!
//! The only file of this crate that touches a file system. It knows nothing of HTTP.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::index::{Entry, Kind};
use crate::os;
use crate::plan::Facts;

/// The names of a directory that are listed at most. A page of more helps nobody.
const LISTED: usize = 10_000;

/// A directory, and whether what is found below it may lie elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// Absolute, and without symbolic links.
    path: Arc<Path>,
    links_out: bool,
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found {
    File {
        file: File,
        facts: Facts,
        /// All of its bytes, if they were wanted.
        whole: Option<Bytes>,
    },
    Dir,
    /// A device, a pipe, a socket.
    Other,
}

/// A file that is open for reading.
#[derive(Clone, Debug)]
pub(crate) struct File(Arc<fs::File>);

impl Root {
    pub(crate) async fn open(dir: &Path) -> io::Result<Root> {
        let dir = dir.to_owned();
        blocking(move || {
            let path = fs::canonicalize(dir)?;
            if !fs::metadata(&path)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            Ok(Root {
                path: path.into(),
                links_out: false,
            })
        })
        .await
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same root with another rule for symbolic links.
    pub(crate) fn links_out(&self, yes: bool) -> Root {
        Root {
            path: Arc::clone(&self.path),
            links_out: yes,
        }
    }

    /// Finds what a path below the root leads to, and opens it if it is a file. One of at most
    /// `whole_bytes` is read as well.
    ///
    /// # Errors
    /// `PermissionDenied` also for what is found outside of the root.
    pub(crate) async fn find(&self, below: &Path, whole_bytes: u64) -> io::Result<Found> {
        let (root, path) = (self.clone(), self.path.join(below));
        blocking(move || root.find_now(&path, whole_bytes)).await
    }

    fn find_now(&self, path: &Path, whole_bytes: u64) -> io::Result<Found> {
        let file = match os::open_to_look(path) {
            Ok(file) => file,
            // A directory that may be entered and not read, or a system that opens no directories.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if !fs::metadata(path)?.is_dir() {
                    return Err(error);
                }
                self.check(path, None)?;
                return Ok(Found::Dir);
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        self.check(path, Some(&metadata))?;
        if metadata.is_dir() {
            return Ok(Found::Dir);
        }
        if !metadata.is_file() {
            return Ok(Found::Other);
        }
        let (device, inode) = os::identity(&metadata);
        let facts = Facts {
            device,
            inode,
            len: metadata.len(),
            modified: metadata.modified()?,
        };
        // A file that has shrunk meanwhile is left to the body, which says so.
        let whole = match facts.len {
            1.. if facts.len <= whole_bytes => read_now(&file, 0..facts.len)
                .ok()
                .filter(|bytes| bytes.len() as u64 == facts.len),
            _ => None,
        };
        Ok(Found::File {
            file: File(Arc::new(file)),
            facts,
            whole,
        })
    }

    /// Makes sure that what was opened lies below the root.
    ///
    /// The file is open already, and its identity is compared with what the resolved name leads
    /// to, so exchanging a name in between is found out unless it is done twice, in step.
    fn check(&self, path: &Path, opened: Option<&fs::Metadata>) -> io::Result<()> {
        if self.links_out {
            return Ok(());
        }
        let real = fs::canonicalize(path)?;
        let is_same = match opened {
            Some(opened) => os::identity(&fs::symlink_metadata(&real)?) == os::identity(opened),
            None => true,
        };
        match is_same && real.starts_with(&self.path) {
            true => Ok(()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Lists a directory below the root: the entries whose names are `shown`, and how many were
    /// left out because there are too many.
    ///
    /// An entry that vanishes meanwhile is not listed. Symbolic links are not followed.
    pub(crate) async fn list(
        &self,
        below: &Path,
        shown: impl Fn(&OsStr) -> bool + Send + 'static,
    ) -> io::Result<(Vec<Entry>, usize)> {
        let (root, path) = (self.clone(), self.path.join(below));
        blocking(move || {
            root.check(&path, None)?;
            let mut names: Vec<OsString> = Vec::new();
            for entry in fs::read_dir(&path)? {
                names.push(entry?.file_name());
            }
            names.retain(|name| shown(name));
            names.sort_unstable();
            let left_out = names.len().saturating_sub(LISTED);
            names.truncate(LISTED);
            let entries = names.into_iter().filter_map(|name| entry_of(&path, name));
            Ok((entries.collect(), left_out))
        })
        .await
    }
}

fn entry_of(dir: &Path, name: OsString) -> Option<Entry> {
    let metadata = fs::symlink_metadata(dir.join(&name)).ok()?;
    let kind = match metadata.file_type() {
        kind if kind.is_dir() => Kind::Dir,
        kind if kind.is_file() => Kind::File,
        kind if kind.is_symlink() => Kind::Link,
        _ => Kind::Other,
    };
    Some(Entry {
        name,
        kind,
        len: (kind == Kind::File).then_some(metadata.len()),
        modified: metadata.modified().ok(),
    })
}

impl File {
    /// Reads a part, or its beginning; never nothing.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before the part begins, and what reading gives.
    pub(crate) async fn read(&self, part: Range<u64>) -> io::Result<Bytes> {
        let file = Arc::clone(&self.0);
        blocking(move || read_now(&file, part)).await
    }
}

fn read_now(file: &fs::File, part: Range<u64>) -> io::Result<Bytes> {
    let len = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
    let mut buf = vec![0; len];
    let read_len = os::read_at(file, &mut buf, part.start)?;
    if read_len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    buf.truncate(read_len);
    Ok(Bytes::from(buf))
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    wharf::spawn_blocking(call)
        .await
        .map_err(io::Error::other)?
}
