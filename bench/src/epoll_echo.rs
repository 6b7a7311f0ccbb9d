//! A TCP echo server on epoll, written by hand: the baseline of readiness.
//!
//! It owns one listener, one level-triggered epoll instance, one buffer and the connections. A ready
//! connection costs one receive and one send; what a send does not take is kept, and the connection is then
//! watched for writing alone until it is flushed, so that a peer that does not read cannot hoard memory.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::sys::{self, Epoll, Event, Interest};

const LISTENER: u64 = u64::MAX;
const BATCH: usize = 1024;
const BUFFER_BYTES: usize = 64 * 1024;

struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
}

/// What a ready connection wants next.
enum Next {
    Stay,
    Watch(Interest),
    Close,
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    listening: bool,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Box<[u8]>,
}

/// Serves until an error of epoll itself.
///
/// # Errors
/// The error of an epoll call, or of the listener's set-up.
pub fn serve(listener: TcpListener) -> io::Result<Infallible> {
    sys::set_nodelay(&listener)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new()?;
    epoll.add(&listener, Interest::Read, LISTENER)?;
    let mut server = Server {
        epoll,
        listener,
        listening: true,
        connections: Vec::new(),
        free: Vec::new(),
        buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
    };
    let mut events = vec![Event::EMPTY; BATCH];
    loop {
        for event in server.epoll.wait(&mut events, None)? {
            if event.key() == LISTENER {
                server.accept()?;
            } else {
                server.serve_connection(event.key() as usize)?;
            }
        }
    }
}

impl Server {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.insert(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    // Level-triggered, it would be reported for ever; the next close watches it again.
                    self.listening = false;
                    return self.epoll.modify(&self.listener, Interest::Write, LISTENER);
                }
                // Any other error belongs to the one connection that was to be accepted (accept(2)).
                Err(_) => {}
            }
        }
    }

    fn insert(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.epoll.add(&stream, Interest::Read, index as u64)?;
        self.connections[index] = Some(Connection {
            stream,
            unsent: Vec::new(),
        });
        Ok(())
    }

    #[inline]
    fn serve_connection(&mut self, index: usize) -> io::Result<()> {
        // An event of the same batch may have closed it already.
        let Some(connection) = self.connections[index].as_mut() else {
            return Ok(());
        };
        let next = if connection.unsent.is_empty() {
            connection.echo(&mut self.buffer)
        } else {
            connection.flush()
        };
        match next {
            Next::Stay => Ok(()),
            Next::Watch(interest) => self
                .epoll
                .modify(&connection.stream, interest, index as u64),
            Next::Close => self.close(index),
        }
    }

    fn close(&mut self, index: usize) -> io::Result<()> {
        self.connections[index] = None;
        self.free.push(index);
        if self.listening {
            return Ok(());
        }
        self.listening = true;
        self.epoll.modify(&self.listener, Interest::Read, LISTENER)
    }
}

impl Connection {
    /// One receive and one send.
    #[inline]
    fn echo(&mut self, buffer: &mut [u8]) -> Next {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Next::Close,
            Ok(count) => count,
            Err(error) if is_transient(&error) => return Next::Stay,
            Err(_) => return Next::Close,
        };
        let sent = match self.stream.write(&buffer[..count]) {
            Ok(sent) => sent,
            Err(error) if is_transient(&error) => 0,
            Err(_) => return Next::Close,
        };
        if sent == count {
            return Next::Stay;
        }
        self.unsent.extend_from_slice(&buffer[sent..count]);
        Next::Watch(Interest::Write)
    }

    /// One send of what an earlier one did not take.
    fn flush(&mut self) -> Next {
        match self.stream.write(&self.unsent) {
            Ok(sent) => {
                self.unsent.drain(..sent);
            }
            Err(error) if is_transient(&error) => {}
            Err(_) => return Next::Close,
        }
        if self.unsent.is_empty() {
            Next::Watch(Interest::Read)
        } else {
            Next::Stay
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
