//! Kinds of waiting that one family of systems has, and cases that one system can show.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod steps;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_sinks;

use super::Case;
use super::kinds::Kind;
use super::sinks::kinds::Kind as Sink;

/// Those of this system.
pub(super) fn kinds() -> &'static [Kind] {
    #[cfg(unix)]
    return unix::KINDS;
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
#[cfg_attr(not(unix), expect(unused_mut, reason = "there are none"))]
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    #[cfg(unix)]
    cases.extend(steps::cases());
    #[cfg(target_os = "linux")]
    cases.extend(linux::cases());
    cases
}

/// What this system has no case of, and why: all the ways to end such a wait.
pub(super) fn missing() -> &'static [(&'static str, &'static str)] {
    #[cfg(windows)]
    return &[
        (
            "every_way_with_unix_sockets",
            "Unix sockets are not to be had under Wine, and not shown elsewhere",
        ),
        (
            "splices_and_files_sent_by_the_system",
            "the cases look at what Linux does for them",
        ),
    ];
    #[cfg(not(windows))]
    return &[];
}
