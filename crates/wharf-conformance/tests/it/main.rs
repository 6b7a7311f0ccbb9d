//! Runs every case of the contract on every backend that this machine has.
//!
//! `WHARF_BACKEND` restricts the run to one backend. What is not to be had is listed as ignored and
//! named in the last lines.

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use wharf_conformance::{Case, Factory, cases};

/// A case that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn run(case: Case, factory: Factory) -> Result<(), Failed> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().name(case.name.to_owned());
    let thread = thread.spawn(move || {
        (case.run)(&factory);
        drop(sender);
    })?;
    match receiver.recv_timeout(LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(format!("{}: still not finished after {LIMIT:?}", case.promise).into())
        }
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => thread
            .join()
            .map_err(|_| format!("{} is broken; see above", case.promise).into()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let only = std::env::var("WHARF_BACKEND").unwrap_or_default();
    let mut trials = Vec::new();
    let mut missing = Vec::new();
    for report in wharf_queue::probe() {
        if !only.is_empty() && only != "auto" && only != report.kind.name() {
            continue;
        }
        if !report.available {
            missing.push(format!("{}: {}", report.kind, report.reason));
        }
        for case in cases() {
            let factory = Factory { kind: report.kind };
            let name = format!("{}::{}", report.kind, case.name);
            let trial = Trial::test(name, move || run(case, factory)).with_kind(case.promise);
            trials.push(trial.with_ignored_flag(!report.available));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for reason in missing {
        println!("not run: {reason}");
    }
    conclusion.exit_code()
}
