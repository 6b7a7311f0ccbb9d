//! HTTP on wharf: hyper's server on a completion queue, and a static file service.
//!
//! [`Server`] runs any service of hyper's with HTTP/1.1, and with HTTP/2 for clients that begin with
//! it. It holds clients to [`Limits`], survives handlers that panic and descriptors that run out,
//! tells each exchange to a log, counts them in [`Stats`], and ends in order when a [`Stop`] is
//! asked for. [`Files`] is a service that serves the files of a directory.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use hyper::service::service_fn;
//! use wharf_http::{RequestBody, Server, Stop};
//!
//! async fn hello(request: Request<RequestBody>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new(format!("hello, {}\n", request.uri().path())))
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! wharf::Runtime::new()?.block_on(async {
//!     let listener = wharf::net::TcpListener::bind("127.0.0.1:0").await?;
//!     println!("http://{}", listener.local_addr());
//!     let stop = Stop::new();
//! #   stop.ask(); // An example ends.
//!     Server::new().serve(listener, service_fn(hello), stop).await
//! })
//! # }
//! ```
//!
//! What a client gets that does not behave:
//!
//! | it | gets |
//! |---|---|
//! | sends no request that can be read | 400, or 431 if the head is too large |
//! | announces a body that is too long | 413 |
//! | sends a head byte by byte, or stops in a body | its connection closed at the limit |
//! | takes nothing of what it is sent, also by HTTP/2's windows | its connection closed at the limit |
//! | closes its side early | its answers, whole |
//! | goes away | nothing; a handler that runs is dropped |

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
