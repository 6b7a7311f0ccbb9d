//! The HTTP crate as its users see it.

mod files;
mod fixture;
