//! What the servers have in common: listening with an error that helps, and stopping on a signal.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;

use wharf_queue::{Handle, Queue};

pub(crate) use crate::os::on_signal;
use crate::unless_reader_left;

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

/// Lets the signals of [`on_signal`] notify the queue, so that its owner can end in order. A second signal
/// ends the program at once.
pub(crate) fn stop_on_signal(queue: &Queue) -> io::Result<()> {
    let notifier = queue.notifier();
    on_signal(move || notifier.notify())
}

/// The first line of a server's output: where it listens.
pub(crate) fn announce(out: &mut impl Write, address: impl Display) -> io::Result<()> {
    unless_reader_left(writeln!(out, "listening on {address}").and_then(|()| out.flush()))
}
