//! How each operation begins.

use windows_sys::Win32::System::IO::OVERLAPPED;

use super::end::End;
use super::request::{Request, Role};
use super::{CancelReason, HandleState, Iocp};
use crate::buf::{RawBuf, RawBufMut};
use crate::handle::HandleKind;
use crate::ledger::Ledger;
use crate::op::{Op, Target};
use crate::slot::Slot;
use crate::stats::count;
use crate::sys::socket::{self, Begun};
use crate::sys::{self, RawError, RawHandle, call, control};

/// What a call is made on and for.
pub(super) struct Call {
    pub(super) raw: RawHandle,
    pub(super) role: Role,
    /// Where it begins, of a file.
    pub(super) offset: u64,
    /// If it ends well at once, no packet comes.
    pub(super) skips: bool,
}

impl Iocp {
    /// Begins an operation, or a further call of it.
    pub(super) fn start(&mut self, ledger: &Ledger, record: &Slot) {
        let slot = record.index();
        if let Some(raw) = socket_of_calls(record.op()) {
            if let Err(error) = self.prepare(ledger, record.handle.get(), raw) {
                return ledger.complete(slot, -i64::from(error));
            }
        }
        match *record.op() {
            Op::Nop => ledger.complete(slot, 0),
            Op::Socket {
                domain,
                kind,
                protocol,
            } => {
                count(&ledger.counters.system_calls);
                let made = control::new_socket(domain, kind, protocol);
                ledger.complete(slot, call::encode(made.map(RawHandle::to_result)));
            }
            Op::Shutdown { fd, how } => self.shut_down(ledger, slot, fd, how),
            Op::Close { fd } => {
                *self.state(fd.index) = HandleState::default();
                count(&ledger.counters.system_calls);
                sys::close(fd.raw);
                ledger.complete(slot, 0);
            }
            Op::ChildExit { pidfd } => self.watch_child(ledger, record, pidfd),
            Op::Poll { fd, events } => self.poll(ledger, record, fd, events),
            Op::Recv { fd, flags, buf } if !flags.peek => {
                self.call(ledger, record, fd, 0, |overlapped| {
                    socket::receive(fd.raw, buf, overlapped)
                });
            }
            Op::RecvMessage { fd, scratch, flags } if !flags.peek => {
                self.call(ledger, record, fd, 0, |overlapped| {
                    socket::receive_message(fd.raw, scratch, overlapped)
                });
            }
            Op::Recv { .. }
            | Op::RecvMessage { .. }
            | Op::RecvMulti { .. }
            | Op::RecvFromMulti { .. } => self.receive_more(ledger, record),
            Op::Send { .. } | Op::SendMessage { .. } => self.send_more(ledger, record),
            Op::SendFile {
                file,
                offset,
                socket,
                len,
            } => self.send_file_more(ledger, record, file, offset, socket, len),
            Op::Accept { fd } => self.accept_one(ledger, record, fd),
            Op::AcceptMulti { fd } => self.accept_more(ledger, record, fd),
            Op::Connect { fd, scratch } => self.connect(ledger, record, fd, scratch),
            Op::Read { fd, offset, .. } | Op::Write { fd, offset, .. } => {
                self.start_file(ledger, record, fd, offset);
            }
            Op::ReadVectored { .. } | Op::WriteVectored { .. } => self.piece(ledger, record),
            Op::Raw { entry } => self.raw(ledger, record, entry),
            Op::Open { .. }
            | Op::OpenBeneath { .. }
            | Op::Stat { .. }
            | Op::Rename { .. }
            | Op::Remove { .. }
            | Op::CreateDir { .. }
            | Op::HardLink { .. }
            | Op::SymbolicLink { .. }
            | Op::Truncate { .. }
            | Op::Allocate { .. }
            | Op::Sync { .. }
            | Op::ReadDir { .. }
            | Op::CopyFile { .. }
            | Op::Resolve { .. }
            | Op::Blocking { .. } => unreachable!("{:?} goes to the pool", record.op()),
            Op::Splice { .. } => unreachable!("a splice is refused"),
            Op::Timer { .. } | Op::Known { .. } | Op::Kept { .. } => {
                unreachable!("{:?} is the queue's own", record.op())
            }
        }
    }

