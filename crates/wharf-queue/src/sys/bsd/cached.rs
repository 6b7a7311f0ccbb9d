//! Neither macOS nor FreeBSD has a call that answers from the caches or not at all, so that nothing
//! is asked of them: everything about files goes to the pool.

use super::OpenHow;
use crate::op::{Op, Target};
use crate::sys::{RawHandle, RawPath};

/// What the caches said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(dead_code, reason = "they never say anything else")]
pub(crate) enum Cached {
    Answer(i64),
    Miss,
    /// They are never asked with success: there is no such call.
    Never,
}

pub(crate) fn read(_: &Op) -> Cached {
    Cached::Never
}

pub(crate) fn open(_: Target, _: RawPath, _: *const OpenHow) -> Cached {
    Cached::Never
}

/// Asked only to spare a read that could not be answered, as none can.
pub(crate) fn is_direct(_: RawHandle) -> bool {
    true
}

/// No file system answers an open from this machine's memory without waiting for others.
pub(crate) fn is_local(_: RawHandle) -> bool {
    false
}

/// Reads a part of a file that is in the cache.
pub(crate) fn read_whole(_: RawHandle, _: u64, _: usize) -> Option<Vec<u8>> {
    None
}

/// Whether a part of a file is in the cache: there is no call that would tell.
pub(crate) fn holds(_: RawHandle, _: u64, _: u64) -> bool {
    false
}
