//! Splices: what comes first, where they end, and what they do when one of the two streams fails.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as Plain;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread::JoinHandle;

use futures_lite::future::poll_once;
use wharf::io::{splice, splice_bidirectional};
use wharf::net::{TcpListener, TcpStream, UnixStream};
use wharf::seam::Duplex;
use wharf_conformance::handles::turn;

use crate::{PATIENCE, on_each_backend, without_children};

/// More than all buffers between two sockets hold.
const LONG: usize = 8 * 1024 * 1024;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 253) as u8).collect()
}

async fn plain_pair() -> (TcpStream, Plain) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Plain::connect(listener.local_addr()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (stream, peer)
}

fn write_all(mut peer: Plain, bytes: Vec<u8>) -> JoinHandle<Plain> {
    std::thread::spawn(move || {
        peer.write_all(&bytes).unwrap();
        peer
    })
}

fn read_all(mut peer: Plain) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received
    })
}

async fn join<T: Send + 'static>(thread: JoinHandle<T>) -> T {
    wharf::spawn_blocking(move || thread.join().unwrap())
        .await
        .unwrap()
}

#[test]
fn splice_moves_what_was_received_before_first_and_what_was_written_before() {
    on_each_backend(1, async || {
        let (mut from, mut client) = plain_pair().await;
        let (mut to, server) = plain_pair().await;
        client.write_all(b"0123456789").unwrap();
        // Now the rest of it is in the stream's hands, and a receive is armed.
        let mut buf = [0; 4];
        from.read_exact(&mut buf).await.unwrap();
        let writing = write_all(client, pattern(LONG));
        let reading = read_all(server);
        to.write_all(b"before").await.unwrap();
        assert_eq!(splice(&mut from, &mut to, 3).await.unwrap(), 3);
        let len = LONG as u64 + 3 - 5;
        assert_eq!(splice(&mut from, &mut to, len).await.unwrap(), len);
        to.write_all(b"between").await.unwrap();
        drop(join(writing).await);
        assert_eq!(splice(&mut from, &mut to, u64::MAX).await.unwrap(), 5);
        assert_eq!(splice(&mut from, &mut to, u64::MAX).await.unwrap(), 0);
        assert_eq!(from.read(&mut buf).await.unwrap(), 0);
        to.write_all(b"after").await.unwrap();
        to.close().await.unwrap();
        let bytes = pattern(LONG);
        let parts: [&[u8]; 6] = [
            b"before456",
            b"789",
            &bytes[..LONG - 5],
            b"between",
            &bytes[LONG - 5..],
            b"after",
        ];
        assert!(join(reading).await == parts.concat());
    });
}

#[test]
fn splice_both_ways_passes_the_ends_on() {
    on_each_backend(1, async || {
        let (mut a, client) = plain_pair().await;
        let (mut b, server) = plain_pair().await;
        let there = write_all(client.try_clone().unwrap(), pattern(LONG));
        let back = write_all(server.try_clone().unwrap(), pattern(LONG / 2));
        let (at_client, at_server) = (read_all(client), read_all(server));
        let ends = wharf::spawn(async {
            for writing in [there, back] {
                let end = join(writing).await;
                end.shutdown(std::net::Shutdown::Write).unwrap();
            }
        });
        let moved = splice_bidirectional(&mut a, &mut b).await.unwrap();
        assert_eq!(moved, (LONG as u64, LONG as u64 / 2));
        ends.await.unwrap();
        assert!(join(at_server).await == pattern(LONG));
        assert!(join(at_client).await == pattern(LONG / 2));
    });
}

#[test]
fn splice_of_streams_of_different_workers_copies() {
    on_each_backend(2, async || {
        let (mut from, client) = plain_pair().await;
        let there = wharf::spawn_on(1, plain_pair).await.unwrap();
        let (mut to, server) = there;
        let writing = write_all(client, pattern(1 << 20));
        let reading = read_all(server);
        let len = 1000;
        assert_eq!(splice(&mut from, &mut to, len).await.unwrap(), len);
        drop(join(writing).await);
        let rest = splice(&mut from, &mut to, u64::MAX).await.unwrap();
        assert_eq!(rest, (1 << 20) - len);
        to.close().await.unwrap();
        assert!(join(reading).await == pattern(1 << 20));
    });
}

#[test]
fn splice_runs_on_the_streams_worker_whoever_waits_for_it() {
    on_each_backend(2, async || {
        let (from, client) = plain_pair().await;
        let (to, server) = plain_pair().await;
        let writing = write_all(client, pattern(1 << 20));
        let reading = read_all(server);
        let elsewhere = wharf::spawn_on(1, move || async move {
            let (mut from, mut to) = (from, to);
            let first = splice(&mut from, &mut to, 1000).await.unwrap();
            (first, from, to)
        });
        let (first, mut from, mut to) = elsewhere.await.unwrap();
        drop(join(writing).await);
        let rest = splice(&mut from, &mut to, u64::MAX).await.unwrap();
        assert_eq!(first + rest, 1 << 20);
        to.close().await.unwrap();
        assert!(join(reading).await == pattern(1 << 20));
    });
}

