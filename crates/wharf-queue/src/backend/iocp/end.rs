//! What follows from the end of a call: the operation's result, or its next call.

use windows_sys::Win32::Foundation::{NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_CANCELLED};

use super::Iocp;
use super::request::Role;
use crate::completion::BufferRef;
use crate::handle::HandleKind;
use crate::ledger::Ledger;
use crate::op::{Op, Target};
use crate::slot::Slot;
use crate::sys::{self, RawError, Scratch, call, socket};

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Well, with so many bytes.
    Done(u32),
    /// There was more than the buffer holds: the rest of a datagram is gone, that of a pipe's
    /// message comes with the next read.
    Partial(u32),
    /// Before its time, after so many bytes.
    Cancelled(u32),
    Failed(RawError),
}

impl End {
    fn of(status: NTSTATUS, bytes: u32) -> End {
        match status {
            0.. => End::Done(bytes),
            STATUS_BUFFER_OVERFLOW => End::Partial(bytes),
            STATUS_CANCELLED => End::Cancelled(bytes),
            status => End::Failed(sys::from_status(status)),
        }
    }

    /// How many bytes were moved.
    fn bytes(self) -> u32 {
        match self {
            End::Done(bytes) | End::Partial(bytes) | End::Cancelled(bytes) => bytes,
            End::Failed(_) => 0,
        }
    }
}

impl Iocp {
    /// The packet of a call has come.
    pub(super) fn call_ended(&mut self, ledger: &Ledger, index: u32, status: NTSTATUS, bytes: u32) {
        let request = self.requests.get(index);
        let (token, role) = (request.token.get(), request.role.get());
        let found = match role {
            Role::Poll => request.found(),
            _ => 0,
        };
        // The operation is in flight as long as a call of it is.
        let record = ledger.slots.lookup(token);
        if let Some(record) = record {
            self.unlink(record, index);
        }
        self.requests.give_back(index);
        let Some(record) = record else {
            debug_assert!(false, "a call outlived its operation");
            return;
        };
        let end = match End::of(status, bytes) {
            End::Done(_) if role == Role::Poll => End::Done(found.into()),
            end => end,
        };
        self.ended(ledger, record, role, end);
    }

    /// A call has ended, at once or by its packet; it is on no list any more.
    pub(super) fn ended(&mut self, ledger: &Ledger, record: &Slot, role: Role, end: End) {
        match role {
            Role::Operation => self.operation_ended(ledger, record, end),
            Role::Readiness => self.readiness_ended(ledger, record, end),
            Role::Accept(socket) => self.accept_ended(ledger, record, socket, end),
            Role::Poll => {
                if let End::Done(found) = end {
                    let state = self.state(record.handle.get());
                    state.reset |= found & u32::from(sys::POLL_ERROR) != 0;
                }
                self.plain(ledger, record, end);
            }
        }
    }

    fn operation_ended(&mut self, ledger: &Ledger, record: &Slot, end: End) {
        match *record.op() {
            Op::Recv { .. } => self.received(ledger, record, end),
            Op::RecvMessage { scratch, .. } => {
                if let End::Partial(_) = end {
                    Scratch::set_truncated(scratch);
                }
                self.received(ledger, record, end);
            }
            Op::Send { buf, flags, .. } => {
                if self.moved_all(ledger, record, end, buf.len, flags.all) {
                    self.send_more(ledger, record);
                }
            }
            Op::SendMessage { scratch, flags, .. } => {
                let len = Scratch::total(scratch);
                if self.moved_all(ledger, record, end, len, flags.all) {
                    self.send_more(ledger, record);
                }
            }
            Op::SendFile {
                file,
                offset,
                socket,
                len,
            } => {
                if self.moved_all(ledger, record, end, len, true) {
                    self.send_file_more(ledger, record, file, offset, socket, len);
                }
            }
            Op::Connect { fd, .. } => {
                let end = match end {
                    End::Done(_) => {
                        socket::finish_connect(fd.raw).map_or_else(End::Failed, |()| End::Done(0))
                    }
                    other => other,
                };
                self.plain(ledger, record, end);
            }
            Op::Read { fd, offset, .. } => {
                let end = Self::read_end(fd, end);
                self.file_ended(ledger, record, fd, offset, end);
            }
            Op::Write { fd, offset, .. } => self.file_ended(ledger, record, fd, offset, end),
            Op::ReadVectored { fd, scratch, .. } => {
                let end = Self::read_end(fd, end);
                self.piece_ended(ledger, record, scratch, end);
            }
            Op::WriteVectored { scratch, .. } => self.piece_ended(ledger, record, scratch, end),
            _ => self.plain(ledger, record, end),
        }
    }

