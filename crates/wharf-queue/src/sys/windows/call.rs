//! Carrying out an operation by calls that block: for the threads of the pool.
//!
//! Owns the map from `Op` to such calls. Names are given to the standard library, which knows long
//! paths and odd volumes; what is done to an open file has calls of its own here.

#![expect(unsafe_code)]
// UNSAFETY: calls with the pointers that an operation lends.

use std::fs;
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path as StdPath;
use std::ptr;

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::Storage::FileSystem as files;
use windows_sys::Win32::System::IO::{
    GetOverlappedResult, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0,
};
use windows_sys::Win32::System::Threading::CreateEventW;

use super::error::{
    ACCESS_DENIED, BROKEN_PIPE, END_OF_FILE, FAILED, INVALID, IS_A_DIRECTORY, MORE_DATA,
    NAME_TOO_LONG, NOT_A_DIRECTORY, NOT_A_SOCKET, NOT_SEEKABLE, PENDING, UNSUPPORTED, is_shortage,
    meaning,
};
use super::{
    MAX_TRANSFER, OwnedHandle, Path, RawError, RawHandle, RawPath, Scratch, StatBuf, into_raw,
    last_error,
};
use crate::buf::{RawBuf, RawBufMut};
use crate::op::{CopyJob, DirEntry, FileType, Op, ReadDirJob, ResolveJob};

type Result<T> = std::result::Result<T, RawError>;

/// A result as completions carry it: a count or handle, or a negated code.
pub(crate) fn encode(result: Result<i64>) -> i64 {
    match result {
        Ok(value) => value,
        Err(error) => -i64::from(error),
    }
}

/// Carries an operation out and waits as long as that takes.
pub(crate) fn blocking(op: &Op) -> i64 {
    encode(match *op {
        Op::ReadDir { job } => read_dir(job),
        Op::CopyFile { job } => copy_file(job),
        Op::Resolve { job } => resolve(job),
        Op::Blocking { run, payload } => {
            // SAFETY: the operation says that `run` may be called with its payload, once.
            let returned = unsafe { run(payload) };
            if returned { Ok(0) } else { Err(FAILED) }
        }
        Op::Open { .. }
        | Op::OpenBeneath { .. }
        | Op::Stat { .. }
        | Op::Rename { .. }
        | Op::Remove { .. }
        | Op::CreateDir { .. }
        | Op::HardLink { .. }
        | Op::SymbolicLink { .. } => by_name(op),
        _ => on_handle(op),
    })
}

/// The code of an error of the standard library's; one without a code is about an argument.
pub(super) fn raw_error(error: &io::Error) -> RawError {
    meaning(error.raw_os_error().unwrap_or(INVALID))
}

/// Tells apart what this system has one code for: something that would need to be a directory, or
/// may not be one.
fn refine(path: RawPath, error: &io::Error, wants_dir: bool) -> RawError {
    let path = Path::get(path);
    let is_dir = |path: &StdPath| fs::symlink_metadata(path).map(|known| known.is_dir());
    match (error.kind(), raw_error(error)) {
        (_, ACCESS_DENIED) if !wants_dir && is_dir(path).unwrap_or(false) => IS_A_DIRECTORY,
        (_, code) if wants_dir && code != ACCESS_DENIED && !is_dir(path).unwrap_or(true) => {
            NOT_A_DIRECTORY
        }
        (_, code) if has_long_name(path) && code != ACCESS_DENIED => NAME_TOO_LONG,
        // Of the names above it the deepest that there is tells.
        (io::ErrorKind::NotFound, code) => {
            let mut above = path.ancestors().skip(1).map(fs::metadata);
            match above.find_map(io::Result::ok) {
                Some(known) if !known.is_dir() => NOT_A_DIRECTORY,
                _ => code,
            }
        }
        (_, code) => code,
    }
}

/// Whether one of the names in a path is longer than file systems take.
fn has_long_name(path: &StdPath) -> bool {
    use std::os::windows::ffi::OsStrExt as _;
    const MOST: usize = 255;
    path.iter()
        .any(|name| name.encode_wide().nth(MOST).is_some())
}

