//! Kinds of waiting that one family of systems has.

#[cfg(unix)]
mod unix;

use super::kinds::Kind;

/// Those of this system.
pub(super) fn kinds() -> &'static [Kind] {
    #[cfg(unix)]
    return unix::KINDS;
    #[cfg(not(unix))]
    return &[];
}
