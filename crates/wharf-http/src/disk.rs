//! The files below one root: opening without leaving it, reading, listing.
//!
//! The only file of this crate that touches a file system. It knows nothing of HTTP.
//!
//! A name is looked up in one of two ways:
//!
//! ```text
//! short: open below the root; the system sees to it that nothing leads out, and the metadata
//!        comes along. What is cached is there at once, without a thread.
//! long:  open by the whole name, and compare what was opened with what the name resolves to. For
//!        what the short way refuses: links to absolute paths, directories that cannot be read,
//!        systems without such a call.
//! ```

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wharf::fs::{Metadata, OpenOptions};
use wharf::net::TcpStream;
use wharf::time::Instant;

use crate::index::{Entry, Kind};
use crate::os;
use crate::plan::Facts;

/// The names of a directory that are listed at most. A page of more helps nobody.
const LISTED: usize = 10_000;

/// How long the root is taken to be the directory that its name leads to. Then it is opened again,
/// so that one that was exchanged for another as a whole is noticed.
const ROOT_LIFE: Duration = Duration::from_secs(1);

/// A directory whose files are looked up.
#[derive(Debug)]
pub(crate) struct Root {
    place: Place,
    /// When the directory was last opened, and what that gave.
    dir: RefCell<Option<(Instant, Option<Rc<wharf::fs::File>>)>>,
}

