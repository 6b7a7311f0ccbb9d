//! `wharf serve`: the files of a directory by HTTP.
//!
//! Owns how the server is started on the workers and stopped. What it serves, and how, is
//! wharf-http's business.

mod log;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use wharf::Runtime;
use wharf::net::TcpListener;
use wharf_http::{Files, Server, Stop};
use wharf_queue::BackendKind;

use crate::{context, os, serving, unless_reader_left};

/// How many connections may wait for being accepted; the system cuts it to its own limit.
const BACKLOG: i32 = 4096;

/// What is served, and how.
pub(crate) struct Options<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) listen: SocketAddr,
    pub(crate) backend: Option<BackendKind>,
    pub(crate) workers: usize,
    pub(crate) hidden: bool,
    pub(crate) links_out: bool,
}

/// What each worker does.
#[derive(Clone)]
struct Task {
    dir: PathBuf,
    hidden: bool,
    links_out: bool,
    server: Server,
    stop: Stop,
}

pub(crate) fn run(options: &Options<'_>) -> io::Result<()> {
    // A connection is flushed before it is let go; one that is cut off does not take what is sent.
    let workers = match options.workers {
        several if several > 1 && !os::SHARES_LISTENERS => {
            let why = "one worker serves on this system, where a listener belongs to one; leave out --workers";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        0 if !os::SHARES_LISTENERS => 1,
        workers => workers,
    };
    let mut builder = Runtime::builder()
        .workers(workers)
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
    let task = Task {
        dir: options.dir.to_owned(),
        hidden: options.hidden,
        links_out: options.links_out,
        server,
        stop,
    };
    let outcome = runtime.block_on(serve(task, options.listen, runtime.workers()));
    drop(runtime);
    writer.finish();
    outcome?;
    unless_reader_left(writeln!(io::stdout(), "{}", stats.totals()))
}

/// Serves on all workers until the stop is asked for. If one of them fails, all of them stop.
async fn serve(task: Task, listen: SocketAddr, workers: usize) -> io::Result<()> {
    // Before anything is said: a directory that is none is no server.
    task.files().await?;
    let listener = socket(listen).map_err(serving::cannot_listen(listen))?;
    let mut running = Vec::new();
    for worker in 0..workers {
        let (task, listener) = (task.clone(), listener.try_clone()?);
        running.push(wharf::spawn_on(worker, move || task.run(listener)));
    }
    let address = listener.local_addr()?;
    // One descriptor each is enough, and this one would go on listening after the others.
    drop(listener);
    let mut out = io::stdout();
    let line = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
    unless_reader_left(line)?;
    let mut outcome = Ok(());
    for worker in running {
        let ended = worker
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        if ended.is_err() {
            task.stop.ask();
        }
        outcome = outcome.and(ended);
    }
    outcome
}

impl Task {
    async fn files(&self) -> io::Result<Files> {
        let what = format!("cannot serve {}", self.dir.display());
        let files = Files::new(&self.dir).await.map_err(context(what))?;
        Ok(files.dot_files(self.hidden).links_out(self.links_out))
    }

    async fn run(self, listener: std::net::TcpListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let service = self.files().await?.service();
        self.server.serve(listener, service, self.stop).await
    }
}

/// A socket that listens, for all workers together: whoever is free accepts.
fn socket(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier server that linger are no reason not to start.
    socket.set_reuse_address(os::REUSES_ADDRESSES)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
