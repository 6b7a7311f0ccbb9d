//! `cargo xtask wine`: the Windows build, run under Wine on a machine that has no Windows.
//!
//! This file owns what is run, in which order and with which limits, and the last line, `N passed,
//! N failed`. What the machine needs for it, and the Wine prefix, are `environment`'s; the checks of
//! the `wharf` command are in `program`. Wine is not Windows: what passes here shows that the code
//! works against Wine's idea of Windows.
//!
//! Nothing is installed. What is missing is named, with the command that gets it.

mod environment;
mod program;

use std::time::{Duration, Instant};

use crate::conformance;
use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

use environment::{Environment, TARGET};
pub(crate) use environment::{has_target, missing};

/// What a part came to: its tests, and what went wrong if something did.
type Outcome = (Tally, Result<(), String>);

/// A piece of the run. The first build compiles everything that the later ones need.
struct Part {
    name: &'static str,
    about: &'static str,
    limit: Duration,
    run: fn(&Environment, Duration, &[String]) -> Outcome,
}

const MINUTE: Duration = Duration::from_secs(60);

const PARTS: &[Part] = &[
    Part {
        name: "conformance",
        about: "the contract, forced on iocp",
        limit: MINUTE.saturating_mul(9),
        run: conformance_on_iocp,
    },
    Part {
        name: "queue",
        about: "the tests of wharf-queue",
        limit: MINUTE.saturating_mul(6),
        run: |environment, limit, arguments| tests(environment, "wharf-queue", limit, arguments),
    },
    Part {
        name: "runtime",
        about: "the tests of wharf",
        limit: MINUTE.saturating_mul(6),
        run: |environment, limit, arguments| tests(environment, "wharf", limit, arguments),
    },
    Part {
        name: "fibers",
        about: "the tests of wharf-fiber, overflows among them",
        limit: MINUTE.saturating_mul(6),
        run: |environment, limit, arguments| tests(environment, "wharf-fiber", limit, arguments),
    },
    Part {
        name: "http",
        about: "the tests of wharf-http",
        limit: MINUTE.saturating_mul(6),
        run: |environment, limit, arguments| tests(environment, "wharf-http", limit, arguments),
    },
    Part {
        name: "command",
        about: "the tests of wharf-cli: the wharf command spawned, fed, interrupted",
        limit: MINUTE.saturating_mul(6),
        run: |environment, limit, arguments| tests(environment, "wharf-cli", limit, arguments),
    },
    Part {
        name: "clients",
        about: "the wharf command, with clients on this side",
        limit: MINUTE.saturating_mul(6),
        run: |environment, limit, _| program::checks(environment, limit),
    },
];

/// The names of the parts, for the help of the command line.
fn names() -> String {
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    names.join(", ")
}

/// `cargo xtask wine [PART..] [-- ARGS]`; an error is a wrong use of it.
pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let split = arguments.iter().position(|argument| argument == "--");
    let (wanted, rest) = match split {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[][..]),
    };
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !PARTS.iter().any(|part| part.name == **name))
    {
        return Err(format!(
            "there is no part `{unknown}` of wine; there are {}",
            names()
        ));
    }
    let lacks = missing(workspace);
    if !lacks.is_empty() {
        println!("Wine cannot be used on this machine:");
        for lack in &lacks {
            println!("  {lack}");
        }
        println!("0 passed, {} failed", lacks.len());
        return Ok(false);
    }
    let (tally, result) = run(workspace, wanted, rest, MINUTE.saturating_mul(60));
    if let Err(reason) = &result {
        println!("{reason}");
    }
    // A part that fails without a failed test (it does not compile, it hangs) counts as one.
    let failed = tally.failed.max(u64::from(result.is_err()));
    println!("{} passed, {failed} failed", tally.passed);
    Ok(result.is_ok())
}

/// Runs the parts that are wanted, all of them if none is named, and adds up their tests.
pub(crate) fn run(
    workspace: &Workspace,
    wanted: &[String],
    arguments: &[String],
    limit: Duration,
) -> Outcome {
    let begin = Instant::now();
    let mut sum = Tally::default();
    let environment = match Environment::new(workspace) {
        Ok(environment) => environment,
        Err(reason) => return (sum, Err(reason)),
    };
    let mut report = Vec::new();
    let mut bad = Vec::new();
    for part in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == part.name) {
            continue;
        }
        println!("\n--- under Wine: {}: {}", part.name, part.about);
        let left = limit.saturating_sub(begin.elapsed());
        let (tally, result) = (part.run)(&environment, part.limit.min(left), arguments);
        let counts = format!("{} passed, {} failed", tally.passed, tally.failed);
        report.push(match &result {
            Ok(()) => format!("{:12} PASS  {counts}", part.name),
            Err(reason) => format!("{:12} FAIL  {counts}; {reason}", part.name),
        });
        if let Err(reason) = result {
            bad.push(format!("{}: {reason}", part.name));
        }
        sum.add(&tally);
    }
    println!("\n{}", report.join("\n"));
    let result = if bad.is_empty() {
        Ok(())
    } else {
        Err(bad.join("; "))
    };
    (sum, result)
}

fn conformance_on_iocp(
    environment: &Environment,
    limit: Duration,
    arguments: &[String],
) -> Outcome {
    let mut command = environment.cargo(conformance::SUITE);
    command
        .args(["--target", TARGET, "--"])
        .args(arguments)
        .env("WHARF_BACKEND", "iocp");
    let run = process::run(command, limit);
    let verdict = conformance::verdict(&run, "iocp");
    (run.tally, verdict)
}

/// The unit and integration tests of a package; its examples in the documentation run elsewhere.
fn tests(
    environment: &Environment,
    package: &str,
    limit: Duration,
    arguments: &[String],
) -> Outcome {
    let mut command = environment.cargo(&["test", "--package", package, "--tests"]);
    command
        .args([
            "--all-features",
            "--no-fail-fast",
            "--locked",
            "--target",
            TARGET,
            "--",
        ])
        .args(arguments);
    let run = process::run(command, limit);
    let verdict = match run.verdict() {
        Ok(()) if run.tally.ran() == 0 => Err("no test ran".to_owned()),
        verdict => verdict,
    };
    (run.tally, verdict)
}
