//! The `wharf` command under Wine: what it says of the machine, and whether it serves clients that
//! run outside of Wine.
//!
//! Owns the checks, each of which counts as a test, and the servers that they start.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::Outcome;
use super::environment::{Environment, TARGET};
use crate::json::Json;
use crate::process;
use crate::tally::Tally;

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections the echo server has at once, and how much goes through each.
const CONNECTIONS: usize = 200;
const BYTES: usize = 48 * 1024;

type Check = fn(&Environment) -> Result<(), String>;

const CHECKS: &[(&str, Check)] = &[
    ("doctor_names_iocp", doctor),
    ("tour_receives_what_it_sent", tour),
    ("serve_answers_a_client_on_this_side", serve),
    ("echo_in_queue_style_returns_every_byte", |environment| {
        echo(environment, "queue")
    }),
    ("echo_in_async_style_returns_every_byte", |environment| {
        echo(environment, "async")
    }),
];

/// Builds the command and runs every check.
pub(super) fn checks(environment: &Environment, limit: Duration) -> Outcome {
    let mut tally = Tally::default();
    let build = environment.cargo(&[
        "build",
        "--package",
        "wharf-cli",
        "--locked",
        "--target",
        TARGET,
    ]);
    if let Err(reason) = process::run(build, limit).verdict() {
        return (tally, Err(reason));
    }
    let mut reasons = Vec::new();
    for (name, check) in CHECKS {
        match check(environment) {
            Ok(()) => {
                println!("test {name} ... ok");
                tally.passed += 1;
            }
            Err(reason) => {
                println!("test {name} ... FAILED: {reason}");
                tally.failed += 1;
                reasons.push(format!("{name}: {reason}"));
            }
        }
    }
    println!(
        "test result: {} passed; {} failed",
        tally.passed, tally.failed
    );
    let result = if reasons.is_empty() {
        Ok(())
    } else {
        Err(reasons.join("; "))
    };
    (tally, result)
}

/// Standard output of a run of the command that must succeed.
fn output(environment: &Environment, arguments: &[&str]) -> Result<String, String> {
    let mut command = environment.program(&environment.built("wharf"));
    command.args(arguments);
    let run = process::run_quietly(command, 2 * PATIENCE);
    run.verdict()?;
    Ok(run.lines.join("\n"))
}

fn doctor(environment: &Environment) -> Result<(), String> {
    let text = output(environment, &["doctor", "--json"])?;
    let report = Json::parse(&text).ok_or("doctor does not print JSON")?;
    let is_there = report
        .get("backends")
        .map_or(&[][..], Json::items)
        .iter()
        .any(|entry| {
            entry.get("name").and_then(Json::as_text) == Some("iocp")
                && entry.get("available").and_then(Json::as_bool) == Some(true)
        });
    is_there
        .then_some(())
        .ok_or(format!("iocp is not told to be available: {text}"))
}

fn tour(environment: &Environment) -> Result<(), String> {
    let text = output(environment, &["tour"])?;
    text.contains("the digests are the same")
        .then_some(())
        .ok_or(format!("the tour ended without equal digests: {text}"))
}

/// A server of the command, killed when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one and waits for the line that names its address.
    fn start(environment: &Environment, arguments: &[&str]) -> Result<Self, String> {
        let mut command = environment.program(&environment.built("wharf"));
        command
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        let (sender, receiver) = mpsc::channel();
        // It goes on reading, so that a server that says more is not held up.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        // From here on a drop ends the child.
        let mut server = Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        let line = receiver
            .recv_timeout(PATIENCE)
            .map_err(|_| "the server names no address".to_owned())?;
        server.address = line
            .trim_start_matches("listening on ")
            .trim_start_matches("http://")
            .trim()
            .parse()
            .map_err(|_| format!("the server's first line is `{line}`"))?;
        Ok(server)
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).map_err(client)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(client)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(client)?;
        Ok(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wine runs a program in the process that was started.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    command
        .spawn()
        .map_err(|error| format!("the server could not be started: {error}"))
}

fn client(error: std::io::Error) -> String {
    format!("the client: {error}")
}

/// The README comes back as it is on the disk, and a path that is not there gives 404.
fn serve(environment: &Environment) -> Result<(), String> {
    let file = environment.root().join("README.md");
    let expected = std::fs::read(&file).map_err(|error| format!("README.md: {error}"))?;
    let server = Server::start(environment, &["serve", "."])?;
    let (status, body) = get(&server, "/README.md")?;
    if status != "200" || body != expected {
        return Err(format!(
            "status {status}, {} of {} bytes",
            body.len(),
            expected.len()
        ));
    }
    let (status, _) = get(&server, "/no-such-file")?;
    (status == "404")
        .then_some(())
        .ok_or(format!("status {status} for what is not there"))
}

/// A request by hand: the status and the body.
fn get(server: &Server, path: &str) -> Result<(String, Vec<u8>), String> {
    let mut stream = server.connect()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(client)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(client)?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or("the answer has no end of its head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok((status, answer[end + 4..].to_vec()))
}

/// What goes through a connection: different on each, so that a mix-up shows.
fn pattern(connection: usize) -> Vec<u8> {
    (0..BYTES)
        .map(|at| (at.wrapping_mul(31) ^ connection.wrapping_mul(131)) as u8)
        .collect()
}

/// All connections are open before the first byte is sent, and each is used from both sides.
fn echo(environment: &Environment, style: &str) -> Result<(), String> {
    let server = Server::start(environment, &["echo", "--style", style])?;
    let streams: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| server.connect())
        .collect::<Result<_, _>>()?;
    for (number, mut stream) in streams.iter().enumerate() {
        // What the server cannot return yet lies in the system's buffers on the way.
        stream
            .write_all(&pattern(number))
            .map_err(|error| format!("connection {number}: {error}"))?;
        stream
            .shutdown(std::net::Shutdown::Write)
            .map_err(|error| format!("connection {number}: {error}"))?;
    }
    for (number, mut stream) in streams.iter().enumerate() {
        let mut back = Vec::new();
        stream
            .read_to_end(&mut back)
            .map_err(|error| format!("connection {number}: {error}"))?;
        if back != pattern(number) {
            return Err(format!(
                "connection {number} got {} bytes back of {BYTES}, or others than it sent",
                back.len()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn pattern_differs_between_connections() {
        assert_ne!(pattern(1), pattern(2));
        assert_eq!(pattern(7), pattern(7));
    }
}
