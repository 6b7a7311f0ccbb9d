//! The HTTP crate as its users see it.

mod client;
mod files;
mod fixture;
mod served;
mod server;