fn by_name(op: &Op) -> Result<i64> {
    let done = |path, result: io::Result<()>| {
        result
            .map(|()| 0)
            .map_err(|error| refine(path, &error, false))
    };
    match *op {
        Op::Open { path, flags, mode } => super::file::open(Path::get(path), flags, mode)
            .map(|file| into_raw(OwnedHandle::from(file)).to_result())
            .map_err(|error| refine(path, &error, false)),
        Op::OpenBeneath { .. } => Err(UNSUPPORTED),
        Op::Stat {
            fd,
            path,
            follow,
            stat,
        } => match (path, fd) {
            (Some(path), _) => done(path, StatBuf::fill_by_name(stat, Path::get(path), follow)),
            (None, Some(fd)) => StatBuf::fill(stat, fd.raw).map(|()| 0),
            (None, None) => Err(INVALID),
        },
        Op::Rename { from, to } => done(from, fs::rename(Path::get(from), Path::get(to))),
        Op::Remove { path, dir: false } => done(path, remove_file(Path::get(path))),
        Op::Remove { path, dir: true } => fs::remove_dir(Path::get(path))
            .map(|()| 0)
            .map_err(|error| refine(path, &error, true)),
        Op::CreateDir { path, mode: _ } => done(path, fs::create_dir(Path::get(path))),
        Op::HardLink { from, to } => done(from, fs::hard_link(Path::get(from), Path::get(to))),
        Op::SymbolicLink { target, link } => {
            done(link, link_to(Path::get(target), Path::get(link)))
        }
        _ => Err(UNSUPPORTED),
    }
}

/// A link to a directory is a directory to the system, and is a name to everybody else.
fn remove_file(path: &StdPath) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(known) if known.is_symlink() && is_directory_entry(&known) => fs::remove_dir(path),
        _ => fs::remove_file(path),
    }
}

fn is_directory_entry(known: &fs::Metadata) -> bool {
    use std::os::windows::fs::MetadataExt as _;
    known.file_attributes() & files::FILE_ATTRIBUTE_DIRECTORY != 0
}

/// The system wants to know what the link leads to. One that leads nowhere yet is a file's. Programs
/// without the privilege can make links where the developer mode is on.
fn link_to(target: &StdPath, link: &StdPath) -> io::Result<()> {
    use std::os::windows::fs::{symlink_dir, symlink_file};
    let beside = link.parent().unwrap_or(StdPath::new("")).join(target);
    let made = if beside.is_dir() {
        symlink_dir(target, link)
    } else {
        symlink_file(target, link)
    };
    made?;
    // Wine says yes and does nothing.
    fs::symlink_metadata(link)
        .map(drop)
        .map_err(|_| super::error_from_raw(UNSUPPORTED))
}

/// Reads, writes, and what is done to a whole file.
fn on_handle(op: &Op) -> Result<i64> {
    match *op {
        Op::Read { fd, buf, offset } => read(fd.raw, buf, offset),
        Op::Write { fd, buf, offset } => write(fd.raw, buf, offset),
        Op::ReadVectored {
            fd,
            scratch,
            offset,
        } => in_pieces(scratch, |piece, done| {
            read(fd.raw, piece, offset + done as u64)
        }),
        Op::WriteVectored {
            fd,
            scratch,
            offset,
        } => in_pieces(scratch, |piece, done| {
            let bytes = RawBuf {
                pointer: piece.pointer,
                len: piece.len,
            };
            write(fd.raw, bytes, offset + done as u64)
        }),
        Op::Truncate { fd, len } => set_length(fd.raw, len).map(|()| 0),
        Op::Allocate {
            fd,
            offset,
            len,
            keep_size,
        } => allocate(fd.raw, offset, len, keep_size).map(|()| 0),
        Op::Sync { fd, data_only: _ } => sync(fd.raw).map(|()| 0),
        // Only sockets do what is left, and no socket is left to the pool.
        _ => Err(NOT_A_SOCKET),
    }
}

/// Where a call begins to read or write.
pub(crate) fn at(offset: u64) -> OVERLAPPED {
    OVERLAPPED {
        Internal: 0,
        InternalHigh: 0,
        Anonymous: OVERLAPPED_0 {
            Anonymous: OVERLAPPED_0_0 {
                Offset: offset as u32,
                OffsetHigh: (offset >> 32) as u32,
            },
        },
        hEvent: ptr::null_mut(),
    }
}

/// A call at a place that is waited for. The handle may be one for overlapped calls, and belong to a
/// port: the lowest bit of the event keeps the packet away (GetQueuedCompletionStatus, remarks).
struct Waited {
    event: OwnedHandle,
    overlapped: OVERLAPPED,
}

