//! `wharf echo` and `wharf delay`: what clients of every kind get, and how the servers end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::Case;
use crate::fixture::{Signal, many_descriptors};
use crate::program::{Run, Server, wharf};

pub(crate) const CASES: &[Case] = &[
    (
        "echo_returns_every_byte_to_a_thousand_connections",
        echo_to_a_thousand,
    ),
    (
        "echo_on_fibers_returns_every_byte_to_a_thousand_connections",
        echo_on_fibers_to_a_thousand,
    ),
    ("echo_returns_a_long_stream", echo_returns_a_long_stream),
    (
        "echo_on_fibers_returns_a_long_stream",
        echo_on_fibers_returns_a_long_stream,
    ),
    (
        "echo_outlives_clients_that_vanish",
        echo_outlives_clients_that_vanish,
    ),
    (
        "server_ends_in_order_on_a_signal",
        server_ends_in_order_on_a_signal,
    ),
    (
        "server_outlives_the_reader_of_its_output",
        server_outlives_the_reader_of_its_output,
    ),
    (
        "server_says_why_it_cannot_listen",
        server_says_why_it_cannot_listen,
    ),
    (
        "delay_answers_late_and_never_early",
        delay_answers_late_and_never_early,
    ),
    (
        "delay_answers_connections_independently",
        delay_answers_connections_independently,
    ),
    (
        "delay_answers_pipelined_requests_in_order",
        delay_answers_pipelined_requests_in_order,
    ),
    ("delay_refuses_bad_requests", delay_refuses_bad_requests),
    (
        "delay_refuses_a_bomb_of_fields",
        delay_refuses_a_bomb_of_fields,
    ),
    (
        "delay_takes_requests_byte_by_byte",
        delay_takes_requests_byte_by_byte,
    ),
];

fn start(server: &str, backend: &str) -> Server {
    Server::start(&[server, "--backend", backend])
}

/// What connection `number` says: of another length and with other bytes than its neighbours'.
fn message(number: usize) -> Vec<u8> {
    let len = 1 + number * 7 % 3000;
    (0..len).map(|at| (number * 31 + at * 7) as u8).collect()
}

fn start_on_fibers(backend: &str) -> Server {
    Server::start(&["echo", "--backend", backend, "--style", "fiber"])
}

fn echo_to_a_thousand(backend: &str) {
    returns_every_byte_to_a_thousand(start("echo", backend));
}

fn echo_on_fibers_to_a_thousand(backend: &str) {
    returns_every_byte_to_a_thousand(start_on_fibers(backend));
}

fn returns_every_byte_to_a_thousand(server: Server) {
    // Several of these run at the same time in one process, whose limit may be a small one.
    let connections = 1000.min(many_descriptors() / 16);
    let mut streams: Vec<TcpStream> = (0..connections).map(|_| server.connect()).collect();
    for round in 0..2 {
        for (at, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&message(at + round)).expect("it is there");
        }
        for (at, stream) in streams.iter_mut().enumerate() {
            let expected = message(at + round);
            let mut answer = vec![0; expected.len()];
            stream
                .read_exact(&mut answer)
                .expect("every byte comes back");
            assert!(answer == expected, "connection {at}, round {round}");
        }
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        stream.shutdown(Shutdown::Write).expect("it is there");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("it ends in order");
        assert!(
            rest.is_empty(),
            "connection {at} got {} bytes too many",
            rest.len()
        );
    }
    let bytes: usize = (0..connections)
        .map(|at| message(at).len() + message(at + 1).len())
        .sum();
    let out = server.stop(Signal::Interrupt).succeeds();
    let totals = format!("{connections} connections, ");
    assert!(out.starts_with(&totals), "{out}");
    assert!(out.contains(&format!(" {bytes} bytes")), "{bytes}: {out}");
}

fn echo_returns_a_long_stream(backend: &str) {
    returns_a_long_stream(start("echo", backend));
}

fn echo_on_fibers_returns_a_long_stream(backend: &str) {
    returns_a_long_stream(start_on_fibers(backend));
}

