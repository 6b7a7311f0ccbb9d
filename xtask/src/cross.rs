//! `cargo xtask cross`: compiling for the systems that this machine is not, with warnings denied.
//!
//! This file owns the list of targets, what of the workspace each must compile, and why anything is
//! left out. Nothing is linked and nothing is run: code that compiles may still be wrong.

use std::time::{Duration, Instant};

use crate::process;
use crate::wine::has_target;
use crate::workspace::Workspace;

/// What is compiled of the workspace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extent {
    /// Everything: tests, examples and benches too.
    All,
    /// The libraries, programs and tests of the published crates, and the conformance suite, but for
    /// tests that need C.
    Tests,
    /// The libraries and programs of the published crates.
    Published,
}

/// The package whose tests depend on C, for which a compiler of the system would be needed.
const TESTED_WITH_C: &str = "wharf-fiber";

impl Extent {
    /// What cargo is to compile, in one run after the other.
    fn selections(self, published: &[String]) -> Vec<Vec<&str>> {
        let packages = |but: &[&str]| -> Vec<&str> {
            let named = published.iter().map(String::as_str);
            let wanted = named.filter(|name| !but.contains(name));
            wanted.flat_map(|name| ["--package", name]).collect()
        };
        match self {
            Self::All => vec![vec!["--workspace", "--all-targets"]],
            Self::Tests => {
                let mut tested = packages(&[TESTED_WITH_C]);
                tested.extend(["--package", "wharf-conformance"]);
                tested.extend(["--lib", "--bins", "--tests"]);
                vec![tested, vec!["--package", TESTED_WITH_C, "--lib"]]
            }
            Self::Published => {
                let mut selection = packages(&[]);
                selection.extend(["--lib", "--bins"]);
                vec![selection]
            }
        }
    }
}

struct Target {
    name: &'static str,
    extent: Extent,
    /// What compiles the C in the dependencies of the tests, and the packages that it is in.
    c_compiler: Option<(&'static str, &'static str)>,
}

const TARGETS: &[Target] = &[
    Target {
        name: "aarch64-unknown-linux-gnu",
        extent: Extent::All,
        c_compiler: Some((
            "aarch64-linux-gnu-gcc",
            "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        )),
    },
    Target {
        name: "aarch64-apple-darwin",
        extent: Extent::Tests,
        c_compiler: None,
    },
    Target {
        name: "x86_64-unknown-freebsd",
        extent: Extent::Tests,
        c_compiler: None,
    },
    Target {
        name: "x86_64-pc-windows-msvc",
        extent: Extent::Published,
        c_compiler: None,
    },
];

/// What a run came to: the targets that compile, those that do not, those that are not installed.
#[derive(Default, Debug)]
pub(crate) struct Report {
    pub(crate) good: Vec<String>,
    pub(crate) bad: Vec<String>,
    pub(crate) missing: Vec<String>,
}

/// `cargo xtask cross [TARGET..]`; an error is a wrong use of it.
pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    if let Some(unknown) = arguments
        .iter()
        .find(|name| !TARGETS.iter().any(|target| target.name == **name))
    {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        return Err(format!(
            "there is no target `{unknown}` of cross; there are {}",
            names.join(", ")
        ));
    }
    let report = run(workspace, arguments, Duration::from_secs(30 * 60));
    println!();
    for item in &report.good {
        println!("PASS     {item}");
    }
    for item in &report.missing {
        println!("NOT RUN  {item}");
    }
    for item in &report.bad {
        println!("FAIL     {item}");
    }
    Ok(report.bad.is_empty() && report.missing.is_empty())
}

/// Compiles for the targets that are wanted, for all of them if none is named.
pub(crate) fn run(workspace: &Workspace, wanted: &[String], limit: Duration) -> Report {
    let begin = Instant::now();
    let mut report = Report::default();
    let published = match workspace.published() {
        Ok(published) => published,
        Err(error) => {
            report
                .bad
                .push(format!("the manifests cannot be read: {error}"));
            return report;
        }
    };
    for target in TARGETS {
        let name = target.name;
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        if !has_target(workspace, name) {
            report.missing.push(format!(
                "{name}: its standard library is not installed; rustup target add {name}"
            ));
            continue;
        }
        if let Some((compiler, packages)) = target.c_compiler {
            if workspace.output(compiler, &["--version"]).is_none() {
                report.missing.push(format!(
                    "{name}: there is no {compiler}; apt-get install {packages}"
                ));
                continue;
            }
        }
        println!("\n--- cargo check for {name}");
        let verdict = target
            .extent
            .selections(&published)
            .iter()
            .try_for_each(|selection| {
                // Clippy denies warnings of this workspace alone, where RUSTFLAGS would build every
                // dependency anew.
                let mut command = workspace.cargo(&["clippy", "--all-features", "--locked"]);
                command.args(["--target", name]).args(selection);
                command.args(["--", "-D", "warnings"]);
                let left = limit.saturating_sub(begin.elapsed());
                process::run(command, left).verdict()
            });
        match verdict {
            Ok(()) => report.good.push(format!("{name}: {:?}", target.extent)),
            Err(reason) => report.bad.push(format!("{name}: {reason}")),
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::TARGETS;

    #[test]
    fn targets_are_named_once() {
        let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
