//! `wharf delay`: an HTTP/1.1 test peer that answers late.
//!
//! `GET /{ms}/{message}` answers `message` after `ms` milliseconds; anything else is a bad request.
//! Requests of one connection are answered in their order. What a request is, `request` knows.
//!
//! A connection has one operation in flight, which its state tells (and its shutdown, in the end):
//!
//! ```text
//!          1 a whole head            2 the delay is over        3 sent, and kept alive
//! HEARING ----------------> WAITING --------------------> TELLING ------------------+
//!    ^  |                                                  ^ |                      |
//!    |  +--------------------------------------------------+ | 5 sent, to be closed |
//!    |              4 a bad request                          v                      |
//!    |                                                    PARTING --> gone          |
//!    +------------------------------------------------------------------------------+
//! ```
//!
//! 1, 4 `Server::go_on`. 2 `Server::tell`. 3, 5 `Server::told`. PARTING shuts the sending side down
//! and reads on until the client has done so too: to close with unread input would reset the
//! connection, and the client might lose the answer.

mod request;

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use wharf_queue::{Completion, Handle, Moment, OpKind, Outcome, Prepare, Queue, op};

use self::request::{Head, MAX_HEAD, parse};
use crate::{complain, serving, unless_reader_left};

/// How long a client may take to send a head, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long, and for how many bytes, a connection that is being closed is read from.
const PARTING_TIME: Duration = Duration::from_secs(2);
const PARTING_LEN: usize = 1 << 20;
/// Room of one receive.
const PIECE: usize = 2048;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Hearing,
    Waiting,
    Telling,
    /// So many more bytes are read and thrown away.
    Parting(usize),
}

struct Connection {
    socket: Handle,
    state: State,
    /// When the client must be done with what it is doing.
    due: Moment,
    /// What has been received and not answered: at most a head and a piece.
    input: Vec<u8>,
    answer: Vec<u8>,
    keep_alive: bool,
}

/// The lives of all connections; one that is gone leaves its place to another.
struct Server<'q> {
    queue: &'q Queue,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    connections: u64,
    answers: u64,
    bad_requests: u64,
}

pub(crate) fn run(queue: &Queue, listen: SocketAddr) -> io::Result<()> {
    let listener = serving::listen(queue, listen)?;
    serving::stop_on_signal(queue)?;
    queue.submit(op::AcceptMulti::new(&listener))?;
    let mut out = io::stdout();
    serving::announce(&mut out, listener.local_addr()?)?;
    let mut server = Server {
        queue,
        connections: Vec::new(),
        free: Vec::new(),
        totals: Totals::default(),
    };
    loop {
        let batch = queue.wait(None)?;
        let stop = batch.notified();
        for completion in batch {
            server.take(completion)?;
        }
        if stop {
            break;
        }
    }
    let Totals {
        connections,
        answers,
        bad_requests,
    } = server.totals;
    unless_reader_left(writeln!(
        out,
        "{connections} connections, {answers} answers, {bad_requests} of them to bad requests"
    ))
}

