//! Running the command: to its end, or as a server that is stopped in the end.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use wharf_conformance::program::{set_apart, started};

use crate::fixture::{Signal, send};

/// No answer takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The command with these words behind it, free of what the environment would add.
pub(crate) fn wharf(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.args(words);
    for name in ["WHARF_BACKEND", "NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    set_apart(&mut command);
    command
}

/// Starts the command.
pub(crate) fn start(command: &mut Command) -> Child {
    started(|| command.spawn()).expect("the command was built")
}

/// What a run has come to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Run {
    /// Runs the command to its end.
    pub(crate) fn of(mut command: Command) -> Run {
        Run::from(started(|| command.output()).expect("the command was built"))
    }

    /// It did what it was asked for, and complained of nothing.
    #[track_caller]
    pub(crate) fn succeeds(self) -> String {
        assert_eq!(
            (self.code, self.error.as_str()),
            (Some(0), ""),
            "{}",
            self.out
        );
        self.out
    }

    /// It ended with `code` and one sentence, which has these words in it.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.error.contains("panicked"), "{self:?}");
        for word in words {
            assert!(self.error.contains(word), "'{word}' is missing: {self:?}");
        }
        // What clap says of wrong use ends with a line on --help.
        let lines = self.error.lines().filter(|line| !line.is_empty());
        let sentences = lines
            .filter(|line| !line.starts_with("For more information"))
            .count();
        assert_eq!(sentences, 1, "{self:?}");
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("output is text"),
            error: String::from_utf8(output.stderr).expect("complaints are text"),
        }
    }
}

/// A server that has said where it listens. It is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it and reads its first line.
    pub(crate) fn start(words: &[&str]) -> Server {
        Server::of(wharf(words))
    }

    /// As [`Server::start`], with a command that has been prepared.
    pub(crate) fn of(mut command: Command) -> Server {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start(&mut command);
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("its output can be read");
        let address = line
            .strip_prefix("listening on ")
            .map(|address| address.trim_start_matches("http://"))
            .and_then(|address| address.trim_end().parse().ok());
        let Some(address) = address else {
            let rest = child.wait_with_output();
            panic!("the first line is {line:?}: {rest:?}");
        };
        Server {
            child,
            out: Some(out),
            address,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(PATIENCE)).expect("a time-out can be set");
        }
        stream
    }

    /// Stops reading its output, as `head -1` does.
    pub(crate) fn leave_output(&mut self) {
        self.out = None;
    }

    /// Sends a signal, waits for the end, and gives back what it has said since the first line.
    pub(crate) fn stop(mut self, signal: Signal) -> Run {
        send(&self.child, signal);
        let mut out = String::new();
        if let Some(mut rest) = self.out.take() {
            rest.read_to_string(&mut out).expect("output is text");
        }
        let mut error = String::new();
        let mut complaints = self.child.stderr.take().expect("it is piped");
        complaints.read_to_string(&mut error).expect("text");
        let code = self.child.wait().expect("it can be waited for").code();
        Run { code, out, error }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` it is gone already, and both do nothing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
