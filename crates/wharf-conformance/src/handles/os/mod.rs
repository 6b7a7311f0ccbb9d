//! Kinds of waiting that one family of systems has, and cases that one system can show.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_process;
#[cfg(unix)]
mod unix_sinks;

use super::Case;
use super::kinds::Kind;
use super::sinks::kinds::Kind as Sink;

/// Those of this system.
pub(super) fn kinds() -> Vec<Kind> {
    #[cfg(unix)]
    return [unix::KINDS, unix_process::KINDS].concat();
    #[cfg(not(unix))]
    return Vec::new();
}

/// Those on something of the whole process.
pub(super) fn kinds_of_the_process() -> &'static [Kind] {
    #[cfg(unix)]
    return unix_process::KINDS_OF_THE_PROCESS;
    #[cfg(not(unix))]
    return &[];
}

/// What can be written to on this system alone.
pub(super) fn sinks() -> &'static [Sink] {
    #[cfg(unix)]
    return unix_sinks::KINDS;
    #[cfg(not(unix))]
    return &[];
}

/// What can be shown on this system alone.
pub(super) fn cases() -> Vec<Case> {
    #[cfg(target_os = "linux")]
    return linux::cases();
    #[cfg(not(target_os = "linux"))]
    return Vec::new();
}
