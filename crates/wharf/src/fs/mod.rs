//! Files and directories, asynchronously and in truth: on io_uring each of these is an operation of
//! the ring, without a thread; elsewhere it runs on the worker's bounded pool, and the loop never
//! waits for a disk.
//!
//! ```
//! # let dir = std::env::temp_dir().join(format!("wharf-doc-fs-{}", std::process::id()));
//! # wharf::Runtime::new().unwrap().block_on(async {
//! use wharf::fs::{self, File};
//!
//! fs::create_dir_all(dir.join("a/b")).await?;
//! let mut file = File::create(dir.join("a/b/greeting")).await?;
//! file.write_all(b"hello world").await?;
//! file.flush().await?;
//!
//! let mut word = [0; 5];
//! file = File::open(dir.join("a/b/greeting")).await?;
//! file.read_exact_at(&mut word, 6).await?;
//! assert_eq!(&word, b"world");
//! fs::remove_dir_all(&dir).await?;
//! # std::io::Result::Ok(()) }).unwrap();
//! ```
//!
//! # What dropping a future does
//!
//! | future | when it is dropped |
//! |---|---|
//! | [`File::open`], [`File::create`], [`File::create_new`], [`OpenOptions::open`], [`OpenOptions::open_beneath`], [`File::try_clone`] | the file, if it was opened, is closed; one that was created stays |
//! | [`File::read`], `read_exact`, `recv` | nothing is lost: the next read gives what this one would have given |
//! | [`File::seek`], [`File::rewind`], [`File::stream_position`] | the cursor is where it was |
//! | [`File::read_at`], [`File::read_at_owned`], [`File::read_vectored_at_owned`] | nothing has changed; a buffer that was lent is dropped when the system lets go of it |
//! | [`File::read_exact_at`], [`File::write_all_at`] | what came before is in the buffer, or written; the rest is as for [`File::read_at`] and [`File::write_at`] |
//! | [`File::write`] | while it is pending nothing has been taken; what it has taken is written |
//! | [`File::write_at`], [`File::write_at_owned`], [`File::write_vectored_at_owned`], [`File::write_owned`] | before it has begun, nothing is written; after, all of the buffer is, and an error of that is told to the next write, flush or sync |
//! | [`File::flush`], [`File::sync_all`], [`File::sync_data`] | nothing |
//! | [`File::close`], [`File::into_std`] | what was written is carried out in the background, then the file is closed |
//! | [`File::set_len`], [`File::allocate`], [`File::allocate_keeping_len`], [`File::set_permissions`], [`File::set_times`] | it may have happened or not, whole in either case |
//! | [`rename`], [`remove_file`], [`remove_dir`], [`create_dir`], [`hard_link`], [`symlink`], [`set_permissions`] | as much |
//! | [`File::metadata`], [`File::permissions`], [`metadata`](fn@metadata), [`symlink_metadata`], [`permissions`], [`try_exists`], [`canonicalize`], [`read_link`], [`read_dir`](fn@read_dir), [`DirEntry::file_type`] | nothing: the answer is dropped |
//! | [`ReadDir::next_entry`] | nothing: the entry is the next caller's |
//! | [`read`], [`read_to_string`] | nothing has changed |
//! | [`write`](fn@write), [`copy`] | the destination may hold a part |
//! | [`DirBuilder::create`], [`create_dir_all`], [`remove_dir_all`] | a part may have been made; removing goes on to its end |
//!
//! A positional write that was borrowed is the one exception to the rule that a dropped borrowed
//! write has not happened: it says where it writes, so that doing it again does no harm.
//!
//! # Handles
//!
//! A [`File`] is `Send` and `Sync` and lives on the worker that opened it. On another worker, it is
//! carried out by the home worker; buffers that are lent are then copied. Everything by name runs on
//! the current worker.

mod cursor;
mod dirs;
mod file;
mod metadata;
mod names;
mod open;
mod positional;
mod read_dir;
mod vectored;

pub use dirs::{DirBuilder, create_dir, create_dir_all};
pub use file::File;
pub use metadata::Metadata;
pub use names::{
    canonicalize, copy, hard_link, metadata, permissions, read, read_link, read_to_string,
    remove_dir, remove_dir_all, remove_file, rename, set_permissions, symlink, symlink_metadata,
    try_exists, write,
};
pub use open::OpenOptions;
pub use read_dir::{DirEntry, ReadDir, read_dir};
pub use std::fs::{FileTimes, Permissions};
pub use wharf_queue::op::FileType;

use std::io;

use wharf_queue::{Operation, Outcome, Prepare, op};

use crate::engine;

/// Carries an operation out on the current worker.
pub(crate) async fn run<P, T>(operation: P) -> io::Result<T>
where
    P: Prepare,
    P::Op: Operation<Output = Outcome<T>>,
{
    let submitted = engine::submit(operation)?;
    submitted.await.into_result()
}

/// Runs a call of the standard library's that has no operation of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    run(op::Blocking::new(call)).await?
}
