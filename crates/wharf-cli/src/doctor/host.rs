//! What the system says of itself, as far as it decides on backends: proc(5).
//!
//! What cannot be read is not known, and is said to be so; nothing here is an error.

use serde_json::{Value, json};
use wharf_queue::BackendReport;

/// Fewer descriptors than this are soon used up by a server.
const FEW_FILES: u64 = 4096;

/// A limit of this process: what is in force, and how far it may raise that itself. No number is no
/// limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limit {
    soft: Option<u64>,
    hard: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Host {
    kernel: Option<String>,
    /// The sysctl of this name, where the kernel has it.
    io_uring_disabled: Option<u64>,
    /// The seccomp mode of this process.
    seccomp: Option<u64>,
    memlock: Option<Limit>,
    open_files: Option<Limit>,
    environment: Option<String>,
}

impl Host {
    pub(super) fn read() -> Host {
        let text = |path: &str| std::fs::read_to_string(path).ok();
        let limits = text("/proc/self/limits").unwrap_or_default();
        let status = text("/proc/self/status").unwrap_or_default();
        Host {
            kernel: text("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
            io_uring_disabled: text("/proc/sys/kernel/io_uring_disabled")
                .and_then(|value| value.trim().parse().ok()),
            seccomp: seccomp(&status),
            memlock: limit(&limits, "Max locked memory"),
            open_files: limit(&limits, "Max open files"),
            environment: std::env::var("WHARF_BACKEND").ok(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "kernel": self.kernel,
            "io_uring_disabled": self.io_uring_disabled,
            "seccomp": self.seccomp.map(seccomp_name),
            "memlock_bytes": self.memlock.map(limit_json),
            "open_files": self.open_files.map(limit_json),
            "WHARF_BACKEND": self.environment,
        })
    }

    /// Name, value and meaning of each fact.
    pub(super) fn facts(&self) -> Vec<(&'static str, String, &'static str)> {
        let unknown = || "unknown".to_owned();
        let disabled = match self.io_uring_disabled {
            Some(0) => "io_uring is allowed to all",
            Some(1) => "only to CAP_SYS_ADMIN and the group kernel.io_uring_group",
            Some(_) => "io_uring is forbidden to all",
            None => "this kernel has no such switch",
        };
        let seccomp = match self.seccomp {
            Some(0) => "no filter of system calls",
            Some(_) => "system calls are filtered; what the filter forbids was tried out",
            None => "",
        };
        let shown = |limit: Option<Limit>| limit.map_or_else(unknown, limit_text);
        let disabled_value = self
            .io_uring_disabled
            .map_or_else(unknown, |v| v.to_string());
        let seccomp_value = self
            .seccomp
            .map_or_else(unknown, |mode| seccomp_name(mode).to_owned());
        vec![
            ("kernel", self.kernel.clone().unwrap_or_else(unknown), ""),
            ("kernel.io_uring_disabled", disabled_value, disabled),
            ("seccomp", seccomp_value, seccomp),
            (
                "locked memory (bytes)",
                shown(self.memlock),
                "rings and their buffers count against it",
            ),
            (
                "open files",
                shown(self.open_files),
                "each connection takes one",
            ),
            (
                "WHARF_BACKEND",
                self.environment
                    .clone()
                    .unwrap_or_else(|| "not set".to_owned()),
                "",
            ),
        ]
    }

    /// What the user could do, where something is not as it could be.
    pub(super) fn advice(&self, backends: &[BackendReport]) -> Vec<String> {
        let mut advice = Vec::new();
        let refused = backends
            .iter()
            .find(|report| report.kind.name() == "io_uring" && !report.available);
        if let Some(report) = refused {
            match self.io_uring_disabled {
                Some(2..) => advice.push(
                    "io_uring is switched off: sysctl -w kernel.io_uring_disabled=0, as root on the \
                     host".to_owned(),
                ),
                Some(1) => advice.push(
                    "io_uring is for some users only: sysctl -w kernel.io_uring_disabled=0, or add the \
                     user to the group that kernel.io_uring_group names"
                        .to_owned(),
                ),
                _ => {}
            }
            if self.seccomp.is_some_and(|mode| mode > 0) && report.reason.contains("seccomp") {
                advice.push(
                    "In a container, add io_uring_setup, io_uring_enter and io_uring_register to the \
                     allowed calls of the seccomp profile: docker run --security-opt \
                     seccomp=profile.json (Docker's default profile forbids them; with \
                     seccomp=unconfined you see whether it is that)".to_owned(),
                );
            }
            if report.reason.contains("locked memory") {
                advice.push(
                    "Raise the limit of locked memory: ulimit -l, LimitMEMLOCK= of a systemd unit, or \
                     docker run --ulimit memlock=-1".to_owned(),
                );
            }
            advice.push(
                "Nothing needs to be done for programs to work: epoll does everything that io_uring \
                 does, with more system calls".to_owned(),
            );
        }
        if let Some(Limit {
            soft: Some(soft), ..
        }) = self.open_files
        {
            if soft < FEW_FILES {
                advice.push(format!(
                    "A server may have {soft} files and connections open at a time; ulimit -n raises \
                     that"
                ));
            }
        }
        advice
    }
}

/// The seccomp mode in the text of `/proc/self/status` (proc_pid_status(5)).
fn seccomp(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))?;
    line.trim().parse().ok()
}

fn seccomp_name(mode: u64) -> &'static str {
    match mode {
        0 => "none",
        1 => "strict",
        _ => "filter",
    }
}

/// A line of `/proc/self/limits` (proc_pid_limits(5)).
fn limit(limits: &str, name: &str) -> Option<Limit> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace();
    let mut number = || match words.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    let (soft, hard) = (number()?, number()?);
    Some(Limit { soft, hard })
}

fn limit_json(limit: Limit) -> Value {
    let number =
        |value: Option<u64>| value.map_or_else(|| json!("unlimited"), |value| json!(value));
    json!({ "soft": number(limit.soft), "hard": number(limit.hard) })
}

fn limit_text(limit: Limit) -> String {
    let number =
        |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
    match limit.soft == limit.hard {
        true => number(limit.soft),
        false => format!("{} (up to {})", number(limit.soft), number(limit.hard)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n\
                      Max locked memory         8388608              unlimited            bytes     \n";
        let files = limit(limits, "Max open files").expect("there");
        assert_eq!((files.soft, files.hard), (Some(1024), Some(524_288)));
        let memory = limit(limits, "Max locked memory").expect("there");
        assert_eq!((memory.soft, memory.hard), (Some(8_388_608), None));
        assert_eq!(limit(limits, "Max cpu time"), None);
        assert_eq!(limit_text(files), "1024 (up to 524288)");
    }

    #[test]
    fn seccomp_mode_is_not_mistaken_for_the_number_of_filters() {
        assert_eq!(seccomp("Seccomp_filters:\t3\nSeccomp:\t2\n"), Some(2));
        assert_eq!(seccomp("Name:\tx\n"), None);
    }
}
