//! The steps of `cargo xtask ci`, cheapest first, so that a slip shows in seconds.
//!
//! A step says PASS or FAIL when it could run, and NOT RUN with the reason when the machine lacks
//! what it needs; it never passes for want of a tool.

use std::process::Command;
use std::time::Duration;

use super::Verdict;
use crate::conformance;
use crate::cross;
use crate::process;
use crate::tally::Tally;
use crate::tidy;
use crate::wine;
use crate::workspace::Workspace;

/// The modules of `wharf-queue` whose unit tests make no system call, so that Miri can run them. A
/// test belongs to a module when its name begins with it.
const MIRI_MODULES: &[&str] = if cfg!(target_os = "linux") {
    &[
        "slot::",
        "buf::",
        "bufpool::",
        "op::",
        "time::",
        "timer::",
        "sys::unix::address::",
        "sys::unix::datagram::",
        "sys::unix::scratch::",
    ]
} else {
    &["slot::", "buf::", "bufpool::", "op::", "time::", "timer::"]
};

/// The oldest toolchain that the published crates support, as in the workspace manifest.
const MSRV: &str = "1.85";

type Action = Box<dyn Fn(&Workspace, Duration, &mut Tally) -> Verdict>;

/// One step.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) limit: Duration,
    pub(super) run: Action,
}

fn step(
    name: &str,
    about: &str,
    limit_min: u64,
    run: impl Fn(&Workspace, Duration, &mut Tally) -> Verdict + 'static,
) -> Step {
    Step {
        name: name.to_owned(),
        about: about.to_owned(),
        limit: Duration::from_secs(limit_min * 60),
        run: Box::new(run),
    }
}

/// Every step in the order of the run.
pub(super) fn all() -> Vec<Step> {
    let mut steps = vec![
        step("fmt", "the code is formatted", 2, |workspace, limit, _| {
            plain(workspace.cargo(&["fmt", "--all", "--check"]), limit)
        }),
        step(
            "tidy",
            "the text checks of cargo xtask tidy",
            1,
            |workspace, _, _| verdict(tidy::check(workspace)),
        ),
        step("clippy", "lints with warnings denied", 10, clippy),
        step(
            "features",
            "wharf-queue compiles with no feature",
            5,
            |workspace, limit, _| {
                let arguments = [
                    "check",
                    "--package",
                    "wharf-queue",
                    "--no-default-features",
                    "--locked",
                ];
                plain(workspace.cargo(&arguments), limit)
            },
        ),
        step("docs", "documentation with warnings denied", 5, docs),
        step(
            "test",
            "the README's test command, cargo test --workspace",
            16,
            |workspace, limit, tally| {
                tests(
                    workspace.cargo(&["test", "--workspace", "--no-fail-fast", "--locked"]),
                    limit,
                    tally,
                )
            },
        ),
    ];
    for backend in conformance::BACKENDS {
        let about = format!("the conformance suite forced on {backend}");
        let name = format!("conformance-{backend}");
        steps.push(step(&name, &about, 8, move |workspace, limit, tally| {
            if let Some(reason) = conformance::missing(workspace, backend) {
                return Verdict::NotRun(reason);
            }
            let run = conformance::run_on(workspace, backend, &[], limit);
            tally.add(&run.tally);
            verdict(conformance::verdict(&run, backend))
        }));
    }
    if cfg!(target_os = "linux") {
        let about = "the conformance suite on the kqueue selector, over a stand-in for kqueue(2)";
        steps.push(step(
            "conformance-kqueue",
            about,
            8,
            |workspace, limit, tally| {
                let run = conformance::run_on_stand_in(workspace, &[], limit);
                tally.add(&run.tally);
                verdict(conformance::verdict(&run, "kqueue"))
            },
        ));
    }
    steps.extend([
        step(
            "loom",
            "every interleaving of what threads do with each other, modelled",
            8,
            loom,
        ),
        step(
            "msrv",
            "the published crates compile on the oldest supported toolchain",
            5,
            msrv,
        ),
        step(
            "wine",
            "the Windows build under Wine: the contract, and the tests of every crate",
            15,
            wine,
        ),
        step(
            "cross",
            "the code compiles for macOS, FreeBSD, aarch64 and Windows, with warnings denied",
            8,
            cross,
        ),
        step(
            "miri",
            "unit tests without system calls under Miri",
            8,
            miri,
        ),
        step(
            "asan",
            "the conformance suite under AddressSanitizer",
            8,
            asan,
        ),
        step("deny", "licences and sources of dependencies", 2, deny),
        step(
            "advisories",
            "no dependency has a known flaw",
            2,
            advisories,
        ),
    ]);
    steps
}

