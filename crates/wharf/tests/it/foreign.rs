//! Handles that are used on another worker than their own.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::pin::pin;
use std::task::Poll;

use futures_lite::future::poll_once;
use wharf::net::{TcpListener, TcpStream};
use wharf::task::yield_now;

use crate::on_each_backend;

fn assert_send<T: Send>(value: T) -> T {
    value
}

async fn plain_pair() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr()).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (stream, peer)
}

#[test]
fn handles_and_their_futures_are_send() {
    on_each_backend(1, async || {
        let listener = assert_send(TcpListener::bind("127.0.0.1:0")).await.unwrap();
        let address = listener.local_addr();
        let mut stream = assert_send(TcpStream::connect(address)).await.unwrap();
        let (mut accepted, _) = assert_send(listener.accept()).await.unwrap();
        assert_send(stream.write_all(b"sendable")).await.unwrap();
        assert_send(stream.flush()).await.unwrap();
        let mut buf = [0; 8];
        assert_send(accepted.read_exact(&mut buf)).await.unwrap();
        let (result, _) = assert_send(stream.write_owned(buf)).await;
        result.unwrap();
        let (result, _) = assert_send(accepted.read_owned(buf)).await;
        assert_eq!(result.unwrap(), 8);
        let slept = wharf::time::sleep(std::time::Duration::ZERO);
        assert_send(wharf::time::timeout(std::time::Duration::MAX, slept))
            .await
            .unwrap();
        assert_send(stream.shutdown()).await.unwrap();
        assert!(assert_send(accepted.recv()).await.unwrap().is_none());
    });
}

/// The stream goes from worker to worker, read there in one of several ways, while its peer sends
/// numbers; some reads are dropped on the way.
#[test]
fn stream_that_hops_between_workers_loses_nothing() {
    const NUMBERS: u32 = 20_000;
    on_each_backend(3, async || {
        let (mut stream, mut peer) = plain_pair().await;
        let sending = wharf::spawn_blocking(move || {
            for n in 0..NUMBERS {
                peer.write_all(&n.to_le_bytes()).unwrap();
            }
        });
        let mut got: Vec<u8> = Vec::new();
        let mut hops = 0;
        let mut ended = false;
        while !ended {
            hops += 1;
            let hop = wharf::spawn_on(hops, move || async move {
                // A read that is dropped here must leave its bytes to the next, there.
                let mut buf = [0; 600];
                if hops % 2 == 0 {
                    let polled = {
                        let mut dropped = pin!(stream.read(&mut buf));
                        poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await
                    };
                    if let Poll::Ready(count) = polled {
                        let count = count.unwrap();
                        return (buf[..count].to_vec(), count == 0, stream);
                    }
                    yield_now().await;
                }
                match hops % 5 {
                    0 => {
                        let piece = stream.recv().await.unwrap();
                        let bytes = piece.map_or(Vec::new(), |piece| piece.to_vec());
                        (bytes.clone(), bytes.is_empty(), stream)
                    }
                    1 => {
                        let (count, bytes) = stream.read_owned(Vec::with_capacity(700)).await;
                        (bytes, count.unwrap() == 0, stream)
                    }
                    _ => {
                        let count = stream.read(&mut buf).await.unwrap();
                        (buf[..count].to_vec(), count == 0, stream)
                    }
                }
            });
            let (bytes, end, back) = hop.await.unwrap();
            got.extend_from_slice(&bytes);
            (ended, stream) = (end, back);
        }
        let numbers = got
            .chunks(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
        assert!(numbers.eq(0..NUMBERS));
        sending.await.unwrap();
    });
}

/// The other direction: written on every worker, some writes dropped while they are pending, and the
/// stream dropped on a worker that is not its own.
#[test]
fn stream_written_to_on_every_worker_keeps_the_order() {
    on_each_backend(3, async || {
        let (mut stream, mut peer) = plain_pair().await;
        let reading = wharf::spawn_blocking(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got)
        });
        let mut next = 0u32;
        for hop in 0..300 {
            let task = wharf::spawn_on(hop, move || async move {
                for _ in 0..50 {
                    let mut block = Vec::new();
                    for _ in 0..25 {
                        block.extend_from_slice(&next.to_le_bytes());
                        next += 1;
                    }
                    match next % 3 {
                        0 => stream.write_owned(block).await.0.map(|_| ())?,
                        1 => stream.send(block.into()).await?,
                        _ => stream.write_all(&block).await?,
                    }
                }
                if hop % 7 == 0 {
                    stream.flush().await?;
                }
                io::Result::Ok((next, stream))
            });
            (next, stream) = task.await.unwrap().unwrap();
        }
        let dropped = wharf::spawn_on(1, move || async move { drop(stream) });
        dropped.await.unwrap();
        let got = reading.await.unwrap().unwrap();
        let numbers = got
            .chunks(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
        assert!(numbers.eq(0..next));
    });
}

#[test]
fn stream_dropped_on_a_plain_thread_is_closed_in_order() {
    on_each_backend(1, async || {
        let (mut stream, mut peer) = plain_pair().await;
        let reading = wharf::spawn_blocking(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got)
        });
        stream.write_all(&[8; 50_000]).await.unwrap();
        wharf::spawn_blocking(move || drop(stream)).await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), [8; 50_000]);
    });
}