impl Waited {
    /// For a call at `offset`; `None` for one on a stream, or at the file's own position. A place on
    /// what has none is refused, which the call itself would ignore.
    fn at(raw: RawHandle, offset: u64) -> Result<Option<Waited>> {
        if offset == Op::CURRENT {
            return Ok(None);
        }
        if raw.is_socket() {
            return Err(NOT_SEEKABLE);
        }
        // SAFETY: a call with a handle.
        if unsafe { files::GetFileType(raw.handle()) } == files::FILE_TYPE_PIPE {
            return Err(NOT_SEEKABLE);
        }
        // SAFETY: without attributes and a name the event is new, and is not inherited.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if event.is_null() {
            return Err(last_error());
        }
        let mut overlapped = at(offset);
        overlapped.hEvent = event.map_addr(|address| address | 1);
        let event = super::from_raw(RawHandle::of_handle(event));
        Ok(Some(Waited { event, overlapped }))
    }

    /// Waits for the end of a call that is in flight.
    fn wait(&mut self, raw: RawHandle) -> Result<i64> {
        let mut bytes = 0u32;
        let overlapped = &raw const self.overlapped;
        debug_assert!(!self.event.raw().is_socket());
        // SAFETY: the record is that of the call, which is in flight on this handle.
        let done = unsafe { GetOverlappedResult(raw.handle(), overlapped, &raw mut bytes, 1) };
        if done == 0 {
            Err(last_error())
        } else {
            Ok(bytes.into())
        }
    }
}

/// Makes a read or a write, and waits for its end.
fn transfer(
    raw: RawHandle,
    offset: u64,
    call: impl FnOnce(*mut u32, *mut OVERLAPPED) -> windows_sys::core::BOOL,
) -> Result<i64> {
    let mut waited = Waited::at(raw, offset)?;
    let overlapped = waited
        .as_mut()
        .map_or(ptr::null_mut(), |waited| &raw mut waited.overlapped);
    let mut bytes = 0u32;
    if call(&raw mut bytes, overlapped) != 0 {
        return Ok(bytes.into());
    }
    match (last_error(), &mut waited) {
        (PENDING, Some(waited)) => waited.wait(raw),
        // A part of a message of a pipe.
        (MORE_DATA, _) => Ok(bytes.into()),
        (error, _) => Err(error),
    }
}

fn read(raw: RawHandle, buf: RawBufMut, offset: u64) -> Result<i64> {
    let (handle, len) = (raw.handle(), buf.len.min(MAX_TRANSFER) as u32);
    let read = transfer(raw, offset, |bytes, overlapped| {
        // SAFETY: the operation lends the buffer for writing; `transfer` waits for the end.
        unsafe { files::ReadFile(handle, buf.pointer, len, bytes, overlapped) }
    });
    match read {
        Err(END_OF_FILE | BROKEN_PIPE) => Ok(0),
        Err(error) => Err(refine_read(raw, error)),
        read => read,
    }
}

fn write(raw: RawHandle, buf: RawBuf, offset: u64) -> Result<i64> {
    let (handle, len) = (raw.handle(), buf.len.min(MAX_TRANSFER) as u32);
    transfer(raw, offset, |bytes, overlapped| {
        // SAFETY: the operation lends the buffer for reading; `transfer` waits for the end.
        unsafe { files::WriteFile(handle, buf.pointer, len, bytes, overlapped) }
    })
}

/// A directory is not read like a file; the system says so in other words.
pub(crate) fn refine_read(raw: RawHandle, error: RawError) -> RawError {
    // SAFETY: all zeros is a valid record.
    let mut info: files::BY_HANDLE_FILE_INFORMATION = unsafe { std::mem::zeroed() };
    // SAFETY: the record is valid for writing.
    let known = unsafe { files::GetFileInformationByHandle(raw.handle(), &raw mut info) };
    if known != 0 && info.dwFileAttributes & files::FILE_ATTRIBUTE_DIRECTORY != 0 {
        return IS_A_DIRECTORY;
    }
    error
}

