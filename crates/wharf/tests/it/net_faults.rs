//! Sockets when something runs out or goes wrong: places in the queue, descriptors, peers, tasks.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream as Plain;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use wharf::net::{SocketOption, TcpListener, TcpStream, UdpSocket};
use wharf::task::JoinSet;
use wharf::time::{sleep, timeout};

use crate::{PATIENCE, backends, host, in_a_process_of_its_own, is_alone, on_each_backend};

/// Long enough for what can happen to happen, and for a loop that spins to be seen.
const A_WHILE: Duration = Duration::from_millis(50);

async fn plain_pair(listener: &TcpListener) -> (TcpStream, Plain) {
    let peer = Plain::connect(listener.local_addr()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (listener.accept().await.unwrap().0, peer)
}

/// Waits a while; what the queue calls the system for meanwhile is next to nothing. A loop that spins
/// makes hundreds of calls a millisecond; a while that a busy machine makes longer may have more.
async fn rests() {
    let before = wharf::runtime::stats().system_calls;
    let begin = std::time::Instant::now();
    sleep(A_WHILE).await;
    let calls = wharf::runtime::stats().system_calls - before;
    let took = begin.elapsed();
    assert!(
        u128::from(calls) < 4 * took.as_millis(),
        "{calls} system calls in {took:?}"
    );
}

#[test]
fn sockets_wait_for_a_place_in_a_full_queue_and_do_not_spin() {
    const PLACES: usize = 6;
    for backend in backends() {
        let builder = wharf::Runtime::builder().backend(backend);
        let runtime = builder.max_in_flight(PLACES).build().unwrap();
        let test = async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (mut busy, mut busy_peer) = plain_pair(&listener).await;
            let mut pairs = Vec::new();
            // The listener has one place, quiet streams take the others.
            for _ in 1..PLACES {
                pairs.push(plain_pair(&listener).await);
            }
            let mut quiet = JoinSet::new();
            let mut peers = Vec::new();
            for (mut stream, peer) in pairs {
                peers.push(peer);
                quiet.spawn(async move { stream.read(&mut [0; 8]).await });
            }
            wharf::task::yield_now().await;
            assert_eq!(wharf::runtime::stats().in_flight, PLACES as u64);

            // Now each kind of socket wants one more.
            let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr();
            let mut client = Plain::connect(second.local_addr()).unwrap();
            client.write_all(b"x").unwrap();
            let sending = wharf::spawn(async move {
                busy.write_all(b"a message").await?;
                busy.flush().await?;
                busy.read(&mut [0; 8]).await
            });
            let accepting = wharf::spawn(async move { second.accept().await.map(|_| second) });
            let datagram = wharf::spawn(async move {
                socket.send_to(b"to itself", address).await?;
                socket.recv(&mut [0; 16]).await
            });
            rests().await;
            assert!(!sending.is_finished() && !accepting.is_finished());
            assert!(!datagram.is_finished());

            // Quiet streams end one by one, and each gives a place to somebody. What closes them needs
            // none.
            for peer in peers {
                drop(peer);
                assert_eq!(quiet.join_next().await.unwrap().unwrap().unwrap(), 0);
            }
            let mut received = [0; 9];
            let received = wharf::spawn_blocking(move || {
                busy_peer.read_exact(&mut received).map(|()| received)
            });
            assert_eq!(&received.await.unwrap().unwrap(), b"a message");
            // The peer has closed by now.
            assert_eq!(sending.await.unwrap().unwrap(), 0);
            accepting.await.unwrap().unwrap();
            assert_eq!(datagram.await.unwrap().unwrap(), 9);
        };
        let done = runtime.block_on(async { timeout(PATIENCE, test).await });
        done.unwrap_or_else(|_| panic!("{backend}: it waits for ever"));
    }
}

#[test]
fn panic_in_a_task_closes_its_connection_alone() {
    on_each_backend(1, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut fragile, peer) = plain_pair(&listener).await;
        let (mut robust, mut other) = plain_pair(&listener).await;
        let panics = wharf::spawn(async move {
            fragile.write_all(b"last words").await.unwrap();
            panic!("as intended");
        });
        assert!(panics.await.is_err());
        let said = wharf::spawn_blocking(|| {
            let (mut peer, mut said) = (peer, String::new());
            peer.read_to_string(&mut said).map(|_| said)
        });
        assert_eq!(said.await.unwrap().unwrap(), "last words");
        other.write_all(b"still here").unwrap();
        assert_eq!(robust.read(&mut [0; 16]).await.unwrap(), 10);
    });
}

