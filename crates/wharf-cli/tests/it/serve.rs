//! `wharf serve`: files and refusals on the wire, how it ends, and what it does in need.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Case;
use crate::fixture::{HAS_LINKS, Signal, limit_descriptors, link};
use crate::program::{Run, Server, wharf};

pub(crate) const CASES: &[Case] = &[
    ("serve_answers_what_a_browser_asks", serve_answers),
    (
        "serve_refuses_to_leave_its_directory",
        serve_refuses_to_leave,
    ),
    ("serve_shows_more_when_told_so", serve_shows_more),
    ("serve_logs_each_request_and_totals", serve_logs),
    (
        "serve_ends_in_time_beside_a_client_that_takes_nothing",
        serve_ends_in_time,
    ),
    (
        "serve_outlives_the_reader_of_its_output",
        serve_outlives_the_reader,
    ),
    ("serve_finishes_what_is_under_way", serve_finishes),
    ("serve_outlives_want_of_descriptors", serve_outlives_want),
    ("serve_says_why_it_cannot", serve_says_why),
];

/// A directory with something in it.
fn site() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).expect("it can be written");
    };
    fs::create_dir(dir.path().join("root")).expect("it can be made");
    fs::create_dir(dir.path().join("root/sub")).expect("it can be made");
    write("root/hello.txt", "hello, world\n");
    write("root/sub/index.html", "<p>index");
    write("root/.hidden", "hidden");
    write("secret", "secret");
    link("../secret", &dir.path().join("root/out"));
    dir
}

fn start(backend: &str, dir: &TempDir, words: &[&str]) -> Server {
    let root = dir.path().join("root");
    let root = root.to_str().expect("a path of text");
    let mut all = vec!["serve", root, "--backend", backend];
    all.extend(words);
    Server::start(&all)
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

/// Sends one request with these further lines of the head and reads the answer.
fn ask(stream: &mut TcpStream, line: &str, fields: &str) -> Answer {
    let request = format!("{line} HTTP/1.1\r\nhost: wharf\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("it is there");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let headers: HashMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let mut answer = Answer {
        status: status.expect("a status"),
        headers,
        body: String::new(),
    };
    if !line.starts_with("HEAD") && answer.status != 304 {
        let len = answer.header("content-length").parse().expect("a length");
        let mut body = vec![0; len];
        stream.read_exact(&mut body).expect("a whole body");
        answer.body = String::from_utf8(body).expect("text");
    }
    answer
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn serve_answers(backend: &str) {
    let dir = site();
    let server = start(backend, &dir, &[]);
    let mut stream = server.connect();
    let whole = ask(&mut stream, "GET /hello.txt", "");
    assert_eq!((whole.status, whole.body.as_str()), (200, "hello, world\n"));
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
    let part = ask(&mut stream, "GET /hello.txt", "range: bytes=-6\r\n");
    assert_eq!((part.status, part.body.as_str()), (206, "world\n"));
    let condition = format!("if-none-match: {}\r\n", whole.header("etag"));
    assert_eq!(ask(&mut stream, "GET /hello.txt", &condition).status, 304);
    let head = ask(&mut stream, "HEAD /hello.txt", "");
    assert_eq!(head.header("content-length"), "13");
    assert_eq!(ask(&mut stream, "GET /sub", "").header("location"), "/sub/");
    assert_eq!(ask(&mut stream, "GET /sub/", "").body, "<p>index");
    let list = ask(&mut stream, "GET /", "").body;
    assert!(
        list.contains("href=\"sub/\"") && list.contains("href=\"hello.txt\""),
        "{list}"
    );
    assert!(!list.contains("hidden"), "{list}");
    assert_eq!(ask(&mut stream, "GET /nothing", "").status, 404);
    assert_eq!(ask(&mut stream, "DELETE /hello.txt", "").status, 405);
    server.stop(Signal::Interrupt).succeeds();
}

fn serve_refuses_to_leave(backend: &str) {
    let dir = site();
    let server = start(backend, &dir, &[]);
    let mut stream = server.connect();
    for (line, status) in [
        ("GET /../secret", 400),
        ("GET /%2e%2e/secret", 400),
        ("GET /..%2fsecret", 400),
        ("GET /sub/..%5c..%5csecret", 400),
        ("GET /hello.txt%00", 400),
        ("GET /out", if HAS_LINKS { 403 } else { 404 }),
        ("GET /.hidden", 404),
    ] {
        let answer = ask(&mut stream, line, "");
        assert_eq!(answer.status, status, "{line}");
        assert!(!answer.body.contains("secret"), "{line}");
    }
    server.stop(Signal::Interrupt).succeeds();
}

fn serve_shows_more(backend: &str) {
    let dir = site();
    let server = start(
        backend,
        &dir,
        &["--hidden", "--links-out", "--workers", "2"],
    );
    let shown = [("/.hidden", "hidden"), ("/out", "secret")];
    for (path, body) in shown.into_iter().take(1 + usize::from(HAS_LINKS)) {
        assert_eq!(
            ask(&mut server.connect(), &format!("GET {path}"), "").body,
            body
        );
    }
    server.stop(Signal::Interrupt).succeeds();
}

fn serve_ends_in_time(backend: &str) {
    let dir = site();
    // More than the buffers of both sides.
    let huge = fs::File::create(dir.path().join("root/huge")).expect("it can be made");
    huge.set_len(1 << 30).expect("it can be long");
    let server = start(backend, &dir, &[]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is there");
    stream.read_exact(&mut [0]).expect("the answer begins");
    // What is under way has ten seconds, and what is cut off then has no further ten.
    let begin = Instant::now();
    let out = server.stop(Signal::Terminate).succeeds();
    assert!(begin.elapsed() < Duration::from_secs(18));
    assert!(out.contains("broken off"), "{out}");
}

fn serve_logs(backend: &str) {
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let dir = site();
        let server = start(backend, &dir, &[]);
        let mut stream = server.connect();
        ask(&mut stream, "GET /hello.txt?a=b", "");
        ask(&mut stream, "GET /nothing", "");
        let out = server.stop(signal).succeeds();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 3, "{out}");
        assert!(
            lines[0].contains(" \"GET /hello.txt?a=b HTTP/1.1\" 200 13 "),
            "{out}"
        );
        assert!(
            lines[1].contains(" \"GET /nothing HTTP/1.1\" 404 "),
            "{out}"
        );
        assert!(
            lines[2].starts_with("2 requests (1 2xx, 1 4xx) on 1 connections, "),
            "{out}"
        );
        // An idle connection is closed in order and keeps nobody waiting.
        assert_eq!(stream.read(&mut [0]).expect("the end comes in order"), 0);
    }
}

fn serve_outlives_the_reader(backend: &str) {
    let dir = site();
    let mut server = start(backend, &dir, &[]);
    server.leave_output();
    for _ in 0..3 {
        assert_eq!(ask(&mut server.connect(), "GET /hello.txt", "").status, 200);
    }
    server.stop(Signal::Interrupt).succeeds();
}

fn serve_finishes(backend: &str) {
    const LEN: u64 = 64 << 20;
    let dir = site();
    let huge = fs::File::create(dir.path().join("root/huge")).expect("it can be made");
    huge.set_len(LEN).expect("it can be sparse");
    let server = start(backend, &dir, &[]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /huge HTTP/1.1\r\nhost: wharf\r\n\r\n")
        .expect("it is there");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("it begins");
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("it ends in order");
        rest.len() as u64
    });
    let out = server.stop(Signal::Interrupt).succeeds();
    assert!(
        out.contains(&format!("\"GET /huge HTTP/1.1\" 200 {LEN} ")),
        "{out}"
    );
    assert!(!out.contains("broken off"), "{out}");
    assert!(reader.join().expect("it has read all") > LEN);
}

