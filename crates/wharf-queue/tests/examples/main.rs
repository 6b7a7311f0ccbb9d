//! Runs every example on every backend that this machine has, and looks at what it says.
//!
//! An example is a module of this program, so that it is built from the same text as the program of
//! its own. It runs in a child process, which is this program again with the example's name in its
//! environment: examples choose their backend by `WHARF_BACKEND`, and that belongs to a process.

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

#[path = "../../examples/delayed_requests.rs"]
mod delayed_requests;
#[path = "../../examples/embedding.rs"]
mod embedding;
#[path = "../../examples/five_steps.rs"]
mod five_steps;
#[path = "../../examples/own_runtime.rs"]
mod own_runtime;

/// Where a child finds the name of the example that it is to run.
const CHILD: &str = "WHARF_EXAMPLE";

/// An example that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(40);

struct Example {
    name: &'static str,
    main: fn() -> io::Result<()>,
    /// What it says, in this order, with other things between.
    says: &'static [&'static str],
}

const EXAMPLES: &[Example] = &[
    Example {
        name: "five_steps",
        main: five_steps::main,
        says: &["12 bytes on ", ": hello, wharf"],
    },
    Example {
        name: "delayed_requests",
        main: delayed_requests::main,
        says: &[
            "request 1 wants its answer after 300 ms",
            "answer-5 after ",
            "answer-1 after ",
            "the order of the answers: [5, 4, 3, 2, 1]",
        ],
    },
    Example {
        name: "own_runtime",
        main: own_runtime::main,
        says: &[
            "client: the server said 'hello'",
            "server: nothing was said for 300ms, the connection is closed",
            "client: the server has closed the connection",
            " operations, ",
        ],
    },
    Example {
        name: "embedding",
        main: embedding::main,
        says: &["queue: the timer is due", "all four have come, on "],
    },
];

/// Ends this process with a complaint if it is still there when the time is up.
fn end_after(limit: Duration) {
    let (sender, receiver) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if receiver.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("not finished after {limit:?}");
            std::process::exit(1);
        }
    });
    // Never dropped: it is the end of the process that ends the wait.
    std::mem::forget(sender);
}

fn run(example: &Example, backend: &str) -> Result<(), Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env(CHILD, example.name)
        .env("WHARF_BACKEND", backend);
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !complaints.is_empty() {
        return Err(format!("{}: {said}{complaints}", output.status).into());
    }
    let mut rest = &*said;
    for words in example.says {
        let Some((_, after)) = rest.split_once(words) else {
            return Err(format!("'{words}' is missing, or comes too early: {said}").into());
        };
        rest = after;
    }
    if example.name != "delayed_requests" && !said.contains(backend) {
        return Err(format!("it did not run on {backend}: {said}").into());
    }
    Ok(())
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CHILD) {
        end_after(LIMIT);
        let example = EXAMPLES.iter().find(|example| example.name == name);
        return match example.map(|example| (example.main)()) {
            Some(Ok(())) => ExitCode::SUCCESS,
            other => {
                eprintln!("{name}: {other:?}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = Arguments::from_args();
    let only = std::env::var("WHARF_BACKEND").unwrap_or_default();
    let (mut trials, mut missing) = (Vec::new(), Vec::new());
    for report in wharf_queue::probe() {
        let backend = report.kind.name();
        if !only.is_empty() && only != "auto" && only != backend {
            continue;
        }
        if !report.available {
            missing.push(format!("{backend}: {}", report.reason));
        }
        if !cfg!(target_os = "linux") {
            missing.push("embedding: its loop is one on epoll".to_owned());
        }
        for example in EXAMPLES {
            let is_here = example.name != "embedding" || cfg!(target_os = "linux");
            let name = format!("{backend}::{}", example.name);
            let trial = Trial::test(name, move || run(example, backend));
            trials.push(trial.with_ignored_flag(!report.available || !is_here));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for reason in missing {
        println!("not run: {reason}");
    }
    conclusion.exit_code()
}
