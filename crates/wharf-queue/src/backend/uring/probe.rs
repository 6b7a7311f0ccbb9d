//! Whether io_uring is to be had, and what it can do: found by building the real ring.
//!
//! Owns the explanation of a refusal and the child process that tries the calls where a filter
//! might kill whoever makes them.

#![expect(unsafe_code)]
// UNSAFETY: a child process is made that makes system calls only.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

use io_uring::{IoUring, Probe, opcode};

use crate::backend::{Backend, BackendKind, BackendReport, Config};

/// What a child process found out by making the calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Works,
    Fails(i32),
    Kills,
}

/// Whether the calls may be made at all. Under a seccomp filter, or where it cannot be seen whether
/// there is one, a child tries them first, once.
pub(super) fn allowed() -> io::Result<()> {
    static VERDICT: OnceLock<Option<Verdict>> = OnceLock::new();
    if is_filtered() == Some(false) {
        return Ok(());
    }
    match VERDICT.get_or_init(try_in_child) {
        Some(Verdict::Works | Verdict::Fails(_)) => Ok(()),
        Some(Verdict::Kills) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "io_uring is not to be had: a seccomp filter kills processes that call io_uring_setup; \
             allow io_uring in the container's seccomp profile",
        )),
        None => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "io_uring is not to be had: a seccomp filter is in force, and no child process could \
             be made to find out whether it allows io_uring_setup",
        )),
    }
}

/// Whether a seccomp filter is in force for this thread (proc_pid_status(5)). `None` if it cannot be
/// seen: without a descriptor that is free, or without `/proc`.
fn is_filtered() -> Option<bool> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let mut lines = status.lines();
    let mode = lines.find_map(|line| line.strip_prefix("Seccomp:"))?;
    Some(mode.trim() == "2")
}

/// Makes a child that tries the three calls of io_uring and ends.
fn try_in_child() -> Option<Verdict> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // A clone without flags is a fork that announces its end to nobody (clone(2)), so that no
    // handler of the program's hears of it.
    // SAFETY: the child makes nothing but system calls and `_exit`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0, none, none, none, none) };
    if pid == 0 {
        child();
    }
    if pid < 0 {
        return None;
    }
    let mut status = 0;
    loop {
        // SAFETY: the status is valid for writing.
        let waited = unsafe { libc::waitpid(pid as i32, &raw mut status, libc::__WALL) };
        if waited == pid as i32 {
            break;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
    if !libc::WIFEXITED(status) {
        return Some(Verdict::Kills);
    }
    match libc::WEXITSTATUS(status) {
        0 => Some(Verdict::Works),
        error => Some(Verdict::Fails(error)),
    }
}

/// What the child does: setup, register, enter; its exit status is the errno, or 0.
fn child() -> ! {
    // The parameters of io_uring_setup(2) are 120 bytes, all zero here.
    let mut parameters = [0u32; 30];
    let pointer = parameters.as_mut_ptr();
    // SAFETY: the parameters are valid for reading and writing.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, pointer) };
    if fd < 0 {
        let error = io::Error::last_os_error().raw_os_error().unwrap_or(1);
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(error) }
    }
    // SAFETY: unregistering what is not registered fails and does nothing else.
    unsafe { libc::syscall(libc::SYS_io_uring_register, fd, 1, 0, 0) };
    // SAFETY: submits nothing and waits for nothing.
    unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, 0, 0, 0, 0, 0) };
    // SAFETY: as above.
    unsafe { libc::_exit(0) }
}

/// One sentence on why the ring could not be made, and what would help.
pub(super) fn explain(error: &io::Error) -> io::Error {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let disabled = disabled.map_or(0, |text| text.trim().parse().unwrap_or(0));
    let reason = match error.raw_os_error() {
        Some(libc::EPERM) if disabled > 0 => {
            format!("the sysctl kernel.io_uring_disabled is {disabled}; set it to 0")
        }
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if is_filtered() == Some(true) => {
            "a seccomp filter forbids it; allow io_uring_setup, io_uring_enter and \
             io_uring_register in the container's seccomp profile"
                .to_owned()
        }
        Some(libc::ENOSYS) => "this kernel has none; Linux 5.15 or newer does".to_owned(),
        Some(libc::ENOMEM) => {
            "the limit of locked memory is too small; raise it (ulimit -l)".to_owned()
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptor is left; raise the limit of open files (ulimit -n)".to_owned()
        }
        _ => "io_uring_setup failed".to_owned(),
    };
    let message = format!("io_uring is not to be had: {reason}: {error}");
    io::Error::new(error.kind(), message)
}

/// Makes everything that a queue on it needs, and asks the real ring.
pub(in crate::backend) fn probe() -> BackendReport {
    let made = super::Uring::new(Config { ring_entries: 8 }).and_then(|mut uring| {
        uring.waker()?;
        Ok(uring)
    });
    let kind = BackendKind::IoUring;
    match made {
        Err(error) => BackendReport {
            kind,
            available: false,
            reason: error.to_string(),
            features: BTreeMap::new(),
        },
        Ok(uring) => {
            let features = uring.features();
            let reason = "the ring can be built with what wharf needs".to_owned();
            BackendReport {
                kind,
                available: true,
                reason,
                features,
            }
        }
    }
}

/// What the kernel says of its operations. Every kernel that is new enough can be asked, so that
/// an error means that registering is forbidden.
pub(super) fn opcodes(ring: &IoUring) -> io::Result<Probe> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    Ok(probe)
}

/// The features that depend on an operation's being there.
pub(super) fn opcode_features(probe: &Probe) -> [(&'static str, bool); 6] {
    let has = |code| probe.is_supported(code);
    [
        ("ftruncate", has(opcode::Ftruncate::CODE)),
        ("futex", has(opcode::FutexWait::CODE)),
        ("msg_ring", has(opcode::MsgRingData::CODE)),
        ("send_zc", has(opcode::SendZc::CODE)),
        ("socket", has(opcode::Socket::CODE)),
        ("waitid", has(opcode::WaitId::CODE)),
    ]
}
