//! The HTTP crate as its users see it.

mod answers;
mod client;
mod files;
mod fixture;
mod router;
mod served;
mod server;
#[cfg(unix)]
mod unix;
mod workers;
