//! An operation that wharf does not know, as an entry of the submission ring.

use std::fmt;

/// A submission entry of io_uring, made by [`os::linux::RawOp`](crate::os::linux::RawOp).
#[derive(Clone)]
pub struct RawEntry(pub(crate) io_uring::squeue::Entry);

impl fmt::Debug for RawEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
