//! What the automation knows of the tree: its root, its files, its manifests, the installed toolchains.
//!
//! It reads and never writes. The manifest reader understands the plain subset of TOML that this
//! workspace uses (tables, and one `key = value` a line); it is no general TOML parser.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace, found from where xtask was built.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the root and checks that it is one.
    pub(crate) fn find() -> io::Result<Self> {
        // The directory at run time is preferred to the one at compile time: a cached build of
        // xtask may have been made in another clone.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .ok_or_else(|| io::Error::other("xtask has no parent directory"))?
            .to_path_buf();
        std::fs::metadata(root.join("Cargo.toml"))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A cargo command in the root, on the toolchain that runs xtask.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// A cargo command on another toolchain. It goes through `rustup run`, because the `CARGO` of
    /// the environment is the binary of one toolchain and does not understand `+toolchain`.
    pub(crate) fn cargo_on(&self, toolchain: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("rustup");
        command
            .args(["run", toolchain, "cargo"])
            .args(arguments)
            .current_dir(&self.root);
        command
            .env_remove("CARGO")
            .env_remove("RUSTC")
            .env_remove("RUSTDOC");
        command
    }

    /// The names of the installed toolchains; empty where there is no rustup.
    pub(crate) fn toolchains(&self) -> Vec<String> {
        self.output("rustup", &["toolchain", "list"])
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    }

    /// Standard output of a short command, or nothing when it cannot run or fails.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Each file that is tracked or would be at the next `git add`, relative to the root with
    /// forward slashes, sorted. Outside a git clone (a release archive) it is each file of the
    /// tree, build output and hidden directories excepted.
    pub(crate) fn files(&self) -> io::Result<Vec<String>> {
        let listed = self
            .output(
                "git",
                &[
                    "ls-files",
                    "-z",
                    "--cached",
                    "--others",
                    "--exclude-standard",
                ],
            )
            .map(|names| names.split('\0').map(str::to_owned).collect::<Vec<_>>());
        let mut files = match listed {
            Some(files) => files,
            None => {
                let mut files = Vec::new();
                walk(&self.root, "", &mut files)?;
                files
            }
        };
        // A file that was deleted but not yet committed is still listed by git.
        files.retain(|file| !file.is_empty() && self.root.join(file).is_file());
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Whether git tracks this file; `None` where git does not answer.
    pub(crate) fn tracks(&self, file: &str) -> Option<bool> {
        self.output("git", &["ls-files", "--", file])
            .map(|names| !names.trim().is_empty())
    }

    /// The names of the packages that are meant for the registry.
    pub(crate) fn published(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for file in self.files()? {
            if file.ends_with("Cargo.toml") {
                let manifest = Manifest::parse(&std::fs::read_to_string(self.root.join(&file))?);
                if manifest.is_published() {
                    names.extend(
                        manifest
                            .get("package", "name")
                            .map(|name| name.trim_matches('"').to_owned()),
                    );
                }
            }
        }
        Ok(names)
    }
}

fn walk(root: &Path, below: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() {
            name.clone()
        } else {
            format!("{below}/{name}")
        };
        if entry.file_type()?.is_dir() {
            if name != "target" && name != ".git" {
                walk(root, &path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// One entry of a manifest: table, key, value as written, line from 1.
struct Entry {
    table: String,
    key: String,
    value: String,
}

/// The entries of a Cargo.toml in the order of the file.
pub(crate) struct Manifest {
    entries: Vec<Entry>,
    tables: Vec<(String, usize)>,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Self {
        let mut manifest = Self {
            entries: Vec::new(),
            tables: Vec::new(),
        };
        let mut table = String::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with('[') && line.ends_with(']') {
                table = line.trim_matches(|c| c == '[' || c == ']').to_owned();
                manifest.tables.push((table.clone(), index + 1));
            } else if let Some((key, value)) =
                line.split_once('=').filter(|_| !line.starts_with('#'))
            {
                manifest.entries.push(Entry {
                    table: table.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                });
            }
        }
        manifest
    }

    /// The value of a key; `key.workspace = true` answers for `key` too.
    pub(crate) fn get(&self, table: &str, key: &str) -> Option<&str> {
        let inherited = format!("{key}.workspace");
        self.entries
            .iter()
            .find(|entry| entry.table == table && (entry.key == key || entry.key == inherited))
            .map(|entry| entry.value.as_str())
    }

    /// The line at which a table begins.
    pub(crate) fn table_line(&self, table: &str) -> Option<usize> {
        self.tables
            .iter()
            .find(|(name, _)| name == table)
            .map(|(_, line)| *line)
    }

    /// A package that no `publish = false` keeps at home.
    pub(crate) fn is_published(&self) -> bool {
        self.table_line("package").is_some() && self.get("package", "publish") != Some("false")
    }
}

#[cfg(test)]
mod tests {
    use super::Manifest;

    #[test]
    fn manifest_reads_own_and_inherited_keys() {
        let manifest = Manifest::parse(
            "[package]\nname = \"a\" \nlicense.workspace = true\n# publish = false\n\n[lints]\nworkspace = true\n",
        );
        assert_eq!(manifest.get("package", "name"), Some("\"a\""));
        assert_eq!(manifest.get("package", "license"), Some("true"));
        assert_eq!(manifest.get("package", "description"), None);
        assert_eq!(manifest.table_line("lints"), Some(6));
        assert!(manifest.is_published());
        assert!(!Manifest::parse("[package]\npublish = false\n").is_published());
        assert!(!Manifest::parse("[workspace]\nmembers = []\n").is_published());
    }
}
