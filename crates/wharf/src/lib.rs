//! An async runtime on a completion queue.

// `#[wharf::main]` and the macros name the crate by its name, also in here.
extern crate self as wharf;

mod buf;
pub(crate) mod engine;
pub mod io;
pub mod net;
mod primitive;
pub mod runtime;
mod slab;
pub mod task;
pub mod time;

pub use runtime::Runtime;
pub use task::{JoinHandle, spawn, spawn_blocking, spawn_named, spawn_on};
pub use wharf_macros::{main, test};
