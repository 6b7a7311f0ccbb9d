//! Tests that need a process of their own: they end it, or use up what it has.

use std::process::Command;

/// Tells the child apart from the test that starts it.
const CHILD: &str = "WHARF_FIBER_TEST_CHILD";

/// Runs one test of this program with [`CHILD`] set, and gives what it wrote to standard error.
pub(crate) fn child(test: &str) -> (std::process::ExitStatus, String) {
    let program = std::env::current_exe().expect("tests know their program");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the program can be started");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status, text)
}

pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}
