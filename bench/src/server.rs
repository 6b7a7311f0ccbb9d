//! Echo servers in processes of their own.
//!
//! It owns the child process and its end. It knows one thing about a server: the first line that it prints is
//! `listening on ADDR`; and of one that says nothing it is told where it listens.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::{self, Epoll, Event, Interest};

const PATIENCE: Duration = Duration::from_secs(10);
const GREETING: &str = "listening on ";

/// A server to start: its name in the table, and its command line.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where it listens, if it does not say so itself.
    pub silent_at: Option<SocketAddr>,
}

impl Spec {
    /// A server from words; `--listen 127.0.0.1:0` is added when the words do not say where to listen.
    #[must_use]
    pub fn new(name: &str, program: &Path, arguments: &[&str]) -> Self {
        let mut command = vec![program.display().to_string()];
        command.extend(arguments.iter().map(|&word| word.to_owned()));
        Self {
            name: name.to_owned(),
            command,
            silent_at: None,
        }
        .with_listen()
    }

    /// A server that is told where to listen by other means, and does not say so.
    #[must_use]
    pub fn silent(name: &str, command: Vec<String>, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            command,
            silent_at: Some(address),
        }
    }

    /// A server from `NAME=COMMAND`, split at white space.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, command) = text.split_once('=')?;
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if name.is_empty() || command.is_empty() {
            return None;
        }
        Some(
            Self {
                name: name.to_owned(),
                command,
                silent_at: None,
            }
            .with_listen(),
        )
    }

    fn with_listen(mut self) -> Self {
        if !self.command.iter().any(|word| word.starts_with("--listen")) {
            self.command
                .extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        }
        self
    }
}

/// A server that runs; dropping it kills it and waits for its end. It also ends when the thread that started
/// it ends, so that nothing is left behind when this program is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Kept open, so that a server that prints later does not fail.
    _stdout: ChildStdout,
    address: SocketAddr,
}

impl Running {
    /// Starts it, on `server_core` if there is one, and waits for its first line. The calling thread is bound
    /// to `client_core` afterwards.
    ///
    /// # Errors
    /// That the program cannot be started, or that its first line is not the expected one.
    pub fn start(
        spec: &Spec,
        server_core: Option<usize>,
        client_core: Option<usize>,
    ) -> io::Result<Self> {
        // A child starts on the cores of the thread that makes it.
        if let Some(core) = server_core {
            sys::pin_to_core(core)?;
        }
        let mut command = Command::new(&spec.command[0]);
        command
            .args(&spec.command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        sys::end_with_parent(&mut command);
        let spawned = command.spawn().map_err(|error| {
            let sentence = format!("{} cannot be run: {error}", spec.command[0]);
            io::Error::new(error.kind(), sentence)
        });
        if let Some(core) = client_core {
            sys::pin_to_core(core)?;
        }
        let mut child = spawned?;
        let mut stdout = child.stdout.take().expect("stdout is a pipe");
        let address = match spec.silent_at {
            Some(address) => wait_until_it_listens(address),
            None => first_address(&mut stdout),
        };
        match address {
            Ok(address) => Ok(Self {
                child,
                _stdout: stdout,
                address,
            }),
            Err(error) => {
                // It may have ended already; what matters is that it is gone.
                let _ = child.kill();
                let _ = child.wait();
                Err(io::Error::new(
                    error.kind(),
                    format!("{}: {error}", spec.name),
                ))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; what matters is that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until_it_listens(address: SocketAddr) -> io::Result<SocketAddr> {
    let start = Instant::now();
    loop {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(address),
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn first_address(stdout: &mut ChildStdout) -> io::Result<SocketAddr> {
    let epoll = Epoll::new()?;
    epoll.add(&*stdout, Interest::Read, 0)?;
    let start = Instant::now();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let left = PATIENCE.saturating_sub(start.elapsed());
        if epoll.wait(&mut [Event::EMPTY], Some(left))?.is_empty() {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "it does not say where it listens",
            ));
        }
        let mut byte = [0];
        if stdout.read(&mut byte)? == 0 {
            return Err(io::Error::other("it ended before it said where it listens"));
        }
        line.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&line);
    let address = line
        .trim_end()
        .strip_prefix(GREETING)
        .map(|text| text.strip_prefix("http://").unwrap_or(text))
        .and_then(|text| text.parse().ok());
    address.ok_or_else(|| {
        let sentence = format!("its first line is {line:?} and not \"{GREETING}ADDR\"");
        io::Error::new(ErrorKind::InvalidData, sentence)
    })
}
