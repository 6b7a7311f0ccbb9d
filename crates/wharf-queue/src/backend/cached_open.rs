//! Opening below a directory by the cache of names.
//!
//! Owns the rule by which a backend tries that before its own way. What the cache knows the way to is
//! open after one call; a thread of the pool costs several, and an entry of a ring costs its user
//! another turn.

use crate::ledger::Ledger;
use crate::op::Target;
use crate::slot::Slot;
use crate::stats::count;
use crate::sys::cached::{self, Cached};
use crate::sys::{OpenHow, RawPath};

/// Completes an open below `dir` if the cache of names knows the way. Returns false, and has done
/// nothing, if not.
pub(super) fn open(
    ledger: &Ledger,
    record: &Slot,
    dir: Target,
    path: RawPath,
    how: *const OpenHow,
) -> bool {
    // It is asked once for each directory.
    let is_local = ledger.handles.is_local(dir.index).unwrap_or_else(|| {
        count(&ledger.counters.system_calls);
        let local = cached::is_local(dir.raw);
        ledger.handles.set_local(dir.index, local);
        local
    });
    if !is_local {
        return false;
    }
    count(&ledger.counters.system_calls);
    match cached::open(dir, path, how) {
        Cached::Answer(result) => {
            ledger.complete(record.index(), result);
            true
        }
        Cached::Miss => false,
        Cached::Never => {
            ledger.handles.set_local(dir.index, false);
            false
        }
    }
}
