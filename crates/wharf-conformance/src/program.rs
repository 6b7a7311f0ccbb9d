//! Programs that tests start, on whatever system: the start itself, and Ctrl-C for one of them alone.

use std::io;
use std::process::Command;

use crate::fixture::{host, signal};

/// Starts a program, as `start` does.
///
/// Wine 8 says of one start in some thousands, on a busy machine, that it has failed within itself
/// (`ERROR_INTERNAL_ERROR`): it is asked again.
///
/// # Errors
/// That of the start.
pub fn started<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 5;
    loop {
        match start() {
            Err(error) if host::start_failed_within(&error) && tries > 0 => tries -= 1,
            started => return started,
        }
    }
}

/// Prepares a command for [`press_ctrl_c`].
///
/// On Windows it gets a console of its own, which has no window.
pub fn set_apart(command: &mut Command) {
    signal::set_apart(command);
}

/// Does to a process what Ctrl-C does. It was started by a command that was [set apart](set_apart),
/// runs, and was not waited for.
///
/// On Windows a process can do that in its own console only: there this program is started once more,
/// with these arguments, to go into the other's. With them it has to come to
/// [`be_the_child`](crate::be_the_child).
///
/// # Panics
/// If there is no such process.
pub fn press_ctrl_c(process: u32, arguments: &[&str]) {
    signal::interrupt(process, arguments);
}
