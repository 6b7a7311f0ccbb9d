//! `cargo xtask tidy`: fast text checks of the tree, each with a line and a way to mend it.
//!
//! This file owns the list of checks and how findings are shown. `source` holds the checks of what
//! Rust files say, `place` those of where things may stand, `tree` those of manifests and of files
//! of every kind. What the compiler or clippy can tell is left to them.

mod place;
mod source;
mod tree;

use std::fmt;
use std::io;

use crate::process::plural;
use crate::scan::Source;
use crate::workspace::Workspace;

/// One thing that is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    /// What is wrong, and behind the semicolon how to mend it.
    message: String,
    is_warning: bool,
}

impl Finding {
    fn error(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
            is_warning: false,
        }
    }

    fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            is_warning: true,
            ..Self::error(path, line, message)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_warning { "warning: " } else { "" };
        write!(
            formatter,
            "{}:{}: {mark}{}",
            self.path, self.line, self.message
        )
    }
}

/// The checks of one Rust file.
const CHECKS: &[fn(&Source) -> Vec<Finding>] = &[
    source::head,
    source::unfinished,
    source::length,
    source::sleep_in_tests,
    place::system_cfg,
    place::unsafe_code,
    place::system_crates,
    place::clocks,
];

/// Everything that is wrong in the tree.
pub(crate) fn findings(workspace: &Workspace) -> io::Result<Vec<Finding>> {
    let mut findings = tree::lock_file(workspace);
    for path in workspace.files()? {
        let bytes = std::fs::read(workspace.root().join(&path))?;
        // A file that is no text holds no path and no code that a person wrote.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        findings.extend(tree::machine_paths(&path, &text));
        if path.ends_with("Cargo.toml") {
            findings.extend(tree::manifest(&path, &text));
        }
        if path.ends_with(".rs") {
            let source = Source::new(&path, &text);
            findings.extend(CHECKS.iter().flat_map(|check| check(&source)));
        }
    }
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

/// Prints what is wrong; a summary in one clause is the result.
pub(crate) fn check(workspace: &Workspace) -> Result<(), String> {
    let findings =
        findings(workspace).map_err(|error| format!("a file cannot be read: {error}"))?;
    for finding in &findings {
        println!("{finding}");
    }
    let warnings = findings.iter().filter(|finding| finding.is_warning).count();
    let errors = findings.len() - warnings;
    if errors > 0 {
        return Err(plural(errors as u64, "finding"));
    }
    Ok(())
}

/// `cargo xtask tidy`.
pub(crate) fn command(workspace: &Workspace) -> bool {
    match check(workspace) {
        Ok(()) => {
            println!("tidy: nothing to mend");
            true
        }
        Err(reason) => {
            eprintln!("tidy: {reason}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Finding;
    use crate::workspace::Workspace;

    #[test]
    fn finding_is_shown_with_file_line_and_remedy() {
        let finding = Finding::error("a.rs", 3, "x is here; move it");
        assert_eq!(finding.to_string(), "a.rs:3: x is here; move it");
        let warning = Finding::warning("a.rs", 1, "long; split it");
        assert_eq!(warning.to_string(), "a.rs:1: warning: long; split it");
    }

    #[test]
    fn tidy_reads_this_very_tree() {
        let workspace = Workspace::find().expect("a workspace");
        let files = workspace.files().expect("readable");
        assert!(files.contains(&"xtask/src/tidy.rs".to_owned()));
        let own: Vec<Finding> = super::findings(&workspace)
            .expect("readable")
            .into_iter()
            .filter(|finding| finding.path.starts_with("xtask/"))
            .collect();
        assert_eq!(own, []);
    }
}
