//! What running under Wine needs of the machine, and the prefix that the programs run in.
//!
//! Owns the search for the tools, the stand-in for bcryptprimitives.dll, and the Wine session: it
//! begins before the first program and ends with the last, so that no service of Wine's belongs to
//! a test and holds its output.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process;
use crate::workspace::Workspace;

/// What is built and run.
pub(super) const TARGET: &str = "x86_64-pc-windows-gnu";

const COMPILER: &str = "x86_64-w64-mingw32-gcc";

/// Where Debian, Fedora and others put the loader of 64-bit programs, the most direct one first.
const LOADERS: &[&str] = &[
    "/usr/lib/wine/wine64",
    "/usr/lib/x86_64-linux-gnu/wine/wine64",
    "wine64",
    "wine",
];

/// The first prefix takes about ten seconds to make; much longer on a machine under load.
const SETUP_LIMIT: Duration = Duration::from_secs(180);

/// What this machine lacks to run Windows programs, each with the way to get it.
pub(crate) fn missing(workspace: &Workspace) -> Vec<String> {
    let mut lacks = Vec::new();
    if cfg!(windows) {
        return vec!["this is Windows: run the tests themselves".to_owned()];
    }
    if loader(workspace).is_none() {
        lacks.push("Wine is not installed; apt-get install wine64".to_owned());
    }
    if workspace.output(COMPILER, &["--version"]).is_none() {
        lacks.push(format!(
            "{COMPILER} is not installed; apt-get install gcc-mingw-w64-x86-64"
        ));
    }
    if !has_target(workspace, TARGET) {
        lacks.push(format!(
            "the standard library for {TARGET} is not installed; rustup target add {TARGET}"
        ));
    }
    lacks
}

/// Whether the toolchain that runs us can compile for a target.
pub(crate) fn has_target(workspace: &Workspace, target: &str) -> bool {
    workspace
        .output("rustc", &["--print", "target-libdir", "--target", target])
        .is_some_and(|directory| Path::new(directory.trim()).is_dir())
}

fn loader(workspace: &Workspace) -> Option<&'static str> {
    LOADERS.iter().copied().find(|loader| {
        // Without a prefix of its own this would make one in the home directory.
        if loader.starts_with('/') {
            Path::new(loader).is_file()
        } else {
            workspace
                .output("sh", &["-c", &format!("command -v {loader}")])
                .is_some()
        }
    })
}

/// A Wine session with everything in place. Dropped, it ends every program of the session.
pub(super) struct Environment<'a> {
    workspace: &'a Workspace,
    loader: &'static str,
    prefix: PathBuf,
    target_directory: PathBuf,
    /// Keeps the session alive between two programs.
    holder: Option<Child>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(workspace: &'a Workspace) -> Result<Self, String> {
        let loader = loader(workspace).ok_or("Wine is not installed")?;
        let target_directory = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace.root().join("target"), PathBuf::from);
        let target_directory = std::path::absolute(target_directory)
            .map_err(|error| format!("the target directory: {error}"))?;
        let mut environment = Self {
            workspace,
            loader,
            prefix: target_directory.join("wine").join("prefix"),
            target_directory,
            holder: None,
        };
        environment.lay_shim()?;
        environment.begin_session()?;
        Ok(environment)
    }

    /// A cargo command whose programs run under Wine.
    pub(super) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.cargo(arguments);
        self.set(&mut command);
        command
            .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", self.loader)
            // Wine reads a program whole when it starts, and most of one is what debuggers need.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("WHARF_BACKEND");
        command
    }

    /// A program under Wine.
    pub(super) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(self.loader);
        command
            .arg(program)
            .current_dir(self.workspace.root())
            .env_remove("WHARF_BACKEND");
        self.set(&mut command);
        command
    }

    /// Where cargo puts a program of the target, debug build.
    pub(super) fn built(&self, name: &str) -> PathBuf {
        self.directory().join(format!("{name}.exe"))
    }

    pub(super) fn root(&self) -> &Path {
        self.workspace.root()
    }

    fn directory(&self) -> PathBuf {
        self.target_directory.join(TARGET).join("debug")
    }

    fn set(&self, command: &mut Command) {
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            // Neither a browser nor .NET is needed, and asking for one opens a window.
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
            .env_remove("DISPLAY");
    }

    /// Compiles the stand-in for bcryptprimitives.dll into each directory that programs start from.
    fn lay_shim(&self) -> Result<(), String> {
        let source = self.root().join("xtask/src/wine/bcryptprimitives.c");
        for directory in [self.directory(), self.directory().join("deps")] {
            fs::create_dir_all(&directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
            let library = directory.join("bcryptprimitives.dll");
            let mut compiler = Command::new(COMPILER);
            compiler
                .args(["-Wall", "-Werror", "-O2", "-shared", "-o"])
                .args([&library, &source])
                .arg("-ladvapi32");
            process::run(compiler, SETUP_LIMIT)
                .verdict()
                .map_err(|reason| format!("bcryptprimitives.dll: {reason}"))?;
        }
        Ok(())
    }

    /// Makes the prefix where there is none, and starts what keeps the session alive.
    fn begin_session(&mut self) -> Result<(), String> {
        fs::create_dir_all(&self.prefix)
            .map_err(|error| format!("{}: {error}", self.prefix.display()))?;
        let mut boot = self.detached("wineboot");
        boot.arg("--init");
        let mut boot = boot
            .spawn()
            .map_err(|error| format!("{}: {error}", self.loader))?;
        await_exit(&mut boot, SETUP_LIMIT).map_err(|reason| format!("wineboot: {reason}"))?;
        // It reads from a pipe that nobody writes to, until we close it.
        let mut holder = self.detached("cmd.exe");
        holder.stdin(Stdio::piped());
        let holder = holder
            .spawn()
            .map_err(|error| format!("cmd.exe under Wine: {error}"))?;
        self.holder = Some(holder);
        Ok(())
    }

    /// A program of Wine's own that shares no output with us.
    fn detached(&self, name: &str) -> Command {
        let mut command = self.program(Path::new(name));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

impl Drop for Environment<'_> {
    fn drop(&mut self) {
        // Ends every process of this prefix, also what a test left behind, and no other.
        let server = if Path::new(self.loader)
            .with_file_name("wineserver")
            .is_file()
        {
            Path::new(self.loader).with_file_name("wineserver")
        } else {
            PathBuf::from("wineserver")
        };
        let mut command = Command::new(server);
        command
            .arg("--kill")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.set(&mut command);
        // A session that cannot be ended ends by itself, once its last program has.
        let _ = command.status();
        if let Some(mut holder) = self.holder.take() {
            drop(holder.stdin.take());
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// Waits for a child, and kills it at the limit.
pub(super) fn await_exit(child: &mut Child, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("killed at its limit of {} s", limit.as_secs()));
            }
            Err(error) => return Err(describe(&error)),
        }
    }
}

fn describe(error: &io::Error) -> String {
    format!("it could not be waited for: {error}")
}
