//! Submission entries: an operation as io_uring takes it.
//!
//! Owns the map from `Op` to entries. It pushes nothing and keeps nothing.

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use crate::op::{MessageFlags, Op};
use crate::slot::Slot;
use crate::sys::{self, MAX_TRANSFER, OpenHow, Scratch, StatBuf, call, native};

/// Entries take 32 bits of length; what is longer comes out short, as with the system calls.
fn cut(len: usize) -> u32 {
    len.min(MAX_TRANSFER) as u32
}

/// The kernel waits for us, so the flags of the calls that must not wait are left out.
fn flags(flags: MessageFlags) -> i32 {
    let all = if flags.all { libc::MSG_WAITALL } else { 0 };
    all | (call::message_flags(flags) & !libc::MSG_DONTWAIT)
}

/// Gives `put` the entry of an operation, from where its earlier parts have left off.
///
/// It is not returned, because an entry that is put together in one place for all operations and
/// copied from there costs more than the rest of a submission: the processor waits until its small
/// parts are written before it reads them as large ones. Here each arm of what is frequent writes
/// where `put` wants it.
#[inline(always)]
pub(super) fn entry<R>(record: &Slot, put: impl FnOnce(Entry) -> R) -> R {
    let op = record.op();
    match *op {
        Op::Nop => put(opcode::Nop::new().build()),
        Op::Read { .. } | Op::Write { .. } | Op::ReadVectored { .. } | Op::WriteVectored { .. } => {
            transfer(op, put)
        }
        Op::Recv { .. } | Op::RecvMessage { .. } | Op::RecvMulti { .. } => receive(op, put),
        Op::RecvFromMulti { fd, pool } => {
            let header = Scratch::header(record.scratch().as_ptr());
            put(opcode::RecvMsgMulti::new(types::Fd(fd.raw), header, pool as u16).build())
        }
        Op::Send {
            fd,
            buf,
            flags: how,
        } => {
            let rest = buf.after(record.transferred.get());
            put(
                opcode::Send::new(types::Fd(fd.raw), rest.pointer, cut(rest.len))
                    .flags(flags(how))
                    .build(),
            )
        }
        Op::SendMessage {
            fd,
            scratch,
            flags: how,
        } => put(
            opcode::SendMsg::new(types::Fd(fd.raw), Scratch::header(scratch))
                .flags(flags(how) as u32)
                .build(),
        ),
        Op::Accept { .. }
        | Op::AcceptMulti { .. }
        | Op::Connect { .. }
        | Op::Socket { .. }
        | Op::Shutdown { .. }
        | Op::Close { .. }
        | Op::Poll { .. }
        | Op::ChildExit { .. } => put(on_socket(op)),
        Op::Open { .. }
        | Op::OpenBeneath { .. }
        | Op::Stat { .. }
        | Op::Rename { .. }
        | Op::Remove { .. }
        | Op::CreateDir { .. }
        | Op::HardLink { .. }
        | Op::SymbolicLink { .. } => put(by_name(op)),
        Op::Truncate { .. }
        | Op::Allocate { .. }
        | Op::Sync { .. }
        | Op::Splice { .. }
        | Op::SendFile { .. } => put(on_file(op)),
        Op::Raw { entry } => put(super::raw_entry(entry)),
        Op::ReadDir { .. }
        | Op::CopyFile { .. }
        | Op::Resolve { .. }
        | Op::Blocking { .. }
        | Op::Timer { .. }
        | Op::Known { .. }
        | Op::Kept { .. } => unreachable!("{op:?} is not the ring's"),
    }
}

#[inline(always)]
fn transfer<R>(op: &Op, put: impl FnOnce(Entry) -> R) -> R {
    match *op {
        Op::Read { fd, buf, offset } => {
            put(
                opcode::Read::new(types::Fd(fd.raw), buf.pointer, cut(buf.len))
                    .offset(offset)
                    .build(),
            )
        }
        // The kernel's workers hear no signal, so the one of a broken pipe reaches nobody there.
        Op::Write { fd, buf, offset }
            if offset == Op::CURRENT && sys::signal::broken_pipes_signal() =>
        {
            put(
                opcode::Write::new(types::Fd(fd.raw), buf.pointer, cut(buf.len))
                    .offset(offset)
                    .build()
                    .flags(Flags::ASYNC),
            )
        }
        Op::Write { fd, buf, offset } => {
            put(
                opcode::Write::new(types::Fd(fd.raw), buf.pointer, cut(buf.len))
                    .offset(offset)
                    .build(),
            )
        }
        Op::ReadVectored {
            fd,
            scratch,
            offset,
        } => {
            let (buffers, count) = Scratch::buffers(scratch);
            put(opcode::Readv::new(types::Fd(fd.raw), buffers, count)
                .offset(offset)
                .build())
        }
        Op::WriteVectored {
            fd,
            scratch,
            offset,
        } => {
            let (buffers, count) = Scratch::buffers(scratch);
            put(opcode::Writev::new(types::Fd(fd.raw), buffers, count)
                .offset(offset)
                .build())
        }
        _ => unreachable!("{op:?} is no transfer"),
    }
}

#[inline(always)]
fn receive<R>(op: &Op, put: impl FnOnce(Entry) -> R) -> R {
    match *op {
        Op::Recv {
            fd,
            buf,
            flags: how,
        } => put(
            opcode::Recv::new(types::Fd(fd.raw), buf.pointer, cut(buf.len))
                .flags(flags(how))
                .build(),
        ),
        Op::RecvMessage {
            fd,
            scratch,
            flags: how,
        } => put(
            opcode::RecvMsg::new(types::Fd(fd.raw), Scratch::header(scratch))
                .flags(flags(how) as u32)
                .build(),
        ),
        Op::RecvMulti { fd, pool } => {
            put(opcode::RecvMulti::new(types::Fd(fd.raw), pool as u16).build())
        }
        _ => unreachable!("{op:?} receives nothing"),
    }
}

