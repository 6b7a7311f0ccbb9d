//! What is asked of the operating system beside corosensei: which pages of a stack were touched, and
//! a report when one has overflowed.
//!
//! Each system provides `page_size`, `touched(from, to)` and `report_overflows`. What a system does
//! not tell is `None`; an overflow without a report still ends the process at the guard page.

#[cfg(unix)]
mod overflow;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use overflow::report_overflows;
#[cfg(unix)]
pub(crate) use unix::{page_size, touched};

#[cfg(not(unix))]
mod other;
#[cfg(not(unix))]
pub(crate) use other::{page_size, report_overflows, touched};
