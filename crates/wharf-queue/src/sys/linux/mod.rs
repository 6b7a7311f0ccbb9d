//! Linux: what it has beyond what the Unix systems share.

pub(crate) mod cached;
mod entry;
#[cfg(wharf_kqueue)]
pub(crate) mod kqueue;
pub(crate) mod native;
mod process;
mod records;
pub(crate) mod ring;
pub(crate) mod selector;

pub use entry::RawEntry;
pub(crate) use native::random;
pub(crate) use process::PidFd;
pub(crate) use records::{OpenHow, StatBuf};

pub(crate) const POLL_HANG_UP: u16 = (libc::POLLHUP | libc::POLLRDHUP) as u16;
