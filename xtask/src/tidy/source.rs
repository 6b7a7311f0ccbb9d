//! Checks of what a Rust file says: its head, unfinished code, its length, sleeping tests.

use super::Finding;
use super::place::{is_example, is_test_file};
use crate::scan::{Source, closing, find_word};

/// Above this many lines a file is worth a thought.
const LONG: usize = 800;
/// Above this many lines a file is refused.
const TOO_LONG: usize = 1000;

/// The words in a comment that let a test sleep; a reason follows them.
const SLEEP_ALLOWED: &str = "tidy: allow(sleep)";

/// Every file opens with what it owns and what it does not.
pub(super) fn head(source: &Source) -> Vec<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    let words = first.strip_prefix("//!").map(str::trim);
    if words.is_some_and(|words| !words.is_empty()) {
        return Vec::new();
    }
    vec![Finding::error(
        &source.path,
        1,
        "the file does not begin with a `//!` head; say in its first line what the file owns",
    )]
}

/// No code that says of itself that it is not done.
pub(super) fn unfinished(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["todo", "unimplemented", "dbg"] {
        for at in source.find_word(name) {
            if source.code[at + name.len()..].starts_with('!') {
                let remedy = if name == "dbg" {
                    "remove it"
                } else {
                    "write the code"
                };
                findings.push(Finding::error(
                    &source.path,
                    source.line_of(at),
                    format!("`{name}!` must not be committed; {remedy}"),
                ));
            }
        }
    }
    findings
}

/// Files stay short enough to be read in one go. Tests may be long lists.
pub(super) fn length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if is_test_file(&source.path) || lines <= LONG {
        return Vec::new();
    }
    let message = format!("the file has {lines} lines; split it by what it owns");
    if lines > TOO_LONG {
        vec![Finding::error(
            &source.path,
            TOO_LONG + 1,
            format!("{message}, {TOO_LONG} at most"),
        )]
    } else {
        vec![Finding::warning(
            &source.path,
            LONG + 1,
            format!("{message}, about {LONG} at most"),
        )]
    }
}

/// Tests wait for what happens, not for time to pass. The whole conformance crate is test code.
pub(super) fn sleep_in_tests(source: &Source) -> Vec<Finding> {
    let is_test =
        is_test_file(&source.path) || source.path.starts_with("crates/wharf-conformance/");
    if is_example(&source.path) {
        return Vec::new();
    }
    sleeps(source)
        .into_iter()
        .map(|at| source.line_of(at))
        .filter(|line| is_test || source.is_test_line(*line))
        .filter(|line| {
            let comment = &source.comments[line - 1];
            let reason = comment.split_once(SLEEP_ALLOWED).map(|(_, reason)| reason.trim());
            reason.is_none_or(str::is_empty)
        })
        .map(|line| {
            let message = format!(
                "a test sleeps; wait for the event itself, or say why on the same line: // {SLEEP_ALLOWED} reason"
            );
            Finding::error(&source.path, line, message)
        })
        .collect()
}

/// Where a file sleeps, or imports `sleep` so that calls of it cannot be seen.
pub(super) fn sleeps(source: &Source) -> Vec<usize> {
    let code = &source.code;
    let mut found: Vec<usize> = code
        .match_indices("thread::sleep")
        .map(|(at, _)| at)
        .filter(|at| !code[at + "thread::sleep".len()..].starts_with('_'))
        .collect();
    for (at, group) in code.match_indices("thread::{") {
        let open = at + group.len() - 1;
        let close = closing(code, open).unwrap_or(code.len());
        found.extend(find_word(&code[open..close], "sleep").map(|offset| open + offset));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{head, length, sleep_in_tests, unfinished};
    use crate::scan::Source;
    use crate::tidy::Finding;

    fn lines(check: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text))
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn head_must_be_the_first_line_and_say_something() {
        assert_eq!(lines(head, "build.rs", "//! Builds.\n"), [0_usize; 0]);
        for text in ["", "fn a() {}", "\n//! Late.\n", "//!\n", "// Builds.\n"] {
            assert_eq!(lines(head, "build.rs", text), [1], "{text:?}");
        }
    }

    #[test]
    fn unfinished_code_is_refused_but_not_talk_of_it() {
        let text = "fn a() {\n  todo!();\n  unimplemented!(\"x\");\n  dbg!(1);\n  todo![]\n}";
        assert_eq!(lines(unfinished, "a.rs", text), [2, 5, 3, 4]);
        let text = "// todo!() is refused\nfn a() { \"dbg!(1)\"; my_todo!(); let todo = 1; }";
        assert_eq!(lines(unfinished, "a.rs", text), [0_usize; 0]);
    }

    #[test]
    fn length_warns_first_and_then_refuses() {
        let check = |path: &str, count: usize| -> Vec<bool> {
            let findings = length(&Source::new(path, &"\n".repeat(count)));
            findings
                .into_iter()
                .map(|finding| finding.is_warning)
                .collect()
        };
        assert_eq!(check("src/a.rs", 800), [false; 0]);
        assert_eq!(check("src/a.rs", 801), [true]);
        assert_eq!(check("src/a.rs", 1000), [true]);
        assert_eq!(check("src/a.rs", 1001), [false]);
        assert_eq!(check("crates/a/tests/it/main.rs", 1001), [false; 0]);
    }

    #[test]
    fn sleep_in_tests_needs_a_reason() {
        let sleep = "fn a() {\n  std::thread::sleep(x);\n}";
        assert_eq!(lines(sleep_in_tests, "crates/a/tests/it/a.rs", sleep), [2]);
        assert_eq!(
            lines(sleep_in_tests, "crates/wharf-conformance/src/a.rs", sleep),
            [2]
        );
        assert_eq!(
            lines(sleep_in_tests, "crates/a/src/a.rs", sleep),
            [0_usize; 0]
        );
        assert_eq!(
            lines(sleep_in_tests, "crates/a/examples/a.rs", sleep),
            [0_usize; 0]
        );
        let unit = format!("#[cfg(test)]\nmod tests {{\n{sleep}\n}}");
        assert_eq!(lines(sleep_in_tests, "crates/a/src/a.rs", &unit), [4]);
        let group = "use std::thread::{self, sleep};\nuse std::thread::{self, spawn};";
        assert_eq!(lines(sleep_in_tests, "crates/a/tests/a.rs", group), [1]);
    }

    #[test]
    fn sleep_in_tests_is_allowed_with_a_reason_on_the_line() {
        let path = "crates/a/tests/it/a.rs";
        let good = "thread::sleep(x); // tidy: allow(sleep) the child is stopped by a signal";
        assert_eq!(lines(sleep_in_tests, path, good), [0_usize; 0]);
        assert_eq!(
            lines(
                sleep_in_tests,
                path,
                "thread::sleep(x); // tidy: allow(sleep)"
            ),
            [1]
        );
        assert_eq!(
            lines(
                sleep_in_tests,
                path,
                "// tidy: allow(sleep) why\nthread::sleep(x);"
            ),
            [2]
        );
    }
}