fn returns_a_long_stream(server: Server) {
    let mut stream = server.connect();
    let sent: Vec<u8> = (0..9_000_001u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut writer = stream.try_clone().expect("a second descriptor");
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).expect("it is taken");
            writer.shutdown(Shutdown::Write).expect("it is there");
        });
        stream.read_to_end(&mut received).expect("it ends in order");
    });
    assert!(
        received == sent,
        "{} of {} bytes",
        received.len(),
        sent.len()
    );
    server.stop(Signal::Interrupt).succeeds();
}

fn echo_outlives_clients_that_vanish(backend: &str) {
    let server = start("echo", backend);
    for number in 0..50 {
        let mut stream = server.connect();
        stream.write_all(&message(number)).expect("it is there");
        // Closing with an answer unread resets the connection; the first byte makes sure of one.
        let mut first = [0];
        stream.read_exact(&mut first).expect("an answer");
        stream.write_all(&message(2999)).expect("it is there");
    }
    let mut stream = server.connect();
    stream.write_all(b"still there?").expect("it is there");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"still there?");
    server.stop(Signal::Terminate).succeeds();
}

fn server_ends_in_order_on_a_signal(backend: &str) {
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let server = start("echo", backend);
        let mut stream = server.connect();
        stream.write_all(b"abc").expect("it is there");
        stream.read_exact(&mut [0; 3]).expect("it answers");
        let out = server.stop(signal).succeeds();
        assert!(
            out.starts_with("1 connections, 1 messages, 3 bytes, "),
            "{out}"
        );
        assert_eq!(stream.read(&mut [0]).expect("the end comes in order"), 0);

        let server = start("delay", backend);
        let mut stream = server.connect();
        get(&mut stream, "/0/a");
        // One that is not answered any more.
        stream
            .write_all(b"GET /60000/b HTTP/1.1\r\n\r\n")
            .expect("it is there");
        let out = server.stop(signal).succeeds();
        assert_eq!(out, "1 connections, 1 answers, 0 of them to bad requests\n");
    }
}

fn server_outlives_the_reader_of_its_output(backend: &str) {
    for name in ["echo", "delay"] {
        let mut server = start(name, backend);
        server.leave_output();
        let mut stream = server.connect();
        if name == "echo" {
            stream.write_all(b"abc").expect("it is there");
            stream.read_exact(&mut [0; 3]).expect("it answers");
        } else {
            assert_eq!(get(&mut stream, "/0/abc"), (200, "abc".to_owned()));
        }
        server.stop(Signal::Interrupt).succeeds();
    }
}

fn server_says_why_it_cannot_listen(backend: &str) {
    let server = start("echo", backend);
    let taken = server.address.to_string();
    for name in ["echo", "delay"] {
        let listen =
            |address: &str| Run::of(wharf(&[name, "--backend", backend, "--listen", address]));
        listen(&taken).fails(1, &[&taken, "in use", "port 0"]);
        // An address that is kept for documentation (RFC 5737), so that no machine has it.
        listen("192.0.2.1:0").fails(1, &["192.0.2.1:0", "no such address"]);
        for wrong in ["nonsense", "localhost:80", "127.0.0.1", "127.0.0.1:99999"] {
            listen(wrong).fails(2, &[wrong, "127.0.0.1:7000"]);
        }
    }
    Run::of(wharf(&["echo", "--style", "nope"])).fails_as_wrong_use();
}

/// Reads one answer: its status and its body.
fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let len = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; len.and_then(|len| len.parse().ok()).expect("a length")];
    stream.read_exact(&mut body).expect("a whole body");
    (
        status.expect("a status"),
        String::from_utf8(body).expect("text"),
    )
}

fn get(stream: &mut TcpStream, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: wharf\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is there");
    answer(stream)
}

