//! Counts the system calls of another process, for as long as is wanted, by `ptrace(2)`.
//!
//! It owns the tracing thread. What `strace -c -f` counts over a whole life, this counts over a window, so
//! that the set-up of a server does not blur its cost per message. The traced process is slow meanwhile: time
//! and counts are never taken in the same run.
//!
//! ```text
//! attach: SEIZE every thread, INTERRUPT it, continue it with SYSCALL
//!   stop at an entry ──> count ──┐
//!   stop at an exit ─────────────┼──> continue with SYSCALL
//!   stop for a signal ───────────┘    (handed on)
//! stop: the flag is set, a SIGWINCH stops the process once more, the thread ends and thereby detaches
//! ```
// UNSAFETY: foreign calls whose pointers come from references, or are plain numbers to ptrace.
#![expect(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// How often each system call was made, by its number.
pub type Counts = BTreeMap<u64, u64>;

/// A process whose system calls are being counted.
#[derive(Debug)]
pub struct SyscallCounter {
    process: libc::pid_t,
    stopping: Arc<AtomicBool>,
    tracer: JoinHandle<io::Result<Counts>>,
}

impl SyscallCounter {
    /// Starts to count; when this returns, no system call that is made later is missed.
    ///
    /// # Errors
    /// The error of `ptrace(2)`, `EPERM` where tracing is not allowed.
    pub fn attach(process: u32) -> io::Result<Self> {
        let process = process as libc::pid_t;
        let stopping = Arc::new(AtomicBool::new(false));
        let (ready, started) = mpsc::channel();
        let flag = Arc::clone(&stopping);
        // A tracee belongs to the thread that has seized it, so one thread does all of it.
        let tracer = thread::spawn(move || {
            let threads = match seize_all(process) {
                Ok(threads) => threads,
                Err(error) => {
                    // The receiver waits in `attach` below.
                    let _ = ready.send(Err(error));
                    return Ok(Counts::new());
                }
            };
            trace(threads, &ready, &flag)
        });
        match started.recv() {
            Ok(Ok(())) => Ok(Self {
                process,
                stopping,
                tracer,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the traced process has ended")),
        }
    }

    /// Stops to count and lets the process go on.
    ///
    /// # Errors
    /// The error of `ptrace(2)` while it was counted.
    ///
    /// # Panics
    /// When the tracing thread has panicked.
    pub fn stop(self) -> io::Result<Counts> {
        self.stopping.store(true, Ordering::SeqCst);
        // SIGWINCH is ignored by default, but a tracer sees even an ignored signal (ptrace(2)).
        // SAFETY: the call takes no pointer.
        unsafe { libc::kill(self.process, libc::SIGWINCH) };
        self.tracer
            .join()
            .expect("the tracing thread does not panic")
    }
}

fn ptrace(request: libc::c_uint, thread: libc::pid_t, data: usize) -> io::Result<()> {
    // SAFETY: the requests of this module take a number as data, or nothing.
    let result = unsafe { libc::ptrace(request, thread, ptr::null_mut::<libc::c_void>(), data) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Seizes and interrupts every thread; each will report a stop.
fn seize_all(process: libc::pid_t) -> io::Result<usize> {
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE;
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let Some(thread) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        match ptrace(libc::PTRACE_SEIZE, thread, options as usize) {
            Ok(()) => {
                ptrace(libc::PTRACE_INTERRUPT, thread, 0)?;
                count += 1;
            }
            // The kernel's own workers of a ring are listed among the threads and cannot be traced.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && count > 0 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// The number of the system call that a thread has stopped at the entry of.
fn entered(thread: libc::pid_t) -> io::Result<Option<u64>> {
    // struct ptrace_syscall_info (ptrace(2), PTRACE_GET_SYSCALL_INFO): the kind of the stop is its first
    // byte, and at an entry the number of the call is its fourth word. Its full size is 88 bytes.
    let mut info = [0_u64; 11];
    // SAFETY: the kernel writes at most the size that is passed, which is that of the array.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GET_SYSCALL_INFO,
            thread,
            size_of_val(&info),
            info.as_mut_ptr(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let kind = info[0].to_ne_bytes()[0];
    Ok((kind == libc::PTRACE_SYSCALL_INFO_ENTRY).then_some(info[3]))
}

fn trace(
    mut starting: usize,
    ready: &mpsc::Sender<io::Result<()>>,
    stopping: &AtomicBool,
) -> io::Result<Counts> {
    let mut counts = Counts::new();
    loop {
        let mut status = 0;
        // Only the tracees of this thread: the children of others are theirs to wait for.
        // SAFETY: the status is written by the call and outlives it.
        let thread =
            unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if thread < 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                // Every thread of the process has ended.
                Some(libc::ECHILD) => return Ok(counts),
                _ => return Err(error),
            }
        }
        if !libc::WIFSTOPPED(status) {
            continue;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let mut deliver = 0;
        if signal == libc::SIGTRAP | 0x80 {
            // A thread that is killed in its stop cannot be asked any more; its end is reported next.
            if let Ok(Some(number)) = entered(thread) {
                *counts.entry(number).or_default() += 1;
            }
        } else if event == libc::PTRACE_EVENT_STOP {
            starting = starting.saturating_sub(1);
        } else if event == 0 {
            if signal == libc::SIGWINCH && stopping.load(Ordering::SeqCst) {
                return Ok(counts);
            }
            deliver = signal as usize;
        }
        match ptrace(libc::PTRACE_SYSCALL, thread, deliver) {
            Ok(()) => {}
            // Killed in its stop, as above.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
        if event == libc::PTRACE_EVENT_STOP && starting == 0 {
            // Nobody listens any more after the first time.
            let _ = ready.send(Ok(()));
        }
    }
}

/// The name of a system call, of those that servers and loops here make, else its number.
#[must_use]
pub fn name(number: u64) -> String {
    let known = [
        (libc::SYS_io_uring_enter, "io_uring_enter"),
        (libc::SYS_io_uring_register, "io_uring_register"),
        (libc::SYS_epoll_pwait, "epoll_pwait"),
        (libc::SYS_epoll_pwait2, "epoll_pwait2"),
        (libc::SYS_epoll_ctl, "epoll_ctl"),
        (libc::SYS_recvfrom, "recv"),
        (libc::SYS_sendto, "send"),
        (libc::SYS_recvmsg, "recvmsg"),
        (libc::SYS_sendmsg, "sendmsg"),
        (libc::SYS_read, "read"),
        (libc::SYS_write, "write"),
        (libc::SYS_readv, "readv"),
        (libc::SYS_writev, "writev"),
        (libc::SYS_pread64, "pread64"),
        (libc::SYS_preadv2, "preadv2"),
        (libc::SYS_sendfile, "sendfile"),
        (libc::SYS_openat, "openat"),
        (libc::SYS_openat2, "openat2"),
        (libc::SYS_statx, "statx"),
        (libc::SYS_fstat, "fstat"),
        (libc::SYS_newfstatat, "newfstatat"),
        (libc::SYS_setsockopt, "setsockopt"),
        (libc::SYS_accept4, "accept4"),
        (libc::SYS_close, "close"),
        (libc::SYS_futex, "futex"),
        (libc::SYS_clock_gettime, "clock_gettime"),
        (libc::SYS_restart_syscall, "restart_syscall"),
    ];
    let wanted = i64::try_from(number).unwrap_or(-1);
    if wanted == EPOLL_WAIT {
        return "epoll_wait".to_owned();
    }
    let found = known.iter().find(|(known, _)| *known == wanted);
    found.map_or_else(
        || format!("syscall {number}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// `epoll_wait`, which newer architectures do not have (they have `epoll_pwait` alone).
#[cfg(target_arch = "x86_64")]
const EPOLL_WAIT: i64 = libc::SYS_epoll_wait;
#[cfg(not(target_arch = "x86_64"))]
const EPOLL_WAIT: i64 = i64::MIN;

/// The counts as text, the most frequent first, each divided by `operations`.
#[must_use]
pub fn describe(counts: &Counts, operations: u64) -> String {
    let mut sorted: Vec<(u64, u64)> = counts
        .iter()
        .map(|(&number, &count)| (number, count))
        .collect();
    sorted.sort_by_key(|&(number, count)| (std::cmp::Reverse(count), number));
    let per_operation = |count: u64| count as f64 / operations as f64;
    let parts: Vec<String> = sorted
        .iter()
        .filter(|&&(_, count)| per_operation(count) >= 0.001)
        .map(|&(number, count)| format!("{} {:.3}", name(number), per_operation(count)))
        .collect();
    parts.join(", ")
}
