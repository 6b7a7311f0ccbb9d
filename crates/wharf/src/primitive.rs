//! The primitives that are shared between threads, in one place, so that a model checker can stand
//! in for them.
//!
//! Files that the loom models include (`tests/loom.rs`) take their atomics from here.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
