//! Streams and listeners. The contract on handles, with futures that are dropped at any stage, is
//! checked by the conformance suite.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use wharf::net::{TcpListener, TcpStream};
use wharf::task::yield_now;

use crate::host::own_loopback;
use crate::{on_each_backend, without_children};

/// A connected pair, both on this worker.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr());
    let client = connect.await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

/// A stream on this worker, and a plain one of the standard library as its peer.
async fn plain_pair() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr()).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (stream, peer)
}

/// Polls a future so many times, and drops it if it is not ready by then.
async fn poll_times<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        yield_now().await;
    }
    None
}

#[test]
fn bytes_go_there_and_back() {
    on_each_backend(1, async || {
        let (mut client, mut server) = pair().await;
        assert_eq!(client.local_addr(), server.peer_addr());
        let echo = wharf::spawn(async move {
            let mut buf = [0; 1000];
            loop {
                let count = server.read(&mut buf).await?;
                if count == 0 {
                    return server.shutdown().await;
                }
                server.write_all(&buf[..count]).await?;
            }
        });
        let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let (mut read, mut write) = client.split();
        let mut got = Vec::new();
        let reading = async {
            while let Some(piece) = read.recv().await.unwrap() {
                got.extend_from_slice(&piece);
            }
        };
        let writing = async {
            write.write_all(&data).await.unwrap();
            write.shutdown().await.unwrap();
        };
        futures_lite::future::zip(reading, writing).await;
        assert!(got == data);
        echo.await.unwrap().unwrap();
    });
}

#[test]
fn read_of_nothing_is_over_at_once_and_a_read_at_the_end_gives_nothing() {
    on_each_backend(1, async || {
        let (mut client, mut server) = pair().await;
        assert_eq!(client.read(&mut []).await.unwrap(), 0);
        server.write_all(b"ab").await.unwrap();
        drop(server);
        let mut buf = [0; 8];
        assert_eq!(client.read(&mut buf).await.unwrap(), 2);
        for _ in 0..3 {
            assert_eq!(client.read(&mut buf).await.unwrap(), 0);
            assert!(client.recv().await.unwrap().is_none());
        }
    });
}

/// Waits for the end of a close that is in the background, and gives the error of a connect then.
async fn until_nobody_listens(address: SocketAddr) -> io::Error {
    loop {
        match TcpStream::connect(address).await {
            Ok(_) => yield_now().await,
            Err(error) => return error,
        }
    }
}

