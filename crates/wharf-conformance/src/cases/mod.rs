//! The cases, by subject.

mod cancel;
mod chain;
mod file;
mod limits;
mod stream;
mod time;

use crate::Case;

/// Lists the functions of a module as cases.
macro_rules! cases {
    ($($promise:literal $name:ident),* $(,)?) => {
        pub(super) const CASES: &[crate::Case] = &[
            $(crate::Case { name: stringify!($name), promise: $promise, run: $name }),*
        ];
    };
}
use cases;

pub(crate) fn all() -> Vec<Case> {
    [
        stream::CASES,
        cancel::CASES,
        chain::CASES,
        file::CASES,
        limits::CASES,
        time::CASES,
    ]
    .concat()
}
