//! The command line: what can be asked for, and the help that teaches it.
//!
//! Owns names, defaults and the checks of single values. What a command does is its own file's.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::echo::Style;
use clap::{Args, Parser, Subcommand};
use wharf_queue::{BackendKind, Queue};

/// Completion-based I/O: hand an operation its buffer, wait, and be told when it is done.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const HELP: &str = "\
Begin here:
  wharf tour            see the five steps of a completion queue with real I/O
  wharf doctor          see which backend this machine gets, and why
  wharf serve           serve this directory to a browser

WHARF_BACKEND=io_uring or WHARF_BACKEND=epoll chooses the backend of any program that uses wharf.

Exit codes: 0 done, 1 something failed, 2 wrong use. An error is one sentence on standard error.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say which backend is chosen on this machine and why, and what each one has.
    #[command(after_help = DOCTOR)]
    Doctor {
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Go through the five steps of a completion queue with real I/O: read a file in overlapping
    /// chunks, send them over TCP, receive them, compare.
    #[command(after_help = TOUR)]
    Tour {
        /// The file to send; the program itself if none is given.
        file: Option<PathBuf>,
        /// Write the timeline as a picture, too.
        #[arg(long, value_name = "OUT")]
        svg: Option<PathBuf>,
        #[command(flatten)]
        backend: Chosen,
    },
    /// Serve the files of a directory by HTTP, until Ctrl-C.
    #[command(after_help = SERVE)]
    Serve {
        /// The directory to serve.
        #[arg(default_value = ".")]
        dir: PathBuf,
        #[command(flatten)]
        listen: Listen,
        #[command(flatten)]
        backend: Chosen,
        /// Threads that serve; 0 takes one for each processor (on Windows, one).
        #[arg(long, value_name = "N", default_value_t = 0)]
        workers: usize,
        /// Serve and list names that begin with a dot, too.
        #[arg(long)]
        hidden: bool,
        /// Follow symbolic links that lead out of the directory, too.
        #[arg(long)]
        links_out: bool,
    },
    /// Serve TCP echo on the floor of the house that you choose, until Ctrl-C.
    #[command(after_help = ECHO)]
    Echo {
        #[command(flatten)]
        listen: Listen,
        #[command(flatten)]
        backend: Chosen,
        /// On which floor of the house the server stands.
        #[arg(long, value_enum, default_value_t = Style::Queue)]
        style: Style,
    },
    /// Serve HTTP answers that come late: GET /{ms}/{message}, until Ctrl-C.
    #[command(after_help = DELAY)]
    Delay {
        #[command(flatten)]
        listen: Listen,
        #[command(flatten)]
        backend: Chosen,
    },
}

const DOCTOR: &str = "\
Examples:
  wharf doctor                       what this machine has, in words
  wharf doctor --json | jq .chosen   the same for a program
  WHARF_BACKEND=epoll wharf doctor   what a program started like this would get

Exit code 1 if no queue can be made as things are; the report is printed all the same.";

const TOUR: &str = "\
Examples:
  wharf tour                         send this program to itself
  wharf tour README.md               send a file of yours
  wharf tour --backend epoll         the same on epoll, to compare
  wharf tour --svg tour.svg          and draw the timeline

The digest is SHA-256: it is the one that `sha256sum FILE` prints. Colours are for terminals only;
NO_COLOR=1 turns them off.";

const SERVE: &str = "\
Examples:
  wharf serve                        this directory, on a free port, which the first line names
  wharf serve public --listen 0.0.0.0:8080
  curl -r 0-99 http://127.0.0.1:8080/file          the first hundred bytes

HTTP/1.1, and HTTP/2 for clients that begin with it; conditional requests, ranges, HEAD. A directory
is answered with its index.html, or else with a page that lists it. Paths that lead out of the
directory are refused, and so are symbolic links that do. Each request gives a line.

Ctrl-C (SIGINT) or SIGTERM stops it: what is under way is finished, for ten seconds at most, and it
prints what it has done. A second one ends it at once.";

const ECHO: &str = "\
Examples:
  wharf echo                         on a free port, which the first line names
  wharf echo --style fiber            the same server as blocking-style code on fibers
  wharf echo --listen 127.0.0.1:7000
  nc 127.0.0.1 7000                  in another terminal: what you type comes back

Ctrl-C (SIGINT) or SIGTERM stops it, and it prints what it has done. A second one ends it at once.";

const DELAY: &str = "\
Examples:
  wharf delay --listen 127.0.0.1:7001
  curl http://127.0.0.1:7001/500/hello          `hello` after half a second
  curl http://127.0.0.1:7001/0/two%20words      the message is percent-decoded

{ms} is a whole number of milliseconds from 0 to 60000. {message} is all that follows it, further
slashes included, up to a question mark; percent-encoded bytes are decoded, and must be UTF-8. A
plus sign stays a plus sign. Anything else is answered with 400 and the connection is closed.
Requests of one connection are answered in their order, the next delay beginning after an answer.

Ctrl-C (SIGINT) or SIGTERM stops it, and it prints what it has done. A second one ends it at once.";

/// Where a server listens.
#[derive(Args)]
pub(crate) struct Listen {
    /// Where to listen; port 0 takes a free one, which the first line of output names.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address)]
    pub(crate) listen: SocketAddr,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "give an IP address and a port, such as 127.0.0.1:7000 or [::1]:7000")
}

/// Which backend a command runs on.
#[derive(Args)]
pub(crate) struct Chosen {
    /// The backend: auto, io_uring, epoll or iocp. With auto, the one that WHARF_BACKEND names, else the
    /// best that works here.
    #[arg(long, value_name = "BACKEND", default_value = "auto", value_parser = backend)]
    backend: Backend,
}

/// A backend as the command line names it; none is `auto`.
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

impl Chosen {
    /// Makes the queue.
    pub(crate) fn queue(&self) -> io::Result<Queue> {
        match self.backend.0 {
            Some(kind) => Queue::builder().backend(kind).build(),
            None => Queue::new(),
        }
    }

    /// The kind that was named, if one was.
    pub(crate) fn kind(&self) -> Option<BackendKind> {
        self.backend.0
    }

    /// Whether the environment decides on the backend.
    fn asks_environment(&self) -> bool {
        self.backend.0.is_none()
    }
}

impl Command {
    /// Looks at `WHARF_BACKEND` where it counts. A name that nobody knows is wrong use, as it would
    /// be behind `--backend`.
    pub(crate) fn check_environment(&self) -> Result<(), String> {
        let asks = match self {
            Command::Doctor { .. } => true,
            Command::Tour { backend, .. }
            | Command::Serve { backend, .. }
            | Command::Echo { backend, .. }
            | Command::Delay { backend, .. } => backend.asks_environment(),
        };
        match std::env::var("WHARF_BACKEND") {
            Ok(name) if asks && !name.is_empty() => backend(&name)
                .map(drop)
                .map_err(|error| format!("WHARF_BACKEND: {error}")),
            Err(std::env::VarError::NotUnicode(_)) if asks => {
                Err("WHARF_BACKEND is not text: choose auto, io_uring, epoll".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn listen_takes_addresses_of_both_families() {
        assert!(address("127.0.0.1:0").is_ok() && address("[::1]:80").is_ok());
        for text in ["", "80", "localhost:80", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
