//! How a process is to be started.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

use super::{Child, orphans};

/// A process to be started: [`std::process::Command`] with asynchronous results.
///
/// What is specific to one system is set on the standard library's own command, by
/// [`as_std_mut`](Command::as_std_mut).
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::process::Command;
/// let output = Command::new("echo").args(["one", "two"]).output().await?;
/// assert_eq!(output.stdout, b"one two\n");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    kills_on_drop: bool,
    has_stdin: bool,
    has_stdout: bool,
    has_stderr: bool,
}

impl From<std::process::Command> for Command {
    /// [`Command::output`] then captures both outputs, whatever was set before.
    fn from(inner: std::process::Command) -> Command {
        Command {
            inner,
            kills_on_drop: false,
            has_stdin: false,
            has_stdout: false,
            has_stderr: false,
        }
    }
}

impl Command {
    /// Starts `program`, which is looked for in `PATH` if it is a bare name.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::from(std::process::Command::new(program))
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<I>(&mut self, arguments: I) -> &mut Command
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        self.inner.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env(name, value);
        self
    }

    /// Sets environment variables.
    pub fn envs<I, K, V>(&mut self, variables: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(variables);
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env_remove(name);
        self
    }

    /// Removes all environment variables.
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// Sets the directory that the process starts in.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.inner.current_dir(dir);
        self
    }

    /// Sets where its input comes from. Inherited if not set, and empty for
    /// [`output`](Command::output).
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.inner.stdin(stdio);
        self.has_stdin = true;
        self
    }

    /// Sets where its output goes. Inherited if not set, and captured by
    /// [`output`](Command::output).
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.inner.stdout(stdio);
        self.has_stdout = true;
        self
    }

    /// Sets where its messages go. Inherited if not set, and captured by
    /// [`output`](Command::output).
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.inner.stderr(stdio);
        self.has_stderr = true;
        self
    }

    /// Whether a [`Child`] that is dropped before it has ended is killed. It is not, if not set.
    pub fn kill_on_drop(&mut self, yes: bool) -> &mut Command {
        self.kills_on_drop = yes;
        self
    }

    /// The standard library's command, to look at.
    #[must_use]
    pub fn as_std(&self) -> &std::process::Command {
        &self.inner
    }

    /// The standard library's command, for what only it has: user and group, process groups, `exec`.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.inner
    }

    /// Starts the process. This takes the thread for as long as the system takes to do so, a
    /// millisecond or so, as it does for every program. Only using the [`Child`] needs a runtime.
    ///
    /// # Errors
    /// That of the system: `NotFound`, `PermissionDenied`, out of descriptors, ...
    pub fn spawn(&mut self) -> io::Result<Child> {
        let child = self.inner.spawn()?;
        orphans::sweep();
        Ok(Child::new(child, self.kills_on_drop))
    }

    /// Starts the process at once, and waits for it to end.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::wait`].
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> + Send + use<> {
        let spawned = self.spawn();
        async move {
            let mut child = spawned?;
            // Nobody reads or writes the other ends of pipes.
            child.stdout = None;
            child.stderr = None;
            child.wait().await
        }
    }

    /// Starts the process at once, waits for it to end, and gives what it wrote. Its input is empty
    /// unless it was set.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::wait_with_output`].
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> + Send + use<> {
        if !self.has_stdin {
            self.inner.stdin(Stdio::null());
        }
        if !self.has_stdout {
            self.inner.stdout(Stdio::piped());
        }
        if !self.has_stderr {
            self.inner.stderr(Stdio::piped());
        }
        let spawned = self.spawn();
        async move { spawned?.wait_with_output().await }
    }
}
