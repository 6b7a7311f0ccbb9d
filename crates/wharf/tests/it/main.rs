//! Tests of the runtime, by what they are about.

mod child;
mod closing;
mod docs;
mod foreign;
mod fs;
mod fs_faults;
mod fs_vectored;
mod host;
mod io;
mod net;
mod net_faults;
mod process;
mod runtime;
mod send_file;
mod signal;
mod sockets;
mod splice;
mod task;
mod time;
#[cfg(unix)]
mod unix;

use std::process::Command;
use std::time::Duration;

use wharf_queue::BackendKind;

/// Nothing in these tests takes this long, not even on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every backend that this machine has, or the one that `WHARF_BACKEND` names.
fn backends() -> Vec<BackendKind> {
    let only = std::env::var("WHARF_BACKEND").unwrap_or_default();
    let reports = wharf_queue::probe().into_iter();
    reports
        .filter(|report| report.available)
        .map(|report| report.kind)
        .filter(|kind| only.is_empty() || only == "auto" || only == kind.name())
        .collect()
}

/// Runs a test on a runtime with so many workers, on each backend.
fn on_each_backend(workers: usize, test: impl AsyncFn()) {
    for backend in backends() {
        let builder = wharf::Runtime::builder().backend(backend).workers(workers);
        let runtime = builder.build().expect("the backend was probed");
        runtime.block_on(async {
            let done = wharf::time::timeout(PATIENCE, test());
            done.await
                .unwrap_or_else(|_| panic!("{backend}: not done in {PATIENCE:?}"));
        });
    }
}

/// Runs one test of this program in a process of its own, where it is alone, and gives what it says.
fn in_a_process_of_its_own(test: &str, mut program: Command) -> String {
    let command = program.args(["--exact", "--nocapture", "--test-threads", "1", test]);
    let output = command.env("WHARF_TEST_ALONE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaints}");
    said
}

fn is_alone() -> bool {
    std::env::var_os("WHARF_TEST_ALONE").is_some()
}

/// Runs the body of a test in a process where no other test starts a child: that would have, until it
/// is the program that it becomes, a copy of each descriptor, and what the test closes would be open.
/// There are no such copies on Windows.
fn without_children(test: &str, body: impl FnOnce()) {
    if is_alone() || cfg!(windows) {
        return body();
    }
    let program = Command::new(std::env::current_exe().expect("this is one"));
    let said = in_a_process_of_its_own(test, program);
    assert!(said.contains("1 passed"), "{test} is no test: {said}");
}