#[test]
fn child_process_that_accepts_without_descriptors() {
    const WAITING: usize = 5;
    if !is_alone() {
        return;
    }
    on_each_backend(1, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = |_| Plain::connect(listener.local_addr()).unwrap();
        let clients: Vec<Plain> = (0..WAITING).map(connect).collect();
        let mut others = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            others.push(file);
        }
        let error = listener.accept().await.unwrap_err();
        assert!(wharf_queue::is_out_of_resources(&error), "{error}");
        // Accepting goes on, is told so now and then, and costs nothing meanwhile.
        let told = wharf::spawn(async move {
            let mut told = 0;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => return (stream, listener, told),
                    Err(_) => told += 1,
                }
            }
        });
        rests().await;
        assert!(!told.is_finished());
        drop(others);
        let (first, listener, told) = told.await.unwrap();
        let mut streams = vec![first];
        while streams.len() < WAITING {
            // It may still be told of the shortage of before.
            streams.extend(listener.accept().await.ok().map(|(stream, _)| stream));
        }
        assert!(told < 50, "{told} errors");
        for mut client in clients {
            client.write_all(b"served").unwrap();
        }
        for stream in &mut streams {
            assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 6);
        }
        println!("accepted all {WAITING}");
    });
}

#[test]
#[cfg_attr(windows, ignore = "no limit of handles can be set for a process")]
fn listener_without_descriptors_rests_and_loses_no_connection() {
    let program = host::with_few_descriptors(64);
    let said = in_a_process_of_its_own(
        "net_faults::child_process_that_accepts_without_descriptors",
        program,
    );
    assert_eq!(said.matches("accepted all 5").count(), backends().len());
}

/// A thousand connections that end in different ways.
async fn come_and_go(listener: &Rc<TcpListener>) {
    for round in 0..250 {
        let mut streams = JoinSet::new();
        for way in 0..4 {
            let listener = listener.clone();
            streams.spawn(async move {
                let mut client = TcpStream::connect(listener.local_addr()).await.unwrap();
                let (mut server, _) = listener.accept().await.unwrap();
                match way {
                    // Both sides say something, and end in order.
                    0 => {
                        client.write_all(b"question").await.unwrap();
                        client.shutdown().await.unwrap();
                    }
                    // A reset.
                    1 => {
                        let now = SocketOption::Linger(Some(Duration::ZERO));
                        client.set_option(now).unwrap();
                        server.write_all(b"unread").await.unwrap();
                    }
                    // Gone while a read is in flight, and one of an owned buffer.
                    2 => {
                        let mut buf = [0; 8];
                        let early = timeout(Duration::ZERO, server.read(&mut buf));
                        assert!(early.await.is_err());
                        let early = timeout(Duration::ZERO, client.read_owned(vec![0; 8]));
                        assert!(early.await.is_err());
                    }
                    // A connect that nobody waits for.
                    _ => {
                        let early = TcpStream::connect(listener.local_addr());
                        drop(timeout(Duration::ZERO, early).await);
                    }
                }
                drop(client);
                while server.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
            });
        }
        while let Some(done) = streams.join_next().await {
            done.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}

#[test]
fn child_process_whose_connections_come_and_go() {
    if !is_alone() {
        return;
    }
    on_each_backend(1, async || {
        let listen = async || Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        // Those that wait in the listener go with it.
        let close = async |listener| {
            let listener: TcpListener = Rc::into_inner(listener).unwrap();
            listener.close().await.unwrap();
        };
        // What is made once, and stays, is there behind the first thousand.
        let listener = listen().await;
        come_and_go(&listener).await;
        close(listener).await;
        let (before_all, before) = host::census();
        let listener = listen().await;
        come_and_go(&listener).await;
        come_and_go(&listener).await;
        let (_, after) = host::census();
        let growth = after.saturating_sub(before);
        assert!(growth < 1024, "{growth} KiB more after 2,000 connections");
        close(listener).await;
        while host::census().0 > before_all {
            sleep(Duration::from_millis(1)).await;
        }
        println!("as many as before: {before_all}");
    });
}

#[test]
fn thousands_of_connections_leave_no_descriptor_and_no_memory_behind() {
    let program = Command::new(std::env::current_exe().expect("this is one"));
    let said = in_a_process_of_its_own(
        "net_faults::child_process_whose_connections_come_and_go",
        program,
    );
    assert_eq!(said.matches("as many as before").count(), backends().len());
}
