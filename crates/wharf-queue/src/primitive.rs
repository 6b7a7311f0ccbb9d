//! The atomics of the park protocol, in one place, so that a model checker can stand in for them.
//!
//! The loom models (`crates/wharf/tests/loom.rs`) include the protocol's file and bring their own
//! module of this name.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