    /// Reports the end of an operation of one call.
    pub(super) fn plain(&mut self, ledger: &Ledger, record: &Slot, end: End) {
        match end {
            End::Done(bytes) | End::Partial(bytes) => {
                ledger.complete_with(record, bytes.into(), 0, BufferRef::default());
            }
            End::Cancelled(_) => Self::cancelled(ledger, record),
            End::Failed(error) => ledger.complete(record.index(), -i64::from(error)),
        }
    }

    /// An operation was ended early: because we asked for it, or by somebody else, who has closed
    /// the handle under it for example.
    pub(super) fn cancelled(ledger: &Ledger, record: &Slot) {
        if Iocp::is_to_end(record) {
            ledger.complete_cancelled(record.index());
        } else {
            ledger.complete(record.index(), -i64::from(sys::ABORTED));
        }
    }

    pub(super) fn received(&mut self, ledger: &Ledger, record: &Slot, end: End) {
        let end = match end {
            // What has been handed over is a result.
            End::Cancelled(bytes) if bytes > 0 => End::Done(bytes),
            end => self.end_of_stream(ledger, record, end),
        };
        self.plain(ledger, record, end);
    }

    /// Puts right what the system says of a stream's end: one that was reset has none, and one that
    /// this side has shut is at its end.
    fn end_of_stream(&mut self, ledger: &Ledger, record: &Slot, end: End) -> End {
        let index = record.handle.get();
        if ledger.handles.kind(index) != HandleKind::Stream {
            return end;
        }
        let state = self.state(index);
        match end {
            End::Done(0) if state.reset => End::Failed(sys::CONNECTION_RESET),
            End::Cancelled(0) if state.deaf && !Iocp::is_to_end(record) => End::Done(0),
            End::Failed(sys::BROKEN_PIPE) if state.deaf => End::Done(0),
            end => end,
        }
    }

    /// Counts what a call has moved of `len` bytes. Returns whether there is another call to make;
    /// if not, the end has been reported.
    fn moved_all(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        end: End,
        len: usize,
        all: bool,
    ) -> bool {
        let bytes = end.bytes() as usize;
        let moved = record.transferred.get() + bytes;
        record.transferred.set(moved);
        match end {
            // A call that has moved nothing is made again: no system says that of bytes that it took
            // or refused. Wine ends the sends of a connection so whose peer has ended its direction.
            End::Done(_) if moved < len && (all || bytes == 0) => {
                let goes_on = !Iocp::is_to_end(record);
                if !goes_on {
                    ledger.complete_cancelled(record.index());
                }
                return goes_on;
            }
            End::Done(_) | End::Partial(_) => ledger.complete(record.index(), moved as i64),
            End::Cancelled(_) => Self::cancelled(ledger, record),
            End::Failed(error) => ledger.complete(record.index(), -i64::from(error)),
        }
        false
    }

    /// The end of a file, and of a pipe whose other side is closed, is a read of nothing.
    fn read_end(fd: Target, end: End) -> End {
        match end {
            End::Failed(sys::END_OF_FILE | sys::BROKEN_PIPE) => End::Done(0),
            End::Failed(error) => End::Failed(call::refine_read(fd.raw, error)),
            End::Cancelled(bytes) if bytes > 0 => End::Done(bytes),
            end => end,
        }
    }

    /// Reports a read or write, and lets the next one at the file's own position go.
    fn file_ended(&mut self, ledger: &Ledger, record: &Slot, fd: Target, offset: u64, end: End) {
        let at_position =
            offset == Op::CURRENT && ledger.handles.kind(fd.index) == HandleKind::File;
        self.plain(ledger, record, end);
        if !at_position {
            return;
        }
        let state = self.state(fd.index);
        state.position += u64::from(end.bytes());
        state.line.pop_front();
        if let Some(&next) = state.line.front() {
            self.read_or_write(ledger, ledger.slots.get(next));
        }
    }

    fn piece_ended(&mut self, ledger: &Ledger, record: &Slot, scratch: *mut Scratch, end: End) {
        let before = record.transferred.get();
        let wanted = Scratch::piece(scratch, before).map_or(0, |piece| piece.len);
        let bytes = end.bytes() as usize;
        let moved = before + bytes;
        record.transferred.set(moved);
        match end {
            End::Done(_) if bytes == wanted && !Iocp::is_to_end(record) => {
                self.piece(ledger, record);
            }
            End::Done(_) | End::Partial(_) => ledger.complete(record.index(), moved as i64),
            // What has been done is told first; the error comes again at the next operation.
            End::Failed(_) if moved > 0 => ledger.complete(record.index(), moved as i64),
            End::Cancelled(_) => Self::cancelled(ledger, record),
            End::Failed(error) => ledger.complete(record.index(), -i64::from(error)),
        }
    }
}
