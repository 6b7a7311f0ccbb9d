//! Trying an operation: the calls that it makes, and what comes of them.
//!
//! Owns how each operation that may have to wait is carried out, a part at a time where that is
//! needed. Where it waits meanwhile is its parent's.

use super::parking::Direction;
use super::{CONNECTING, Emulation, Selector};
use crate::backend::Backend;
use crate::buf::RawBuf;
use crate::completion::{BufferRef, Ready};
use crate::ledger::Ledger;
use crate::op::{MessageFlags, Op, Target};
use crate::slot::Slot;
use crate::stats::count;
use crate::sys::{self, RawError, call, native};

/// How many items a multishot operation brings in one turn, so that others have theirs.
const TURN: usize = 32;

/// What came of a try.
pub(super) enum Tried {
    /// It was reported; the slot is not ours any more.
    Reported,
    /// It waits for a direction to become ready.
    Park(Direction),
    /// It used up its turn and goes on in the next.
    Again(Direction),
    /// It waits for any event on the handle.
    Watch,
}

impl<S: Selector> Emulation<S> {
    /// Makes the one system call of an operation, and counts it.
    pub(super) fn call(&self, ledger: &Ledger, op: &Op) -> i64 {
        count(&ledger.counters.system_calls);
        call::nonblocking(op)
    }

    /// Makes the calls of an operation until it has a result or would have to wait.
    pub(super) fn attempt(&mut self, ledger: &Ledger, record: &Slot) -> Tried {
        let op = record.op();
        match *op {
            // What was looked at is still there.
            Op::Recv { flags, .. } if flags.peek => self.once(ledger, record, op, Direction::Read),
            Op::Recv { fd, buf, .. } => self.receive(ledger, record, op, fd, buf.len),
            Op::RecvMessage { .. } | Op::Read { .. } | Op::ReadVectored { .. } => {
                self.once(ledger, record, op, Direction::Read)
            }
            Op::Write { .. } | Op::WriteVectored { .. } => {
                self.once(ledger, record, op, Direction::Write)
            }
            Op::Send { fd, buf, flags } => self.send(ledger, record, fd, buf, flags),
            Op::SendMessage { scratch, flags, .. } if flags.all => {
                self.send_message(ledger, record, op, scratch)
            }
            Op::SendMessage { .. } => self.once(ledger, record, op, Direction::Write),
            Op::SendFile {
                file,
                offset,
                socket,
                len,
            } => self.send_file(ledger, record, file, offset, socket, len),
            Op::RecvMulti { fd, pool } => self.receive_items(ledger, record, fd, pool, false),
            Op::RecvFromMulti { fd, pool } => self.receive_items(ledger, record, fd, pool, true),
            Op::Accept { .. } => self.accept(ledger, record, op, false),
            Op::AcceptMulti { .. } => self.accept(ledger, record, op, true),
            Op::Connect { fd, .. } => self.connect(ledger, record, op, fd),
            Op::Splice { from, .. } => self.splice(ledger, record, op, from),
            Op::Poll { .. } => match self.call(ledger, op) {
                0 => Tried::Watch,
                result => report(ledger, record, result),
            },
            Op::Nop
            | Op::Socket { .. }
            | Op::Shutdown { .. }
            | Op::Close { .. }
            | Op::Open { .. }
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
            | Op::Blocking { .. }
            | Op::Timer { .. }
            | Op::Known { .. }
            | Op::Kept { .. }
            | Op::ChildExit { .. }
            | Op::Raw { .. } => unreachable!("{op:?} never waits for readiness"),
        }
    }

    fn once(&mut self, ledger: &Ledger, record: &Slot, op: &Op, direction: Direction) -> Tried {
        match self.call(ledger, op) {
            result if waits(result) => Tried::Park(direction),
            result => report(ledger, record, result),
        }
    }

    fn receive(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        op: &Op,
        fd: Target,
        len: usize,
    ) -> Tried {
        let result = self.call(ledger, op);
        if waits(result) {
            return Tried::Park(Direction::Read);
        }
        self.note_received(fd, result, len);
        report(ledger, record, result)
    }

    /// A short receive has emptied a stream. It may also have been a datagram, with others behind
    /// it: so this is for sockets whose bytes are a stream.
    fn note_received(&mut self, fd: Target, result: i64, room: usize) {
        let state = self.state(fd.index);
        let short = result > 0 && result < room as i64;
        if short && state.registered && state.stream && !state.closed {
            state.readable = false;
        }
    }

    fn send(
        &self,
        ledger: &Ledger,
        record: &Slot,
        fd: Target,
        buf: RawBuf,
        flags: MessageFlags,
    ) -> Tried {
        loop {
            let sent = record.transferred.get();
            let rest = buf.after(sent);
            count(&ledger.counters.system_calls);
            let result = call::send(fd.raw, rest, flags);
            if waits(result) {
                return Tried::Park(Direction::Write);
            }
            if result < 0 || !flags.all {
                return report(ledger, record, result);
            }
            record.transferred.set(sent + result as usize);
            if result as usize == rest.len {
                return report(ledger, record, buf.len as i64);
            }
        }
    }

