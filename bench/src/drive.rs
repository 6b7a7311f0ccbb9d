//! What the loads have in common: one thread that waits for its connections, until a run is over.
//!
//! It owns how a run begins and ends, and the patience with a server. What is sent on a connection, and
//! what has to come back, is the `Client`'s business.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::sys::{Epoll, Event, Interest};

const BATCH: usize = 1024;
/// The longest silence of a server that owes a reply.
const PATIENCE: Duration = Duration::from_secs(20);

/// When a run stops to send; it always waits for the replies that are due.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this many messages over all connections.
    Messages(u64),
    /// After this time.
    Elapsed(Duration),
}

/// What a run did.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The messages that came back whole.
    pub messages: u64,
    /// From the first send to the last reply.
    pub elapsed: Duration,
}

impl Report {
    /// Messages in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }
}

/// What is left to do in a run.
pub(crate) struct Progress {
    /// Messages that may still be begun.
    budget: u64,
    pending: u64,
    done: u64,
}

impl Progress {
    /// Begins a message, if the run goes on.
    pub(crate) fn begin(&mut self) -> bool {
        if self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        self.pending += 1;
        true
    }

    /// So many messages have come back whole.
    pub(crate) fn done(&mut self, count: u64) {
        self.pending -= count;
        self.done += count;
    }
}

/// One who sends and verifies.
pub(crate) trait Client {
    /// Where its connections are watched.
    fn epoll(&self) -> &Epoll;

    /// Begins what is to be in flight on each connection.
    fn begin(&mut self, progress: &mut Progress) -> io::Result<()>;

    /// Something has happened on a connection.
    fn go_on(&mut self, event: &Event, progress: &mut Progress) -> io::Result<()>;
}

/// Connects that many times; the key of each connection is its position.
pub(crate) fn connect(
    epoll: &Epoll,
    address: SocketAddr,
    count: usize,
) -> io::Result<Vec<TcpStream>> {
    let connect = |index: usize| {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, Interest::Read, index as u64)?;
        Ok(stream)
    };
    (0..count).map(connect).collect()
}

/// Runs until the end, and until nothing is due any more.
pub(crate) fn run(client: &mut impl Client, until: Until) -> io::Result<Report> {
    let start = Instant::now();
    let (budget, deadline) = match until {
        Until::Messages(count) => (count, None),
        Until::Elapsed(time) => (u64::MAX, Some(start + time)),
    };
    let mut progress = Progress {
        budget,
        pending: 0,
        done: 0,
    };
    client.begin(&mut progress)?;
    let mut events = vec![Event::EMPTY; BATCH];
    while progress.pending > 0 {
        let ready = client.epoll().wait(&mut events, Some(PATIENCE))?.len();
        if ready == 0 {
            let sentence = format!("no reply for {PATIENCE:?}, {} are due", progress.pending);
            return Err(io::Error::new(ErrorKind::TimedOut, sentence));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            progress.budget = 0;
        }
        for event in &events[..ready] {
            client.go_on(event, &mut progress)?;
        }
    }
    Ok(Report {
        messages: progress.done,
        elapsed: start.elapsed(),
    })
}

/// Reads what has come; `None` if that is nothing, which says nothing.
///
/// # Errors
/// `UnexpectedEof` for a connection that was closed, or the error of the read.
pub(crate) fn read(
    mut stream: &TcpStream,
    index: usize,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    match stream.read(buffer) {
        Ok(0) => {
            let sentence = format!("connection {index} was closed by the server");
            Err(io::Error::new(ErrorKind::UnexpectedEof, sentence))
        }
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