#[test]
#[cfg_attr(windows, ignore = "Windows has no pairs of Unix sockets")]
fn splice_to_a_peer_that_is_gone_leaves_the_rest_to_the_reader() {
    without_children(
        "splice::splice_to_a_peer_that_is_gone_leaves_the_rest_to_the_reader",
        || {
            on_each_backend(1, async || {
                let (mut from, client) = plain_pair().await;
                let (mut to, mut server) = UnixStream::pair().unwrap();
                // It has read all there was, so that it does not go with a reset.
                assert_eq!(server.write(b"x").await.unwrap(), 1);
                drop(join(write_all(client, pattern(50_000))).await);
                server.close().await.unwrap();
                let error = splice(&mut from, &mut to, u64::MAX).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                assert_eq!(
                    to.write(b"more").await.unwrap_err().kind(),
                    ErrorKind::BrokenPipe
                );
                let mut rest = vec![0; 50_000];
                from.read_exact(&mut rest).await.unwrap();
                assert!(rest == pattern(50_000));
                assert_eq!(from.read(&mut rest).await.unwrap(), 0);
            });
        },
    );
}

#[test]
#[cfg_attr(
    windows,
    ignore = "Wine 8 takes a reset that no read waits for for an end"
)]
fn splice_from_a_peer_that_resets_says_so_and_goes_on_saying_so() {
    on_each_backend(1, async || {
        let (mut from, client) = plain_pair().await;
        let (mut to, _server) = plain_pair().await;
        socket2::SockRef::from(&client)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        drop(client);
        let error = splice(&mut from, &mut to, u64::MAX).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let again = from.read(&mut [0; 4]).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::ConnectionReset);
        to.write_all(b"is well").await.unwrap();
        to.close().await.unwrap();
    });
}

#[test]
fn splice_of_a_runtime_that_ends_leaves_streams_that_say_so() {
    for backend in crate::backends() {
        let runtime = wharf::Runtime::builder().backend(backend).build().unwrap();
        let (mut from, mut to, client, _server) = runtime.block_on(async {
            let (from, client) = plain_pair().await;
            let (to, server) = plain_pair().await;
            (from, to, client, server)
        });
        let mut splicing = Box::pin(async move {
            let ended = splice(&mut from, &mut to, u64::MAX).await;
            (ended, from)
        });
        runtime.block_on(async {
            let begun = futures_lite::future::poll_once(&mut splicing).await;
            assert!(begun.is_none());
            for _ in 0..8 {
                wharf::task::yield_now().await;
            }
        });
        drop(runtime);
        let (ended, from) = futures_lite::future::block_on(splicing);
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::NotConnected);
        drop((from, client));
    }
}

#[test]
fn reader_elsewhere_gets_the_rest_of_a_splice_that_was_forgotten() {
    on_each_backend(2, async || {
        let (mut from, client) = plain_pair().await;
        let (mut to, server) = plain_pair().await;
        // More than the target takes, so that some of it is between the two.
        let writing = write_all(client, pattern(LONG));
        let elsewhere = wharf::spawn_on(1, move || async move {
            let home_has_gone_on = async || {
                for _ in 0..8 {
                    wharf::spawn_on(0, async || ()).await.unwrap();
                }
            };
            let mut splicing = Box::pin(splice(&mut from, &mut to, u64::MAX));
            // Its end wakes nobody, and so not the reader by chance.
            let mut cx = Context::from_waker(Waker::noop());
            assert!(splicing.as_mut().poll(&mut cx).is_pending());
            std::mem::forget(splicing);
            home_has_gone_on().await;
            let mut rest = Vec::new();
            let mut server = Some(server);
            loop {
                let mut next = Box::pin(from.recv());
                let piece = match poll_once(&mut next).await {
                    Some(piece) => piece,
                    None => {
                        // The splice ends with its target, while this waits.
                        let server = server.take();
                        let ending = wharf::spawn_on(0, async move || {
                            for _ in 0..100 {
                                wharf::task::yield_now().await;
                            }
                            drop(server);
                        });
                        let piece = next.await;
                        ending.await.unwrap();
                        piece
                    }
                };
                match piece.unwrap() {
                    Some(piece) => rest.extend_from_slice(&piece),
                    None => return rest,
                }
            }
        });
        drop(join(writing).await);
        let rest = elsewhere.await.unwrap();
        assert!(rest == pattern(LONG)[LONG - rest.len()..]);
    });
}

#[test]
fn splice_begins_when_a_read_into_a_lent_buffer_has_been_given_up() {
    on_each_backend(1, async || {
        let (mut from, mut client) = plain_pair().await;
        let (mut to, mut server) = plain_pair().await;
        {
            let mut reading = pin!(from.read_lent(vec![0; 100]));
            assert!(poll_once(reading.as_mut()).await.is_none());
            // It is the system's by now.
            turn().await;
            assert!(poll_once(reading.as_mut()).await.is_none());
        }
        let mut splicing = Box::pin(splice(&mut from, &mut to, 5));
        assert!(poll_once(&mut splicing).await.is_none());
        client.write_all(b"bytes").unwrap();
        assert_eq!(splicing.await.unwrap(), 5);
        to.flush().await.unwrap();
        let mut buf = [0; 5];
        server.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"bytes");
    });
}