    /// Makes a socket ready before its first overlapped call.
    fn prepare(&mut self, ledger: &Ledger, index: u32, raw: RawHandle) -> Result<(), RawError> {
        if self.state(index).prepared {
            return Ok(());
        }
        count(&ledger.counters.system_calls);
        control::prepare(self.home(), raw, ledger.handles.kind(index))?;
        self.state(index).prepared = true;
        Ok(())
    }

    /// Makes the one call of an operation on a handle.
    pub(super) fn call(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        fd: Target,
        offset: u64,
        call: impl FnOnce(*mut OVERLAPPED) -> Result<Begun, RawError>,
    ) {
        let what = Call {
            raw: fd.raw,
            role: Role::Operation,
            offset,
            skips: self.skips(ledger, fd),
        };
        self.begin(ledger, record, &what, |_, request| {
            call(request.overlapped())
        });
    }

    /// Makes an overlapped call with a request of its own, and takes in what comes of it at once.
    pub(super) fn begin(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        what: &Call,
        call: impl FnOnce(&Iocp, &Request) -> Result<Begun, RawError>,
    ) {
        count(&ledger.counters.system_calls);
        let index = self
            .requests
            .take(record.token(), what.raw, what.role, what.offset);
        match call(self, self.requests.get(index)) {
            Ok(Begun::Done(bytes)) if what.skips => {
                self.requests.give_back(index);
                // A wait for readiness that is over at once goes on in the next turn, so that an endless
                // stream of bytes does not keep the loop here.
                match what.role {
                    Role::Readiness => self.again.push_back(record.token()),
                    role => self.ended(ledger, record, role, End::Done(bytes)),
                }
            }
            Ok(_) => self.link(record, index),
            // It has been carried out, and its packet is on the way. A send of too much is not.
            Err(error) if socket::is_truncated(error) && !what.skips && receives(record.op()) => {
                self.link(record, index);
            }
            Err(error) => {
                self.requests.give_back(index);
                self.ended(ledger, record, what.role, End::Failed(error));
            }
        }
    }

    fn shut_down(&mut self, ledger: &Ledger, slot: u32, fd: Target, how: std::net::Shutdown) {
        count(&ledger.counters.system_calls);
        let done = call::shutdown(fd.raw, how);
        if done.is_ok() {
            let state = self.state(fd.index);
            state.shut |= how != std::net::Shutdown::Read;
            if how != std::net::Shutdown::Write {
                state.deaf = true;
                self.end_receives(ledger, fd);
            }
        }
        ledger.complete(slot, call::encode(done.map(|()| 0)));
    }

    /// What waits for bytes that nobody will take any more is at the end: the system leaves it
    /// waiting.
    fn end_receives(&mut self, ledger: &Ledger, fd: Target) {
        let mut in_flight = Vec::new();
        ledger
            .handles
            .in_flight(&ledger.slots, fd.index, &mut in_flight);
        for slot in in_flight {
            let record = ledger.slots.get(slot);
            if matches!(
                *record.op(),
                Op::Recv { .. } | Op::RecvMessage { .. } | Op::RecvMulti { .. }
            ) {
                self.cancel_calls(ledger, record);
            }
        }
    }

