//! Runs the contract on every backend that this machine has: the cases of the queue, and those of
//! the runtime's handles, once in a task and once in a fiber.

use std::process::ExitCode;

use wharf_conformance::handles::{self, Case, PATIENCE, WORKERS};
use wharf_conformance::{Factory, be_the_child, queue_checks, runner};
use wharf_queue::BackendKind;

fn main() -> ExitCode {
    if let Some(code) = be_the_child() {
        return code;
    }
    runner::main(|kind| {
        let mut checks = queue_checks(Factory { kind });
        checks.extend(handles::checks("handles", kind, handles::in_task));
        checks.extend(handles::checks("fibers", kind, in_fiber));
        checks
    })
}

/// Runs a case in a fiber: the same promises hold for one that waits there.
fn in_fiber(backend: BackendKind, case: &Case) {
    let builder = wharf::Runtime::builder().backend(backend).workers(WORKERS);
    let runtime = builder.build().expect("the backend was probed");
    let case = case.clone();
    wharf_fiber::block_on(&runtime, move || {
        let done = wharf_fiber::wait(wharf::time::timeout(PATIENCE, case.begin()));
        done.unwrap_or_else(|_| panic!("not done in {PATIENCE:?}"));
    });
}