fn verdict(result: Result<(), String>) -> Verdict {
    match result {
        Ok(()) => Verdict::Pass,
        Err(reason) => Verdict::Fail(reason),
    }
}

/// A command that passes by its exit code.
fn plain(command: Command, limit: Duration) -> Verdict {
    verdict(process::run(command, limit).verdict())
}

/// A command that runs tests; one that runs none has failed.
fn tests(mut command: Command, limit: Duration, tally: &mut Tally) -> Verdict {
    // A backend that was chosen for the shell must not narrow what is tested.
    command.env_remove("WHARF_BACKEND");
    let run = process::run(command, limit);
    tally.add(&run.tally);
    match run.verdict() {
        Ok(()) if run.tally.ran() == 0 => Verdict::Fail("no test ran".to_owned()),
        result => verdict(result),
    }
}

fn clippy(workspace: &Workspace, limit: Duration, _: &mut Tally) -> Verdict {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
    ];
    let mut command = workspace.cargo(&arguments);
    command.args(["--", "-D", "warnings"]);
    plain(command, limit)
}

/// The documentation twice: as users see it, and with private items for those who work on it. A
/// link from public to private text is an error only in the first.
fn docs(workspace: &Workspace, limit: Duration, _: &mut Tally) -> Verdict {
    let published = match workspace.published() {
        Ok(published) => published,
        Err(error) => return Verdict::Fail(format!("the manifests cannot be read: {error}")),
    };
    let mut public = workspace.cargo(&["doc", "--no-deps", "--all-features", "--locked"]);
    for name in &published {
        public.args(["--package", name]);
    }
    let arguments = [
        "doc",
        "--workspace",
        "--no-deps",
        "--all-features",
        "--document-private-items",
        "--locked",
    ];
    let private = workspace.cargo(&arguments);
    for mut command in [public, private] {
        command.env("RUSTDOCFLAGS", "-D warnings");
        let verdict = plain(command, limit);
        if verdict != Verdict::Pass {
            return verdict;
        }
    }
    Verdict::Pass
}

/// The models have a target directory of their own: the flag changes every crate, and the two builds
/// would else drive each other out.
fn loom(workspace: &Workspace, limit: Duration, tally: &mut Tally) -> Verdict {
    let arguments = [
        "test",
        "--package",
        "wharf",
        "--test",
        "loom",
        "--release",
        "--locked",
    ];
    let mut command = workspace.cargo(&arguments);
    command
        .arg("--target-dir")
        .arg(workspace.root().join("target/loom"))
        .env("RUSTFLAGS", "--cfg loom");
    tests(command, limit, tally)
}

/// Only the published crates promise a version, and only their own code: the dependencies of tests
/// may ask for a newer one.
fn msrv(workspace: &Workspace, limit: Duration, _: &mut Tally) -> Verdict {
    let toolchains = workspace.toolchains();
    let exact = format!("{MSRV}.");
    let dashed = format!("{MSRV}-");
    let Some(toolchain) = toolchains
        .iter()
        .find(|name| name.starts_with(&exact) || name.starts_with(&dashed))
    else {
        return Verdict::NotRun(format!(
            "toolchain {MSRV} is not installed; clippy's incompatible_msrv lint stands in for it"
        ));
    };
    let published = match workspace.published() {
        Ok(published) => published,
        Err(error) => return Verdict::Fail(format!("the manifests cannot be read: {error}")),
    };
    let mut command = workspace.cargo_on(toolchain, &["check", "--all-features", "--locked"]);
    for name in &published {
        command.args(["--package", name]);
    }
    plain(command, limit)
}

/// The nightly toolchain by its full name.
fn nightly(workspace: &Workspace) -> Result<String, Verdict> {
    let nightly = workspace
        .toolchains()
        .into_iter()
        .find(|name| name.starts_with("nightly"));
    nightly.ok_or_else(|| Verdict::NotRun("there is no nightly toolchain".to_owned()))
}

fn miri(workspace: &Workspace, limit: Duration, tally: &mut Tally) -> Verdict {
    let nightly = match nightly(workspace) {
        Ok(nightly) => nightly,
        Err(verdict) => return verdict,
    };
    let version = workspace.cargo_on(&nightly, &["miri", "--version"]);
    if process::run_quietly(version, limit).verdict().is_err() {
        return Verdict::NotRun(format!(
            "{nightly} has no miri; rustup component add miri rust-src"
        ));
    }
    let setup = process::run(workspace.cargo_on(&nightly, &["miri", "setup"]), limit);
    if let Err(reason) = setup.verdict() {
        return Verdict::NotRun(format!(
            "Miri's own standard library cannot be built: {reason}"
        ));
    }
    let arguments = [
        "miri",
        "test",
        "--package",
        "wharf-queue",
        "--all-features",
        "--lib",
        "--locked",
        "--",
    ];
    let mut command = workspace.cargo_on(&nightly, &arguments);
    command.args(MIRI_MODULES);
    let run = process::run(command, limit);
    tally.add(&run.tally);
    verdict(run.verdict().and_then(|()| every_module_ran(&run.tally)))
}