impl Server<'_> {
    fn take(&mut self, completion: Completion<'_>) -> io::Result<()> {
        let at = completion.user_data() as usize;
        match completion.kind() {
            Some(OpKind::AcceptMulti) => {
                let more = completion.more();
                match completion.take_as::<op::AcceptMulti>() {
                    Ok(outcome) => self.accepted(outcome, more),
                    Err(_) => Ok(()),
                }
            }
            Some(OpKind::Recv) => match completion.take_as::<op::Recv<Vec<u8>>>() {
                Ok((outcome, buf)) => self.heard(at, outcome, &buf),
                Err(_) => Ok(()),
            },
            Some(OpKind::Timer) => self.tell(at),
            Some(OpKind::Send) => match completion.take_as::<op::Send<Vec<u8>>>() {
                Ok((outcome, _)) => self.told(at, outcome.into_result().is_ok()),
                Err(_) => Ok(()),
            },
            // A shutdown, whose error the receive behind it tells too.
            _ => Ok(()),
        }
    }

    fn accepted(&mut self, outcome: Outcome<Handle>, more: bool) -> io::Result<()> {
        let socket = match outcome.into_result() {
            Ok(socket) => socket,
            Err(error) if more => {
                complain(format_args!("accept: {error}"));
                return Ok(());
            }
            Err(error) => return Err(crate::context("cannot accept")(error)),
        };
        self.totals.connections += 1;
        let at = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.connections[at] = Some(Connection {
            socket,
            state: State::Hearing,
            due: self.queue.now() + PATIENCE,
            input: Vec::new(),
            answer: Vec::new(),
            keep_alive: true,
        });
        self.go_on(at)
    }

    /// Something, nothing or an error was received.
    fn heard(&mut self, at: usize, outcome: Outcome<usize>, buf: &[u8]) -> io::Result<()> {
        let received = outcome.into_result().unwrap_or(0);
        let Some(connection) = &mut self.connections[at] else {
            return Ok(());
        };
        match &mut connection.state {
            State::Parting(left) if received > 0 && received <= *left => {
                *left -= received;
                self.receive(at)
            }
            State::Hearing if received > 0 => {
                connection.input.extend_from_slice(buf);
                self.go_on(at)
            }
            _ => {
                self.connections[at] = None;
                self.free.push(at);
                Ok(())
            }
        }
    }

    /// Answers the next request if it is there as a whole, else receives more.
    fn go_on(&mut self, at: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else {
            return Ok(());
        };
        match parse(&connection.input) {
            Head::Partial => self.receive(at),
            Head::Whole { request, len } => {
                connection.input.drain(..len);
                connection.keep_alive = request.keep_alive;
                connection.answer = answer("200 OK", &request.message, request.keep_alive);
                connection.state = State::Waiting;
                let timer = op::Timer::after(request.delay);
                self.queue.submit(timer.user_data(at as u64))?;
                Ok(())
            }
            Head::Bad(why) => {
                self.totals.bad_requests += 1;
                connection.keep_alive = false;
                connection.answer = answer("400 Bad Request", &format!("{why}\n"), false);
                self.tell(at)
            }
        }
    }

    fn receive(&mut self, at: usize) -> io::Result<()> {
        if let Some(connection) = &self.connections[at] {
            debug_assert!(connection.input.len() <= MAX_HEAD + PIECE);
            let recv = op::Recv::new(&connection.socket, Vec::with_capacity(PIECE));
            // For the whole head: a client that sends a byte now and then is slow all the same.
            let recv = recv.user_data(at as u64).deadline(connection.due);
            self.queue.submit(recv)?;
        }
        Ok(())
    }

    /// The delay is over.
    fn tell(&mut self, at: usize) -> io::Result<()> {
        if let Some(connection) = &mut self.connections[at] {
            connection.state = State::Telling;
            let answer = std::mem::take(&mut connection.answer);
            let send = op::Send::new(&connection.socket, answer).all();
            self.queue
                .submit(send.user_data(at as u64).timeout(PATIENCE))?;
        }
        Ok(())
    }

    /// The answer is sent, or the client is gone.
    fn told(&mut self, at: usize, sent: bool) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else {
            return Ok(());
        };
        self.totals.answers += u64::from(sent);
        if sent && connection.keep_alive {
            connection.state = State::Hearing;
            connection.due = self.queue.now() + PATIENCE;
            return self.go_on(at);
        }
        connection.input = Vec::new();
        connection.state = State::Parting(PARTING_LEN);
        connection.due = self.queue.now() + PARTING_TIME;
        let shutdown = op::Shutdown::new(&connection.socket, Shutdown::Write);
        self.queue.submit(shutdown)?;
        self.receive(at)
    }
}

fn answer(status: &str, body: &str, keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: {connection}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
