//! The options by which a file is opened.

use std::io;
use std::path::Path;

use wharf_queue::op;

use super::{File, Metadata};
use crate::engine::OpFuture;
use crate::io::conduit::Conduit;
use crate::runtime::home::gone;

/// How a file is to be opened: the options of [`std::fs::OpenOptions`], and direct I/O.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("wharf-doc-open-{}", std::process::id()));
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::fs::OpenOptions;
/// let mut log = OpenOptions::new().append(true).create(true).open(&path).await?;
/// log.write_all(b"one line\n").await?;
/// log.flush().await?;
/// # wharf::fs::remove_file(&path).await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    direct: bool,
    mode: Option<u32>,
    custom_flags: i32,
}

impl OpenOptions {
    /// No option is set: one of `read`, `write` and `append` must be.
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Opens for reading.
    pub fn read(&mut self, yes: bool) -> &mut OpenOptions {
        self.read = yes;
        self
    }

    /// Opens for writing.
    pub fn write(&mut self, yes: bool) -> &mut OpenOptions {
        self.write = yes;
        self
    }

    /// Every write goes to the end of the file, wherever that is by then.
    pub fn append(&mut self, yes: bool) -> &mut OpenOptions {
        self.append = yes;
        self
    }

    /// Cuts the file to length 0.
    pub fn truncate(&mut self, yes: bool) -> &mut OpenOptions {
        self.truncate = yes;
        self
    }

    /// Makes the file if it does not exist.
    pub fn create(&mut self, yes: bool) -> &mut OpenOptions {
        self.create = yes;
        self
    }

    /// Makes the file, and fails if it exists.
    pub fn create_new(&mut self, yes: bool) -> &mut OpenOptions {
        self.create_new = yes;
        self
    }

    /// Bypasses the page cache. Offsets, lengths and the memory of buffers must then be multiples of
    /// the device's block size, 4,096 bytes as a rule: use [`File::read_at_owned`] and
    /// [`File::write_at_owned`] with [`AlignedBuf`](crate::io::AlignedBuf). What copies, such as
    /// [`File::read`] and `send_file`, is `InvalidInput`, and so is the open on a file system that cannot
    /// do it.
    pub fn direct(&mut self, yes: bool) -> &mut OpenOptions {
        self.direct = yes;
        self
    }

    /// The permission bits of a file that is made, before the process's umask; 0o666 if not set.
    pub fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.mode = Some(mode);
        self
    }

    /// Further bits for the system's open call, such as `O_TMPFILE`, `O_NOFOLLOW`, `O_DSYNC`.
    pub fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.custom_flags = flags;
        self
    }

    /// Opens the file `path`.
    ///
    /// If the future is dropped, what was opened is closed. Opening a named pipe waits for its other
    /// side, as the system does.
    ///
    /// # Errors
    /// That of the system; `InvalidInput` for options that contradict each other and for a path
    /// with a zero byte.
    ///
    /// # Panics
    /// When it is polled outside a runtime.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let submitted = crate::engine::submit(self.operation(path).with_metadata())?;
        self.opened(submitted).await
    }

    /// Opens the file `path` below the open directory `dir` and nowhere else: the path is taken from
    /// there, and nothing that it leads through may leave it. The system checks this while it walks,
    /// so that nobody can exchange a name in between. What is opened lives on the worker of `dir`.
    ///
    /// If the future is dropped, what was opened is closed.
    ///
    /// # Errors
    /// `CrossesDevices` for a path that is absolute, or that leaves by `..` or by a symbolic link; a
    /// link to an absolute path counts as leaving wherever it leads. `WouldBlock` when names were
    /// changed meanwhile and trying again makes sense. `Unsupported` where the system has no such
    /// call. Else as [`open`](OpenOptions::open).
    ///
    /// # Panics
    /// When it is polled outside a runtime.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("wharf-doc-beneath-{}", std::process::id()));
    /// # wharf::Runtime::new().unwrap().block_on(async {
    /// use wharf::fs::{self, File, OpenOptions};
    /// fs::create_dir_all(&dir).await?;
    /// fs::write(dir.join("greeting"), "hello").await?;
    /// let root = File::open(&dir).await?;
    /// let mut options = OpenOptions::new();
    /// let options = options.read(true);
    /// assert!(options.open_beneath(&root, "greeting").await.is_ok());
    /// assert!(options.open_beneath(&root, "../elsewhere").await.is_err());
    /// # fs::remove_dir_all(&dir).await?;
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    pub async fn open_beneath(&self, dir: &File, path: impl AsRef<Path>) -> io::Result<File> {
        if let Some(submitted) = self.begin_beneath(&dir.conduit, path.as_ref())? {
            return self.opened(submitted).await;
        }
        let (options, path) = (self.clone(), path.as_ref().to_owned());
        let dir = dir.conduit.clone();
        let home = dir.handle().home().clone();
        home.call(move || async move {
            let submitted = options.begin_beneath(&dir, &path)?;
            options.opened(submitted.ok_or_else(gone)?).await
        })
        .await?
    }

    /// Begins to open below a directory, if that lives here. The handle is the worker's and must not
    /// be held while something is waited for.
    fn begin_beneath(
        &self,
        dir: &Conduit,
        path: &Path,
    ) -> io::Result<Option<OpFuture<op::OpenWithMetadata>>> {
        let Some(handle) = dir.handle().get() else {
            return Ok(None);
        };
        let operation = self.operation(path).beneath(&handle).with_metadata();
        Ok(Some(crate::engine::submit(operation)?))
    }

    fn operation(&self, path: impl AsRef<Path>) -> op::Open {
        let mut open = op::Open::new(path)
            .read(self.read)
            .write(self.write)
            .append(self.append)
            .truncate(self.truncate)
            .create(self.create)
            .create_new(self.create_new)
            .direct(self.direct)
            .custom_flags(self.custom_flags);
        if let Some(mode) = self.mode {
            open = open.mode(mode);
        }
        open
    }

    async fn opened(&self, submitted: OpFuture<op::OpenWithMetadata>) -> io::Result<File> {
        let (handle, metadata) = submitted.await.into_result()?;
        let mut file = File::new(Conduit::new(handle), self.append);
        file.at_open = Some(Box::new(Metadata(metadata)));
        Ok(file)
    }
}
