//! Carrying out an operation by the ordinary system call.
//!
//! Owns the map from `Op` to calls, once blocking (for the pool) and once without waiting (for the
//! emulation). It keeps no state, parks nothing and reports to nobody.

#![expect(unsafe_code)]
// UNSAFETY: system calls with the pointers that an operation lends.

use std::io;
use std::net::ToSocketAddrs;

use super::signal::without_sigpipe;
use super::{MAX_TRANSFER, RawError, RawHandle, Scratch, check, datagram};
use crate::buf::RawBuf;
use crate::op::{CopyJob, DirEntry, FileType, MessageFlags, Op, ReadDirJob, ResolveJob};
use crate::sys::native;

/// A result as completions carry it: a count or descriptor, or a negated errno.
fn encode(result: Result<i64, RawError>) -> i64 {
    match result {
        Ok(value) => value,
        Err(error) => -i64::from(error),
    }
}

/// Makes a call until it is not interrupted.
pub(crate) fn retry(mut call: impl FnMut() -> i64) -> Result<i64, RawError> {
    loop {
        match check(call()) {
            Err(libc::EINTR) => {}
            result => return result,
        }
    }
}

/// An operation has failed, and says itself how: no user sees this, but a chain breaks at it.
const FAILED: RawError = libc::EIO;

/// Carries an operation out and waits as long as that takes. For the threads of the pool.
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

/// Tries an operation without waiting. `EAGAIN` means that it would have to wait. For handles that
/// are in non-blocking mode, as the queue's sockets and pipes are.
pub(crate) fn nonblocking(op: &Op) -> i64 {
    encode(match *op {
        Op::Recv { fd, buf, flags } => {
            let (len, flags) = (buf.len.min(MAX_TRANSFER), message_flags(flags));
            // SAFETY: the operation lends the buffer for writing.
            retry(|| unsafe { native::receive(fd.raw, buf.pointer, len, flags) })
        }
        Op::Send { fd, buf, flags } => return send(fd.raw, buf, flags),
        Op::RecvMessage { fd, scratch, flags } => {
            let (header, flags) = (Scratch::header(scratch), message_flags(flags));
            // SAFETY: the header leads to buffers that the operation lends.
            retry(|| unsafe { native::receive_message(fd.raw, header, flags) })
        }
        Op::SendMessage { fd, scratch, flags } => {
            let (header, flags) = (Scratch::header(scratch), message_flags(flags));
            // SAFETY: the header leads to buffers that the operation lends.
            retry(|| unsafe { native::send_message(fd.raw, header, flags) })
        }
        Op::Accept { fd } | Op::AcceptMulti { fd } => native::accept(fd.raw),
        Op::Splice {
            from,
            from_offset,
            to,
            to_offset,
            len,
        } => native::splice((from, from_offset), (to, to_offset), len),
        Op::SendFile {
            file,
            offset,
            socket,
            len,
        } => native::send_file(socket.raw, file.raw, offset, len).map(|sent| sent as i64),
        _ => on_handle(op),
    })
}

/// Sends what a connected socket takes now. `EAGAIN`, negated, if that is nothing.
pub(crate) fn send(fd: RawHandle, buf: RawBuf, flags: MessageFlags) -> i64 {
    let (len, flags) = (buf.len.min(MAX_TRANSFER), message_flags(flags));
    // SAFETY: the operation lends the buffer for reading.
    encode(retry(|| unsafe {
        native::send(fd, buf.pointer, len, flags)
    }))
}

/// The flags of send(2) and recv(2). What a backend keeps track of itself (`all`) is not among
/// them.
pub(crate) fn message_flags(flags: MessageFlags) -> i32 {
    native::MESSAGE_FLAGS | if flags.peek { libc::MSG_PEEK } else { 0 }
}

