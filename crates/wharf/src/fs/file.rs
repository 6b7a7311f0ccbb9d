//! `File`: an open file, and what is done to it as a whole.
//!
//! Owns the handle and the cursor. Reading and writing at an offset is in `positional`, at the
//! cursor in `cursor`; the bytes on their way belong to `io`'s conduit.

use std::fmt;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wharf_queue::{Handle, Operation, Outcome, OwnedHandle, Prepare, op};

use super::cursor::Cursor;
use super::{FileTimes, Metadata, OpenOptions, Permissions, blocking};
use crate::io::conduit::Conduit;
use crate::runtime::home::gone;
use crate::runtime::worker;
use crate::time::sleep;

/// An open file, or whatever else has a name: a directory, a named pipe, a device.
///
/// It has a cursor, for the methods that read and write on and take `&mut self`, and methods with an
/// offset of their own, which take `&self` and may be used by any number of tasks at once. Both kinds
/// come in two styles: with a borrowed buffer, whose bytes are copied, and with one that is lent to
/// the system and comes back.
///
/// Writes at the cursor are gathered and written in the background, in order; their errors are told
/// by the next write, flush or sync. Reads of this file wait for them. Dropping the file finishes
/// them, and then closes it. To know that all went well, [`flush`](File::flush) or
/// [`close`](File::close); to know that it will survive a loss of power, [`sync_all`](File::sync_all).
///
/// ```
/// # let path = std::env::temp_dir().join(format!("wharf-doc-file-{}", std::process::id()));
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::fs::File;
/// let file = File::create_new(&path).await?;
/// let (written, buf) = file.write_at_owned(b"0123456789".to_vec(), 0).await;
/// assert_eq!(written?, 10);
/// file.close().await?;
///
/// let file = File::open(&path).await?;
/// let (read, buf) = file.read_at_owned(buf, 4).await;
/// assert_eq!((read?, &buf[..]), (6, &b"456789"[..]));
/// # wharf::fs::remove_file(&path).await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct File {
    pub(super) conduit: Arc<Conduit>,
    pub(super) cursor: Cursor,
    /// What was found when it was opened.
    pub(super) at_open: Option<Box<Metadata>>,
}

impl File {
    pub(super) fn new(conduit: Arc<Conduit>, appends: bool) -> File {
        File {
            conduit,
            cursor: Cursor::new(appends),
            at_open: None,
        }
    }

    /// Its handle, and what is on its way to it.
    pub(crate) fn conduit(&self) -> &Conduit {
        &self.conduit
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    ///
    /// # Panics
    /// When it is polled outside a runtime.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Makes a file for writing; if there is one, it is cut to length 0.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    ///
    /// # Panics
    /// When it is polled outside a runtime.
    pub async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options.open(path).await
    }

