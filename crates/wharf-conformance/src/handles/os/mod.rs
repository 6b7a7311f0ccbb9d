//! Kinds of waiting that one family of systems has.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_sinks;

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
