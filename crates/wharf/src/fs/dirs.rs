//! Making directories.
//!
//! Owns the way up to the first that is there, and down again.

use std::io;
use std::path::Path;

use wharf_queue::op;

use super::{metadata, run};

/// How directories are to be made: the options of [`std::fs::DirBuilder`], and on Unix its extension's.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("wharf-doc-dirs-{}", std::process::id()));
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::fs::{self, DirBuilder};
/// let private = dir.join("all/of/these");
/// DirBuilder::new().recursive(true).mode(0o700).create(&private).await?;
/// assert!(fs::metadata(&private).await?.is_dir());
/// # fs::remove_dir_all(&dir).await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct DirBuilder {
    recursive: bool,
    mode: Option<u32>,
}

impl DirBuilder {
    /// Makes one directory, whose parent exists.
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder::default()
    }

    /// Makes those above it, too, that are missing; and then it is no error if it exists, or if
    /// somebody else makes one of them at the same time.
    pub fn recursive(&mut self, yes: bool) -> &mut DirBuilder {
        self.recursive = yes;
        self
    }

    /// The permission bits of every directory that is made, before the process's umask; 0o777 if not
    /// set. They have no meaning on Windows.
    pub fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.mode = Some(mode);
        self
    }

    /// Makes the directory `path`. If the future is dropped, a part may have been made.
    ///
    /// # Errors
    /// The first of the system's: `AlreadyExists`, `NotFound` if the parent is missing. What was made
    /// before stays.
    ///
    /// # Panics
    /// When it is polled outside a runtime.
    pub async fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match self.recursive {
            true => self.create_all(path.as_ref()).await,
            false => self.create_one(path.as_ref()).await,
        }
    }

    async fn create_one(&self, path: &Path) -> io::Result<()> {
        let mut operation = op::CreateDir::new(path);
        if let Some(mode) = self.mode {
            operation = operation.mode(mode);
        }
        run(operation).await
    }

    async fn create_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let mut missing = vec![path];
        // Upwards to the first that can be made or is there, then down again.
        while let Some(path) = missing.last() {
            match self.create_one(path).await {
                Ok(()) => drop(missing.pop()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => missing.push(parent),
                    _ => return Err(error),
                },
                Err(error) => match metadata(path).await {
                    Ok(there) if there.is_dir() => drop(missing.pop()),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

/// Makes a directory, whose parent exists; for more, see [`DirBuilder`].
///
/// # Errors
/// That of the system: `AlreadyExists`, `NotFound` if the parent is missing.
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    DirBuilder::new().create(path).await
}

/// Makes a directory and those above it that are missing. It is no error if it exists, or if
/// somebody else makes one of them at the same time.
///
/// # Errors
/// The first of the system's; what was made before stays.
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path).await
}
