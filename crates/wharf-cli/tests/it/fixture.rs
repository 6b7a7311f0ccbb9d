//! What has to be done to the system, or to a child before it runs: signals, limits, filters.

#![expect(unsafe_code)]
// UNSAFETY: these are system calls that no safe crate of the workspace makes.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

/// A signal that asks a server to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

/// Sends a signal to a child that has not been waited for.
pub(crate) fn send(child: &Child, signal: Signal) {
    let signal = match signal {
        Signal::Interrupt => libc::SIGINT,
        Signal::Terminate => libc::SIGTERM,
    };
    // SAFETY: a call without pointers; the child is ours, so that the number is its own.
    let sent = unsafe { libc::kill(child.id() as libc::pid_t, signal) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
}

/// Raises the limit of open files as far as it may be raised, for this process and its children.
/// Returns the limit.
pub(crate) fn many_descriptors() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is valid for writing.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(asked, 0, "{}", io::Error::last_os_error());
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is valid for reading.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Makes a FIFO.
pub(crate) fn make_fifo(path: &Path) {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL");
    // SAFETY: the path is a string with an end.
    let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(made, 0, "{}", io::Error::last_os_error());
}

/// Lets the child have at most so much memory of its own (`RLIMIT_DATA`, getrlimit(2)).
pub(crate) fn limit_memory(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    let install = move || {
        // SAFETY: the limit is valid for reading.
        match unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes one system call and no allocation.
    unsafe { command.pre_exec(install) };
}

/// Lets the child have at most so many descriptors (`RLIMIT_NOFILE`, getrlimit(2)), and inherit none
/// but the standard streams: whoever started the tests may have left many open.
pub(crate) fn limit_descriptors(command: &mut Command, count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    let install = move || {
        for number in 3..1024 {
            // SAFETY: a call with numbers; most of them name nothing, which changes nothing.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        // SAFETY: the limit is valid for reading.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes system calls only, and no allocation.
    unsafe { command.pre_exec(install) };
}

/// What happens to a process that sets up a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It gets `EPERM`, as in a container.
    Refused,
    /// It is killed.
    Killed,
}

/// Puts the child under a seccomp filter that forbids io_uring_setup (seccomp(2)).
pub(crate) fn forbid_io_uring(command: &mut Command, verdict: Verdict) {
    let action = match verdict {
        Verdict::Refused => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        Verdict::Killed => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let filter = [
        // The number of the call is the first word of what the filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: a call without pointers.
        let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        if promised != 0 {
            return Err(io::Error::last_os_error());
        }
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: the program and its instructions outlive the call.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes two system calls and no allocation.
    unsafe { command.pre_exec(install) };
}
