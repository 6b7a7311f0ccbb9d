//! The load for HTTP file servers: connections that stay open, one thread, every byte verified.
//!
//! It owns the connections and the request that is in flight on each: it asks for one file after the other,
//! in a fixed order, and compares what comes with what the file holds. What is no whole answer with status
//! 200 and these bytes ends the run with an error.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use crate::drive::{self, Client, Progress, Report, Until};
use crate::sys::{Epoll, Event};

const CHUNK: usize = 256 * 1024;
/// No head of these servers is nearly as long.
const LONGEST_HEAD: usize = 16 * 1024;

/// A file that is asked for: its path on the server, and its bytes.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Begins with a slash.
    pub path: String,
    /// What the answer has to hold.
    pub bytes: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// The file that is being received.
    asked: usize,
    /// What has come of the head; empty while the body comes.
    head: Vec<u8>,
    /// Where in the body the next byte belongs, when the head is there.
    body: Option<usize>,
    is_busy: bool,
}

/// The connections to one server.
pub struct HttpLoad<'a> {
    epoll: Epoll,
    connections: Vec<Connection>,
    files: &'a [Asked],
    buffer: Vec<u8>,
}

fn wrong(sentence: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, sentence)
}

impl<'a> HttpLoad<'a> {
    /// Connects to `address`; each connection begins with another of the files.
    ///
    /// # Errors
    /// The error of `connect(2)`; `InvalidInput` without connections or files.
    pub fn connect(
        address: SocketAddr,
        connections: usize,
        files: &'a [Asked],
    ) -> io::Result<Self> {
        if connections == 0 || files.is_empty() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let epoll = Epoll::new()?;
        let streams = drive::connect(&epoll, address, connections)?;
        let connections = streams.into_iter().enumerate();
        let connections = connections.map(|(index, stream)| Connection {
            stream,
            asked: index % files.len(),
            head: Vec::new(),
            body: None,
            is_busy: false,
        });
        let connections = connections.collect();
        Ok(Self {
            epoll,
            connections,
            files,
            buffer: vec![0; CHUNK],
        })
    }

    /// Asks and verifies until the end; the connections stay open, and another run can follow. A message of
    /// the report is a file.
    ///
    /// # Errors
    /// `InvalidData` for a wrong answer, `UnexpectedEof` for a closed connection, `TimedOut` for a server
    /// that owes an answer and is silent, or the error of a system call.
    pub fn run(&mut self, until: Until) -> io::Result<Report> {
        drive::run(self, until)
    }

    fn ask(&mut self, index: usize, progress: &mut Progress) -> io::Result<()> {
        if !progress.begin() {
            return Ok(());
        }
        let connection = &mut self.connections[index];
        connection.is_busy = true;
        let path = &self.files[connection.asked].path;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // Nothing else is on its way in this direction, so that it fits.
        connection.stream.write_all(request.as_bytes())
    }

    fn receive(&mut self, index: usize, progress: &mut Progress) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let Some(count) = drive::read(&connection.stream, index, &mut self.buffer)? else {
            return Ok(());
        };
        if !connection.is_busy {
            return Err(wrong(format!("connection {index} got more than it asked")));
        }
        let file = &self.files[connection.asked];
        if connection.take(&self.buffer[..count], file)? {
            connection.asked = (connection.asked + 1) % self.files.len();
            connection.is_busy = false;
            progress.done(1);
            self.ask(index, progress)?;
        }
        Ok(())
    }
}

impl Client for HttpLoad<'_> {
    fn epoll(&self) -> &Epoll {
        &self.epoll
    }

    fn begin(&mut self, progress: &mut Progress) -> io::Result<()> {
        (0..self.connections.len()).try_for_each(|index| self.ask(index, progress))
    }

    fn go_on(&mut self, event: &Event, progress: &mut Progress) -> io::Result<()> {
        self.receive(event.key() as usize, progress)
    }
}

impl Connection {
    /// Takes what has come of an answer. Returns whether it is whole.
    fn take(&mut self, mut bytes: &[u8], file: &Asked) -> io::Result<bool> {
        let place = match self.body {
            Some(place) => place,
            None => {
                let before = self.head.len();
                self.head.extend_from_slice(bytes);
                let Some(end) = self.head.windows(4).position(|end| end == b"\r\n\r\n") else {
                    return match self.head.len() > LONGEST_HEAD {
                        true => Err(wrong(format!("{}: the head has no end", file.path))),
                        false => Ok(false),
                    };
                };
                check_head(&self.head[..end], file)?;
                self.head.clear();
                bytes = &bytes[end + 4 - before..];
                0
            }
        };
        let rest = &file.bytes[place..];
        if !rest.starts_with(bytes) {
            return Err(wrong(format!(
                "{}: the bytes are not the file's",
                file.path
            )));
        }
        let is_whole = bytes.len() == rest.len();
        self.body = (!is_whole).then_some(place + bytes.len());
        Ok(is_whole)
    }
}

/// Refuses what is no answer with this file.
fn check_head(head: &[u8], file: &Asked) -> io::Result<()> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let status = lines.next().unwrap_or("");
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(wrong(format!("{}: {status}", file.path)));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    match length {
        Some(length) if file.bytes.len() == length => Ok(()),
        other => Err(wrong(format!("{}: the length is {other:?}", file.path))),
    }
}