    /// Sends what is left of a send.
    pub(super) fn send_more(&mut self, ledger: &Ledger, record: &Slot) {
        let done = record.transferred.get();
        let fd = match *record.op() {
            Op::Send { fd, .. } | Op::SendMessage { fd, .. } => fd,
            _ => unreachable!("{:?} sends nothing", record.op()),
        };
        // One's own end of a direction is an error of one kind, before the system has another.
        if self.state(fd.index).shut {
            return ledger.complete(record.index(), -i64::from(sys::BROKEN_PIPE));
        }
        match *record.op() {
            Op::Send { buf, .. } => self.call(ledger, record, fd, 0, |overlapped| {
                socket::send(fd.raw, buf.after(done), overlapped)
            }),
            Op::SendMessage { scratch, .. } => self.call(ledger, record, fd, 0, |overlapped| {
                socket::send_message(fd.raw, scratch, done, overlapped)
            }),
            _ => unreachable!("seen above"),
        }
    }

    /// Sends what is left of a part of a file. What lies beyond the file's end is left out.
    pub(super) fn send_file_more(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        file: Target,
        offset: u64,
        to: Target,
        len: usize,
    ) {
        let sent = record.transferred.get();
        let at = offset.saturating_add(sent as u64);
        count(&ledger.counters.system_calls);
        let size = match socket::file_size(file.raw) {
            Ok(size) => size,
            Err(error) => return ledger.complete(record.index(), -i64::from(error)),
        };
        let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
        let left = left.min(len - sent);
        if left == 0 {
            return ledger.complete(record.index(), sent as i64);
        }
        self.call(ledger, record, to, at, |overlapped| {
            socket::send_file(to.raw, file.raw, left, overlapped)
        });
    }

    fn connect(&mut self, ledger: &Ledger, record: &Slot, fd: Target, scratch: *mut sys::Scratch) {
        let slot = record.index();
        if ledger.handles.kind(fd.index) != HandleKind::Stream {
            count(&ledger.counters.system_calls);
            let done = socket::connect_now(fd.raw, scratch).map(|()| 0);
            return ledger.complete(slot, call::encode(done));
        }
        count(&ledger.counters.system_calls);
        let family = sys::Scratch::family(scratch);
        let prepared = socket::bind_any(fd.raw, scratch);
        match prepared.and_then(|()| self.extensions(family, fd.raw)) {
            Ok(extensions) => self.call(ledger, record, fd, 0, |overlapped| {
                extensions.connect(fd.raw, scratch, overlapped)
            }),
            Err(error) => ledger.complete(slot, -i64::from(error)),
        }
    }

    fn poll(&mut self, ledger: &Ledger, record: &Slot, fd: Target, events: u16) {
        self.ask_driver(ledger, record, fd, events, Role::Poll);
    }

    /// Asks the driver to tell when a socket is ready.
    pub(super) fn ask_driver(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        fd: Target,
        events: u16,
        role: Role,
    ) {
        let opened = self.open_afd();
        let (Ok(()), Some(afd)) = (opened, self.afd.as_ref()) else {
            let error = opened.err().unwrap_or(sys::UNSUPPORTED);
            return ledger.complete(record.index(), -i64::from(error));
        };
        let what = Call {
            raw: afd.raw(),
            role,
            offset: 0,
            skips: false,
        };
        self.begin(ledger, record, &what, |this, request| match &this.afd {
            Some(afd) => {
                let info = request.room().cast();
                afd.poll(fd.raw, events, info, request.overlapped())
            }
            None => Err(sys::UNSUPPORTED),
        });
    }

    /// Reads and writes at a file's own position are made one after the other; others at once.
    fn start_file(&mut self, ledger: &Ledger, record: &Slot, fd: Target, offset: u64) {
        let is_file = ledger.handles.kind(fd.index) == HandleKind::File;
        if let (
            false,
            Op::Read {
                buf: RawBufMut { len: 0, .. },
                ..
            }
            | Op::Write {
                buf: RawBuf { len: 0, .. },
                ..
            },
        ) = (is_file, record.op())
        {
            // A read of nothing would wait for something, and a write of nothing looks to the other
            // side like the end.
            return ledger.complete(record.index(), 0);
        }
        if is_file && offset == Op::CURRENT {
            let line = &mut self.state(fd.index).line;
            line.push_back(record.index());
            if line.len() > 1 {
                return;
            }
        }
        self.read_or_write(ledger, record);
    }

