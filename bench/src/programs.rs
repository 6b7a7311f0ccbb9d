//! The programs that are compared: where they are, and building them first.
//!
//! It owns the call of cargo. A comparison with what happened to be built some time ago says nothing about
//! the source that lies there now, so the programs are built each time; cargo does nothing when they are
//! fresh. They end up beside this program, in the same profile.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace that this program was built from.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A program of the workspace: its package and its name.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The package.
    pub package: &'static str,
    /// The binary.
    pub name: &'static str,
    /// The feature of the package that it needs.
    pub feature: Option<&'static str>,
}

/// The directory that this program was built into; the others are beside it.
///
/// # Errors
/// When the system does not tell.
pub fn directory() -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    let parent = own.parent().ok_or(io::ErrorKind::NotFound)?;
    Ok(parent.to_owned())
}

/// Whether this program was built without optimisation: then times say nothing.
#[must_use]
pub const fn is_unoptimised() -> bool {
    cfg!(debug_assertions)
}

/// Builds the programs with the profile that this one was built with. What cargo has to say goes to stderr.
///
/// # Errors
/// In a sentence, when the source is not there, cargo cannot be run, or the build fails.
pub fn build(programs: &[Program]) -> io::Result<()> {
    if !Path::new(WORKSPACE).join("Cargo.toml").is_file() {
        return Err(io::Error::other("the source is not where it was"));
    }
    let directory = directory()?;
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        // The directory of the profile `dev` has another name (the Cargo book, "Build cache").
        Some("debug") => "dev",
        Some(name) => name,
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    let target = directory.parent().unwrap_or(&directory);
    // Cargo says which cargo it is; else the search path knows one.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .current_dir(WORKSPACE)
        .args(["build", "--profile", profile, "--target-dir"])
        .arg(target);
    for program in programs {
        command.args(["--package", program.package, "--bin", program.name]);
        if let Some(feature) = program.feature {
            command.arg(format!("--features={}/{feature}", program.package));
        }
    }
    let status = command
        .status()
        .map_err(|error| io::Error::new(error.kind(), format!("cargo cannot be run: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("cargo could not build the servers"))
    }
}
