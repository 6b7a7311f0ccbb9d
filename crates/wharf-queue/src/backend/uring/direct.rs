//! Calls that the backend makes itself, because the ring has none or a dearer one: sendfile(2), and
//! splice(2) between descriptors that do not block.
//!
//! Owns when they are made: at the submission, and again when a poll of the ring says that there is a
//! point in it.

use super::Uring;
use crate::handle::HandleKind;
use crate::ledger::Ledger;
use crate::op::{Op, Target};
use crate::slot::{CancelReason, Slot};
use crate::stats::count;
use crate::sys::{RawError, call, native};

/// How many parts of a file are sent in one turn, so that others have theirs.
const SENDFILE_TURN: usize = 32;

/// Whether it is a splice of which neither side can wait for a disk.
pub(super) fn is_spliced_here(ledger: &Ledger, op: &Op) -> bool {
    let waits_for_a_disk = |fd: &Target| ledger.handles.kind(fd.index) == HandleKind::File;
    matches!(op, Op::Splice { from, to, .. } if ![from, to].into_iter().any(waits_for_a_disk))
}

impl Uring {
    /// Sends a file by sendfile(2), for which there is no entry: the socket does not block, and a
    /// poll tells when it takes more.
    #[inline(never)]
    pub(super) fn send_file(&mut self, ledger: &Ledger, record: &Slot) {
        let slot = record.index();
        let Op::SendFile {
            file,
            offset,
            socket,
            len,
        } = *record.op()
        else {
            unreachable!("only a SendFile gets here")
        };
        if record.cancel.get() != CancelReason::None {
            return ledger.complete_cancelled(slot);
        }
        for _ in 0..SENDFILE_TURN {
            let sent = record.transferred.get();
            count(&ledger.counters.system_calls);
            match native::send_file(socket.raw, file.raw, offset + sent as u64, len - sent) {
                Err(error) if call::would_block(error) => break,
                Err(error) => return ledger.complete(slot, -i64::from(error)),
                Ok(0) => return ledger.complete(slot, sent as i64),
                Ok(more) => record.transferred.set(sent + more),
            }
            if record.transferred.get() == len {
                return ledger.complete(slot, len as i64);
            }
        }
        self.push_operation(ledger, record);
    }

    /// Splices between descriptors that do not block. The ring would give it to a thread of the
    /// kernel's each time, and that costs more than the call.
    #[inline(never)]
    pub(super) fn splice(&mut self, ledger: &Ledger, record: &Slot) {
        count(&ledger.counters.system_calls);
        let op = record.op();
        match call::nonblocking(op) {
            result if result < 0 && call::would_block(-result as RawError) => {
                self.wait_for_readiness(ledger, record.index(), op);
            }
            result => ledger.complete(record.index(), result),
        }
    }
}
