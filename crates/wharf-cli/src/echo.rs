//! `wharf echo`: a TCP echo server, on the floor of the house that is asked for.
//!
//! Owns the choice and the last line. The same server stands on each floor, so that they can be
//! read and measured side by side.

mod fibers;
mod queue;
mod tasks;

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use clap::ValueEnum;
use wharf_queue::BackendKind;

use crate::unless_reader_left;

/// On which floor of the house the server stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Style {
    /// Straight on the completion queue: a loop over completions.
    Queue,
    /// On the async runtime, with one worker: a task for each connection.
    Async,
    /// On fibers of the same runtime: blocking-style code, a stack for each connection.
    Fiber,
}

/// What was served.
#[derive(Clone, Copy, Default)]
struct Totals {
    connections: u64,
    messages: u64,
    bytes: u64,
    /// That the queue's thread has made; the runtime does not count them.
    system_calls: Option<u64>,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals {
            connections,
            messages,
            bytes,
            system_calls,
        } = self;
        write!(
            f,
            "{connections} connections, {messages} messages, {bytes} bytes"
        )?;
        match system_calls {
            Some(calls) => write!(f, ", {calls} system calls"),
            None => Ok(()),
        }
    }
}

pub(crate) fn run(
    style: Style,
    backend: Option<BackendKind>,
    listen: SocketAddr,
) -> io::Result<()> {
    let totals = match style {
        Style::Queue => queue::run(backend, listen)?,
        Style::Async => tasks::run(backend, listen)?,
        Style::Fiber => fibers::run(backend, listen)?,
    };
    unless_reader_left(writeln!(io::stdout(), "{totals}"))
}
