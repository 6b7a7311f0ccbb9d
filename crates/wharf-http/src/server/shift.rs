//! What one worker serves: its connections from their begin to an orderly end.
//!
//! Owns how connections become tasks, and how long an end waits for them. Where they come from is
//! `server`'s business.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use wharf::net::TcpStream;

use super::clock::Clock;
use super::exchange::{Connection, RequestBody};
use super::stop::{Census, Stop};
use super::{Server, connection};

pub(super) struct Shift<S> {
    server: Server,
    service: S,
    stop: Stop,
    clock: Clock,
    census: Census,
}

impl<S, B> Shift<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: fmt::Display,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(super) fn new(server: &Server, service: S, stop: &Stop) -> Shift<S> {
        Shift {
            server: server.clone(),
            service,
            stop: stop.clone(),
            clock: Clock::new(),
            census: Census::default(),
        }
    }

    /// Serves a connection in a task of its own.
    pub(super) fn begin(&self, stream: TcpStream) {
        let Server { limits, stats, log } = self.server.clone();
        stats.connection();
        // It fails only on what is no connection any more; the first read will tell.
        drop(stream.set_nodelay(true));
        let peer = stream.peer_addr();
        let connection = Arc::new(Connection::new(peer, limits, self.clock, stats, log));
        let present = self.census.enter();
        let (service, stop) = (self.service.clone(), self.stop.clone());
        let served = connection::serve(stream, service, connection, stop);
        drop(wharf::spawn(async move {
            served.await;
            drop(present);
        }));
    }

    /// Waits for the connections to end, and cuts off those that take too long.
    pub(super) async fn end(self) {
        let drain = self.server.limits.drain;
        let is_over = wharf::time::timeout(drain, self.census.empty()).await;
        if is_over.is_err() {
            self.stop.end();
            self.census.empty().await;
        }
    }
}