/// Where the root is, and whether what is found below it may lie elsewhere.
#[derive(Clone, Debug)]
struct Place {
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
#[derive(Debug)]
pub(crate) struct File(Box<wharf::fs::File>);

/// What the long way leads to.
enum Far {
    File(fs::File, Facts),
    Dir,
    Other,
}

impl Root {
    pub(crate) async fn open(dir: &Path) -> io::Result<Root> {
        let dir = dir.to_owned();
        let path = blocking(move || {
            let path = fs::canonicalize(dir)?;
            match fs::metadata(&path)?.is_dir() {
                true => Ok(path),
                false => Err(io::ErrorKind::NotADirectory.into()),
            }
        });
        let place = Place {
            path: path.await?.into(),
            links_out: false,
        };
        Ok(Root {
            place,
            dir: RefCell::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    /// The same root with another rule for symbolic links.
    pub(crate) fn links_out(&self, yes: bool) -> Root {
        Root {
            place: Place {
                path: Arc::clone(&self.place.path),
                links_out: yes,
            },
            dir: RefCell::default(),
        }
    }

    /// Finds what a path below the root leads to, and opens it if it is a file. One of at most
    /// `whole_bytes` is read as well.
    ///
    /// # Errors
    /// `PermissionDenied` also for what is found outside of the root.
    pub(crate) async fn find(&self, below: &Path, whole_bytes: u64) -> io::Result<Found> {
        let (file, facts) = match self.find_near(below).await {
            Some(Ok(file)) => match file.metadata_at_open() {
                Some(metadata) if metadata.is_dir() => return Ok(Found::Dir),
                Some(metadata) if metadata.is_file() => {
                    let facts = facts(metadata)?;
                    (file, facts)
                }
                _ => return Ok(Found::Other),
            },
            Some(Err(error)) => return Err(error),
            None => {
                let (place, path) = (self.place.clone(), self.place.path.join(below));
                match blocking(move || place.find_far(&path)).await? {
                    Far::File(file, facts) => (wharf::fs::File::from_std(file)?, facts),
                    Far::Dir => return Ok(Found::Dir),
                    Far::Other => return Ok(Found::Other),
                }
            }
        };
        let file = File(Box::new(file));
        // A file that has shrunk meanwhile is left to the body, which says so.
        let whole = match facts.len {
            1.. if facts.len <= whole_bytes => {
                if let Some(bytes) = file.0.read_cached(0..facts.len) {
                    let whole = Some(bytes.into());
                    return Ok(Found::File { file, facts, whole });
                }
                let read = file.read(0..facts.len).await.ok();
                read.filter(|bytes| bytes.len() as u64 == facts.len)
            }
            _ => None,
        };
        Ok(Found::File { file, facts, whole })
    }

    /// The short way. `None` if it leads nowhere, which need not mean that there is nothing.
    async fn find_near(&self, below: &Path) -> Option<io::Result<wharf::fs::File>> {
        let dir = self.dir().await?;
        // The root itself has a name, too.
        let below = match below.as_os_str().is_empty() {
            true => Path::new("."),
            false => below,
        };
        match looking().open_beneath(&dir, below).await {
            Ok(file) => Some(Ok(file)),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Some(Err(error)),
                _ => None,
            },
        }
    }

    /// The root's directory; `None` if it cannot be read, or is not there at the moment.
    async fn dir(&self) -> Option<Rc<wharf::fs::File>> {
        let now = Instant::now();
        if let Some((seen, dir)) = &mut *self.dir.borrow_mut() {
            if now.duration_since(*seen) < ROOT_LIFE {
                return dir.clone();
            }
            // Whoever comes while it is looked at again uses it as it is.
            *seen = now;
        }
        let opened = looking().open(&self.place.path).await;
        let dir = opened.ok().map(Rc::new);
        // Dropped when it is not borrowed any more.
        let previous = self.dir.replace(Some((Instant::now(), dir.clone())));
        drop(previous);
        dir
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
        let (place, path) = (self.place.clone(), self.place.path.join(below));
        blocking(move || place.list(&path, &shown)).await
    }
}

/// For reading whatever has a name, without waiting for the other end of a pipe and without taking
/// a terminal for its own.
fn looking() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(os::LOOK_FLAGS);
    options
}

fn facts(metadata: &Metadata) -> io::Result<Facts> {
    let (device, inode) = metadata.identity();
    Ok(Facts {
        device,
        inode,
        len: metadata.len(),
        modified: metadata.modified()?,
    })
}

/// What blocks, and runs on a thread for that.
impl Place {
    /// The long way.
    fn find_far(&self, path: &Path) -> io::Result<Far> {
        let file = match os::open_to_look(path) {
            Ok(file) => file,
            // A directory that may be entered and not read, or a system that opens no directories.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if !fs::metadata(path)?.is_dir() {
                    return Err(error);
                }
                self.check(path, None)?;
                return Ok(Far::Dir);
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        self.check(path, Some(&metadata))?;
        if metadata.is_dir() {
            return Ok(Far::Dir);
        }
        if !metadata.is_file() {
            return Ok(Far::Other);
        }
        let (device, inode) = os::identity(&metadata);
        let facts = Facts {
            device,
            inode,
            len: metadata.len(),
            modified: metadata.modified()?,
        };
        Ok(Far::File(file, facts))
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

    /// See `Root::list`.
    fn list(&self, path: &Path, shown: &dyn Fn(&OsStr) -> bool) -> io::Result<(Vec<Entry>, usize)> {
        self.check(path, None)?;
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name());
        }
        names.retain(|name| shown(name));
        names.sort_unstable();
        let left_out = names.len().saturating_sub(LISTED);
        names.truncate(LISTED);
        let entries = names.into_iter().filter_map(|name| entry_of(path, name));
        Ok((entries.collect(), left_out))
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
    /// Has the system send a part of it, as much as there is of that.
    ///
    /// # Errors
    /// Those of the stream, and of reading the file.
    pub(crate) async fn send(&self, part: Range<u64>, stream: &mut TcpStream) -> io::Result<u64> {
        let len = part.end - part.start;
        stream.send_file(&self.0, part.start, len).await
    }

    /// Reads a part, or its beginning; never nothing.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before the part begins, and what reading gives.
    pub(crate) async fn read(&self, part: Range<u64>) -> io::Result<Bytes> {
        let len = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        let (read, buf) = self
            .0
            .read_at_owned(Vec::with_capacity(len), part.start)
            .await;
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Bytes::from(buf)),
        }
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    wharf::spawn_blocking(call)
        .await
        .map_err(io::Error::other)?
}
