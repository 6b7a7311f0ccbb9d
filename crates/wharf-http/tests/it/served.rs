//! A server in a thread of its own, for a test to talk to.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use wharf::net::TcpListener;
use wharf_http::{Files, Limits, RequestBody, Server, Stats, Stop, Totals};
use wharf_queue::BackendKind;

use crate::client::Client;
use crate::fixture::Dir;

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    stats: Arc<Stats>,
    lines: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Served {
    /// Serves what `make` makes on the server's thread.
    pub(crate) fn start<F, S, B>(
        kind: BackendKind,
        limits: Limits,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Served
    where
        F: Future<Output = S>,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: fmt::Display,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Served::run(kind, 1, limits, async |server, listener, stop| {
            server.serve(listener, make().await, stop).await
        })
    }

    /// Serves on so many workers what `make` makes on each.
    pub(crate) fn on_workers<F, S, B>(
        kind: BackendKind,
        workers: usize,
        limits: Limits,
        make: impl Fn() -> F + Clone + Send + 'static,
    ) -> Served
    where
        F: Future<Output = io::Result<S>> + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: fmt::Display,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Served::run(kind, workers, limits, async |server, listener, stop| {
            server.serve_on_workers(listener, make, stop).await
        })
    }

    fn run(
        kind: BackendKind,
        workers: usize,
        limits: Limits,
        serve: impl AsyncFnOnce(Server, TcpListener, Stop) -> io::Result<()> + Send + 'static,
    ) -> Served {
        let stop = Stop::new();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&lines);
        let server = Server::new().limits(limits).on_access(move |access| {
            log.lock().unwrap().push(access.to_string());
        });
        let stats = server.stats();
        let (tell, address) = mpsc::channel();
        let end = stop.clone();
        let thread = std::thread::spawn(move || {
            let builder = wharf::Runtime::builder().backend(kind).workers(workers);
            builder.build()?.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                tell.send(listener.local_addr()).unwrap();
                serve(server, listener, end).await
            })
        });
        Served {
            address: address.recv().unwrap(),
            stop,
            stats,
            lines,
            thread: Some(thread),
        }
    }

    /// Serves the files below a directory.
    pub(crate) fn files(kind: BackendKind, limits: Limits, dir: &Dir) -> Served {
        let path = dir.path().to_owned();
        Served::start(kind, limits, move || async move {
            Files::new(path).await.unwrap().service()
        })
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.stats.totals()
    }

    /// Asks for a stop, waits for it, and gives the counts and the log.
    pub(crate) fn finish(mut self) -> (Totals, Vec<String>) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        (self.totals(), lines)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // A test that has failed says so itself.
            drop(thread.join());
        }
    }
}
