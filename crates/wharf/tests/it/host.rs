//! What each system has in its own way: looking at processes and open files, and addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

/// Any port of an address of this machine that no other test uses, as far as the system has so many
/// addresses: for those who look at a port after they have closed it. At an address that all use,
/// somebody else may be given it at that moment.
pub(crate) fn own_loopback() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    // Elsewhere, 127.0.0.0/8 is one address and not the whole of it.
    if !cfg!(any(target_os = "linux", windows)) {
        return (Ipv4Addr::LOCALHOST, 0).into();
    }
    let [_, _, second, third] = std::process::id().to_be_bytes();
    let last = 2 + NEXT.fetch_add(1, Ordering::Relaxed) % 250;
    (Ipv4Addr::new(127, second, third, last), 0).into()
}

#[cfg(unix)]
mod unix {
    use std::path::Path;
    use std::process::Command;

    /// Whether this process has a file open.
    pub(crate) fn is_open(path: &Path) -> bool {
        let path = path.canonicalize().expect("it exists");
        let all = std::fs::read_dir("/proc/self/fd").expect("there is such a directory");
        all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .any(|target| target == path)
    }

    /// Whether the system knows of a process: it runs, or nobody has waited for it.
    pub(crate) fn is_there(process: u32) -> bool {
        Path::new(&format!("/proc/{process}")).exists()
    }

    /// Whether a process runs; one that nobody has waited for counts.
    pub(crate) fn runs(process: u32) -> bool {
        is_there(process)
    }

    /// How much this process has open, and how much memory it uses, in KiB.
    pub(crate) fn census() -> (usize, usize) {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let memory = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = memory.split(' ').nth(1).unwrap().parse().unwrap();
        (descriptors, pages * 4)
    }

    /// This program with so few descriptors beside those that it inherits.
    pub(crate) fn with_few_descriptors(count: u32) -> Command {
        // Four of those that are listed are the standard streams and the list's own.
        let run = format!("ulimit -n $(({count} + $(ls /dev/fd | wc -l) - 4)); exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command
            .args(["-c", &run])
            .arg(std::env::current_exe().expect("this is one"));
        command
    }

    /// Makes a named pipe.
    pub(crate) fn named_pipe(path: &Path) {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo is there").success());
    }
}

#[cfg(windows)]
mod windows {
    #![expect(unsafe_code)]
    // UNSAFETY: calls that the standard library has no wrapper for.

    use std::fs::OpenOptions;
    use std::os::windows::fs::OpenOptionsExt as _;
    use std::path::Path;
    use std::process::Command;

    use windows_sys::Win32::Foundation::{
        CloseHandle, GetHandleInformation, HANDLE, WAIT_OBJECT_0,
    };
    use windows_sys::Win32::System::ProcessStatus::{
        GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS,
    };
    use windows_sys::Win32::System::Threading::{
        GetCurrentProcess, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
        WaitForSingleObject,
    };

    /// Whether this process has a file open: nobody may open it alone then.
    pub(crate) fn is_open(path: &Path) -> bool {
        let mut alone = OpenOptions::new();
        alone.read(true).share_mode(0).open(path).is_err()
    }

    /// Whether the system knows of a process: it runs, or somebody has a handle of it.
    pub(crate) fn is_there(process: u32) -> bool {
        // SAFETY: a call with numbers.
        let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, process) };
        // SAFETY: the handle is ours, or there is none.
        !handle.is_null() && unsafe { CloseHandle(handle) } != 0
    }

    /// Whether a process runs.
    pub(crate) fn runs(process: u32) -> bool {
        // SAFETY: a call with numbers.
        let handle = unsafe { OpenProcess(PROCESS_SYNCHRONIZE, 0, process) };
        if handle.is_null() {
            return false;
        }
        // SAFETY: the handle is open.
        let waited = unsafe { WaitForSingleObject(handle, 0) };
        // SAFETY: the handle is ours.
        unsafe { CloseHandle(handle) };
        waited != WAIT_OBJECT_0
    }

    /// How much this process has open, and how much memory it uses, in KiB. Handles are looked for
    /// one by one, because Wine does not count them; their numbers go in steps of four.
    pub(crate) fn census() -> (usize, usize) {
        let is_handle = |number: &usize| {
            let mut flags = 0;
            // SAFETY: the flags are valid for writing.
            unsafe { GetHandleInformation(*number as HANDLE, &raw mut flags) != 0 }
        };
        let handles = (4..1 << 14).step_by(4).filter(is_handle).count();
        let mut counters = PROCESS_MEMORY_COUNTERS::default();
        let len = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
        // SAFETY: this process's own handle needs no closing.
        let this = unsafe { GetCurrentProcess() };
        // SAFETY: the counters are valid for writing, for their length.
        let told = unsafe { GetProcessMemoryInfo(this, &raw mut counters, len) };
        assert_ne!(told, 0, "{}", std::io::Error::last_os_error());
        (handles, counters.WorkingSetSize / 1024)
    }

    pub(crate) fn with_few_descriptors(_: u32) -> Command {
        unreachable!("tests that need it are not run here")
    }

    pub(crate) fn named_pipe(_: &Path) {
        unreachable!("tests that need one are not run here")
    }
}

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