    /// Makes a file for reading and writing, and fails if there is one.
    ///
    /// # Errors
    /// `AlreadyExists`; else as [`OpenOptions::open`].
    ///
    /// # Panics
    /// When it is polled outside a runtime.
    pub async fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(path).await
    }

    /// The options by which a file is opened, none of them set: [`OpenOptions::new`].
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes a file of the standard library's, with its cursor: a temporary one, for example. If it
    /// was opened for appending, writes go to the end, but the cursor does not know of that.
    ///
    /// # Errors
    /// That of the system; then the file is closed.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn from_std(mut file: std::fs::File) -> io::Result<File> {
        let worker = worker::expect_current();
        // What has no place has no cursor either.
        let position = file.stream_position().unwrap_or(0);
        let conduit = Conduit::new(worker.queue.attach(file)?);
        let mut file = File::new(conduit, false);
        file.cursor.set_position(position);
        Ok(file)
    }

    /// Gives it back as a file of the standard library's, with its cursor, when everything that was
    /// written has been handed to the system. What is no file (a named pipe, a terminal) stays in
    /// non-blocking mode. On Windows a file that wharf has opened stays one for overlapped I/O, which
    /// the standard library reads and writes at offsets (`std::os::windows::fs::FileExt`), and has no
    /// cursor.
    ///
    /// # Errors
    /// Those of the writes; `WouldBlock` if bytes of a pipe were read that nobody has taken;
    /// `NotConnected` if the runtime has ended. Then the file is closed.
    pub async fn into_std(mut self) -> io::Result<std::fs::File> {
        self.conduit.flush().await?;
        self.cursor.find_end(&self.conduit).await?;
        let position = self.cursor.position();
        let is_file = self.conduit.is_file();
        if !is_file && self.cursor.holds_bytes() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.cursor.discard();
        let mut file = std::fs::File::from(detach(self.conduit).await?);
        if is_file {
            file.seek(SeekFrom::Start(position))?;
        }
        Ok(file)
    }

    /// Closes it when everything that was written has been handed to the system: as dropping it
    /// does, but telling of errors. If the future is dropped, that goes on in the background.
    ///
    /// # Errors
    /// Those of the writes and of the close itself.
    pub async fn close(mut self) -> io::Result<()> {
        self.conduit.flush().await?;
        self.cursor.discard();
        let close = |handle: &Handle| op::Close::new(handle.clone());
        let closed = self.conduit.handle().start(close)?;
        closed.await?.into_result()
    }

    /// Opens the same file once more: another handle, with a cursor of its own that begins where this
    /// one is, on the same worker. What was written before is on its way in order.
    ///
    /// # Errors
    /// Those of earlier writes, and that of the system; `NotConnected` if the runtime has ended.
    pub async fn try_clone(&mut self) -> io::Result<File> {
        self.conduit.flush().await?;
        let position = self.stream_position_or_start().await?;
        let attached = self.conduit.handle().with(|handle| {
            let worker = worker::expect_current();
            let owned = worker.queue.duplicate(handle)?;
            Ok::<_, io::Error>(Conduit::new(worker.queue.attach(owned)?))
        });
        let mut file = File::new(attached.await??, self.cursor.appends());
        file.cursor.set_position(position);
        Ok(file)
    }

    async fn stream_position_or_start(&mut self) -> io::Result<u64> {
        match self.conduit.is_file() {
            true => self.stream_position().await,
            false => Ok(0),
        }
    }

    /// The permissions of the file, to be changed and given to [`set_permissions`](File::set_permissions).
    /// Runs on the pool.
    ///
    /// # Errors
    /// That of the system; `NotConnected` if the runtime has ended.
    pub async fn permissions(&self) -> io::Result<Permissions> {
        self.on_the_pool(|file| Ok(file.metadata()?.permissions()))
            .await
    }

    /// Sets the permissions of the file. Runs on the pool.
    ///
    /// # Errors
    /// That of the system; `NotConnected` if the runtime has ended.
    pub async fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.on_the_pool(move |file| file.set_permissions(permissions))
            .await
    }

    /// Sets when the file was last read and changed, behind everything that was written to it. Runs on
    /// the pool.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("wharf-doc-times-{}", std::process::id()));
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// use std::time::{Duration, SystemTime};
    /// use wharf::fs::{File, FileTimes};
    /// let mut file = File::create(&path).await?;
    /// file.write_all(b"as it was then").await?;
    /// let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    /// file.set_times(FileTimes::new().set_modified(then)).await?;
    /// assert_eq!(file.metadata().await?.modified()?, then);
    /// # wharf::fs::remove_file(&path).await?;
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of the writes, and that of the system; `NotConnected` if the runtime has ended.
    pub async fn set_times(&self, times: FileTimes) -> io::Result<()> {
        self.conduit.flush().await?;
        self.on_the_pool(move |file| file.set_times(times)).await
    }

    /// Makes a call of the standard library's that has no operation of its own.
    async fn on_the_pool<T: Send + 'static>(
        &self,
        call: impl FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let duplicated = self.conduit.handle().with(|handle| {
            let worker = worker::expect_current();
            worker.queue.duplicate(handle)
        });
        let file = std::fs::File::from(duplicated.await??);
        blocking(move || call(&file)).await
    }

    /// Does something to the whole file, behind everything that was written to it.
    async fn whole<P, T, F>(&self, make: F) -> io::Result<T>
    where
        P: Prepare + 'static,
        P::Op: Operation<Output = Outcome<T>>,
        Outcome<T>: Send,
        F: FnOnce(&Handle) -> P + Send + 'static,
    {
        self.conduit.flush().await?;
        let started = self.conduit.handle().start(make)?;
        started.await?.into_result()
    }

    /// Waits until everything that was written, and the metadata, are on the disk.
    ///
    /// # Errors
    /// Those of the writes, and that of the system: an I/O error here means that data are lost.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.whole(op::Sync::all).await
    }

    /// As [`sync_all`](File::sync_all), without the metadata that is not needed to read the data
    /// back.
    ///
    /// # Errors
    /// As [`sync_all`](File::sync_all).
    pub async fn sync_data(&self) -> io::Result<()> {
        self.whole(op::Sync::data).await
    }

    /// Cuts the file to `len` bytes, or makes it longer with zeros. The cursor stays where it is.
    ///
    /// # Errors
    /// `InvalidInput` if it is not open for writing; `FileTooLarge`.
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        self.whole(move |handle| op::Truncate::new(handle, len))
            .await
    }

    /// Reserves space for `len` bytes from `offset` on, so that writing them does not fail for want
    /// of it. A file that is shorter grows to that, with zeros.
    ///
    /// # Errors
    /// `StorageFull`; `Unsupported` where the file system cannot do it.
    pub async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.whole(move |handle| op::Allocate::new(handle, offset, len))
            .await
    }

    /// As [`allocate`](File::allocate), and leaves the file's length as it is.
    ///
    /// # Errors
    /// As [`allocate`](File::allocate).
    pub async fn allocate_keeping_len(&self, offset: u64, len: u64) -> io::Result<()> {
        self.whole(move |handle| op::Allocate::new(handle, offset, len).keep_size())
            .await
    }

    /// The file's metadata, behind everything that was written to it.
    ///
    /// # Errors
    /// That of the system.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        self.conduit.settled().await;
        let started = self.conduit.handle().start(op::Stat::handle)?;
        started.await?.into_result().map(Metadata)
    }

    /// Whether `part`, offsets from the beginning, is in memory by now, so that reading or sending it
    /// will hardly wait for the device; if the system does not tell of all of it, whether its first and
    /// its last byte are. It is false where the system does not tell even that, on another worker than
    /// the file's, and for what is no file.
    #[must_use]
    pub fn is_cached(&self, part: std::ops::Range<u64>) -> bool {
        let handle = self.conduit.handle().get();
        let len = part.end.saturating_sub(part.start);
        handle.is_some_and(|handle| handle.is_cached(part.start, len))
    }

    /// Reads `part`, offsets from the beginning, at once if all of it is in memory. `None` if it is
    /// not, the file ends before, somebody else opened it ([`from_std`](File::from_std)), or the
    /// system does not tell; and on another worker than the file's.
    ///
    /// It spares the turn of the worker that [`read_at`](File::read_at) may take, and copies while
    /// nobody else runs: for what is short. What is being written at that time is in it or not.
    ///
    /// ```
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// let file = wharf::fs::File::open("Cargo.toml").await?;
    /// let mut start = [0; 4];
    /// match file.read_cached(0..4) {
    ///     Some(bytes) => start.copy_from_slice(&bytes),
    ///     None => file.read_exact_at(&mut start, 0).await?,
    /// }
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn read_cached(&self, part: std::ops::Range<u64>) -> Option<Vec<u8>> {
        let handle = self.conduit.handle().get()?;
        let len = usize::try_from(part.end.saturating_sub(part.start)).ok()?;
        handle.read_cached(part.start, len)
    }

    /// The metadata as it was when the file was opened, which came along with that and costs
    /// nothing; `None` for a file that was opened by somebody else ([`from_std`](File::from_std)).
    ///
    /// ```
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// let file = wharf::fs::File::open("Cargo.toml").await?;
    /// assert!(file.metadata_at_open().is_some_and(|metadata| metadata.is_file()));
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn metadata_at_open(&self) -> Option<&Metadata> {
        self.at_open.as_deref()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("conduit", &self.conduit)
            .field("cursor", &self.cursor)
            .finish()
    }
}

/// Takes the descriptor out of its queue, on the thread where it lives.
///
/// # Errors
/// `NotConnected` if the runtime has ended.
pub(crate) async fn detach(conduit: Arc<Conduit>) -> io::Result<OwnedHandle> {
    let home = conduit.handle().home().clone();
    home.call(move || take_out(conduit)).await?
}

/// Cancelled operations let go of it when they have ended; there are hardly ever any.
async fn take_out(conduit: Arc<Conduit>) -> io::Result<OwnedHandle> {
    let mut handle = conduit.handle().take().ok_or_else(gone)?;
    loop {
        let worker = worker::current().ok_or_else(gone)?;
        match worker.queue.detach(handle) {
            Ok(owned) => return Ok(owned),
            Err(in_use) => handle = in_use,
        }
        drop(worker);
        sleep(Duration::from_millis(1)).await;
    }
}