fn delay_answers_late_and_never_early(backend: &str) {
    let server = start("delay", backend);
    let mut stream = server.connect();
    for (ms, path) in [
        (0, "/0/now"),
        (1, "/1/soon"),
        (60, "/60/later"),
        (0, "/0/a%20b/c?d"),
    ] {
        let begin = Instant::now();
        let (status, body) = get(&mut stream, path);
        assert!(
            begin.elapsed() >= Duration::from_millis(ms),
            "{path} came early"
        );
        let expected = match path {
            "/0/a%20b/c?d" => "a b/c",
            path => path.rsplit('/').next().unwrap_or_default(),
        };
        assert_eq!((status, body.as_str()), (200, expected));
    }
    server.stop(Signal::Interrupt).succeeds();
}

/// A connection that waits for a minute keeps nobody else waiting.
fn delay_answers_connections_independently(backend: &str) {
    let server = start("delay", backend);
    let mut waiting: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for stream in &mut waiting {
        stream
            .write_all(b"GET /60000/late HTTP/1.1\r\n\r\n")
            .expect("it is there");
    }
    assert_eq!(
        get(&mut server.connect(), "/0/early"),
        (200, "early".to_owned())
    );
    server.stop(Signal::Interrupt).succeeds();
}

fn delay_answers_pipelined_requests_in_order(backend: &str) {
    let server = start("delay", backend);
    let mut stream = server.connect();
    let (mut requests, numbers) = (String::new(), 0..200);
    for number in numbers.clone() {
        let ms = if number % 50 == 0 { 20 } else { 0 };
        requests += &format!("GET /{ms}/{number} HTTP/1.1\r\nhost: wharf\r\n\r\n");
    }
    stream.write_all(requests.as_bytes()).expect("it is there");
    stream.shutdown(Shutdown::Write).expect("it is there");
    for number in numbers {
        assert_eq!(answer(&mut stream), (200, number.to_string()));
    }
    assert_eq!(stream.read(&mut [0]).expect("it ends in order"), 0);
    server.stop(Signal::Interrupt).succeeds();
}

fn delay_refuses_bad_requests(backend: &str) {
    let server = start("delay", backend);
    for request in [
        "GET /60001/a HTTP/1.1\r\n\r\n",
        "GET /x/a HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /0/%zz HTTP/1.1\r\n\r\n",
        "POST /0/a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
        "\u{0}\u{1}\u{2} nonsense\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).expect("it is there");
        let (status, body) = answer(&mut stream);
        assert!(
            status == 400 && body.ends_with('\n'),
            "{request:?}: {status} {body:?}"
        );
        assert_eq!(
            stream.read(&mut [0]).expect("it ends in order"),
            0,
            "{request:?}"
        );
    }
    server.stop(Signal::Interrupt).succeeds();
}

/// The answer arrives although the client is still sending, and is not lost to a reset.
fn delay_refuses_a_bomb_of_fields(backend: &str) {
    let server = start("delay", backend);
    let mut stream = server.connect();
    let field = "field: value\r\n".repeat(1000);
    stream
        .write_all(b"GET /0/a HTTP/1.1\r\n")
        .expect("it is there");
    for _ in 0..20 {
        stream
            .write_all(field.as_bytes())
            .expect("what is thrown away is read all the same");
    }
    let (status, _) = answer(&mut stream);
    assert_eq!(status, 400);
    assert_eq!(stream.read(&mut [0]).expect("it ends in order"), 0);
    drop(stream);
    assert_eq!(get(&mut server.connect(), "/0/on"), (200, "on".to_owned()));
    server.stop(Signal::Interrupt).succeeds();
}

fn delay_takes_requests_byte_by_byte(backend: &str) {
    let server = start("delay", backend);
    let mut slow = server.connect();
    slow.set_nodelay(true).expect("it is TCP");
    for byte in b"GET /0/slow HTTP/1.1\r\nhost: wharf\r\n\r\n" {
        slow.write_all(&[*byte]).expect("it is there");
        // Another one is answered between any two bytes.
        assert_eq!(get(&mut server.connect(), "/0/quick").0, 200);
    }
    assert_eq!(answer(&mut slow), (200, "slow".to_owned()));
    server.stop(Signal::Interrupt).succeeds();
}