/// Reads, writes, and what is done to a whole file.
fn on_handle(op: &Op) -> Result<i64, RawError> {
    match *op {
        Op::Read { fd, buf, offset } => {
            let (pointer, len) = (buf.pointer.cast(), buf.len.min(MAX_TRANSFER));
            if offset == Op::CURRENT {
                // SAFETY: the operation lends the buffer for writing.
                return retry(|| unsafe { libc::read(fd.raw, pointer, len) } as i64);
            }
            // SAFETY: the operation lends the buffer for writing.
            retry(|| unsafe { libc::pread(fd.raw, pointer, len, offset as i64) } as i64)
        }
        Op::Write { fd, buf, offset } => {
            let (pointer, len) = (buf.pointer.cast(), buf.len.min(MAX_TRANSFER));
            if offset == Op::CURRENT {
                return without_sigpipe(|| {
                    // SAFETY: the operation lends the buffer for reading.
                    retry(|| unsafe { libc::write(fd.raw, pointer, len) } as i64)
                });
            }
            // SAFETY: the operation lends the buffer for reading.
            retry(|| unsafe { libc::pwrite(fd.raw, pointer, len, offset as i64) } as i64)
        }
        Op::ReadVectored {
            fd,
            scratch,
            offset,
        } => {
            let buffers = Scratch::buffers(scratch);
            // SAFETY: the operation lends the buffers for writing.
            retry(|| unsafe { native::read_vectored(fd.raw, buffers, offset as i64) })
        }
        Op::WriteVectored {
            fd,
            scratch,
            offset,
        } => {
            let buffers = Scratch::buffers(scratch);
            // SAFETY: the operation lends the buffers for reading.
            retry(|| unsafe { native::write_vectored(fd.raw, buffers, offset as i64) })
        }
        Op::Truncate { fd, len } => {
            let len = i64::try_from(len).map_err(|_| super::FILE_TOO_LARGE)?;
            // SAFETY: a call with numbers.
            retry(|| unsafe { libc::ftruncate(fd.raw, len) }.into())
        }
        Op::Allocate {
            fd,
            offset,
            len,
            keep_size,
        } => {
            let offset = i64::try_from(offset).map_err(|_| libc::EFBIG)?;
            let len = i64::try_from(len).map_err(|_| libc::EFBIG)?;
            native::allocate(fd.raw, offset, len, keep_size)
        }
        Op::Sync { fd, data_only } => native::sync(fd.raw, data_only),
        Op::Shutdown { fd, how } => {
            // SAFETY: a call with numbers.
            retry(|| unsafe { libc::shutdown(fd.raw, shutdown_how(how)) }.into())
        }
        Op::Socket {
            domain,
            kind,
            protocol,
        } => native::socket(domain, kind, protocol),
        Op::Connect { fd, scratch } => {
            let (address, len) = Scratch::address(scratch);
            // SAFETY: the address is initialised for its length. An interrupted connect goes on by
            // itself (connect(2)), so it is not repeated.
            check(unsafe { libc::connect(fd.raw, address, len) })
        }
        // SAFETY: a call with a number. It is never repeated: the descriptor is gone (close(2)).
        Op::Close { fd } => match check(unsafe { libc::close(fd.raw) }) {
            Err(libc::EINTR) => Ok(0),
            result => result,
        },
        Op::Poll { fd, events } => poll_now(fd.raw, events).map(i64::from),
        Op::ChildExit { pidfd } => match poll_now(pidfd, libc::POLLIN as u16)? {
            0 => Err(libc::EAGAIN),
            _ => Ok(0),
        },
        _ => Err(libc::ENOSYS),
    }
}

pub(crate) fn shutdown_how(how: std::net::Shutdown) -> i32 {
    match how {
        std::net::Shutdown::Read => libc::SHUT_RD,
        std::net::Shutdown::Write => libc::SHUT_WR,
        std::net::Shutdown::Both => libc::SHUT_RDWR,
    }
}

/// Which of `events` are there now, with errors and hang-ups (poll(2)); 0 for none.
pub(crate) fn poll_now(fd: RawHandle, events: u16) -> Result<u16, RawError> {
    let mut poll = libc::pollfd {
        fd,
        events: events as i16,
        revents: 0,
    };
    // SAFETY: one valid entry.
    retry(|| unsafe { libc::poll(&raw mut poll, 1, 0) }.into())?;
    Ok(poll.revents as u16)
}

/// The error of a connect that has ended, if it failed (connect(2), `EINPROGRESS`).
pub(crate) fn connect_result(fd: RawHandle) -> Result<(), RawError> {
    let mut error = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    let pointer = (&raw mut error).cast();
    // SAFETY: the value is valid for writing, for the length that is given.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, pointer, &raw mut len) };
    check(result)?;
    if error == 0 { Ok(()) } else { Err(error) }
}

/// Whether a socket is one of the internet's (getsockname(2)).
pub(crate) fn is_internet(fd: RawHandle) -> bool {
    let mut address = super::RawAddress::empty();
    address.len = super::RawAddress::CAPACITY;
    let pointer = (&raw mut address.storage).cast();
    // SAFETY: the storage is valid for writing, for the length that is given.
    let result = unsafe { libc::getsockname(fd, pointer, &raw mut address.len) };
    result == 0 && address.get().ip().is_some()
}