/// Makes one call for each buffer, until one comes out short.
fn in_pieces(
    scratch: *mut Scratch,
    mut call: impl FnMut(RawBufMut, usize) -> Result<i64>,
) -> Result<i64> {
    let mut done = 0;
    while let Some(piece) = Scratch::piece(scratch, done) {
        let want = piece.len;
        match call(piece, done) {
            Ok(count) => {
                done += count as usize;
                if (count as usize) < want {
                    break;
                }
            }
            // What has been done is told first; the error comes again at the next call.
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done as i64)
}

fn set_information<T>(raw: RawHandle, class: i32, value: &T) -> Result<()> {
    let len = size_of::<T>() as u32;
    let value = (&raw const *value).cast();
    // SAFETY: the value is valid for reading for its length, and of the type of its class.
    if unsafe { files::SetFileInformationByHandle(raw.handle(), class, value, len) } == 0 {
        return Err(last_error());
    }
    Ok(())
}

fn set_length(raw: RawHandle, len: u64) -> Result<()> {
    let end = files::FILE_END_OF_FILE_INFO {
        EndOfFile: len as i64,
    };
    match set_information(raw, files::FileEndOfFileInfo, &end) {
        // The length is the only argument.
        Err(INVALID) if !raw.is_socket() => Err(super::FILE_TOO_LARGE),
        result => result,
    }
}

fn allocate(raw: RawHandle, offset: u64, len: u64, keep_size: bool) -> Result<()> {
    let end = offset
        .checked_add(len)
        .filter(|&end| end <= i64::MAX as u64);
    let end = end.ok_or(super::FILE_TOO_LARGE)?;
    let size = super::socket::file_size(raw)?;
    if len == 0 {
        return Err(INVALID);
    }
    if end <= size {
        // What a file has within its length is reserved, unless it was made to have holes.
        return Ok(());
    }
    if !keep_size {
        // The file system reserves what it says a file has (SetEndOfFile, remarks).
        return set_length(raw, end);
    }
    let allocation = files::FILE_ALLOCATION_INFO {
        AllocationSize: end as i64,
    };
    set_information(raw, files::FileAllocationInfo, &allocation)
}

fn flush(raw: RawHandle) -> Result<()> {
    // SAFETY: a call with a handle.
    if unsafe { files::FlushFileBuffers(raw.handle()) } == 0 {
        return Err(last_error());
    }
    Ok(())
}

/// A handle for reading, or of a directory, may not be flushed by itself (FlushFileBuffers): a second
/// one of the same file is.
fn sync(raw: RawHandle) -> Result<()> {
    if raw.is_socket() {
        return Err(INVALID);
    }
    match flush(raw) {
        Err(ACCESS_DENIED) => {}
        result => return result,
    }
    let share = files::FILE_SHARE_READ | files::FILE_SHARE_WRITE | files::FILE_SHARE_DELETE;
    let (access, flags) = (files::FILE_GENERIC_WRITE, files::FILE_FLAG_BACKUP_SEMANTICS);
    // SAFETY: a call with a handle and numbers.
    let second = unsafe { files::ReOpenFile(raw.handle(), access, share, flags) };
    if second == INVALID_HANDLE_VALUE {
        return Err(last_error());
    }
    let second = super::from_raw(RawHandle::of_handle(second));
    flush(second.raw())
}

fn read_dir(job: *mut ReadDirJob) -> Result<i64> {
    // SAFETY: the operation lends its job to the thread that carries it out.
    let job = unsafe { &mut *job };
    let listed = fs::read_dir(&job.path).map_err(|error| {
        let path = Path::new(&job.path);
        refine(&raw const path, &error, true)
    })?;
    for entry in listed {
        let entry = entry.map_err(|error| raw_error(&error))?;
        let file_type = entry.file_type().ok().map(|kind| {
            if kind.is_dir() {
                FileType::Dir
            } else if kind.is_file() {
                FileType::File
            } else if kind.is_symlink() {
                FileType::Symlink
            } else {
                FileType::Other
            }
        });
        job.entries.push(DirEntry {
            name: entry.file_name(),
            file_type,
        });
    }
    Ok(job.entries.len() as i64)
}

fn copy_file(job: *mut CopyJob) -> Result<i64> {
    // SAFETY: the operation lends its job to the thread that carries it out.
    let job = unsafe { &*job };
    let copied = fs::copy(&job.from, &job.to).map_err(|error| raw_error(&error))?;
    if copied > 0 {
        return Ok(copied as i64);
    }
    // The system tells the count by a callback, which Wine does not make.
    let copied = fs::metadata(&job.to).map_err(|error| raw_error(&error))?;
    Ok(copied.len() as i64)
}

fn resolve(job: *mut ResolveJob) -> Result<i64> {
    // SAFETY: the operation lends its job to the thread that carries it out.
    let job = unsafe { &mut *job };
    let found = (job.host.as_str(), job.port)
        .to_socket_addrs()
        .map(Iterator::collect);
    let found = found.and_then(|found: Vec<_>| match found.is_empty() {
        true => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the host has no address",
        )),
        false => Ok(found),
    });
    if job.found.insert(found).is_ok() {
        Ok(0)
    } else {
        Err(FAILED)
    }
}

/// Ends one or both directions of a connection.
pub(crate) fn shutdown(raw: RawHandle, how: std::net::Shutdown) -> Result<()> {
    use windows_sys::Win32::Networking::WinSock as winsock;
    if !raw.is_socket() {
        return Err(NOT_A_SOCKET);
    }
    let how = match how {
        std::net::Shutdown::Read => winsock::SD_RECEIVE,
        std::net::Shutdown::Write => winsock::SD_SEND,
        std::net::Shutdown::Both => winsock::SD_BOTH,
    };
    // SAFETY: a call with numbers.
    super::socket::check(unsafe { winsock::shutdown(raw.socket(), how) }).map(drop)
}

/// Whether a code says that the process or the system has no handle, or no memory for one.
pub(crate) fn is_out_of_descriptors(error: RawError) -> bool {
    is_shortage(error)
}
