//! Operations of the pool that the system may answer from its caches: those are tried here first.
//!
//! Owns what is known of each file's readiness to answer so. A thread of the pool costs several
//! system calls and two switches; what is in the page cache is copied sooner than that. The rule is
//! that of sockets: a try never waits, and what would have to wait goes where waiting is done.

use super::super::cached_open;
use super::{Emulation, Selector};
use crate::ledger::Ledger;
use crate::op::Op;
use crate::slot::Slot;
use crate::stats::count;
use crate::sys::Scratch;
use crate::sys::cached::{self, Cached};

/// Longer reads go to the pool: copying them would keep everybody else waiting.
const LONGEST_READ: usize = 256 * 1024;

impl<S: Selector> Emulation<S> {
    /// Completes an operation of the pool if that can be done at once. Returns false, and has done
    /// nothing, if not.
    pub(super) fn answer_from_cache(&mut self, ledger: &Ledger, record: &Slot) -> bool {
        let op = record.op();
        let cached = match *op {
            Op::Read { fd, buf, .. } => self.read_cached(ledger, op, fd.index, buf.len),
            Op::ReadVectored { fd, scratch, .. } => {
                self.read_cached(ledger, op, fd.index, Scratch::total(scratch))
            }
            Op::OpenBeneath { dir, path, how } => {
                return cached_open::open(ledger, record, dir, path, how);
            }
            _ => Cached::Miss,
        };
        let Cached::Answer(result) = cached else {
            return false;
        };
        ledger.complete(record.index(), result);
        true
    }

    fn read_cached(&mut self, ledger: &Ledger, op: &Op, index: u32, len: usize) -> Cached {
        if len > LONGEST_READ || !self.state(index).cached {
            return Cached::Miss;
        }
        let direct = ledger.handles.is_direct(index).unwrap_or_else(|| {
            let direct = cached::is_direct(super::handle_of(op, index).raw);
            count(&ledger.counters.system_calls);
            ledger.handles.set_direct(index, direct);
            direct
        });
        if direct {
            return Cached::Miss;
        }
        count(&ledger.counters.system_calls);
        let cached = cached::read(op);
        if cached == Cached::Never {
            self.state(index).cached = false;
        }
        cached
    }
}
