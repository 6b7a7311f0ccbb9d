//! The `wharf` command: what the queue does, shown and served.
//!
//! Owns the exit codes: 0, 1 for a failure, 2 for wrong use; and how an error is shown. The command
//! line itself is in `arguments`.

mod arguments;
mod delay;
mod doctor;
mod echo;
mod os;
mod serve;
mod serving;
mod tour;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};

/// The exit code for wrong use; clap's own.
const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if let Err(error) = command.check_environment() {
        complain(&error);
        return ExitCode::from(WRONG_USE);
    }
    let result = match &command {
        Command::Doctor { json } => doctor::run(*json),
        Command::Tour { file, svg, backend } => backend
            .queue()
            .and_then(|queue| tour::run(&queue, file.as_deref(), svg.as_deref())),
        Command::Serve {
            dir,
            listen,
            backend,
            workers,
            hidden,
            links_out,
        } => serve::run(&serve::Options {
            dir,
            listen: listen.listen,
            backend: backend.kind(),
            workers: *workers,
            hidden: *hidden,
            links_out: *links_out,
        }),
        Command::Delay { listen, backend } => backend
            .queue()
            .and_then(|queue| delay::run(&queue, listen.listen)),
        Command::Echo {
            listen,
            backend,
            style,
        } => echo::run(*style, backend.kind(), listen.listen),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong on standard error. If nobody listens there, nobody is told.
fn complain(error: impl std::fmt::Display) {
    drop(writeln!(io::stderr(), "wharf: {error}"));
}

/// Puts what was tried before the system's words.
fn context(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A failed write to standard output: whoever read it has had enough, which is no failure.
fn unless_reader_left(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
