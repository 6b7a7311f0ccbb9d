//! Files in the manner of [`std::fs`]: `Read`, `Write` and `Seek`, and calls that wait.
//!
//! Reading and writing lends the caller's own slice to the system: nothing is copied. What is done
//! by name (directories, renaming, metadata) is in [`wharf::fs`]: [`wait`](crate::wait()) for it.
//!
//! ```
//! use std::io::{Read, Seek, Write};
//! use wharf_fiber::{self as fiber, fs::File};
//! # let path = std::env::temp_dir().join(format!("wharf-doc-fiber-{}", std::process::id()));
//! # let runtime = wharf::Runtime::new().unwrap();
//! # fiber::block_on(&runtime, move || {
//! let mut file = File::create_new(&path)?;
//! writeln!(file, "forty-two is {}", 42)?;
//! file.rewind()?;
//! let mut text = String::new();
//! file.read_to_string(&mut text)?;
//! assert_eq!(text, "forty-two is 42\n");
//! fiber::wait(wharf::fs::remove_file(&path))?;
//! # std::io::Result::Ok(()) }).unwrap();
//! ```

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use wharf::fs::{Metadata, OpenOptions};
use wharf::sync::lock::{Mutex, MutexGuard};

use crate::lend::{lend, lend_mut};
use crate::switch::with_current;
use crate::wait::{wait_in_any_case, wait_io, wait_or_try};

/// An open file, whose cursor its clones share, as those of the standard library's do.
///
/// A read or write waits until the system has carried it out; errors are those of the call itself. A
/// cancel of the fiber interrupts a read, which has then moved nothing; a write that has begun is
/// finished. A destructor that writes while the fiber unwinds, or outside a fiber, has its bytes copied,
/// and written in the background.
///
/// What has no offsets (a named pipe, a terminal) is read and written by copies: it may keep
/// the fiber waiting, and the fiber must be able to turn away.
#[derive(Clone)]
pub struct File {
    file: Arc<Mutex<wharf::fs::File>>,
    has_offsets: bool,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`OpenOptions::open`]; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        wait_io(wharf::fs::File::open(path)).map(File::from_wharf)
    }

    /// Makes a file for writing; if there is one, it is cut to length 0.
    ///
    /// # Errors
    /// As [`OpenOptions::open`]; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        wait_io(wharf::fs::File::create(path)).map(File::from_wharf)
    }

    /// Makes a file for reading and writing, and fails if there is one.
    ///
    /// # Errors
    /// `AlreadyExists`; as [`OpenOptions::open`]; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        wait_io(wharf::fs::File::create_new(path)).map(File::from_wharf)
    }

    /// Opens a file with options.
    ///
    /// # Errors
    /// As [`OpenOptions::open`]; a cancel.
    ///
    /// # Panics
    /// Outside a fiber.
    #[track_caller]
    pub fn open_with(options: &OpenOptions, path: impl AsRef<Path>) -> io::Result<File> {
        wait_io(options.open(path)).map(File::from_wharf)
    }

    /// Takes over a file of the runtime's.
    #[must_use]
    pub fn from_wharf(file: wharf::fs::File) -> File {
        File {
            has_offsets: file.has_offsets(),
            file: Arc::new(Mutex::new(file)),
        }
    }

    /// Another handle to the same file, with the same cursor.
    ///
    /// # Errors
    /// Never: the type is that of the standard library's.
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(self.clone())
    }

    fn lock(&self) -> io::Result<MutexGuard<'_, wharf::fs::File>> {
        wait_or_try(async { Ok(self.file.lock().await) })
    }

    /// Waits until everything that was written, and the metadata, are on the disk.
    ///
    /// # Errors
    /// As [`wharf::fs::File::sync_all`]; a cancel.
    pub fn sync_all(&self) -> io::Result<()> {
        let file = self.lock()?;
        wait_or_try(file.sync_all())
    }

    /// As [`sync_all`](File::sync_all), without the metadata that is not needed to read the data.
    ///
    /// # Errors
    /// As [`sync_all`](File::sync_all).
    pub fn sync_data(&self) -> io::Result<()> {
        let file = self.lock()?;
        wait_or_try(file.sync_data())
    }

    /// Cuts the file to `len` bytes, or makes it longer with zeros.
    ///
    /// # Errors
    /// As [`wharf::fs::File::set_len`]; a cancel.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.lock()?;
        wait_or_try(file.set_len(len))
    }

    /// The file's metadata.
    ///
    /// # Errors
    /// That of the system; a cancel.
    pub fn metadata(&self) -> io::Result<Metadata> {
        let file = self.lock()?;
        wait_or_try(file.metadata())
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut file = self.lock()?;
        let lends = self.has_offsets && !buf.is_empty();
        with_current(|control| {
            let Some(control) = control.filter(|control| lends && !control.is_unwinding()) else {
                return wait_or_try(file.read(buf));
            };
            lend_mut(control, buf, |lent| {
                wait_or_try(async { file.read_owned(lent).await.0 })
            })
        })
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut file = self.lock()?;
        let lends = self.has_offsets && !buf.is_empty();
        with_current(|control| {
            let Some(control) = control.filter(|control| lends && !control.is_unwinding()) else {
                return wait_or_try(file.write(buf));
            };
            lend(control, buf, |lent| {
                // What has begun is written whole, in spite of a cancel.
                wait_in_any_case(control, async { file.write_owned(lent).await.0 })
            })
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut file = self.lock()?;
        wait_or_try(file.flush())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut file = self.lock()?;
        wait_or_try(file.seek(to))
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file.try_lock() {
            Some(file) => file.fmt(f),
            None => f.write_str("File(in use)"),
        }
    }
}
