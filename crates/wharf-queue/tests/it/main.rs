//! Integration tests of the queue that need a process of their own kind: what it allocates.
//!
//! The contract itself is tested in `wharf-conformance`. This binary counts every allocation of the
//! process, so it runs its tests one after the other, on each backend that there is.

mod allocations;
mod counting;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use wharf_queue::{BackendKind, Queue};

/// A test, by its name and what it does on a queue.
type Test = (&'static str, fn(&Queue));

fn trial(kind: BackendKind, (name, test): Test) -> Trial {
    Trial::test(format!("{kind}::{name}"), move || {
        // A thread of the pool is started when none is free; one is there from the first time on.
        let builder = Queue::builder().backend(kind).blocking_threads(1);
        let queue = builder.build()?;
        test(&queue);
        Ok(())
    })
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A test counts what the whole process does.
    arguments.test_threads = Some(1);
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
        for &test in allocations::TESTS {
            let trial = trial(report.kind, test);
            trials.push(trial.with_ignored_flag(!report.available));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for reason in missing {
        println!("not run: {reason}");
    }
    conclusion.exit_code()
}
