//! Five requests to a peer that answers late, answered in the reverse order, on one thread.
//!
//! ```sh
//! wharf delay --listen 127.0.0.1:7001 &
//! cargo run -p wharf-queue --example delayed_requests 127.0.0.1:7001
//! ```
//!
//! Without an address it starts a small peer of its own, on a second thread.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use wharf_queue::{IoBuf, Prepare, Queue, Slice, op};

/// A receive into the part of a buffer that is not filled yet.
type Receive = op::Recv<Slice<Vec<u8>>>;

const REQUESTS: u64 = 5;
const STEP_MS: u64 = 60;

pub(crate) fn main() -> io::Result<()> {
    let address = match std::env::args().nth(1) {
        Some(address) => address.parse().map_err(io::Error::other)?,
        None => start_peer()?,
    };
    let queue = Queue::new()?;
    let begin = queue.now();

    // Each request is a chain of three operations: the send starts when the connection is there,
    // and the receive when everything is sent. All fifteen are submitted before anything is waited
    // for, and their buffers are lent to the queue meanwhile.
    let mut sockets = Vec::new();
    for number in 1..=REQUESTS {
        let socket = queue.socket(&op::Socket::stream_for(&address.into()))?;
        // The first request is the one that is answered last.
        let ms = (REQUESTS + 1 - number) * STEP_MS;
        let request = format!(
            "GET /{ms}/answer-{number} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        );
        let mut chain = queue.chain();
        chain.then(op::Connect::new(&socket, address).user_data(number))?;
        chain.then(
            op::Send::new(&socket, request.into_bytes())
                .all()
                .user_data(number),
        )?;
        chain.then(op::Recv::new(&socket, Vec::with_capacity(4096).slice(..)).user_data(number))?;
        chain.submit();
        sockets.push(socket);
        println!("request {number} wants its answer after {ms} ms");
    }

    // One thread waits for all of them. Whatever completes first is taken first.
    let mut order = Vec::new();
    while order.len() < REQUESTS as usize {
        let batch = queue.wait(Duration::from_secs(70))?;
        if batch.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        for completion in batch {
            let number = completion.user_data();
            let completion = match completion.take_as::<op::Connect>() {
                Ok(outcome) => {
                    // If it has failed, the send and the receive behind it come as cancelled.
                    outcome.into_result()?;
                    continue;
                }
                Err(other) => other,
            };
            let Ok((outcome, answer)) = completion.take_as::<Receive>() else {
                continue;
            };
            let (received, answer) = (outcome.into_result()?, answer.into_inner());
            if received > 0 {
                // More may come, behind what is there: an answer ends where its connection does.
                let (socket, filled) = (&sockets[number as usize - 1], answer.len());
                queue.submit(op::Recv::new(socket, answer.slice(filled..)).user_data(number))?;
                continue;
            }
            let answer = String::from_utf8_lossy(&answer);
            let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
            let after = queue.now().saturating_duration_since(begin);
            println!("{body} after {} ms", after.as_millis());
            order.push(number);
        }
    }
    println!("the order of the answers: {order:?}");
    Ok(())
}

/// A peer that takes `REQUESTS` connections and answers each when its time has come.
fn start_peer() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        if let Err(error) = be_peer(&listener) {
            eprintln!("the peer: {error}");
        }
    });
    Ok(address)
}

fn be_peer(listener: &TcpListener) -> io::Result<()> {
    let mut due = Vec::new();
    for _ in 0..REQUESTS {
        let mut stream = BufReader::new(listener.accept()?.0);
        let mut request = String::new();
        stream.read_line(&mut request)?;
        // "GET", "", "60", "answer-5", "HTTP", ..
        let mut words = request.split(['/', ' ']).skip(2);
        let ms = words.next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
        let message = words.next().unwrap_or_default().to_owned();
        due.push((ms, message, stream.into_inner()));
    }
    // All times count from here, so that a busy machine, which may have taken long over one request,
    // does not change their order.
    let begin = Instant::now();
    due.sort_by_key(|(ms, ..)| *ms);
    for (ms, message, mut stream) in due {
        let at = begin + Duration::from_millis(ms);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let len = message.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{message}"
        )?;
    }
    Ok(())
}
