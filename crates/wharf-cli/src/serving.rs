//! What the servers have in common: listening with an error that helps, and stopping on a signal.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use wharf_queue::{Handle, Queue};

use crate::unless_reader_left;

/// The exit code of a program that Ctrl-C has ended: 128 and the number of the signal.
const INTERRUPTED: i32 = 128 + SIGINT;

/// Listens; an error names what would mend it.
pub(crate) fn listen(queue: &Queue, address: SocketAddr) -> io::Result<Handle> {
    queue.listen(address).map_err(cannot_listen(address))
}

/// Says of a failure to listen what would mend it.
pub(crate) fn cannot_listen(address: SocketAddr) -> impl FnOnce(io::Error) -> io::Error {
    move |error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "the port is in use; choose another, or port 0 for a free one"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; try 127.0.0.1, or 0.0.0.0 for all that it has"
            }
            io::ErrorKind::PermissionDenied => {
                "the system does not allow this port; choose one above 1023"
            }
            _ => {
                return io::Error::new(
                    error.kind(),
                    format!("cannot listen on {address}: {error}"),
                );
            }
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {why}"))
    }
}

/// Lets SIGINT and SIGTERM notify the queue, so that its owner can end in order. A second signal
/// ends the program at once.
pub(crate) fn stop_on_signal(queue: &Queue) -> io::Result<()> {
    let notifier = queue.notifier();
    on_signal(move || notifier.notify())
}

/// Lets SIGINT and SIGTERM ask for an end. A second signal ends the program at once.
pub(crate) fn on_signal(ask: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut signals = signals.forever();
            if signals.next().is_some() {
                ask();
            }
            if signals.next().is_some() {
                std::process::exit(INTERRUPTED);
            }
        })?;
    Ok(())
}

/// The first line of a server's output: where it listens.
pub(crate) fn announce(out: &mut impl Write, address: impl Display) -> io::Result<()> {
    unless_reader_left(writeln!(out, "listening on {address}").and_then(|()| out.flush()))
}
