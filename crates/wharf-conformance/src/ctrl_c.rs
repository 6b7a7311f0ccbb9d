//! Ctrl-C for one process alone, which tests need of programs that wait for it.

use std::process::Command;

use crate::fixture::signal;

/// Prepares a command for [`send`].
///
/// On Windows it gets a console of its own, which has no window.
pub fn prepare(command: &mut Command) {
    signal::set_apart(command);
}

/// Does to a process what Ctrl-C does. It was started by a command that was [`prepare`]d, runs, and
/// was not waited for.
///
/// On Windows a process can do that in its own console only: there this program is started once more,
/// with these arguments, to go into the other's. With them it has to come to
/// [`be_the_child`](crate::be_the_child).
///
/// # Panics
/// If there is no such process.
pub fn send(process: u32, arguments: &[&str]) {
    signal::interrupt(process, arguments);
}