fn by_name(op: &Op) -> Result<i64, RawError> {
    let at = libc::AT_FDCWD;
    match *op {
        Op::Open { path, flags, mode } => native::open(path, flags, mode),
        Op::OpenBeneath { dir, path, how } => native::open_beneath(dir.raw, path, how),
        Op::Stat {
            fd,
            path,
            follow,
            stat,
        } => native::stat(fd.map(|fd| fd.raw), path, follow, stat),
        // SAFETY: the paths end with zeros.
        Op::Rename { from, to } => retry(|| unsafe { libc::renameat(at, from, at, to) }.into()),
        Op::Remove { path, dir } => {
            let flags = if dir { libc::AT_REMOVEDIR } else { 0 };
            // SAFETY: the path ends with a zero.
            retry(|| unsafe { libc::unlinkat(at, path, flags) }.into())
        }
        Op::CreateDir { path, mode } => {
            // SAFETY: the path ends with a zero.
            retry(|| unsafe { libc::mkdirat(at, path, mode as libc::mode_t) }.into())
        }
        Op::HardLink { from, to } => {
            // SAFETY: the paths end with zeros.
            retry(|| unsafe { libc::linkat(at, from, at, to, 0) }.into())
        }
        Op::SymbolicLink { target, link } => {
            // SAFETY: the paths end with zeros.
            retry(|| unsafe { libc::symlinkat(target, at, link) }.into())
        }
        _ => Err(libc::ENOSYS),
    }
}

/// Receives into `room`, without waiting.
pub(crate) fn receive(fd: RawHandle, room: &mut [u8]) -> Result<usize, RawError> {
    let (pointer, len) = (room.as_mut_ptr(), room.len().min(MAX_TRANSFER));
    // SAFETY: the room is valid for writing for its length.
    retry(|| unsafe { native::receive(fd, pointer, len, libc::MSG_DONTWAIT) })
        .map(|len| len as usize)
}

/// Receives one datagram into a pool's buffer, with its header. Returns the record's length.
pub(crate) fn receive_record(fd: RawHandle, record: &mut [u8]) -> Result<usize, RawError> {
    let mut address = super::RawAddress::empty();
    let (head, payload) = record.split_at_mut(datagram::HEADER_LEN);
    let mut buffer = libc::iovec {
        iov_base: payload.as_mut_ptr().cast(),
        iov_len: payload.len(),
    };
    // SAFETY: all zeros is a header without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut address.storage).cast();
    header.msg_namelen = super::RawAddress::CAPACITY;
    header.msg_iov = &raw mut buffer;
    header.msg_iovlen = 1;
    // SAFETY: the header leads to locals and to the record.
    let len =
        retry(|| unsafe { native::receive_message(fd, &raw mut header, libc::MSG_DONTWAIT) })?;
    let name_len = (header.msg_namelen as usize).min(size_of_val(&address.storage));
    let name: *const u8 = (&raw const address.storage).cast();
    // SAFETY: the storage is initialised and at least that long.
    let name = unsafe { std::slice::from_raw_parts(name, name_len) };
    let truncated = header.msg_flags & libc::MSG_TRUNC != 0;
    Ok(datagram::write_header(head, name, len as usize, truncated))
}

fn raw_error(error: &io::Error) -> RawError {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::InvalidInput => libc::EINVAL,
        _ => libc::EIO,
    })
}

fn read_dir(job: *mut ReadDirJob) -> Result<i64, RawError> {
    // SAFETY: the operation lends its job to the thread that carries it out.
    let job = unsafe { &mut *job };
    for entry in std::fs::read_dir(&job.path).map_err(|error| raw_error(&error))? {
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

fn copy_file(job: *mut CopyJob) -> Result<i64, RawError> {
    // SAFETY: the operation lends its job to the thread that carries it out.
    let job = unsafe { &*job };
    std::fs::copy(&job.from, &job.to)
        .map(|copied| copied as i64)
        .map_err(|error| raw_error(&error))
}

fn resolve(job: *mut ResolveJob) -> Result<i64, RawError> {
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

/// Whether an errno says that the process or the system has no descriptor, or no memory for one.
pub(crate) fn is_out_of_descriptors(error: RawError) -> bool {
    matches!(
        error,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM
    )
}

/// Whether an errno says that the process or the system has no descriptor left.
pub(crate) fn is_limit_of_descriptors(error: RawError) -> bool {
    matches!(error, libc::EMFILE | libc::ENFILE)
}

/// Whether an errno says that a call would have to wait.
pub(crate) fn would_block(error: RawError) -> bool {
    error == libc::EAGAIN
}

/// Whether an errno says that a connect has begun and will end by itself.
pub(crate) fn is_in_progress(error: RawError) -> bool {
    error == libc::EINPROGRESS
}

/// Whether an errno of accept(2) is only about a client that has left again.
pub(crate) fn client_left(error: RawError) -> bool {
    matches!(error, libc::ECONNABORTED | libc::EPROTO)
}
