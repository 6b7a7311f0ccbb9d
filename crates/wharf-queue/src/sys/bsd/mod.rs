//! macOS and FreeBSD: what they have beyond what the Unix systems share.

pub(crate) mod cached;
mod entry;
#[cfg(target_os = "freebsd")]
mod freebsd;
pub(crate) mod kqueue;
#[cfg(target_os = "macos")]
mod macos;
pub(crate) mod native;
mod process;
mod records;

pub(crate) use entry::RawEntry;
pub(crate) use native::random;
pub(crate) use process::PidFd;
pub(crate) use records::{OpenHow, StatBuf};

pub(crate) const POLL_HANG_UP: u16 = libc::POLLHUP as u16;
