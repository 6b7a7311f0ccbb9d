//! The `wharf` command: what the queue does, shown and served.
//!
//! Owns the command line and the exit codes: 0, 1 for a failure, 2 for wrong use.

mod delay;
mod doctor;
mod echo;
mod tour;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wharf_queue::{BackendKind, Queue};

/// Completion-based I/O: hand an operation its buffer, wait, and be told when it is done.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say which backend is chosen on this machine and why, and what each one has.
    Doctor {
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Go through the five steps of a completion queue with real I/O: read a file in overlapping
    /// chunks, send them over TCP, receive them, compare.
    Tour {
        /// The file to send; the program itself if none is given.
        file: Option<PathBuf>,
        /// The backend: auto, io_uring or epoll.
        #[arg(long, default_value = "auto", value_parser = backend)]
        backend: Backend,
    },
    /// Serve TCP echo straight on the queue, until Ctrl-C.
    Echo {
        /// Where to listen; port 0 takes a free one, which the first line of output names.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The backend: auto, io_uring or epoll.
        #[arg(long, default_value = "auto", value_parser = backend)]
        backend: Backend,
        /// On which floor of the house the server stands.
        #[arg(long, default_value = "queue", value_parser = ["queue"])]
        style: String,
    },
    /// Serve HTTP answers that come late: GET /{ms}/{message}, until Ctrl-C.
    Delay {
        /// Where to listen; port 0 takes a free one, which the first line of output names.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The backend: auto, io_uring or epoll.
        #[arg(long, default_value = "auto", value_parser = backend)]
        backend: Backend,
    },
}

/// A backend as the command line names it.
#[derive(Clone, Copy)]
struct Backend(Option<BackendKind>);

fn backend(name: &str) -> Result<Backend, String> {
    match name {
        "auto" => Ok(Backend(None)),
        name => name
            .parse()
            .map(|kind| Backend(Some(kind)))
            .map_err(|error: io::Error| error.to_string()),
    }
}

impl Backend {
    fn queue(self) -> io::Result<Queue> {
        match self.0 {
            Some(kind) => Queue::builder().backend(kind).build(),
            None => Queue::new(),
        }
    }
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Doctor { json } => doctor::run(json),
        Command::Tour { file, backend } => {
            backend.queue().and_then(|queue| tour::run(&queue, file))
        }
        Command::Delay { listen, backend } => {
            backend.queue().and_then(|queue| delay::run(&queue, listen))
        }
        Command::Echo {
            listen,
            backend,
            style: _,
        } => backend.queue().and_then(|queue| echo::run(&queue, listen)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wharf: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Puts what was tried before the system's words.
fn context(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}
