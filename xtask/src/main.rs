//! `cargo xtask`: the automation of the workspace, the same on a developer's machine and in CI.
//!
//! This file owns the command line and nothing else. What the commands do is in `tidy` (text checks),
//! `conformance` (the suite forced on each backend), `wine` (the Windows build under Wine),
//! `cross` (compiling for other systems) and `ci` (every step in order, with a summary).
//! The crate depends on the standard library alone, so that the checks build in seconds and can run
//! before anything else compiles.

mod ci;
mod conformance;
mod cross;
mod json;
mod process;
mod scan;
mod tally;
mod tidy;
mod wine;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use workspace::Workspace;

const HELP: &str = "\
Automation for the wharf workspace.

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  tidy                  Fast text checks of the tree: file heads, where cfg and unsafe may stand, and so on
  test [ARGS]           cargo test --workspace ARGS
  conformance [ARGS]    The conformance suite, once for each backend of this machine; ARGS go to the suite
  wine [PART..] [-- ARGS]
                        The Windows build under Wine: conformance, queue, runtime, fibers, http, command,
                        clients; ARGS go to the test programs
  kqueue [ARGS]         The conformance suite on the kqueue selector, over a stand-in for kqueue(2), on Linux
  cross [TARGET..]      Lints for macOS, FreeBSD, aarch64 Linux and Windows, with warnings denied
  ci [OPTIONS]          Everything that must hold before a change lands

Options of ci:
  --list                Print the steps and what each one does, run nothing
  --only STEP           Run this step alone; may be given several times
  --skip STEP           Leave this step out; may be given several times
  --strict              A step that could not run counts as a failure

STEP is a name from --list, or the part of it before a dash: `conformance` means each backend.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let workspace = match Workspace::find() {
        Ok(workspace) => workspace,
        Err(error) => {
            eprintln!("xtask: the workspace cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match command.as_str() {
        "tidy" if rest.is_empty() => Ok(tidy::command(&workspace)),
        "test" => Ok(test(&workspace, rest)),
        "conformance" => Ok(conformance::command(&workspace, rest)),
        "wine" => wine::command(&workspace, rest),
        "kqueue" => Ok(conformance::stand_in_command(&workspace, rest)),
        "cross" => cross::command(&workspace, rest),
        "ci" => ci::command(&workspace, rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(true)
        }
        _ => Err(format!(
            "`{}` is not understood; see cargo xtask help",
            arguments.join(" ")
        )),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(usage) => {
            eprintln!("xtask: {usage}");
            ExitCode::from(2)
        }
    }
}

/// Runs the README's test command, with the time limit that CI uses.
fn test(workspace: &Workspace, arguments: &[String]) -> bool {
    let mut command = workspace.cargo(&["test", "--workspace"]);
    command.args(arguments);
    let run = process::run(command, Duration::from_secs(20 * 60));
    if let Err(reason) = run.verdict() {
        eprintln!("xtask: {reason}");
        return false;
    }
    true
}
