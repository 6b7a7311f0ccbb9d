//! Runs the contract on every backend that this machine has: the cases of the queue, and those of
//! the runtime's handles in a task.

use std::process::ExitCode;

use wharf_conformance::{Factory, be_the_child, handles, queue_checks, runner};

fn main() -> ExitCode {
    if let Some(code) = be_the_child() {
        return code;
    }
    runner::main(|kind| {
        let mut checks = queue_checks(Factory { kind });
        checks.extend(handles::checks(kind, handles::in_task));
        checks
    })
}
