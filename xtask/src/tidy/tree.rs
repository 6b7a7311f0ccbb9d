//! Checks of the tree around the code: manifests, the lock file, and what no file of any kind may say.

use super::Finding;
use crate::workspace::{Manifest, Workspace};

/// Directories of one machine. They are put together here, so that this file does not name them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/", "work/"),
    concat!("/", "root/"),
    concat!("/", "home/"),
];

/// What a package on the registry must say of itself.
const PUBLISHED_KEYS: &[&str] = &["description", "license", "rust-version"];

/// No file speaks of the machine that it was written on.
pub(super) fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(name) = MACHINE_PATHS.iter().find(|name| names_path(line, name)) else {
            continue;
        };
        findings.push(Finding::error(
            path,
            index + 1,
            format!("`{name}` is a path of one machine; use a relative or a temporary path"),
        ));
    }
    findings
}

/// Whether a line holds the absolute path; behind a letter, a digit or a dot it is the middle of
/// another path or of an address.
fn names_path(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~'))
    })
}

/// Published packages are described, and every package takes the lints of the workspace.
pub(super) fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let manifest = Manifest::parse(text);
    let Some(line) = manifest.table_line("package") else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if manifest.is_published() {
        for key in PUBLISHED_KEYS {
            if manifest.get("package", key).is_none() {
                findings.push(Finding::error(
                    path,
                    line,
                    format!("a published package has no `{key}`; add it, or `publish = false`"),
                ));
            }
        }
    }
    if manifest.get("lints", "workspace") != Some("true") {
        findings.push(Finding::error(
            path,
            line,
            "the package does not take the lints of the workspace; add [lints] workspace = true",
        ));
    }
    findings
}

/// The lock file is committed, because a clone must build what was tested.
pub(super) fn lock_file(workspace: &Workspace) -> Vec<Finding> {
    let is_there = workspace.root().join("Cargo.lock").is_file();
    lock_finding(is_there, workspace.tracks("Cargo.lock"))
        .into_iter()
        .collect()
}

fn lock_finding(is_there: bool, is_tracked: Option<bool>) -> Option<Finding> {
    // Outside a git clone nothing is tracked, and being there is enough.
    if is_there && is_tracked != Some(false) {
        return None;
    }
    Some(Finding::error(
        "Cargo.lock",
        1,
        "the lock file is not committed; git add Cargo.lock",
    ))
}

#[cfg(test)]
mod tests {
    use super::{lock_finding, machine_paths, manifest};

    fn lines(findings: Vec<super::Finding>) -> Vec<usize> {
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn machine_paths_are_found_in_any_file() {
        for directory in super::MACHINE_PATHS {
            let text = format!("a\nsee {directory}x\n\"{directory}y\"\n");
            assert_eq!(lines(machine_paths("a.md", &text)), [2, 3]);
        }
    }

    #[test]
    fn machine_paths_are_not_seen_inside_other_paths() {
        for directory in super::MACHINE_PATHS {
            let text =
                format!("https://a.org{directory}x crates{directory}y ..{directory}z\n/tmp/a\n");
            assert_eq!(lines(machine_paths("a.md", &text)), [0_usize; 0]);
        }
    }

    #[test]
    fn manifest_of_a_published_package_is_described() {
        let good = "[package]\nname = \"a\"\ndescription = \"d\"\nlicense.workspace = true\n\
                    rust-version.workspace = true\n\n[lints]\nworkspace = true\n";
        assert_eq!(lines(manifest("Cargo.toml", good)), [0_usize; 0]);
        for line in [
            "description = \"d\"\n",
            "license.workspace = true\n",
            "rust-version.workspace = true\n",
        ] {
            assert_eq!(
                lines(manifest("Cargo.toml", &good.replace(line, ""))),
                [1],
                "{line}"
            );
        }
        let unpublished = "[package]\npublish = false\n[lints]\nworkspace = true\n";
        assert_eq!(lines(manifest("Cargo.toml", unpublished)), [0_usize; 0]);
    }

    #[test]
    fn manifest_takes_the_lints_of_the_workspace() {
        assert_eq!(
            lines(manifest("Cargo.toml", "\n[package]\npublish = false\n")),
            [2]
        );
        assert_eq!(
            lines(manifest("Cargo.toml", "[workspace]\nmembers = []\n")),
            [0_usize; 0]
        );
    }

    #[test]
    fn lock_file_is_there_and_tracked() {
        assert_eq!(lock_finding(true, Some(true)), None);
        assert_eq!(lock_finding(true, None), None);
        assert!(lock_finding(true, Some(false)).is_some());
        assert!(lock_finding(false, None).is_some());
    }
}
