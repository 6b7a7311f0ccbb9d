//! Cases about what one family of systems has.

#[cfg(windows)]
mod windows;

/// Those of this system.
pub(super) fn cases() -> &'static [crate::Case] {
    #[cfg(windows)]
    return windows::CASES;
    #[cfg(not(windows))]
    return &[];
}
