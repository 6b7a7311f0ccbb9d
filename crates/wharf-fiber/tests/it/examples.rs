//! The examples do what they say.

use std::io::{BufRead, BufReader, Write};

use wharf_fiber as fiber;
use wharf_fiber::net::{TcpListener, TcpStream};

use crate::on_each_backend;

#[path = "../../examples/echo_three_styles.rs"]
mod echo_three_styles;
#[path = "../../examples/line_chat.rs"]
mod line_chat;
#[path = "../../examples/sleepers.rs"]
mod sleepers;

#[test]
fn echo_is_the_same_in_three_styles() {
    echo_three_styles::main().unwrap();
}

#[test]
fn sleepers_have_all_slept() {
    assert_eq!(sleepers::run(2000).unwrap(), 2000);
}

#[test]
fn chat_takes_lines_to_all_others() {
    on_each_backend(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = fiber::spawn(move || line_chat::serve(&listener));
        let first = TcpStream::connect(address).unwrap();
        let mut first_lines = BufReader::new(&first).lines();
        let mut next = || first_lines.next().unwrap().unwrap();
        // The members' fibers begin in the order of their connections.
        let second = TcpStream::connect(address).unwrap();
        let mut second_lines = BufReader::new(&second).lines();
        let joined = next();
        assert_eq!(joined, "[2] has joined");
        writeln!(&second, "hello").unwrap();
        assert_eq!(next(), "[2] hello");
        writeln!(&first, "welcome").unwrap();
        assert_eq!(second_lines.next().unwrap().unwrap(), "[1] welcome");
        drop(second_lines);
        drop(second);
        assert_eq!(next(), "[2] has left");
        server.abort();
        server.join().unwrap();
    });
}
