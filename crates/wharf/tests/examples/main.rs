//! Runs every example on every backend that this machine has, as somebody who uses it would.
//!
//! An example is a module of this program, so that it is built from the same text as the program of
//! its own. It runs in a child process, which is this program again with the example's name in its
//! environment and the example's own arguments: examples choose their backend by `WHARF_BACKEND`,
//! and that belongs to a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio, Termination};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

#[path = "../../examples/chat.rs"]
mod chat;
#[path = "../../examples/echo.rs"]
mod echo;
#[path = "../../examples/file_copy.rs"]
mod file_copy;
#[path = "../../examples/graceful.rs"]
mod graceful;
#[path = "../../examples/join_all.rs"]
mod join_all;
#[path = "../../examples/proxy.rs"]
mod proxy;

/// Where a child finds the name of the example that it is to run.
const CHILD: &str = "WHARF_EXAMPLE";

/// What takes longer hangs.
const LIMIT: Duration = Duration::from_secs(40);

type Tried = Result<(), Failed>;

/// An example's name, its `main`, and somebody who uses it.
type Example = (&'static str, fn() -> ExitCode, fn(&str) -> Tried);

const EXAMPLES: &[Example] = &[
    ("echo", || echo::main().report(), use_echo),
    ("chat", || chat::main().report(), use_chat),
    ("proxy", || proxy::main().report(), use_proxy),
    ("graceful", || graceful::main().report(), use_graceful),
    ("join_all", || join_all::main().report(), use_join_all),
    ("file_copy", || file_copy::main().report(), use_file_copy),
];

/// A running example; it is killed in the end, if it has not ended by then.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(name: &str, backend: &str, arguments: &[&str]) -> Result<Running, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).env(CHILD, name);
        command.env("WHARF_BACKEND", backend);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Running { child, out })
    }

    fn line(&mut self) -> Result<String, Failed> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Connects to the address in its first line.
    fn address(&mut self) -> Result<String, Failed> {
        let line = self.line()?;
        let address = line.strip_prefix("listening on ");
        let address = address.ok_or_else(|| format!("no address in '{line}'"))?;
        Ok(address.split(';').next().unwrap_or(address).to_owned())
    }

    /// Waits for its end, and gives the rest of what it says.
    fn finish(mut self) -> Result<String, Failed> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.out.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        match status.success() {
            true => Ok(said),
            false => Err(format!("{status}: {said}").into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn connect(address: &str) -> Result<TcpStream, Failed> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn read_some(stream: &mut TcpStream, len: usize) -> Result<String, Failed> {
    let mut buf = vec![0; len];
    stream.read_exact(&mut buf)?;
    Ok(String::from_utf8_lossy(&buf).into_owned())
}

fn expect(what: &str, said: &str, wanted: &str) -> Tried {
    match said == wanted {
        true => Ok(()),
        false => Err(format!("{what}: '{said}' instead of '{wanted}'").into()),
    }
}

fn use_echo(backend: &str) -> Tried {
    shown_in_documentation()?;
    let mut echo = Running::start("echo", backend, &["127.0.0.1:0"])?;
    let address = echo.address()?;
    let (mut one, mut other) = (connect(&address)?, connect(&address)?);
    for (stream, words) in [(&mut one, "from one"), (&mut other, "from the other")] {
        stream.write_all(words.as_bytes())?;
        expect("echo", &read_some(stream, words.len())?, words)?;
    }
    Ok(())
}

/// What the README and the crate's documentation show is this example, and it is short.
fn shown_in_documentation() -> Tried {
    const README: &str = include_str!("../../../../README.md");
    const DOCUMENTATION: &str = include_str!("../../src/lib.rs");
    const ECHO: &str = include_str!("../../examples/echo.rs");
    let code = ECHO.replace("pub(crate) ", "");
    let code = code.lines().filter(|line| !line.starts_with("//!"));
    let code: Vec<&str> = code.skip_while(|line| line.is_empty()).collect();
    let documentation = DOCUMENTATION.replace("//! ", "").replace("//!", "");
    let code_text = code.join("\n");
    let shown = README.contains(&code_text) && documentation.contains(&code_text);
    let count = code.iter().filter(|line| !line.is_empty()).count();
    match shown && count < 15 {
        true => Ok(()),
        false => Err(format!("shown in README and documentation: {shown}; {count} lines").into()),
    }
}

fn use_chat(backend: &str) -> Tried {
    let mut chat = Running::start("chat", backend, &["127.0.0.1:0"])?;
    let address = chat.address()?;
    let mut first = BufReader::new(connect(&address)?);
    // It has joined when it hears of the second.
    let mut second = connect(&address)?;
    let mut line = String::new();
    let mut heard = |first: &mut BufReader<TcpStream>, wanted: &str| {
        line.clear();
        first.read_line(&mut line)?;
        expect("chat", line.trim_end(), wanted)
    };
    heard(&mut first, "[2] has joined")?;
    second.write_all(b"good morning\n")?;
    heard(&mut first, "[2] good morning")?;
    first.get_mut().write_all(b"and to you\n")?;
    expect("chat", &read_some(&mut second, 15)?, "[1] and to you\n")?;
    drop(second);
    heard(&mut first, "[2] has left")
}

fn use_proxy(backend: &str) -> Tried {
    let target = TcpListener::bind("127.0.0.1:0")?;
    let to = target.local_addr()?.to_string();
    let mut proxy = Running::start("proxy", backend, &["127.0.0.1:0", &to])?;
    let mut client = connect(&proxy.address()?)?;
    client.write_all(b"a question")?;
    client.shutdown(Shutdown::Write)?;
    let (mut server, _) = target.accept()?;
    server.set_read_timeout(Some(LIMIT))?;
    let mut asked = String::new();
    server.read_to_string(&mut asked)?;
    expect("up", &asked, "a question")?;
    server.write_all(b"the answer!")?;
    drop(server);
    let mut answered = String::new();
    client.read_to_string(&mut answered)?;
    expect("down", &answered, "the answer!")?;
    let line = proxy.line()?;
    match line.ends_with(": 10 bytes up, 11 down") {
        true => Ok(()),
        false => Err(line.into()),
    }
}

fn use_graceful(backend: &str) -> Tried {
    let mut graceful = Running::start("graceful", backend, &["127.0.0.1:0"])?;
    let address = graceful.address()?;
    let mut client = connect(&address)?;
    client.write_all(b"here")?;
    expect("before", &read_some(&mut client, 4)?, "here")?;
    let said = graceful.finish()?;
    let mut goodbye = String::new();
    client.read_to_string(&mut goodbye)?;
    expect("client", &goodbye, "the server stops now, goodbye\n")?;
    expect("server", said.trim_end(), "all connections have finished")?;
    match TcpStream::connect(&address) {
        Ok(_) => Err("it still takes connections".into()),
        Err(_) => Ok(()),
    }
}

fn use_join_all(backend: &str) -> Tried {
    let said = Running::start("join_all", backend, &[])?.finish()?;
    let answers: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .collect();
    let order = answers.join(" ");
    expect(
        "order",
        &order,
        "answer-5 answer-4 answer-3 answer-2 answer-1",
    )
}

fn use_file_copy(backend: &str) -> Tried {
    let dir = tempfile::tempdir()?;
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::create_dir_all(from.join("below"))?;
    let long: Vec<u8> = (0..3_500_000u32).map(|n| (n % 239) as u8).collect();
    std::fs::write(from.join("long"), &long)?;
    std::fs::write(from.join("below/short"), "short")?;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let said = Running::start("file_copy", backend, &[&text(&from), &text(&to)])?.finish()?;
    expect("report", said.trim_end(), "copied 2 files, 3500005 bytes")?;
    let copied = std::fs::read(to.join("long"))?;
    let short = std::fs::read_to_string(to.join("below/short"))?;
    match copied == long && short == "short" {
        true => Ok(()),
        false => Err("the copy differs".into()),
    }
}

/// Ends this process with a complaint if it is still there when the time is up.
fn end_after(limit: Duration) {
    let (sender, receiver) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if receiver.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("not finished after {limit:?}");
            std::process::exit(1);
        }
    });
    // Never dropped: it is the end of the process that ends the wait.
    std::mem::forget(sender);
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CHILD) {
        end_after(LIMIT);
        let example = EXAMPLES.iter().find(|(known, ..)| *known == name);
        return example.map_or(ExitCode::FAILURE, |(_, main, _)| main());
    }
    let arguments = Arguments::from_args();
    let only = std::env::var("WHARF_BACKEND").unwrap_or_default();
    let (mut trials, mut missing) = (Vec::new(), Vec::new());
    for report in wharf_queue::probe() {
        let backend = report.kind.name();
        if !only.is_empty() && only != "auto" && only != backend {
            continue;
        }
        if !report.available {
            missing.push(format!("{backend}: {}", report.reason));
        }
        for &(name, _, user) in EXAMPLES {
            let trial = Trial::test(format!("{backend}::{name}"), move || user(backend));
            trials.push(trial.with_ignored_flag(!report.available));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for reason in missing {
        println!("not run: {reason}");
    }
    conclusion.exit_code()
}
