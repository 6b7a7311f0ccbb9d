//! The load for echo servers: many connections, one thread, every byte verified.
//!
//! It owns the connections and what is in flight on them. Each connection sends its own endless pattern in
//! messages of one size, keeps a fixed number of them in flight (one: ping-pong), and compares what comes
//! back with the same pattern, so that a byte that is lost, doubled, changed or sent to another connection
//! ends the run with an error.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use crate::drive::{self, Client, Progress, Report, Until};
use crate::sys::{Epoll, Event, Interest};

/// The pattern repeats after a prime number of bytes, which no message size and no buffer size divides.
const PERIOD: usize = 131_071;
const CHUNK: usize = 64 * 1024;

/// The shape of a load.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many connections.
    pub connections: usize,
    /// The bytes of a message.
    pub message_bytes: usize,
    /// The messages in flight on each connection.
    pub in_flight: u64,
}

struct Connection {
    stream: TcpStream,
    send_position: usize,
    receive_position: usize,
    /// Bytes of begun messages that the socket has not taken yet.
    unsent: usize,
    /// Bytes of the message that is being received which have come.
    arrived: usize,
    /// Messages begun and not yet back.
    pending: u64,
    watched: Interest,
}

/// The connections to one server.
pub struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    shape: Shape,
    pattern: Vec<u8>,
    buffer: Vec<u8>,
}

impl Load {
    /// Connects to `address`.
    ///
    /// # Errors
    /// The error of `connect(2)`; `InvalidInput` for a shape with a zero in it.
    pub fn connect(address: SocketAddr, shape: Shape) -> io::Result<Self> {
        if shape.connections == 0 || shape.message_bytes == 0 || shape.in_flight == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let epoll = Epoll::new()?;
        let streams = drive::connect(&epoll, address, shape.connections)?;
        let connections = streams.into_iter().enumerate().map(|(index, stream)| {
            let position = index * 4099 % PERIOD;
            Connection {
                stream,
                send_position: position,
                receive_position: position,
                unsent: 0,
                arrived: 0,
                pending: 0,
                watched: Interest::Read,
            }
        });
        let connections = connections.collect();
        Ok(Self {
            epoll,
            connections,
            shape,
            pattern: pattern(),
            buffer: vec![0; CHUNK],
        })
    }

    /// Sends and verifies until the end; the connections stay open, and another run can follow.
    ///
    /// # Errors
    /// `InvalidData` for a wrong byte, `UnexpectedEof` for a closed connection, `TimedOut` for a server that
    /// owes replies and is silent, or the error of a system call.
    pub fn run(&mut self, until: Until) -> io::Result<Report> {
        drive::run(self, until)
    }

    fn begin_message(&mut self, index: usize, progress: &mut Progress) {
        if !progress.begin() {
            return;
        }
        let connection = &mut self.connections[index];
        connection.unsent += self.shape.message_bytes;
        connection.pending += 1;
    }

    fn flush(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        while connection.unsent > 0 {
            let len = connection.unsent.min(CHUNK);
            let bytes = &self.pattern[connection.send_position..][..len];
            match connection.stream.write(bytes) {
                Ok(count) => {
                    connection.unsent -= count;
                    connection.send_position = (connection.send_position + count) % PERIOD;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let wanted = if connection.unsent > 0 {
            Interest::ReadWrite
        } else {
            Interest::Read
        };
        if wanted != connection.watched {
            connection.watched = wanted;
            self.epoll
                .modify(&connection.stream, wanted, index as u64)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, progress: &mut Progress) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let Some(count) = drive::read(&connection.stream, index, &mut self.buffer)? else {
            return Ok(());
        };
        let expected = &self.pattern[connection.receive_position..][..count];
        let due = connection.pending * self.shape.message_bytes as u64;
        if self.buffer[..count] != *expected || (connection.arrived + count) as u64 > due {
            let sentence = format!("connection {index} got bytes back that it did not send");
            return Err(io::Error::new(ErrorKind::InvalidData, sentence));
        }
        connection.receive_position = (connection.receive_position + count) % PERIOD;
        connection.arrived += count;
        let whole = connection.arrived / self.shape.message_bytes;
        connection.arrived %= self.shape.message_bytes;
        connection.pending -= whole as u64;
        progress.done(whole as u64);
        for _ in 0..whole {
            self.begin_message(index, progress);
        }
        Ok(())
    }
}

impl Client for Load {
    fn epoll(&self) -> &Epoll {
        &self.epoll
    }

    fn begin(&mut self, progress: &mut Progress) -> io::Result<()> {
        for index in 0..self.connections.len() {
            for _ in 0..self.shape.in_flight {
                self.begin_message(index, progress);
            }
            self.flush(index)?;
        }
        Ok(())
    }

    fn go_on(&mut self, event: &Event, progress: &mut Progress) -> io::Result<()> {
        let index = event.key() as usize;
        if event.is_readable() {
            self.receive(index, progress)?;
        }
        if self.connections[index].unsent > 0 {
            self.flush(index)?;
        }
        Ok(())
    }
}

/// Random bytes (xorshift64) that repeat after [`PERIOD`], with room for a [`CHUNK`] from any position.
fn pattern() -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(PERIOD)
    .collect();
    bytes.extend_from_within(..);
    bytes.truncate(PERIOD + CHUNK);
    bytes
}
