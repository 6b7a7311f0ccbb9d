//! `wharf serve`: the files of a directory by HTTP.
//!
//! Owns how the server is started on the workers and stopped. What it serves, and how, is
//! wharf-http's business.

mod log;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf::Runtime;
use wharf::net::{SocketOption, TcpListener, TcpSocket};
use wharf_http::{Files, Server, Stop};
use wharf_queue::BackendKind;

use crate::{context, serving, unless_reader_left};

/// How many connections may wait for being accepted; the system cuts it to its own limit.
const BACKLOG: u32 = 4096;

/// What is served, and how.
pub(crate) struct Options<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) listen: SocketAddr,
    pub(crate) backend: Option<BackendKind>,
    pub(crate) workers: usize,
    pub(crate) hidden: bool,
    pub(crate) links_out: bool,
}

/// What each worker serves.
#[derive(Clone)]
struct Service {
    dir: PathBuf,
    hidden: bool,
    links_out: bool,
}

pub(crate) fn run(options: &Options<'_>) -> io::Result<()> {
    // A connection is flushed before it is let go; one that is cut off does not take what is sent.
    let mut builder = Runtime::builder()
        .workers(options.workers)
        .linger(Duration::from_secs(1));
    if let Some(backend) = options.backend {
        builder = builder.backend(backend);
    }
    let runtime = builder.build()?;
    let (log, writer) = log::start(io::stdout())?;
    let server = Server::new().on_access(move |access| log.access(access));
    let stats = server.stats();
    let stop = Stop::new();
    serving::on_signal({
        let stop = stop.clone();
        move || stop.ask()
    })?;
    let service = Service {
        dir: options.dir.to_owned(),
        hidden: options.hidden,
        links_out: options.links_out,
    };
    let outcome = runtime.block_on(serve(options.listen, service, server, stop));
    drop(runtime);
    writer.finish();
    outcome?;
    unless_reader_left(writeln!(io::stdout(), "{}", stats.totals()))
}

/// Serves on all workers until the stop is asked for.
async fn serve(listen: SocketAddr, service: Service, server: Server, stop: Stop) -> io::Result<()> {
    // Before anything is said: a directory that is none is no server.
    service.files().await?;
    let listener = listen_on(listen).map_err(serving::cannot_listen(listen))?;
    let mut out = io::stdout();
    let line = writeln!(out, "listening on http://{}", listener.local_addr());
    unless_reader_left(line.and_then(|()| out.flush()))?;
    let make = move || {
        let service = service.clone();
        async move { Ok(service.files().await?.service()) }
    };
    server.serve_on_workers(listener, make, stop).await
}

impl Service {
    async fn files(&self) -> io::Result<Files> {
        let what = format!("cannot serve {}", self.dir.display());
        let files = Files::new(&self.dir).await.map_err(context(what))?;
        Ok(files.dot_files(self.hidden).links_out(self.links_out))
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::for_address(address)?;
    // Connections of an earlier server that linger are no reason not to start.
    socket.set_option(SocketOption::ReuseAddress(true))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
