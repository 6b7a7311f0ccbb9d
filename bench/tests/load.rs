//! The load refuses a server that does not echo: the verification itself is tested.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use wharf_bench::drive::Until;
use wharf_bench::load::{Load, Shape};

const SHAPE: Shape = Shape {
    connections: 1,
    message_bytes: 64,
    in_flight: 1,
};

/// A server for one connection that answers the first message with what `answer` makes of it.
fn serve(answer: fn(Vec<u8>) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the load connects");
        let mut message = vec![0; SHAPE.message_bytes];
        stream.read_exact(&mut message).expect("the load sends");
        // The load may have seen enough and be gone.
        let _ = stream.write_all(&answer(message));
    });
    address
}

fn outcome(answer: fn(Vec<u8>) -> Vec<u8>) -> ErrorKind {
    let mut load = Load::connect(serve(answer), SHAPE).expect("the load connects");
    load.run(Until::Messages(1))
        .expect_err("the answer is wrong")
        .kind()
}

#[test]
fn load_accepts_the_echo() {
    let mut load = Load::connect(serve(|message| message), SHAPE).expect("the load connects");
    let report = load.run(Until::Messages(1)).expect("the answer is right");
    assert_eq!(report.messages, 1);
}

#[test]
fn load_refuses_a_changed_byte() {
    let answer = |mut message: Vec<u8>| {
        message[63] ^= 1;
        message
    };
    assert_eq!(outcome(answer), ErrorKind::InvalidData);
}

#[test]
fn load_refuses_a_lost_byte() {
    let answer = |message: Vec<u8>| message[1..].to_vec();
    assert_eq!(outcome(answer), ErrorKind::InvalidData);
}

#[test]
fn load_refuses_a_doubled_message() {
    let answer = |message: Vec<u8>| [&message[..], &message[..]].concat();
    assert_eq!(outcome(answer), ErrorKind::InvalidData);
}

#[test]
fn load_refuses_an_early_end() {
    assert_eq!(
        outcome(|message| message[..10].to_vec()),
        ErrorKind::UnexpectedEof
    );
}
