//! HTTP on wharf: a static file service, and hyper servers to run it.

mod body;
mod conditional;
mod content_type;
mod disk;
mod files;
mod index;
mod lookup;
mod os;
mod page;
mod plan;
mod range;
mod server;
mod target;

pub use body::FileBody;
pub use files::Files;
pub use server::{Access, Asked, BodyTooLarge, Limits, RequestBody, Server, Stats, Stop, Totals};
