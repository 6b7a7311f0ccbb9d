//! The conformance suite, forced on one backend after the other.
//!
//! Which backends exist is written here; which of them this machine can run is asked of
//! `wharf doctor`, so that CI and the library cannot disagree. The suite itself lives in
//! `crates/wharf-conformance`.

use std::time::Duration;

use crate::json::Json;
use crate::process::{self, Run};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The backends of this operating system by their names in `WHARF_BACKEND`. A new backend is one
/// more name here.
pub(crate) const BACKENDS: &[&str] = if cfg!(target_os = "linux") {
    &["io_uring", "epoll"]
} else if cfg!(windows) {
    &["iocp"]
} else {
    &["kqueue"]
};

/// The suite's own command; the arguments behind `--` are added to it.
pub(crate) const SUITE: &[&str] = &[
    "test",
    "--package",
    "wharf-conformance",
    "--test",
    "it",
    "--locked",
];

/// How long the suite may take on one backend, its build included.
pub(crate) const LIMIT: Duration = Duration::from_secs(8 * 60);

/// Why a backend cannot run on this machine, as `wharf doctor` says it; `None` where it can.
///
/// Where doctor gives no answer the suite is run all the same: then it shows the reason itself.
pub(crate) fn missing(workspace: &Workspace, backend: &str) -> Option<String> {
    let mut doctor = workspace.cargo(&[
        "run",
        "--quiet",
        "--package",
        "wharf-cli",
        "--locked",
        "--",
        "doctor",
        "--json",
    ]);
    doctor.env_remove("WHARF_BACKEND");
    let report = process::run_quietly(doctor, LIMIT).lines.join("\n");
    missing_in(&Json::parse(&report)?, backend)
}

fn missing_in(report: &Json, backend: &str) -> Option<String> {
    let entry = report
        .get("backends")?
        .items()
        .iter()
        .find(|entry| entry.get("name").and_then(Json::as_text) == Some(backend))?;
    if entry.get("available").and_then(Json::as_bool)? {
        return None;
    }
    let reason = entry
        .get("reason")
        .and_then(Json::as_text)
        .unwrap_or("doctor gives no reason");
    Some(reason.to_owned())
}

/// Runs the suite on one backend.
pub(crate) fn run_on(
    workspace: &Workspace,
    backend: &str,
    arguments: &[String],
    limit: Duration,
) -> Run {
    let mut command = workspace.cargo(SUITE);
    command
        .arg("--")
        .args(arguments)
        .env("WHARF_BACKEND", backend);
    process::run(command, limit)
}

/// Runs the suite on the kqueue selector, which stands on a stand-in for the system call here. It is
/// another build, and has a directory of its own, so that neither throws the other away.
pub(crate) fn run_on_stand_in(workspace: &Workspace, arguments: &[String], limit: Duration) -> Run {
    let build = |arguments: &[&str]| {
        let mut command = workspace.cargo(arguments);
        command
            .arg("--target-dir")
            .arg(workspace.root().join("target").join("kqueue"))
            .env("RUSTFLAGS", "--cfg wharf_kqueue")
            .env("WHARF_BACKEND", "kqueue");
        command
    };
    // The selector's own tests; those of the suite count.
    let mut own = build(&["test", "--package", "wharf-queue", "--lib", "--locked"]);
    own.args(["--", "backend::kqueue"]);
    let own = process::run(own, limit);
    if own.verdict().is_err() {
        return own;
    }
    let mut suite = build(SUITE);
    suite.arg("--").args(arguments);
    process::run(suite, limit)
}

/// `cargo xtask kqueue`: the suite on the kqueue selector, on Linux.
pub(crate) fn stand_in_command(workspace: &Workspace, arguments: &[String]) -> bool {
    let run = run_on_stand_in(workspace, arguments, LIMIT);
    println!("{} passed, {} failed", run.tally.passed, run.tally.failed);
    match verdict(&run, "kqueue") {
        Ok(()) => true,
        Err(reason) => {
            println!("{reason}");
            false
        }
    }
}

/// The verdict on a run of the suite: one without a single test proves nothing, and neither does one
/// that went to another backend than it was forced on.
pub(crate) fn verdict(run: &Run, backend: &str) -> Result<(), String> {
    run.verdict()?;
    is_forced(&run.tally, backend)
}

fn is_forced(tally: &Tally, backend: &str) -> Result<(), String> {
    if tally.ran() == 0 {
        return Err("the suite ran no test".to_owned());
    }
    let prefix = format!("{backend}::");
    let other = |name: &&String| {
        // The harness puts the promise that a case belongs to in brackets before its name.
        let own = name.rsplit_once("] ").map_or(name.as_str(), |(_, own)| own);
        !own.trim_start().starts_with(&prefix)
    };
    match tally.passed_names.iter().find(other) {
        Some(name) => Err(format!("`{name}` ran though {backend} was forced")),
        None => Ok(()),
    }
}

/// `cargo xtask conformance`: each backend, then one line for each.
pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> bool {
    let mut report = Vec::new();
    let mut is_good = true;
    for backend in BACKENDS {
        if let Some(reason) = missing(workspace, backend) {
            report.push(format!("{backend:10} NOT RUN  {reason}"));
            continue;
        }
        println!("\n=== conformance on {backend}");
        let run = run_on(workspace, backend, arguments, LIMIT);
        let counts = format!("{} passed, {} failed", run.tally.passed, run.tally.failed);
        match verdict(&run, backend) {
            Ok(()) => report.push(format!("{backend:10} PASS     {counts}")),
            Err(reason) => {
                is_good = false;
                report.push(format!("{backend:10} FAIL     {counts}; {reason}"));
            }
        }
        report.extend(
            run.tally
                .not_run
                .iter()
                .map(|item| format!("{:10} not run  {item}", "")),
        );
    }
    println!("\n{}", report.join("\n"));
    is_good
}

#[cfg(test)]
mod tests {
    use super::{is_forced, missing_in};
    use crate::json::Json;
    use crate::tally::Tally;

    #[test]
    fn forced_run_must_stay_on_its_backend() {
        let mut tally = Tally {
            passed: 1,
            passed_names: vec!["[C1]  epoll::nop".to_owned(), "epoll::nop".to_owned()],
            ..Tally::default()
        };
        assert_eq!(is_forced(&tally, "epoll"), Ok(()));
        assert!(is_forced(&tally, "io_uring").is_err());
        tally.passed_names.push("[C1] io_uring::nop".to_owned());
        assert!(is_forced(&tally, "epoll").is_err());
        assert!(is_forced(&Tally::default(), "epoll").is_err());
    }

    #[test]
    fn missing_backend_is_told_with_the_reason_of_doctor() {
        let report = Json::parse(
            r#"{"backends": [{"name": "io_uring", "available": false, "reason": "sysctl"},
                             {"name": "epoll", "available": true}]}"#,
        )
        .expect("valid");
        assert_eq!(missing_in(&report, "io_uring"), Some("sysctl".to_owned()));
        assert_eq!(missing_in(&report, "epoll"), None);
        assert_eq!(missing_in(&report, "unheard-of"), None);
    }
}
