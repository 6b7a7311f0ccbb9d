//! A chat room in lines, with the `BufReader` of the standard library: every line that somebody
//! sends goes to all the others.
//!
//! `cargo run -p wharf-fiber --example line_chat -- 127.0.0.1:7777`, then `nc 127.0.0.1 7777` in several
//! terminals.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::rc::Rc;

use wharf::sync::channel::{Sender, bounded};
use wharf_fiber as fiber;
use wharf_fiber::net::{TcpListener, TcpStream};

/// Lines that wait for one member; beyond that, they miss some.
const BACKLOG: usize = 100;

/// Who is there. All fibers are on one thread, so that it needs no lock.
type Room = Rc<RefCell<BTreeMap<u32, Sender<Rc<str>>>>>;

fn say(room: &Room, from: u32, line: &str) {
    let line: Rc<str> = format!("[{from}] {line}\n").into();
    for (number, member) in &*room.borrow() {
        if *number != from {
            // A full backlog is the member's own loss.
            let _full = member.try_send(line.clone());
        }
    }
}

fn join(room: &Room, number: u32, stream: &TcpStream) -> io::Result<()> {
    let (sender, lines) = bounded::<Rc<str>>(BACKLOG);
    room.borrow_mut().insert(number, sender);
    say(room, number, "has joined");
    let mut out = stream.try_clone()?;
    let writing = fiber::spawn(move || {
        while let Ok(line) = fiber::wait(lines.recv()) {
            out.write_all(line.as_bytes())?;
        }
        io::Result::Ok(())
    });
    let read = BufReader::new(stream)
        .lines()
        .try_for_each(|line| line.map(|line| say(room, number, &line)));
    // The writing fiber ends when nobody can send to it any more.
    room.borrow_mut().remove(&number);
    say(room, number, "has left");
    writing.join().map_err(io::Error::from)??;
    read
}

/// Serves the room, a fiber for each member and one for what is said to them.
pub(crate) fn serve(listener: &TcpListener) {
    let room = Room::default();
    for (number, stream) in (1..).zip(listener.incoming()) {
        let room = room.clone();
        drop(fiber::spawn(move || {
            if let Err(error) = stream.and_then(|stream| join(&room, number, &stream)) {
                eprintln!("{number}: {error}");
            }
        }));
    }
}

#[allow(dead_code, reason = "the tests call what it calls")]
fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:7777".to_owned());
    let runtime = wharf::Runtime::new()?;
    fiber::block_on(&runtime, move || {
        let listener = TcpListener::bind(address)?;
        println!("listening on {}", listener.local_addr()?);
        serve(&listener);
        Ok(())
    })
}
