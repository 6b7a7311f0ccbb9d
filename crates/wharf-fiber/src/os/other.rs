//! Systems that are asked nothing: Windows, which reports an overflow itself.

/// That of every processor that Windows runs on.
pub(crate) fn page_size() -> usize {
    4096
}

pub(crate) fn touched(_from: usize, _to: usize) -> Option<usize> {
    None
}

/// The system raises `STATUS_STACK_OVERFLOW` on a fiber's stack as on a thread's, and the standard
/// library prints the thread's name.
pub(crate) fn report_overflows() {}
