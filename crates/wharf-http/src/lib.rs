//! HTTP on wharf: a static file service, and hyper servers to run it.
//!
//! Owns the meaning of requests for files: which names may be asked for, which bytes answer them,
//! under which conditions. What is here so far does no I/O.

#![expect(
    dead_code,
    reason = "the service that does the I/O comes with the runtime"
)]

mod conditional;
mod content_type;
mod index;
mod os;
mod page;
mod plan;
mod range;
mod target;
