//! Calls that would raise `SIGPIPE`, made without it.
//!
//! Rust programs ignore that signal from the start, and most leave it so; then all this costs one
//! look at what happens to it. Sends on sockets say `MSG_NOSIGNAL` instead (send(2)).
//!
//! Sources: pipe(7), sigaction(2), pthread_sigmask(3).

#![expect(unsafe_code)]
// UNSAFETY: calls about signals, with pointers to locals.

use std::mem::MaybeUninit;

use super::RawError;
use crate::sys::native;

/// Whether a broken pipe raises a signal that somebody hears of.
pub(crate) fn broken_pipes_signal() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is set, and the record is valid for writing.
    unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all zeros is a valid record, and the call has filled it.
    let action = unsafe { action.assume_init() };
    action.sa_sigaction != libc::SIG_IGN
}

/// Makes a call whose `SIGPIPE` nobody shall hear of: an error says the same.
pub(crate) fn without_sigpipe<T>(
    call: impl FnOnce() -> Result<T, RawError>,
) -> Result<T, RawError> {
    if !broken_pipes_signal() {
        return call();
    }
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is valid for writing.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: as above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: initialised by the calls above.
    let set = unsafe { set.assume_init() };
    let mut before = set;
    // SAFETY: both sets are valid.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
    let result = call();
    // One that was pending before stays so only if it was blocked before; then it is not ours.
    // SAFETY: the set is valid for reading.
    let was_blocked = unsafe { libc::sigismember(&raw const before, libc::SIGPIPE) } == 1;
    if result.as_ref().err() == Some(&libc::EPIPE) && !was_blocked {
        // The signal is taken back; there may be none, if the system has raised none.
        native::take_signal(&set);
    }
    // SAFETY: the set is valid for reading.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_programs_ignore_broken_pipes() {
        assert!(!broken_pipes_signal());
        assert_eq!(without_sigpipe(|| Ok(7)), Ok(7));
    }
}