#[inline(never)]
fn on_socket(op: &Op) -> Entry {
    let accepted = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    match *op {
        Op::Accept { fd } => {
            let none = std::ptr::null_mut();
            opcode::Accept::new(types::Fd(fd.raw), none, none.cast())
                .flags(accepted)
                .build()
        }
        Op::AcceptMulti { fd } => opcode::AcceptMulti::new(types::Fd(fd.raw))
            .flags(accepted)
            .build(),
        Op::Connect { fd, scratch } => {
            let (address, len) = Scratch::address(scratch);
            opcode::Connect::new(types::Fd(fd.raw), address, len).build()
        }
        Op::Socket {
            domain,
            kind,
            protocol,
        } => opcode::Socket::new(domain, kind | accepted, protocol).build(),
        Op::Shutdown { fd, how } => {
            opcode::Shutdown::new(types::Fd(fd.raw), call::shutdown_how(how)).build()
        }
        Op::Close { fd } => opcode::Close::new(types::Fd(fd.raw)).build(),
        Op::Poll { fd, events } => opcode::PollAdd::new(types::Fd(fd.raw), events.into()).build(),
        Op::ChildExit { pidfd } => {
            opcode::PollAdd::new(types::Fd(pidfd), libc::POLLIN as u32).build()
        }
        _ => unreachable!("{op:?} is not about a socket"),
    }
}

#[inline(never)]
fn by_name(op: &Op) -> Entry {
    let at = types::Fd(libc::AT_FDCWD);
    match *op {
        Op::OpenBeneath { dir, path, how } => {
            opcode::OpenAt2::new(types::Fd(dir.raw), path, OpenHow::raw(how).cast()).build()
        }
        Op::Open { path, flags, mode } => opcode::OpenAt::new(at, path)
            .flags(flags)
            .mode(mode)
            .build(),
        Op::Stat {
            fd,
            path,
            follow,
            stat,
        } => {
            let (at, path, flags) = native::stat_target(fd.map(|fd| fd.raw), path, follow);
            opcode::Statx::new(types::Fd(at), path, StatBuf::raw(stat).cast())
                .flags(flags)
                .mask(StatBuf::MASK)
                .build()
        }
        Op::Rename { from, to } => opcode::RenameAt::new(at, from, at, to).build(),
        Op::Remove { path, dir } => {
            let flags = if dir { libc::AT_REMOVEDIR } else { 0 };
            opcode::UnlinkAt::new(at, path).flags(flags).build()
        }
        Op::CreateDir { path, mode } => opcode::MkDirAt::new(at, path).mode(mode).build(),
        Op::HardLink { from, to } => opcode::LinkAt::new(at, from, at, to).build(),
        Op::SymbolicLink { target, link } => opcode::SymlinkAt::new(at, target, link).build(),
        _ => unreachable!("{op:?} has no name"),
    }
}

#[inline(never)]
fn on_file(op: &Op) -> Entry {
    match *op {
        Op::Truncate { fd, len } => opcode::Ftruncate::new(types::Fd(fd.raw), len).build(),
        Op::Allocate {
            fd,
            offset,
            len,
            keep_size,
        } => {
            let mode = if keep_size {
                libc::FALLOC_FL_KEEP_SIZE
            } else {
                0
            };
            opcode::Fallocate::new(types::Fd(fd.raw), len)
                .offset(offset)
                .mode(mode)
                .build()
        }
        Op::Sync { fd, data_only } => {
            let flags = match data_only {
                true => types::FsyncFlags::DATASYNC,
                false => types::FsyncFlags::empty(),
            };
            opcode::Fsync::new(types::Fd(fd.raw)).flags(flags).build()
        }
        Op::Splice {
            from,
            from_offset,
            to,
            to_offset,
            len,
        } => {
            // The offset that means "here" is -1 for the kernel too.
            let (from, to) = (types::Fd(from.raw), types::Fd(to.raw));
            opcode::Splice::new(from, from_offset as i64, to, to_offset as i64, len).build()
        }
        // There is no entry for sendfile(2): the poll tells when the socket takes more.
        Op::SendFile { socket, .. } => {
            opcode::PollAdd::new(types::Fd(socket.raw), libc::POLLOUT as u32).build()
        }
        _ => unreachable!("{op:?} is not about a file"),
    }
}

/// The readiness that an operation lacked when it came back with `EAGAIN`, and where.
pub(super) fn wanted(op: &Op) -> Option<(sys::RawHandle, u32)> {
    let (fd, events) = match *op {
        Op::Recv { fd, .. }
        | Op::RecvMessage { fd, .. }
        | Op::RecvMulti { fd, .. }
        | Op::RecvFromMulti { fd, .. }
        | Op::Accept { fd }
        | Op::AcceptMulti { fd }
        | Op::Read { fd, .. }
        | Op::ReadVectored { fd, .. } => (fd, libc::POLLIN),
        Op::Send { fd, .. }
        | Op::SendMessage { fd, .. }
        | Op::SendFile { socket: fd, .. }
        | Op::Write { fd, .. }
        | Op::WriteVectored { fd, .. } => (fd, libc::POLLOUT),
        Op::Splice { from, to, .. } => match call::poll_now(from.raw, sys::POLL_READ) {
            Ok(0) => (from, libc::POLLIN),
            _ => (to, libc::POLLOUT),
        },
        _ => return None,
    };
    Some((fd.raw, events as u32))
}
