//! No allocation per read, write, timer or wake of the steady state, and little memory for a connection
//! that is idle: counted.
//!
//! A test binary of its own, with one test, because the allocator counts for the whole process.

#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Write};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use wharf::net::{TcpListener, TcpStream, UdpSocket};
use wharf::time::{sleep, timeout};
use wharf_bench::counting::{CountingAllocator, allocations, live_bytes};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Rounds before it counts: enough for a receive buffer to be filled to its end, where a message comes
/// in two pieces and the list of pieces is made.
const WARM_UP: u64 = 3000;
const ROUNDS: u64 = 1000;

/// Runs `round` until it is warm, and then counts, three times: a list that grows for the first time,
/// when two things happen to come together, is not an allocation of each round.
async fn count(what: &str, mut round: impl AsyncFnMut()) {
    for _ in 0..WARM_UP {
        round().await;
    }
    let mut made = [0; 3];
    for made in &mut made {
        let before = allocations();
        for _ in 0..ROUNDS {
            round().await;
        }
        *made = allocations() - before;
    }
    let is_steady = made.contains(&0) && made.iter().sum::<u64>() < 5;
    assert!(
        is_steady,
        "{what}: {made:?} allocations, each in {ROUNDS} rounds"
    );
}

async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()).await?;
    let (server, _) = listener.accept().await?;
    Ok((client, server))
}

async fn streams() -> io::Result<()> {
    let (mut client, mut server) = pair().await?;
    let mut buf = [0; 64];
    count("borrowed write and read", async || {
        client.write_all(b"some bytes that are sent").await.unwrap();
        server.read_exact(&mut buf[..24]).await.unwrap();
    })
    .await;
    count("timed read that is dropped", async || {
        let early = timeout(Duration::from_micros(1), server.read(&mut buf)).await;
        assert!(early.is_err());
    })
    .await;
    count("pooled receive and send", async || {
        client.write_all(b"there").await.unwrap();
        let mut left = 5;
        while left > 0 {
            let piece = server.recv().await.unwrap().unwrap();
            left -= piece.len();
            server.send(piece).await.unwrap();
        }
        client.read_exact(&mut buf[..5]).await.unwrap();
    })
    .await;
    let mut vectors = Some((vec![1u8; 100], Vec::with_capacity(100)));
    count("owned write and read", async || {
        let (out, mut back) = vectors.take().unwrap();
        let (sent, out) = client.write_owned(out).await;
        assert_eq!(sent.unwrap(), 100);
        let mut left = 100;
        while left > 0 {
            let read;
            (read, back) = server.read_owned(back).await;
            left -= read.unwrap();
        }
        vectors = Some((out, back));
    })
    .await;
    Ok(())
}

async fn datagrams() -> io::Result<()> {
    let server = UdpSocket::bind("127.0.0.1:0").await?;
    let client = UdpSocket::bind("127.0.0.1:0").await?;
    let to = server.local_addr();
    let mut buf = [0; 64];
    count("datagram", async || {
        client.send_to(b"a datagram", to).await.unwrap();
        assert_eq!(server.recv(&mut buf).await.unwrap(), 10);
    })
    .await;
    Ok(())
}

/// Connections that have been served once and wait, each in a task, cost 1 KiB at most.
async fn idle_connections() -> io::Result<()> {
    const CONNECTIONS: usize = 400;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut clients = Vec::with_capacity(CONNECTIONS + 1);
    let mut before = 0;
    for number in 0..=CONNECTIONS {
        // The first one brings what there is once for all.
        if number == 1 {
            before = live_bytes();
        }
        let mut client = std::net::TcpStream::connect(listener.local_addr())?;
        let (mut server, _) = listener.accept().await?;
        let served = Rc::new(Cell::new(0));
        let sent = served.clone();
        drop(wharf::spawn(async move {
            while let Ok(Some(piece)) = server.recv().await {
                sent.set(sent.get() + 1);
                server.send(piece).await.unwrap();
            }
        }));
        client.write_all(b"a message")?;
        while served.get() == 0 {
            wharf::task::yield_now().await;
        }
        clients.push(client);
    }
    let each = (live_bytes() - before) / CONNECTIONS as u64;
    assert!(each <= 1024, "an idle connection takes {each} bytes");
    Ok(())
}

async fn timers_and_wakes() {
    count("sleep", async || sleep(Duration::from_micros(1)).await).await;
    let waker = Rc::new(Cell::new(None::<Waker>));
    let inner = waker.clone();
    let other = wharf::spawn(poll_fn(move |cx| {
        inner.set(Some(cx.waker().clone()));
        Poll::<()>::Pending
    }));
    count("wake", async || {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
        wharf::task::yield_now().await;
    })
    .await;
    other.abort();
}

#[test]
fn steady_state_allocates_nothing() {
    for report in wharf_queue::probe() {
        if !report.available {
            println!("not run: {}: {}", report.kind, report.reason);
            continue;
        }
        let runtime = wharf::Runtime::builder().backend(report.kind).build();
        runtime.unwrap().block_on(async {
            streams().await.unwrap();
            datagrams().await.unwrap();
            timers_and_wakes().await;
            idle_connections().await.unwrap();
        });
    }
}
