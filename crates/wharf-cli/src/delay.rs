//! `wharf delay`: an HTTP/1.1 test peer that answers late.
//!
//! `GET /{ms}/{message}` answers `message` after `ms` milliseconds; anything else is a bad request.
//! Requests of one connection are answered in their order.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use wharf_queue::{Handle, OpKind, Prepare, Queue, op};

use crate::context;

/// The longest delay in milliseconds.
const MAX_DELAY_MS: u64 = 60_000;
/// The longest request head in bytes.
const MAX_HEAD: usize = 8192;
/// How long a client may take to send a head.
const PATIENCE: Duration = Duration::from_secs(30);

struct Connection {
    socket: Handle,
    /// What has been received and not answered.
    input: Vec<u8>,
    answer: Vec<u8>,
    keep_alive: bool,
}

pub(crate) fn run(queue: &Queue, listen: SocketAddr) -> io::Result<()> {
    let listener = queue
        .listen(listen)
        .map_err(context(format!("cannot listen on {listen}")))?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let notifier = queue.notifier();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            notifier.notify();
        }
    });
    queue.submit(op::AcceptMulti::new(&listener))?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", listener.local_addr()?)?;
    out.flush()?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut answered = 0u64;
    loop {
        let batch = queue.wait(None)?;
        let stop = batch.notified();
        for completion in batch {
            let at = completion.user_data() as usize;
            match completion.kind() {
                Some(OpKind::AcceptMulti) => {
                    let Ok(outcome) = completion.take_as::<op::AcceptMulti>() else {
                        continue;
                    };
                    match outcome.into_result() {
                        Ok(socket) => accepted(queue, &mut connections, socket)?,
                        Err(error) => eprintln!("wharf: accept: {error}"),
                    }
                }
                Some(OpKind::Recv) => {
                    let Ok((outcome, buf)) = completion.take_as::<op::Recv<Vec<u8>>>() else {
                        continue;
                    };
                    let received = matches!(outcome.into_result(), Ok(1..));
                    match &mut connections[at] {
                        Some(connection) if received => {
                            connection.input.extend_from_slice(&buf);
                            go_on(queue, connection, at)?;
                        }
                        _ => connections[at] = None,
                    }
                }
                Some(OpKind::Timer) => {
                    if let Some(connection) = &mut connections[at] {
                        let answer = std::mem::take(&mut connection.answer);
                        let send = op::Send::new(&connection.socket, answer).all();
                        queue.submit(send.user_data(at as u64).timeout(PATIENCE))?;
                    }
                }
                Some(OpKind::Send) => {
                    let Ok((outcome, _)) = completion.take_as::<op::Send<Vec<u8>>>() else {
                        continue;
                    };
                    let sent = outcome.into_result().is_ok();
                    answered += u64::from(sent);
                    match &mut connections[at] {
                        Some(connection) if sent && connection.keep_alive => {
                            go_on(queue, connection, at)?;
                        }
                        _ => connections[at] = None,
                    }
                }
                _ => {}
            }
        }
        if stop {
            return writeln!(out, "{answered} answers");
        }
    }
}

fn accepted(
    queue: &Queue,
    connections: &mut Vec<Option<Connection>>,
    socket: Handle,
) -> io::Result<()> {
    let at = connections
        .iter()
        .position(Option::is_none)
        .unwrap_or(connections.len());
    if at == connections.len() {
        connections.push(None);
    }
    let (input, answer) = (Vec::new(), Vec::new());
    let connection = Connection {
        socket,
        input,
        answer,
        keep_alive: true,
    };
    go_on(queue, connections[at].insert(connection), at)
}

/// Answers the next request if it is there as a whole, else receives more.
fn go_on(queue: &Queue, connection: &mut Connection, at: usize) -> io::Result<()> {
    let end = connection
        .input
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n");
    let request = match end {
        Some(end) => {
            let head: Vec<u8> = connection.input.drain(..end + 4).collect();
            parse(&head)
        }
        None if connection.input.len() > MAX_HEAD => None,
        None => {
            let recv = op::Recv::new(&connection.socket, Vec::with_capacity(2048));
            queue.submit(recv.user_data(at as u64).timeout(PATIENCE))?;
            return Ok(());
        }
    };
    let (delay, status, body) = match &request {
        Some(request) => (request.delay, "200 OK", request.message.as_str()),
        None => (
            Duration::ZERO,
            "400 Bad Request",
            "ask for GET /{ms}/{message}, ms up to 60000\n",
        ),
    };
    connection.keep_alive = request.as_ref().is_some_and(|request| request.keep_alive);
    let alive = if connection.keep_alive {
        "keep-alive"
    } else {
        "close"
    };
    connection.answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: {alive}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes();
    queue.submit(op::Timer::after(delay).user_data(at as u64))?;
    Ok(())
}

struct Request {
    delay: Duration,
    message: String,
    keep_alive: bool,
}

/// Reads a request head; `None` for one that is not understood.
fn parse(head: &[u8]) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    if method != "GET" || words.next().is_some() {
        return None;
    }
    let mut keep_alive = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("connection") {
            keep_alive &= !value.eq_ignore_ascii_case("close");
        }
        // A body would be taken for the next request.
        let length = name.eq_ignore_ascii_case("content-length") && value != "0";
        if length || name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    let (delay, message) = path.strip_prefix('/')?.split_once('/')?;
    let digits = !delay.is_empty() && delay.bytes().all(|byte| byte.is_ascii_digit());
    let delay: u64 = delay
        .parse()
        .ok()
        .filter(|&ms| digits && ms <= MAX_DELAY_MS)?;
    Some(Request {
        delay: Duration::from_millis(delay),
        message: message.to_owned(),
        keep_alive,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_with_delay_and_message_is_understood() {
        let request = parse(b"GET /25/hello HTTP/1.1\r\nhost: x\r\n\r\n").expect("valid");
        assert_eq!(request.delay, Duration::from_millis(25));
        assert!(request.message == "hello" && request.keep_alive);
    }

    #[test]
    fn bad_requests_are_refused() {
        for head in [
            "POST /1/a HTTP/1.1",
            "GET /1/a",
            "GET /x/a HTTP/1.1",
            "GET /+1/a HTTP/1.1",
            "GET /60001/a HTTP/1.1",
            "GET /99999999999999999999/a HTTP/1.1",
            "GET / HTTP/1.1",
            "GET /1/a HTTP/1.1\r\ncontent-length: 5",
        ] {
            assert!(
                parse(format!("{head}\r\n\r\n").as_bytes()).is_none(),
                "{head}"
            );
        }
        assert!(parse(b"\xff\xfe\r\n\r\n").is_none());
    }
}
