//! Thin safe wrappers of the Linux system calls that the standard library does not offer.
//!
//! It owns the calls themselves and the translation of their results into `io::Result`. It does not retry,
//! except for interrupted waits, and it keeps no state.
// UNSAFETY: every function here is one foreign call, or two, whose pointers come from references.
#![expect(unsafe_code)]

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// What an [`Epoll`] watches a descriptor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Readable, or closed by the peer.
    Read,
    /// Writable.
    Write,
    /// Both.
    ReadWrite,
}

impl Interest {
    fn events(self) -> u32 {
        let events = match self {
            Self::Read => libc::EPOLLIN,
            Self::Write => libc::EPOLLOUT,
            Self::ReadWrite => libc::EPOLLIN | libc::EPOLLOUT,
        };
        events as u32
    }
}

/// One event of an [`Epoll`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Event(libc::epoll_event);

impl Event {
    /// An event that says nothing, to fill the array that [`Epoll::wait`] overwrites.
    pub const EMPTY: Self = Self(libc::epoll_event { events: 0, u64: 0 });

    /// The key that the descriptor was registered with.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.0.u64
    }

    /// Whether the descriptor can be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.0.events & libc::EPOLLOUT as u32 != 0
    }

    /// Whether a read would return at once: data, an end, or an error.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let reasons = libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR;
        self.0.events & reasons as u32 != 0
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, events) = (self.0.u64, self.0.events);
        formatter
            .debug_struct("Event")
            .field("key", &key)
            .field("events", &events)
            .finish()
    }
}

/// A level-triggered epoll instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// Creates it.
    ///
    /// # Errors
    /// The error of `epoll_create1(2)`.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call above returned a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    fn control(
        &self,
        action: libc::c_int,
        target: BorrowedFd<'_>,
        interest: Interest,
        key: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.events(),
            u64: key,
        };
        // SAFETY: both descriptors are open while borrowed, and the event outlives the call.
        let result = unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                action,
                target.as_raw_fd(),
                &raw mut event,
            )
        };
        check(result).map(drop)
    }

    /// Starts to watch `target`; closing its last descriptor ends that.
    ///
    /// # Errors
    /// The error of `epoll_ctl(2)`.
    pub fn add(&self, target: impl AsFd, interest: Interest, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, target.as_fd(), interest, key)
    }

    /// Changes what `target` is watched for.
    ///
    /// # Errors
    /// The error of `epoll_ctl(2)`.
    pub fn modify(&self, target: impl AsFd, interest: Interest, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, target.as_fd(), interest, key)
    }

    /// Waits for events and returns those that came; none when the time was over first.
    ///
    /// # Errors
    /// The error of `epoll_wait(2)`, except for an interruption, which is waited through.
    pub fn wait<'a>(
        &self,
        events: &'a mut [Event],
        timeout: Option<Duration>,
    ) -> io::Result<&'a [Event]> {
        let timeout_ms = match timeout {
            None => -1,
            Some(limit) => i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
        };
        let capacity = i32::try_from(events.len()).unwrap_or(i32::MAX);
        loop {
            // SAFETY: `Event` is a transparent epoll_event, and the array has `capacity` of them.
            let result = unsafe {
                libc::epoll_wait(
                    self.0.as_raw_fd(),
                    events.as_mut_ptr().cast(),
                    capacity,
                    timeout_ms,
                )
            };
            match check(result) {
                Ok(count) => return Ok(&events[..count.unsigned_abs() as usize]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Turns the delay for small segments off. Sockets that a listener accepts take it over from the listener
/// (tcp(7), `TCP_NODELAY`; sockets are cloned from their listener), so a server asks once.
///
/// # Errors
/// The error of `setsockopt(2)`.
pub fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open while borrowed, and the option points to an int of that length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            length,
        )
    };
    check(result).map(drop)
}

/// Binds the calling thread, and what it starts later, to one core.
///
/// # Errors
/// The error of `sched_setaffinity(2)`; `InvalidInput` for a number that no set can hold.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a set of cores is a plain array of bits, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the number is inside the set, as checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set outlives the call and has the size that is passed.
    let result = unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) };
    check(result).map(drop)
}

/// The processor time, user and system, that all threads of a process have used, the ended ones included.
///
/// It reads the CPU clock of the process (`clock_getcpuclockid(3)`), which counts nanoseconds where
/// `/proc/PID/stat` counts ticks.
///
/// # Errors
/// `ESRCH` when the process is gone.
pub fn process_cpu_time(process: u32) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the clock is written by the call and outlives it.
    let error = unsafe { libc::clock_getcpuclockid(process as libc::pid_t, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is written by the call and outlives it.
    check(unsafe { libc::clock_gettime(clock, &raw mut now) })?;
    Ok(Duration::new(
        now.tv_sec.unsigned_abs(),
        now.tv_nsec.unsigned_abs() as u32,
    ))
}

/// How often the threads of a process have gone to sleep of their own will: one for each wait that found
/// nothing to do.
///
/// # Errors
/// The error of reading `/proc`.
pub fn voluntary_switches(process: u32) -> io::Result<u64> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        total += line
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(total)
}

/// How many bytes of a process's memory are in the machine's memory (`VmRSS` of `proc_pid_status(5)`).
///
/// # Errors
/// The error of reading `/proc`; `InvalidData` for a text without the line.
pub fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line
        .and_then(|text| text.trim().strip_suffix(" kB"))
        .and_then(|text| text.parse::<u64>().ok());
    Ok(kibibytes.ok_or(io::ErrorKind::InvalidData)? * 1024)
}

/// Has the child killed when the thread that starts it ends, however that comes about (`prctl(2)`,
/// `PR_SET_PDEATHSIG`).
pub fn end_with_parent(command: &mut Command) {
    let arm = || {
        // SAFETY: the call takes no pointer.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
    };
    // SAFETY: between fork and exec the closure makes one system call and touches no lock and no memory of
    // other threads.
    unsafe { command.pre_exec(arm) };
}

/// Raises the soft limit of descriptors to the hard one, so that a thousand connections fit.
///
/// # Errors
/// The error of `setrlimit(2)`.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is written by the call and outlives it.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit outlives the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// Reads at an offset into `buf`.
///
/// # Errors
/// The error of `pread(2)`.
pub fn pread(file: impl AsFd, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    // SAFETY: the descriptor is open while borrowed, and the buffer is writable for its length.
    let count = unsafe {
        libc::pread64(
            file.as_fd().as_raw_fd(),
            buf.as_mut_ptr().cast(),
            buf.len(),
            offset as libc::off64_t,
        )
    };
    if count < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(count.unsigned_abs())
    }
}