/// Sixty-four descriptors, and three times as many clients.
fn serve_outlives_want(backend: &str) {
    let dir = site();
    let root = dir.path().join("root");
    let root = root.to_str().expect("a path of text");
    let mut command = wharf(&["serve", root, "--backend", backend, "--workers", "1"]);
    limit_descriptors(&mut command, 64);
    let server = Server::of(command);
    let mut first = server.connect();
    assert_eq!(ask(&mut first, "GET /hello.txt", "").status, 200);
    let many: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    // It cannot open the file while everything is used up, and says so; it does not fall silent.
    for _ in 0..20 {
        let status = ask(&mut first, "GET /hello.txt", "").status;
        assert!(matches!(status, 200 | 503), "{status}");
    }
    drop(many);
    // Those that waited are accepted, found closed, and gone.
    assert_eq!(ask(&mut server.connect(), "GET /hello.txt", "").status, 200);
    assert_eq!(ask(&mut first, "GET /hello.txt", "").status, 200);
    let out = server.stop(Signal::Interrupt).succeeds();
    assert!(out.contains("accepts failed"), "{out}");
}

fn serve_says_why(backend: &str) {
    let dir = site();
    let path = |name: &str| {
        let path = dir.path().join(name);
        path.to_str().expect("a path of text").to_owned()
    };
    let run = |words: &[&str]| {
        let mut all = vec!["serve", "--backend", backend];
        all.extend(words);
        Run::of(wharf(&all))
    };
    run(&[&path("nothing")]).fails(1, &["cannot serve", "nothing"]);
    run(&[&path("secret")]).fails(1, &["cannot serve", "secret"]);
    let server = start(backend, &dir, &[]);
    let taken = server.address.to_string();
    run(&[&path("root"), "--listen", &taken]).fails(1, &[&taken, "in use", "port 0"]);
    run(&[&path("root"), "--workers", "many"]).fails(2, &["--workers"]);
}
