//! The `wharf` command as a person or a script uses it: spawned, fed, interrupted, on each backend.
//!
//! Owns the list of cases and how they are run. `tour`, `doctor`, `serve` and `servers` hold them, `program`
//! runs the command, `fixture` prepares the system for it. `WHARF_BACKEND` restricts the run to one
//! backend; what is not to be had is listed as ignored and named in the last lines.

mod docs;
mod doctor;
mod fixture;
mod program;
mod serve;
mod servers;
mod tour;

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

/// A case that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Something that must hold on each backend, whose name it is given.
type Case = (&'static str, fn(&str));

fn run(case: fn(&str), backend: &'static str) -> Result<(), Failed> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        case(backend);
        drop(sender);
    });
    match receiver.recv_timeout(LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("not finished after {LIMIT:?}").into()),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            thread.join().map_err(|_| Failed::from("see above"))
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = wharf_conformance::be_the_child() {
        return code;
    }
    let arguments = Arguments::from_args();
    let only = std::env::var("WHARF_BACKEND").unwrap_or_default();
    // The command's own choice is under test; what forces it is given to it by name.
    let _limit = fixture::many_descriptors();
    let mut trials = Vec::new();
    let mut missing = Vec::new();
    for report in wharf_queue::probe() {
        if !only.is_empty() && only != "auto" && only != report.kind.name() {
            continue;
        }
        if !report.available {
            missing.push(format!("{}: {}", report.kind, report.reason));
        }
        let name = report.kind.name();
        for &(case, test) in [
            tour::CASES,
            doctor::CASES,
            servers::CASES,
            serve::CASES,
            docs::CASES,
        ]
        .into_iter()
        .flatten()
        {
            let trial = Trial::test(format!("{name}::{case}"), move || run(test, name));
            let not_here = fixture::NOT_HERE.iter().find(|(known, _)| *known == case);
            if let Some((_, why)) = not_here {
                missing.push(format!("{name}::{case}: {why}"));
            }
            trials.push(trial.with_ignored_flag(!report.available || not_here.is_some()));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for reason in missing {
        println!("not run: {reason}");
    }
    conclusion.exit_code()
}