fn wine(workspace: &Workspace, limit: Duration, tally: &mut Tally) -> Verdict {
    let lacks = wine::missing(workspace);
    if !lacks.is_empty() {
        return Verdict::NotRun(lacks.join("; "));
    }
    let (run, result) = wine::run(workspace, &[], &[], limit);
    tally.add(&run);
    verdict(result)
}

/// A target that is not installed is named among what was not run.
fn cross(workspace: &Workspace, limit: Duration, tally: &mut Tally) -> Verdict {
    let report = cross::run(workspace, &[], limit);
    if report.good.is_empty() && report.bad.is_empty() {
        return Verdict::NotRun(report.missing.join("; "));
    }
    tally.not_run.extend(report.missing);
    if report.bad.is_empty() {
        Verdict::Pass
    } else {
        Verdict::Fail(report.bad.join("; "))
    }
}

/// A module that was renamed would otherwise drop out of Miri without a word.
fn every_module_ran(tally: &Tally) -> Result<(), String> {
    let names = &tally.passed_names;
    match MIRI_MODULES
        .iter()
        .find(|module| !names.iter().any(|name| name.starts_with(**module)))
    {
        Some(module) => Err(format!(
            "no test of `{module}` ran; see MIRI_MODULES in xtask"
        )),
        None => Ok(()),
    }
}

/// The suite on every backend in one run. Leaks are not asked for: that a forgotten operation leaks
/// and never frees is part of the contract. A case asks for more memory than any machine has, which
/// the sanitizer refuses as an allocator does instead of ending the run.
fn asan(workspace: &Workspace, limit: Duration, tally: &mut Tally) -> Verdict {
    let nightly = match nightly(workspace) {
        Ok(nightly) => nightly,
        Err(verdict) => return verdict,
    };
    let Some((_, host)) = nightly.split_once('-') else {
        return Verdict::NotRun(format!("toolchain {nightly} does not name its host"));
    };
    // A dated nightly is `nightly-2026-01-31-host`.
    let host = host.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    let has_sanitizer = host.ends_with("linux-gnu") || host.ends_with("apple-darwin");
    if !has_sanitizer {
        return Verdict::NotRun(format!("there is no AddressSanitizer for {host}"));
    }
    let mut command = workspace.cargo_on(&nightly, conformance::SUITE);
    command
        .args(["--target", host])
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1");
    tests(command, limit, tally)
}

/// `cargo deny check`, or why it cannot run.
fn cargo_deny(workspace: &Workspace, checks: &[&str]) -> Result<Command, Verdict> {
    if workspace.output("cargo", &["deny", "--version"]).is_none() {
        return Err(Verdict::NotRun("cargo-deny is not installed".to_owned()));
    }
    let mut command = workspace.cargo(&["deny", "check"]);
    command.args(checks);
    Ok(command)
}

fn deny(workspace: &Workspace, limit: Duration, _: &mut Tally) -> Verdict {
    match cargo_deny(workspace, &["licenses", "bans", "sources"]) {
        Ok(command) => plain(command, limit),
        Err(verdict) => verdict,
    }
}

/// The advisories are fetched, so that this step alone needs the network.
fn advisories(workspace: &Workspace, limit: Duration, _: &mut Tally) -> Verdict {
    let command = match cargo_deny(workspace, &["advisories"]) {
        Ok(command) => command,
        Err(verdict) => return verdict,
    };
    let run = process::run(command, limit);
    let is_offline = run
        .lines
        .iter()
        .any(|line| line.contains("failed to fetch advisory database"));
    match run.verdict() {
        Err(_) if is_offline => Verdict::NotRun("the advisories could not be fetched".to_owned()),
        result => verdict(result),
    }
}

#[cfg(test)]
mod tests {
    use super::{MIRI_MODULES, all, every_module_ran};
    use crate::tally::Tally;

    #[test]
    fn steps_have_names_of_their_own() {
        let mut names: Vec<String> = all().into_iter().map(|step| step.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn miri_fails_when_a_module_has_no_test() {
        let mut tally = Tally {
            passed_names: MIRI_MODULES
                .iter()
                .map(|module| format!("{module}tests::a"))
                .collect(),
            ..Tally::default()
        };
        assert_eq!(every_module_ran(&tally), Ok(()));
        tally.passed_names.pop();
        assert!(every_module_ran(&tally).is_err());
    }
}