#[test]
fn refused_connection_says_so() {
    on_each_backend(1, async || {
        let listener = TcpListener::bind(own_loopback()).await.unwrap();
        let address = listener.local_addr();
        drop(listener);
        let error = until_nobody_listens(address).await;
        let kinds = [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
    });
}

#[test]
fn connect_by_name_tries_every_address() {
    on_each_backend(1, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().port();
        // The name may stand for ::1 first, where nobody listens.
        let stream = TcpStream::connect(("localhost", port)).await.unwrap();
        assert_eq!(stream.peer_addr(), listener.local_addr());
        let error = TcpStream::connect("nothing").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn dropped_pending_write_has_sent_nothing() {
    on_each_backend(1, async || {
        let (mut stream, mut peer) = plain_pair().await;
        // Nobody reads: what is written fills the system's buffers and then the stream's own.
        let mut written = 0;
        let block = vec![7u8; 10_000];
        let mut quiet = 0;
        while quiet < 50 {
            match poll_times(2, stream.write(&block)).await {
                Some(count) => {
                    written += count.unwrap();
                    quiet = 0;
                }
                None => quiet += 1,
            }
        }
        // This one waits for room and is dropped.
        assert!(poll_times(3, stream.write(b"not this")).await.is_none());
        let reading = wharf::spawn_blocking(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        stream.flush().await.unwrap();
        stream.write_all(b"but this").await.unwrap();
        drop(stream);
        let got = reading.await.unwrap();
        assert_eq!(got.len(), written + 8);
        assert!(got[..written].iter().all(|byte| *byte == 7));
        assert_eq!(&got[written..], b"but this");
    });
}

#[test]
fn owned_write_that_is_dropped_is_finished_whole_and_in_order() {
    const LEN: usize = 8 << 20;
    on_each_backend(1, async || {
        let (mut stream, mut peer) = plain_pair().await;
        stream.write_all(b"first").await.unwrap();
        let big = vec![5u8; LEN];
        assert!(poll_times(3, stream.write_owned(big)).await.is_none());
        let reading = wharf::spawn_blocking(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        stream.write_all(b"last").await.unwrap();
        let (result, buf) = stream.write_owned(*b"array").await;
        assert_eq!((result.unwrap(), buf), (5, *b"array"));
        drop(stream);
        let got = reading.await.unwrap();
        assert_eq!(got.len(), 5 + LEN + 4 + 5);
        assert_eq!(&got[..5], b"first");
        assert!(got[5..5 + LEN].iter().all(|byte| *byte == 5));
        assert_eq!(&got[5 + LEN..], b"lastarray");
    });
}

#[test]
fn owned_read_fills_the_buffer_that_was_handed_in() {
    on_each_backend(1, async || {
        let (mut client, mut server) = pair().await;
        client.write_all(b"some bytes").await.unwrap();
        let (result, buf) = server.read_owned(Vec::with_capacity(4)).await;
        assert_eq!(result.unwrap(), buf.len());
        assert_eq!(&buf, &b"some bytes"[..buf.len()]);
        drop(client);
        let mut rest = Vec::new();
        while let Some(piece) = server.recv().await.unwrap() {
            rest.extend_from_slice(&piece);
        }
        assert_eq!([buf, rest].concat(), b"some bytes");
        let (result, buf) = server.read_owned(vec![1, 2, 3]).await;
        assert_eq!((result.unwrap(), buf.len()), (0, 0));
    });
}

#[test]
fn dropped_stream_sends_everything_before_it_closes() {
    on_each_backend(1, async || {
        let (mut stream, mut peer) = plain_pair().await;
        let reading = wharf::spawn_blocking(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got)
        });
        let data = vec![3u8; 3 << 20];
        let mut left = &data[..];
        while !left.is_empty() {
            let count = stream.write(left).await.unwrap();
            left = &left[count..];
        }
        drop(stream);
        assert!(reading.await.unwrap().unwrap() == data);
    });
}

#[test]
fn runtime_that_ends_sends_what_was_written() {
    for backend in crate::backends() {
        let runtime = wharf::Runtime::builder().backend(backend).build().unwrap();
        let (peer, stream) = runtime.block_on(async {
            let (mut stream, peer) = plain_pair().await;
            stream.write_all(&vec![1; 100_000]).await.unwrap();
            (peer, stream)
        });
        let reading = std::thread::spawn(move || {
            let mut got = Vec::new();
            (&peer).read_to_end(&mut got).unwrap();
            got.len()
        });
        drop(runtime);
        assert_eq!(reading.join().unwrap(), 100_000);
        // A handle that outlives its runtime gives an error.
        let mut stream = stream;
        let other = wharf::Runtime::new().unwrap();
        let error = other.block_on(stream.read(&mut [0; 4])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let error = other.block_on(stream.write(b"x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    }
}

#[test]
fn reset_is_an_error_behind_the_bytes_before_it() {
    on_each_backend(1, async || {
        let (mut stream, peer) = plain_pair().await;
        (&peer).write_all(b"xyz").unwrap();
        let mut buf = [0; 2];
        stream.read_exact(&mut buf).await.unwrap();
        // Closing with unread data resets the connection.
        stream.write_all(b"unread").await.unwrap();
        stream.flush().await.unwrap();
        let mut seen = [0; 1];
        peer.peek(&mut seen).unwrap();
        drop(peer);
        assert_eq!(stream.read(&mut buf).await.unwrap(), 1);
        let error = stream.read(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = stream.read(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = loop {
            match stream.write(b"more").await {
                Ok(_) => yield_now().await,
                Err(error) => break error,
            }
        };
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
    });
}

#[test]
fn hoard_is_limited_and_nothing_of_it_is_lost() {
    on_each_backend(1, async || {
        let (mut stream, mut peer) = plain_pair().await;
        let data: Vec<u8> = (0..64 << 20).map(|n: u32| (n % 249) as u8).collect();
        let expected = data.clone();
        let writing = wharf::spawn_blocking(move || peer.write_all(&data));
        let mut first = [0; 1];
        stream.read_exact(&mut first).await.unwrap();
        for _ in 0..200 {
            yield_now().await;
        }
        // The peer cannot have got rid of everything: it is held back.
        assert!(!writing.is_finished());
        let mut got = first.to_vec();
        while let Some(piece) = stream.recv().await.unwrap() {
            got.extend_from_slice(&piece);
        }
        assert!(got == expected);
        writing.await.unwrap().unwrap();
    });
}

#[test]
fn connections_that_do_not_read_do_not_starve_the_others() {
    for backend in crate::backends() {
        let builder = wharf::Runtime::builder().backend(backend);
        let runtime = builder.receive_buffers(2, 4096).build().unwrap();
        runtime.block_on(async {
            let mut idle = Vec::new();
            for _ in 0..20 {
                let (mut stream, mut peer) = plain_pair().await;
                peer.write_all(&[1; 3000]).unwrap();
                // Armed, and then left alone with what has come.
                stream.read_exact(&mut [0; 1]).await.unwrap();
                idle.push((stream, peer));
            }
            let (mut stream, mut peer) = plain_pair().await;
            for n in 0..200u32 {
                peer.write_all(&n.to_le_bytes()).unwrap();
                let mut buf = [0; 4];
                stream.read_exact(&mut buf).await.unwrap();
                assert_eq!(u32::from_le_bytes(buf), n);
            }
            for (mut stream, _peer) in idle {
                stream.read_exact(&mut [0; 2999]).await.unwrap();
            }
        });
    }
}

#[test]
fn forgotten_futures_are_sound_and_lose_nothing() {
    on_each_backend(1, async || {
        let (mut stream, mut peer) = plain_pair().await;
        for n in 0..100u32 {
            // Borrowed for the future's sake, and forgotten with it: a leak, and no more.
            let buf = Box::leak(Box::new([0; 4]));
            let stream_ptr = &mut stream;
            let mut forgotten = Box::pin(stream_ptr.read(buf));
            let polled = poll_fn(|cx| Poll::Ready(forgotten.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            std::mem::forget(forgotten);
            peer.write_all(&n.to_le_bytes()).unwrap();
            let mut buf = [0; 4];
            stream.read_exact(&mut buf).await.unwrap();
            assert_eq!(u32::from_le_bytes(buf), n);
        }
        let mut owned = Box::pin(stream.write_owned(vec![9; 100]));
        let polled = poll_fn(|cx| Poll::Ready(owned.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        std::mem::forget(owned);
        let reading = wharf::spawn_blocking(move || {
            let mut got = [0; 100];
            peer.read_exact(&mut got).map(|()| (got, peer))
        });
        let (got, _peer) = reading.await.unwrap().unwrap();
        assert_eq!(got, [9; 100]);
    });
}

#[test]
fn port_can_be_bound_again_after_its_listener_is_dropped() {
    without_children(
        "net::port_can_be_bound_again_after_its_listener_is_dropped",
        || {
            on_each_backend(1, async || {
                let listener = TcpListener::bind(own_loopback()).await.unwrap();
                let address = listener.local_addr();
                let client = TcpStream::connect(address).await.unwrap();
                let accepted = listener.accept().await.unwrap();
                let waiting = TcpStream::connect(address).await.unwrap();
                drop(listener);
                until_nobody_listens(address).await;
                let again = TcpListener::bind(address).await.unwrap();
                let _client = TcpStream::connect(address).await.unwrap();
                again.accept().await.unwrap();
                drop((client, accepted, waiting));
            });
        },
    );
}

#[test]
fn many_connections_get_every_byte_back() {
    on_each_backend(2, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        let server = wharf::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await?;
                drop(wharf::spawn(async move {
                    while let Some(piece) = stream.recv().await? {
                        stream.send(piece).await?;
                    }
                    io::Result::Ok(())
                }));
            }
            #[allow(unreachable_code)]
            io::Result::Ok(())
        });
        let clients: Vec<_> = (0..100u8)
            .map(|n| {
                wharf::spawn_on(1, move || async move {
                    let mut stream = TcpStream::connect(address).await?;
                    for round in 0..20u8 {
                        let message = vec![n ^ round; 1 + usize::from(n) * 13];
                        stream.write_all(&message).await?;
                        let mut back = vec![0; message.len()];
                        stream.read_exact(&mut back).await?;
                        assert!(back == message);
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap().unwrap();
        }
        server.abort();
    });
}

#[test]
fn shutdown_of_the_receiving_direction_ends_reads_behind_what_has_come() {
    on_each_backend(1, async || {
        let (mut client, mut server) = pair().await;
        server.write_all(b"before").await.unwrap();
        let mut buf = [0; 3];
        client.read_exact(&mut buf).await.unwrap();
        // The other three bytes have come with those.
        client.shutdown_read().unwrap();
        server.write_all(b"after").await.unwrap();
        server.flush().await.unwrap();
        let mut rest = Vec::new();
        for _ in 0..3 {
            let mut buf = [0; 16];
            let count = client.read(&mut buf).await.unwrap();
            rest.extend_from_slice(&buf[..count]);
            yield_now().await;
        }
        assert_eq!(rest, b"ore");
        // The other direction goes on.
        client.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        server.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    });
}

#[test]
fn shutdown_of_the_receiving_direction_wakes_who_waits() {
    on_each_backend(1, async || {
        let (client, _server) = pair().await;
        let (mut read, write) = client.into_split();
        let waits = wharf::spawn(async move {
            let mut buf = [0; 16];
            let first = read.read(&mut buf).await;
            (first, read.read(&mut buf).await)
        });
        for _ in 0..10 {
            yield_now().await;
        }
        write.as_ref().shutdown_read().unwrap();
        let (first, second) = waits.await.unwrap();
        assert_eq!((first.unwrap(), second.unwrap()), (0, 0));
    });
}
