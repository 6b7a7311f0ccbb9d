//! Five requests at once to a server that answers late; the answers come in the order of their delays.
//!
//! Start `wharf delay --listen 127.0.0.1:7778` and `cargo run -p wharf --example join_all --
//! 127.0.0.1:7778`. Without an address, a little server of this program's own answers.

use std::io;
use std::time::Duration;

use wharf::net::{TcpListener, TcpStream};
use wharf::task::JoinSet;
use wharf::time::{Instant, sleep_until};

async fn get(address: String, path: String) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: delay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    while let Some(piece) = stream.recv().await? {
        response.extend_from_slice(&piece);
    }
    let response = String::from_utf8_lossy(&response);
    let (_, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

/// Answers `GET /{ms}/{message}` with the message, late: so long after `start`, that a machine which is
/// busy with one request does not change the order of all.
async fn answer(mut stream: TcpStream, start: Instant) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.recv().await? {
            Some(piece) => request.extend_from_slice(&piece),
            None => return Ok(()),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let mut path = request
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .splitn(3, '/')
        .skip(1);
    let delay_ms = path.next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
    let message = path.next().unwrap_or_default();
    sleep_until(start + Duration::from_millis(delay_ms)).await;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        message.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(message.as_bytes()).await
}

async fn own_server() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr().to_string();
    let start = Instant::now();
    wharf::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            wharf::spawn(answer(stream, start));
        }
    });
    Ok(address)
}

#[wharf::main]
pub(crate) async fn main() -> io::Result<()> {
    let address = match std::env::args().nth(1) {
        Some(address) => address,
        None => own_server().await?,
    };
    let start = Instant::now();
    let mut requests = JoinSet::new();
    for number in 1..=5u64 {
        let path = format!("/{}/answer-{number}", (6 - number) * 100);
        requests.spawn(get(address.clone(), path));
    }
    while let Some(answer) = requests.join_next().await {
        println!("{:>4} ms: {}", start.elapsed().as_millis(), answer??);
    }
    Ok(())
}
