//! The cases, by subject.

mod cached;
mod cancel;
mod chain;
mod ended;
mod extreme;
mod file;
mod forbidden;
mod forgotten;
mod limits;
mod model;
mod os;
mod race;
mod reentry;
mod shortage;
mod signal;
mod stale;
mod state;
mod stream;
mod table;
mod time;

use crate::{Case, Condition};

/// Lists the functions of a module as cases. `[alone]` gives a case a process of its own. `[unix
/// "why"]`, `[linux "why"]` and `[not_wine "why"]` say where alone it makes sense, and why.
macro_rules! cases {
    ($($promise:literal $([$mark:ident $($why:literal)?])* $name:ident),* $(,)?) => {
        pub(in crate::cases) const CASES: &[crate::Case] = &[
            $(crate::Case {
                name: stringify!($name),
                promise: $promise,
                run: $name,
                alone: crate::cases::is_alone(&[$(stringify!($mark)),*]),
                condition: crate::cases::condition(&[$((stringify!($mark), concat!($($why)?))),*]),
            }),*
        ];
    };
}
use cases;

const fn is_same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_alone(marks: &[&str]) -> bool {
    let mut at = 0;
    while at < marks.len() {
        if is_same(marks[at], "alone") {
            return true;
        }
        at += 1;
    }
    false
}

const fn condition(marks: &[(&str, &'static str)]) -> Option<Condition> {
    let mut at = 0;
    while at < marks.len() {
        let (mark, why) = marks[at];
        if is_same(mark, "unix") {
            return Some(Condition::Unix(why));
        }
        if is_same(mark, "linux") {
            return Some(Condition::Linux(why));
        }
        if is_same(mark, "not_wine") {
            return Some(Condition::NotWine(why));
        }
        assert!(is_same(mark, "alone"), "there is no such mark");
        at += 1;
    }
    None
}

pub(crate) fn all() -> Vec<Case> {
    [
        state::CASES,
        stream::CASES,
        cached::CASES,
        cancel::CASES,
        chain::CASES,
        ended::CASES,
        extreme::CASES,
        file::CASES,
        forbidden::CASES,
        forgotten::CASES,
        limits::CASES,
        os::cases(),
        model::CASES,
        race::CASES,
        reentry::CASES,
        shortage::CASES,
        signal::CASES,
        stale::CASES,
        time::CASES,
    ]
    .concat()
}