    fn send_message(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        op: &Op,
        scratch: *mut sys::Scratch,
    ) -> Tried {
        loop {
            let result = self.call(ledger, op);
            if waits(result) {
                return Tried::Park(Direction::Write);
            }
            if result < 0 {
                return report(ledger, record, result);
            }
            let sent = record.transferred.get() + result as usize;
            record.transferred.set(sent);
            if sys::Scratch::advance(scratch, result as usize) == 0 {
                return report(ledger, record, sent as i64);
            }
        }
    }

    fn send_file(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        file: Target,
        offset: u64,
        socket: Target,
        len: usize,
    ) -> Tried {
        for _ in 0..TURN {
            let sent = record.transferred.get();
            count(&ledger.counters.system_calls);
            match native::send_file(socket.raw, file.raw, offset + sent as u64, len - sent) {
                Err(error) if call::would_block(error) => return Tried::Park(Direction::Write),
                Err(error) => return report(ledger, record, -i64::from(error)),
                Ok(0) => return report(ledger, record, sent as i64),
                Ok(more) => record.transferred.set(sent + more),
            }
            if record.transferred.get() == len {
                return report(ledger, record, len as i64);
            }
        }
        Tried::Again(Direction::Write)
    }

    fn receive_items(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        fd: Target,
        pool: u32,
        records: bool,
    ) -> Tried {
        let pool = ledger.pool(pool);
        for _ in 0..TURN {
            let mut room = 0;
            let received = pool.receive(|region| {
                room = region.len();
                count(&ledger.counters.system_calls);
                match records {
                    true => call::receive_record(fd.raw, region),
                    false => call::receive(fd.raw, region),
                }
            });
            match received {
                None => {
                    ledger.starve(record.index(), &pool);
                    return Tried::Reported;
                }
                Some(Err(error)) if call::would_block(error) => {
                    return Tried::Park(Direction::Read);
                }
                Some(Err(error)) => return report(ledger, record, -i64::from(error)),
                Some(Ok((0, _))) => return report(ledger, record, 0),
                Some(Ok((len, piece))) => {
                    ledger.item(record.index(), len as i64, Ready::BUFFER, piece);
                    self.note_received(fd, len as i64, room);
                    if !self.state(fd.index).readable {
                        return Tried::Park(Direction::Read);
                    }
                }
            }
        }
        Tried::Again(Direction::Read)
    }

    fn accept(&mut self, ledger: &Ledger, record: &Slot, op: &Op, multi: bool) -> Tried {
        for _ in 0..TURN {
            let result = self.call(ledger, op);
            if waits(result) {
                return Tried::Park(Direction::Read);
            }
            let handle = record.handle.get();
            if result >= 0 {
                ledger.handles.resume_accept(handle);
                if !multi {
                    return report(ledger, record, result);
                }
                ledger.item(record.index(), result, 0, BufferRef::default());
                continue;
            }
            let error = -result as RawError;
            if call::is_out_of_descriptors(error) {
                ledger.accept_starved(record.index(), result, self.now());
                return Tried::Reported;
            }
            if !call::client_left(error) {
                return report(ledger, record, result);
            }
        }
        Tried::Again(Direction::Read)
    }

    fn connect(&mut self, ledger: &Ledger, record: &Slot, op: &Op, fd: Target) -> Tried {
        if record.backend_word.get() & CONNECTING == 0 {
            let result = self.call(ledger, op);
            if result < 0 && call::is_in_progress(-result as RawError) {
                record.backend_word.set(CONNECTING);
                return Tried::Park(Direction::Write);
            }
            if waits(result) {
                // A Unix listener's queue is full, and nothing tells when it is not (connect(2)).
                ledger.delay(
                    record.index(),
                    self.now() + std::time::Duration::from_millis(1),
                );
                return Tried::Reported;
            }
            return report(ledger, record, result);
        }
        count(&ledger.counters.system_calls);
        match call::poll_now(fd.raw, sys::POLL_WRITE) {
            Ok(0) => return Tried::Park(Direction::Write),
            Ok(_) => {}
            Err(error) => return report(ledger, record, -i64::from(error)),
        }
        count(&ledger.counters.system_calls);
        match call::connect_result(fd.raw) {
            Ok(()) => report(ledger, record, 0),
            Err(error) => report(ledger, record, -i64::from(error)),
        }
    }

    fn splice(&mut self, ledger: &Ledger, record: &Slot, op: &Op, from: Target) -> Tried {
        match self.call(ledger, op) {
            result if waits(result) => {
                // The call does not say for which of the two it would wait.
                match call::poll_now(from.raw, sys::POLL_READ) {
                    Ok(0) => Tried::Park(Direction::Read),
                    _ => Tried::Park(Direction::Write),
                }
            }
            result => report(ledger, record, result),
        }
    }
}

/// Whether a result says that the call would have to wait.
#[inline]
fn waits(result: i64) -> bool {
    result < 0 && call::would_block(-result as RawError)
}

#[inline]
fn report(ledger: &Ledger, record: &Slot, result: i64) -> Tried {
    ledger.complete_with(record, result, 0, BufferRef::default());
    Tried::Reported
}
