//! The cases, by subject.

mod cancel;
mod chain;
mod ended;
mod extreme;
mod file;
mod forbidden;
mod forgotten;
mod limits;
mod race;
mod reentry;
mod shortage;
mod signal;
mod stale;
mod state;
mod stream;
mod table;
mod time;

use crate::Case;

/// Lists the functions of a module as cases. `[alone]` gives a case a process of its own.
macro_rules! cases {
    ($($promise:literal $([$alone:ident])? $name:ident),* $(,)?) => {
        pub(super) const CASES: &[crate::Case] = &[
            $(crate::Case {
                name: stringify!($name),
                promise: $promise,
                run: $name,
                alone: !matches!(stringify!($($alone)?).as_bytes(), b""),
            }),*
        ];
    };
}
use cases;

pub(crate) fn all() -> Vec<Case> {
    [
        state::CASES,
        stream::CASES,
        cancel::CASES,
        chain::CASES,
        ended::CASES,
        extreme::CASES,
        file::CASES,
        forbidden::CASES,
        forgotten::CASES,
        limits::CASES,
        race::CASES,
        reentry::CASES,
        shortage::CASES,
        signal::CASES,
        stale::CASES,
        time::CASES,
    ]
    .concat()
}
