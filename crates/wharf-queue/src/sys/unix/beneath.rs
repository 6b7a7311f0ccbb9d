//! Opening a path that must not lead out of a directory, where the system cannot do it in one call.
//!
//! The path is walked a name at a time. No call follows a symbolic link; where a link leads is read
//! and walked like the rest. `..` goes back to a directory that the walk came through, which is held
//! open, so that one that is moved away meanwhile leads nowhere else.

#![expect(unsafe_code)]
// UNSAFETY: system calls with names that end with a zero, and with a local buffer.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};

use super::call::retry;
use super::{RawError, RawHandle, from_raw};

/// As many links as the systems themselves follow on one path (symlink(7)).
const MAX_LINKS: usize = 40;

/// A directory that is only gone through: that takes the right to search it, not to read it.
const SEARCH: i32 = {
    #[cfg(target_os = "macos")]
    let search = libc::O_SEARCH;
    #[cfg(not(target_os = "macos"))]
    let search = libc::O_PATH | libc::O_DIRECTORY;
    search | libc::O_NOFOLLOW | libc::O_CLOEXEC
};

/// Walks `path` from `dir` and opens its last name by `open_last`, which must not follow a symbolic
/// link. `follows` says whether a link in the last place is gone along.
///
/// # Errors
/// `EXDEV` for a path that leads out; `ELOOP` for too many links; the system's.
pub(crate) fn open(
    dir: RawHandle,
    path: &CStr,
    follows: bool,
    mut open_last: impl FnMut(RawHandle, &CStr) -> Result<i64, RawError>,
) -> Result<i64, RawError> {
    let mut names = VecDeque::new();
    push_front(&mut names, path.to_bytes())?;
    let mut through: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        let here = through.last().map_or(dir, AsRawFd::as_raw_fd);
        let is_last = names.is_empty();
        let opened = match name.to_bytes() {
            b"." | b".." if is_last => {
                if name.to_bytes() == b".." && through.pop().is_none() {
                    return Err(libc::EXDEV);
                }
                let here = through.last().map_or(dir, AsRawFd::as_raw_fd);
                return open_last(here, c".");
            }
            b"." => continue,
            b".." => {
                through.pop().ok_or(libc::EXDEV)?;
                continue;
            }
            _ if is_last => open_last(here, &name),
            // SAFETY: the name ends with a zero.
            _ => retry(|| unsafe { libc::openat(here, name.as_ptr(), SEARCH) }.into()),
        };
        match opened {
            Ok(raw) if is_last => return Ok(raw),
            Ok(raw) => through.push(from_raw(raw as RawHandle)),
            // What is no directory may be a link to one.
            Err(error @ (libc::ELOOP | libc::ENOTDIR)) if follows || !is_last => {
                let target = read_link(here, &name).ok_or(error)?;
                links += 1;
                if links > MAX_LINKS {
                    return Err(libc::ELOOP);
                }
                push_front(&mut names, &target)?;
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last name has been opened, or has failed to be")
}

/// Puts the names of a path before those that are left. A path that ends with a slash means a
/// directory, as if it had `.` behind it.
fn push_front(names: &mut VecDeque<CString>, path: &[u8]) -> Result<(), RawError> {
    match path.first() {
        None => return Err(libc::ENOENT),
        Some(b'/') => return Err(libc::EXDEV),
        Some(_) => {}
    }
    if path.ends_with(b"/") {
        names.push_front(c".".to_owned());
    }
    for name in path.rsplit(|&byte| byte == b'/') {
        if !name.is_empty() {
            names.push_front(CString::new(name).map_err(|_| libc::EINVAL)?);
        }
    }
    Ok(())
}

/// Where a symbolic link leads; nothing if it is none (readlinkat(2)).
fn read_link(dir: RawHandle, name: &CStr) -> Option<Vec<u8>> {
    let mut target = vec![0u8; libc::PATH_MAX as usize];
    let (room, len) = (target.as_mut_ptr().cast(), target.len());
    // SAFETY: the name ends with a zero, and the room is valid for writing for its length.
    let read = retry(|| unsafe { libc::readlinkat(dir, name.as_ptr(), room, len) } as i64).ok()?;
    target.truncate(read as usize);
    Some(target)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::{OpenHow, native};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A tree of files, removed when it is dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new() -> Tree {
            let name = format!("wharf-beneath-{}", std::process::id());
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(root.join("in/a/b")).expect("a directory");
            fs::write(root.join("outside"), "outside").expect("a file");
            fs::write(root.join("in/a/file"), "inside").expect("a file");
            for (target, link) in [
                ("a/file", "to_file"),
                ("a", "to_dir"),
                ("a/b/../file", "to_file_by_parent"),
                ("../outside", "to_outside"),
                ("/etc/passwd", "to_absolute"),
                ("loop", "loop"),
                ("a/not_there", "dangling"),
                ("../a/../../in/a/file", "a/out_and_in"),
                ("..", "a/up"),
            ] {
                symlink(target, root.join("in").join(link)).expect("a link");
            }
            Tree(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// What was opened, as the kernel names it, or the error.
    fn found(opened: Result<i64, RawError>) -> Result<PathBuf, RawError> {
        let fd = from_raw(opened? as RawHandle);
        Ok(fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("an open file"))
    }

    /// The kernel walks the same paths itself (openat2(2), `RESOLVE_BENEATH`): the two must agree.
    #[test]
    fn walk_finds_what_the_kernel_finds() {
        let tree = Tree::new();
        let root = fs::File::open(tree.0.join("in")).expect("a directory");
        let dir = root.as_raw_fd();
        let paths = [
            c"a/file",
            c"./a//./file",
            c"a/b/../file",
            c"to_file",
            c"to_dir/file",
            c"to_dir/b/../../a/file",
            c"to_file_by_parent",
            c"a/up/a/file",
            c"a/up/../a",
            c"a/out_and_in",
            c"to_outside",
            c"to_absolute",
            c"/etc/passwd",
            c"..",
            c"../outside",
            c"a/../..",
            c"a/..",
            c".",
            c"a/",
            c"a/file/",
            c"a/file/x",
            c"to_file/",
            c"to_dir/",
            c"loop",
            c"loop/x",
            c"dangling",
            c"not_there",
            c"not_there/x",
            c"",
        ];
        for path in paths {
            for flags in [
                libc::O_RDONLY,
                libc::O_RDONLY | libc::O_DIRECTORY,
                libc::O_RDONLY | libc::O_NOFOLLOW,
            ] {
                let flags = flags | libc::O_CLOEXEC;
                let mut how = OpenHow::default();
                how.set(flags, 0);
                let kernel = found(native::open_beneath(dir, path.as_ptr(), &raw const how));
                let follows = flags & libc::O_NOFOLLOW == 0;
                let walk = found(open(dir, path, follows, |dir, name| {
                    let flags = flags | libc::O_NOFOLLOW;
                    // SAFETY: the name ends with a zero.
                    retry(|| unsafe { libc::openat(dir, name.as_ptr(), flags) }.into())
                }));
                assert_eq!(walk, kernel, "{path:?} with {flags:#o}");
            }
        }
    }
}