    /// Makes the call of a read or a write.
    pub(super) fn read_or_write(&mut self, ledger: &Ledger, record: &Slot) {
        match *record.op() {
            Op::Read { fd, buf, offset } => {
                let offset = self.place(ledger, fd, offset);
                self.call(ledger, record, fd, offset, |overlapped| {
                    socket::read(fd.raw, buf, overlapped)
                });
            }
            Op::Write { fd, buf, offset } => {
                let offset = self.place(ledger, fd, offset);
                self.call(ledger, record, fd, offset, |overlapped| {
                    socket::write(fd.raw, buf, overlapped)
                });
            }
            _ => unreachable!("{:?} neither reads nor writes", record.op()),
        }
    }

    fn place(&mut self, ledger: &Ledger, fd: Target, offset: u64) -> u64 {
        if offset != Op::CURRENT {
            return offset;
        }
        match ledger.handles.kind(fd.index) {
            HandleKind::File => self.state(fd.index).position,
            // Streams have no places.
            _ => 0,
        }
    }

    /// Reads or writes the next buffer of several: this system has no call for them together that
    /// takes buffers of any size.
    pub(super) fn piece(&mut self, ledger: &Ledger, record: &Slot) {
        let done = record.transferred.get();
        let (Op::ReadVectored {
            fd,
            scratch,
            offset,
        }
        | Op::WriteVectored {
            fd,
            scratch,
            offset,
        }) = *record.op()
        else {
            unreachable!("{:?} has no pieces", record.op())
        };
        let Some(piece) = sys::Scratch::piece(scratch, done) else {
            return ledger.complete(record.index(), done as i64);
        };
        let reads = matches!(record.op(), Op::ReadVectored { .. });
        self.call(ledger, record, fd, offset + done as u64, |overlapped| {
            if reads {
                return socket::read(fd.raw, piece, overlapped);
            }
            let bytes = RawBuf {
                pointer: piece.pointer,
                len: piece.len,
            };
            socket::write(fd.raw, bytes, overlapped)
        });
    }

    fn raw(&mut self, ledger: &Ledger, record: &Slot, entry: *const sys::RawEntry) {
        let what = Call {
            raw: sys::RawEntry::handle(entry),
            role: Role::Operation,
            offset: 0,
            // It says itself whether a packet comes.
            skips: true,
        };
        self.begin(ledger, record, &what, |_, request| {
            sys::RawEntry::call(entry, request.overlapped())
        });
    }

    /// Whether somebody has asked for the early end of an operation.
    pub(super) fn is_to_end(record: &Slot) -> bool {
        record.cancel.get() != CancelReason::None
    }
}

/// Whether an operation takes something from its handle, of which there may be more than it has room
/// for.
fn receives(op: &Op) -> bool {
    matches!(
        *op,
        Op::Recv { .. } | Op::RecvMessage { .. } | Op::Read { .. }
    )
}

/// The socket that an operation makes overlapped calls on, or calls that must not wait.
fn socket_of_calls(op: &Op) -> Option<RawHandle> {
    let raw = match *op {
        Op::Recv { fd, .. }
        | Op::RecvMessage { fd, .. }
        | Op::RecvMulti { fd, .. }
        | Op::RecvFromMulti { fd, .. }
        | Op::Send { fd, .. }
        | Op::SendMessage { fd, .. }
        | Op::SendFile { socket: fd, .. }
        | Op::Accept { fd }
        | Op::AcceptMulti { fd }
        | Op::Connect { fd, .. }
        | Op::Read { fd, .. }
        | Op::Write { fd, .. } => fd.raw,
        Op::Raw { entry } => sys::RawEntry::handle(entry),
        _ => return None,
    };
    raw.is_socket().then_some(raw)
}