#[test]
fn shutdown_and_end_are_seen_on_another_worker() {
    on_each_backend(2, async || {
        let (stream, mut peer) = plain_pair().await;
        let there = wharf::spawn_on(1, move || async move {
            let mut stream = stream;
            stream.set_nodelay(true)?;
            stream.write_all(b"last words").await?;
            stream.shutdown().await?;
            assert_eq!(
                stream.write(b"more").await.unwrap_err().kind(),
                ErrorKind::BrokenPipe
            );
            let mut buf = [0; 16];
            let count = stream.read(&mut buf).await?;
            assert_eq!(stream.read(&mut buf[count..]).await?, 0);
            assert_eq!(stream.read(&mut buf[count..]).await?, 0);
            io::Result::Ok(buf[..count].to_vec())
        });
        let answered = wharf::spawn_blocking(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            peer.write_all(b"goodbye").unwrap();
            got
        });
        assert_eq!(answered.await.unwrap(), b"last words");
        assert_eq!(there.await.unwrap().unwrap(), b"goodbye");
    });
}

#[test]
fn listener_is_accepted_from_on_every_worker_and_no_connection_is_lost() {
    const CONNECTIONS: usize = 600;
    on_each_backend(3, async || {
        let listener = std::sync::Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr();
        let connecting = wharf::spawn_blocking(move || {
            for n in 0..CONNECTIONS {
                let mut client = std::net::TcpStream::connect(address).unwrap();
                client.write_all(&n.to_le_bytes()).unwrap();
                let mut answer = [0; 1];
                client.read_exact(&mut answer).unwrap();
            }
        });
        for n in 0..CONNECTIONS {
            let listener = listener.clone();
            let task = wharf::spawn_on(n, move || async move {
                // One accept is dropped before it has a connection; perhaps its connection comes.
                let mut accepted = None;
                if n % 4 == 1 {
                    let mut dropped = pin!(listener.accept());
                    let polled = poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await;
                    if let Poll::Ready(ready) = polled {
                        accepted = Some(ready);
                    }
                }
                let (mut stream, _) = match accepted {
                    Some(accepted) => accepted,
                    None => listener.accept().await,
                }?;
                let mut buf = [0; 8];
                stream.read_exact(&mut buf).await?;
                stream.write_all(b"!").await?;
                io::Result::Ok(usize::from_le_bytes(buf))
            });
            assert_eq!(task.await.unwrap().unwrap(), n);
        }
        connecting.await.unwrap();
    });
}

#[test]
fn handle_whose_worker_has_ended_gives_an_error_elsewhere() {
    let runtime = wharf::Runtime::builder().workers(2).build().unwrap();
    let (mut stream, listener, _peer) = runtime.block_on(async {
        let there = wharf::spawn_on(1, || async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (stream, peer) = plain_pair().await;
            (stream, listener, peer)
        });
        there.await.unwrap()
    });
    drop(runtime);
    let runtime = wharf::Runtime::new().unwrap();
    runtime.block_on(async {
        let error = stream.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let error = stream.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let error = stream.flush().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let error = listener.accept().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

/// Writes until there is no room, on whatever worker, and none comes while the home worker, 0, goes on.
async fn fill(stream: &mut TcpStream) {
    let mut refused = 0;
    while refused < 10 {
        match poll_once(stream.write(&[7; 50_000])).await {
            Some(written) => {
                written.unwrap();
                refused = 0;
            }
            None => refused += 1,
        }
        for _ in 0..8 {
            wharf::spawn_on(0, yield_now).await.unwrap();
        }
    }
}

/// Reads until the end.
fn read_all(mut peer: std::net::TcpStream) -> wharf::JoinHandle<usize> {
    wharf::spawn_blocking(move || peer.read_to_end(&mut Vec::new()).unwrap())
}

#[test]
fn flush_elsewhere_ends_although_one_before_was_dropped_and_a_write_at_home_waited() {
    on_each_backend(2, async || {
        let (mut stream, peer) = plain_pair().await;
        let elsewhere = wharf::spawn_on(1, move || async move {
            fill(&mut stream).await;
            assert!(poll_once(stream.flush()).await.is_none());
            wharf::spawn_on(0, yield_now).await.unwrap();
            stream
        });
        let mut stream = elsewhere.await.unwrap();
        assert!(poll_once(stream.write(b"waits")).await.is_none());
        let reading = read_all(peer);
        stream.flush().await.unwrap();
        let elsewhere = wharf::spawn_on(1, move || async move {
            stream.flush().await.unwrap();
        });
        elsewhere.await.unwrap();
        assert!(reading.await.unwrap() > 0);
    });
}

#[test]
fn flush_elsewhere_is_not_answered_by_one_before_that_was_dropped() {
    on_each_backend(2, async || {
        for is_written_at_home in [false, true] {
            let (mut stream, peer) = plain_pair().await;
            let elsewhere = wharf::spawn_on(1, move || async move {
                stream.write_all(b"little").await.unwrap();
                assert!(poll_once(stream.flush()).await.is_none());
                // That is answered by then.
                for _ in 0..50 {
                    wharf::spawn_on(0, yield_now).await.unwrap();
                }
                if !is_written_at_home {
                    fill(&mut stream).await;
                }
                stream
            });
            let mut stream = elsewhere.await.unwrap();
            if is_written_at_home {
                fill(&mut stream).await;
            }
            let elsewhere = wharf::spawn_on(1, move || async move {
                assert!(poll_once(stream.flush()).await.is_none());
                let reading = read_all(peer);
                stream.flush().await.unwrap();
                drop(stream);
                reading.await.unwrap()
            });
            assert!(elsewhere.await.unwrap() > 100_000);
        }
    });
}
