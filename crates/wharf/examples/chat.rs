//! A chat room: every line that somebody sends goes to all the others.
//!
//! `cargo run -p wharf --example chat -- 127.0.0.1:7777`, then `nc 127.0.0.1 7777` in several
//! terminals. One who does not read is left behind, and never holds up the others.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use futures_lite::StreamExt;
use futures_lite::io::AsyncBufReadExt;
use wharf::io::Buffered;
use wharf::net::{TcpListener, TcpStream};
use wharf::sync::channel::{Sender, bounded};

/// Lines that wait for one member; beyond that, they miss some.
const BACKLOG: usize = 100;

/// The room stays on one worker, so that it needs no lock.
#[derive(Default)]
struct Room {
    members: HashMap<u64, Sender<Rc<str>>>,
    next: u64,
}

impl Room {
    fn say(&self, from: u64, line: &str) {
        let line: Rc<str> = format!("[{from}] {line}\n").into();
        for (number, member) in &self.members {
            if *number != from {
                // A full backlog is the member's own loss.
                let _full = member.try_send(line.clone());
            }
        }
    }
}

async fn join(room: Rc<RefCell<Room>>, stream: TcpStream) -> io::Result<()> {
    let (sender, receiver) = bounded::<Rc<str>>(BACKLOG);
    let number = {
        let mut room = room.borrow_mut();
        room.next += 1;
        let number = room.next;
        room.members.insert(number, sender);
        number
    };
    room.borrow().say(number, "has joined");
    let (read, mut write) = stream.into_split();
    let writing = wharf::spawn(async move {
        while let Ok(line) = receiver.recv().await {
            write.write_all(line.as_bytes()).await?;
        }
        io::Result::Ok(())
    });
    let mut lines = Buffered::new(read).lines();
    while let Some(Ok(line)) = lines.next().await {
        room.borrow().say(number, &line);
    }
    room.borrow_mut().members.remove(&number);
    room.borrow().say(number, "has left");
    writing.await?
}

#[wharf::main]
pub(crate) async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:7777".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr());
    let room = Rc::new(RefCell::new(Room::default()));
    loop {
        let (stream, peer) = listener.accept().await?;
        let room = room.clone();
        wharf::spawn(async move {
            if let Err(error) = join(room, stream).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
