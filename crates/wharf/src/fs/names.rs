//! Files and directories by name: the functions of `std::fs`.
//!
//! Owns no state. Each runs on the current worker, and panics when it is polled outside a runtime.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use wharf_queue::op;

use super::{File, Metadata, Permissions, blocking, run};

/// The metadata of what `path` leads to.
///
/// # Errors
/// That of the system: `NotFound`, `PermissionDenied`, ...
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    run(op::Stat::path(path)).await.map(Metadata)
}

/// The metadata of `path` itself, even if it is a symbolic link.
///
/// # Errors
/// As [`metadata`].
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    run(op::Stat::link(path)).await.map(Metadata)
}

/// Whether `path` leads to something; false for a symbolic link that leads nowhere.
///
/// # Errors
/// If that cannot be found out, for want of a permission for example.
pub async fn try_exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a file or directory another name; a file that had that name is replaced, in one step.
///
/// # Errors
/// That of the system: `CrossesDevices` if the two are not on the same file system.
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    run(op::Rename::new(from, to)).await
}

/// Removes a file's name; the file itself goes when nobody has it open any more.
///
/// # Errors
/// That of the system; `IsADirectory` or `PermissionDenied` for a directory.
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    run(op::Remove::file(path)).await
}

/// Removes an empty directory.
///
/// # Errors
/// That of the system: `DirectoryNotEmpty`, `NotADirectory`.
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    run(op::Remove::dir(path)).await
}

/// Removes a directory and everything in it. Symbolic links are removed, not followed. Runs on the
/// pool; once it has begun, dropping the future does not stop it.
///
/// # Errors
/// The first of the system's; what was removed before is gone.
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    blocking(move || std::fs::remove_dir_all(path)).await
}

/// Gives a file a second name.
///
/// # Errors
/// That of the system: `AlreadyExists`, `CrossesDevices`.
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    run(op::HardLink::new(original, link)).await
}

/// Makes `link` a symbolic link that says `target`, whether that exists or not.
///
/// # Errors
/// That of the system: `AlreadyExists`.
pub async fn symlink(target: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    run(op::SymbolicLink::new(target, link)).await
}

/// What a symbolic link says. Runs on the pool.
///
/// # Errors
/// That of the system; `InvalidInput` if it is not a symbolic link.
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref().to_owned();
    let read = move || {
        std::fs::read_link(&path).map_err(|error| match std::fs::symlink_metadata(&path) {
            // Not every system's word for it has this kind.
            Ok(known) if !known.is_symlink() => io::Error::new(io::ErrorKind::InvalidInput, error),
            _ => error,
        })
    };
    blocking(read).await
}

/// The absolute path, without symbolic links, `.` and `..`. Runs on the pool.
///
/// # Errors
/// That of the system: every part of the path must exist.
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref().to_owned();
    blocking(move || std::fs::canonicalize(path)).await
}

/// The permissions of a file, to be changed and given to [`set_permissions`]. Runs on the pool.
///
/// # Errors
/// That of the system.
pub async fn permissions(path: impl AsRef<Path>) -> io::Result<Permissions> {
    let path = path.as_ref().to_owned();
    blocking(move || Ok(std::fs::metadata(path)?.permissions())).await
}

/// Sets the permissions of a file. Runs on the pool.
///
/// # Errors
/// That of the system.
pub async fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    blocking(move || std::fs::set_permissions(path, permissions)).await
}

/// Copies a file's contents and permissions, and returns how many bytes that were. The destination
/// is made or replaced. Runs on the pool, where the system copies within itself if it can; once it
/// has begun, dropping the future does not stop it.
///
/// # Errors
/// That of the system; `InvalidInput` if `from` is not a regular file.
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    run(op::CopyFile::new(from, to)).await
}

/// Reads a whole file, or a pipe to its end. A file that shrinks or grows meanwhile is
/// read to the end that it has by then.
///
/// # Errors
/// That of the system; `OutOfMemory` if it does not fit.
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path).await?;
    if !file.has_offsets() {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await?;
        return Ok(bytes);
    }
    let len = file.metadata_at_open().map_or(0, Metadata::len);
    file.read_whole(len).await
}

/// Reads a whole file as text.
///
/// # Errors
/// `InvalidData` if it is not UTF-8; else as [`read`].
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = read(path).await?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a whole file, which is made or replaced, and waits until the system has it. If the future
/// is dropped, the file may hold a part.
///
/// # Errors
/// That of the system: `StorageFull`, ...
pub async fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = File::create(path).await?;
    file.write_all(contents.as_ref()).await?;
    file.flush().await
}

/// Lists a directory as the queue does: names, and kinds where they come along.
pub(super) async fn list(path: PathBuf) -> io::Result<Vec<(OsString, Option<op::FileType>)>> {
    let entries = run(op::ReadDir::new(path)).await?;
    let named = entries
        .into_iter()
        .map(|entry| (entry.name, entry.file_type));
    Ok(named.collect())
}
