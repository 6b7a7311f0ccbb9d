//! The atomics of the hand-in queue, in one place, so that a model checker can stand in for them.
//!
//! The loom models (`tests/loom.rs`) include the queue's file and bring their own module of this
//! name.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
