//! Races between what is ended early and what arrives, for the forms that are not in `cancel`:
//! multishot, datagrams, connects, vectored sends (R1, R2, R4, R5, R6).

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wharf_queue::{Handle, Outcome, Prepare, Queue, Token, op};

use crate::fixture::host::is_half_open;
use crate::peer::{
    Clients, Dir, census_is, descriptors, full_listener, pair, read_what_came, read_what_comes,
};
use crate::{Factory, drain, finish, look, next};

super::cases!(
    "R1" multishot_recv_against_arriving_bytes_loses_none,
    "R1" vectored_recv_against_arriving_bytes_loses_none,
    "R2" multishot_accept_against_arriving_connections_loses_none,
    "R4" every_cancelled_send_counts_what_the_peer_gets,
    "R4" every_timed_out_send_counts_what_the_peer_gets,
    "R5" [alone] discarded_connect_leaves_nothing_half_open,
    "R5" [alone] connect_against_its_cancel_leaves_no_descriptor,
    "R6" datagram_recv_against_its_cancel_keeps_each_datagram_whole,
    "R6" multishot_datagram_recv_against_its_cancel_keeps_each_datagram_whole,
);

const RACES: u32 = 3000;

/// Lets another thread act once for each race, at a time of its own.
fn each_race(started: &AtomicU32, mut act: impl FnMut(u32)) {
    for number in 0..RACES {
        while started.load(Ordering::Acquire) <= number {
            std::thread::yield_now();
        }
        act(number);
    }
}

fn are_all_numbers(received: &[u8]) {
    let numbers = received
        .chunks(4)
        .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4")));
    assert!(numbers.eq(0..RACES), "what was sent was received, in order");
}

fn multishot_recv_against_arriving_bytes_loses_none(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(4).size(8).build();
    let pool = pool.expect("a pool");
    let (socket, mut peer) = pair(&queue);
    let (started, mut received) = (AtomicU32::new(0), Vec::new());
    let mut races = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            each_race(&started, |number| {
                peer.write_all(&number.to_le_bytes()).expect("connected");
            });
        });
        while received.len() < RACES as usize * 4 {
            let multi = op::RecvMulti::new(&socket, &pool);
            let token = queue.submit(multi).expect("room");
            races += 1;
            started.store(races, Ordering::Release);
            for _ in 0..races % 3 {
                look(&queue);
            }
            queue.cancel(token);
            loop {
                let completion = next(&queue);
                let more = completion.more();
                match completion.take(token).expect("it") {
                    Outcome::Completed(piece) => {
                        received.extend_from_slice(&piece.expect("received"));
                        assert!(more, "the stream has not ended");
                    }
                    Outcome::Cancelled { transferred: 0 } => break,
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    assert!(races >= RACES);
    are_all_numbers(&received);
    assert_eq!(pool.available(), pool.buffers());
}

fn vectored_recv_against_arriving_bytes_loses_none(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let (started, mut received) = (AtomicU32::new(0), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            each_race(&started, |number| {
                peer.write_all(&number.to_le_bytes()).expect("connected");
            });
        });
        let mut races = 0;
        while received.len() < RACES as usize * 4 {
            let bufs = [Vec::with_capacity(1), Vec::with_capacity(2)];
            let token = queue.submit(op::RecvVectored::new(&socket, bufs));
            let token = token.expect("room");
            races += 1;
            started.store(races, Ordering::Release);
            for _ in 0..races % 3 {
                look(&queue);
            }
            queue.cancel(token);
            let (outcome, bufs) = finish(&queue, token);
            received.extend(bufs.iter().flatten());
            match outcome {
                Outcome::Completed(result) => {
                    let len = result.expect("received");
                    assert_eq!(len, bufs[0].len() + bufs[1].len());
                }
                Outcome::Cancelled { transferred: 0 } => assert!(bufs[0].is_empty()),
                other => panic!("{other:?}"),
            }
        }
    });
    are_all_numbers(&received);
}

fn multishot_accept_against_arriving_connections_loses_none(factory: &Factory) {
    let queue = factory.queue();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener.local_addr().expect("bound").ip();
    let address = address.expect("internet");
    let started = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut clients = Clients::new(address, Clients::end_in_order);
            each_race(&started, |number| clients.come(number));
            clients.leave();
        });
        let (mut accepted, mut races) = (0, 0);
        while accepted < RACES {
            let multi = op::AcceptMulti::new(&listener);
            let token = queue.submit(multi).expect("room");
            races += 1;
            started.store(races, Ordering::Release);
            for _ in 0..races % 3 {
                look(&queue);
            }
            queue.cancel(token);
            let mut sockets = Vec::new();
            loop {
                let completion = next(&queue);
                let more = completion.more();
                match completion.take(token).expect("it") {
                    Outcome::Completed(socket) => sockets.push(socket.expect("accepted")),
                    Outcome::Cancelled { .. } => assert!(!more),
                    other => panic!("{other:?}"),
                }
                if !more {
                    break;
                }
            }
            for socket in sockets {
                let recv = op::Recv::new(&socket, vec![0; 4]);
                let recv = queue.submit(recv).expect("room");
                let (outcome, buf) = finish(&queue, recv);
                assert_eq!(outcome.into_result().expect("received"), 4);
                assert_eq!(buf, accepted.to_le_bytes());
                accepted += 1;
            }
        }
    });
}

const LONG: usize = 64 << 20;

/// Ends sends of every form midway and compares what they say with what the peer gets.
fn sends_count(factory: &Factory, timeout: Option<Duration>) {
    let queue = factory.queue();
    let dir = Dir::new();
    std::fs::write(dir.0.join("long"), vec![5u8; LONG]).expect("written");
    let file = std::fs::File::open(dir.0.join("long")).expect("there");
    let file = queue.attach(file).expect("a file");
    let parts = || (0..64).map(|_| vec![5u8; LONG / 64]).collect::<Vec<_>>();
    send_counts(
        &queue,
        timeout,
        |socket| op::Send::new(socket, vec![5u8; LONG]).all().prepare(),
        |output| &output.0,
    );
    send_counts(
        &queue,
        timeout,
        |socket| op::Send::new(socket, vec![5u8; LONG]).prepare(),
        |output| &output.0,
    );
    send_counts(
        &queue,
        timeout,
        |socket| op::SendVectored::new(socket, parts()).all().prepare(),
        |output| &output.0,
    );
    send_counts(
        &queue,
        timeout,
        |socket| op::SendVectored::new(socket, parts()).prepare(),
        |output| &output.0,
    );
    send_counts(
        &queue,
        timeout,
        |socket| op::SendFile::new(socket, &file, 0, LONG).prepare(),
        |output| output,
    );
}

fn send_counts<O: wharf_queue::Operation>(
    queue: &Queue,
    timeout: Option<Duration>,
    make: impl FnOnce(&Handle) -> wharf_queue::Submission<O>,
    outcome: impl FnOnce(&O::Output) -> &Outcome<usize>,
) {
    let (socket, mut peer) = pair(queue);
    let mut send = make(&socket);
    if let Some(timeout) = timeout {
        send = send.timeout(timeout);
    }
    let token: Token<O> = queue.submit(send).expect("room");
    look(queue);
    let got = match timeout {
        // It may be up before anything was sent.
        Some(_) => read_what_came(queue, &mut peer),
        None => read_what_comes(queue, &mut peer),
    };
    look(queue);
    if timeout.is_none() {
        queue.cancel(token);
    }
    let output = finish(queue, token);
    let said = match (outcome(&output), timeout) {
        (Outcome::Completed(sent), _) => *sent.as_ref().expect("sent"),
        (Outcome::Cancelled { transferred }, None) => *transferred,
        (Outcome::TimedOut { transferred }, Some(_)) => *transferred,
        (other, _) => panic!("{other:?}"),
    };
    let close = queue.submit(op::Close::new(socket)).expect("room");
    finish(queue, close).into_result().expect("closed");
    let rest = std::io::copy(&mut peer, &mut std::io::sink());
    let rest = rest.expect("an orderly end") as usize;
    assert_eq!(got + rest, said);
}

fn every_cancelled_send_counts_what_the_peer_gets(factory: &Factory) {
    sends_count(factory, None);
}

fn every_timed_out_send_counts_what_the_peer_gets(factory: &Factory) {
    sends_count(factory, Some(Duration::from_millis(20)));
}

/// Waits until `what` holds. The table of connections is read in parts while it changes, so that one
/// reading of it may miss a line or have an old one.
fn comes_true(mut what: impl FnMut() -> bool) -> bool {
    (0..1000).any(|_| {
        let holds = what();
        if !holds {
            std::thread::yield_now();
        }
        holds
    })
}

fn discarded_connect_leaves_nothing_half_open(factory: &Factory) {
    let queue = factory.queue();
    let (_listener, address, clients) = full_listener();
    let before = descriptors();
    let mut ports = Vec::new();
    for round in 0..50 {
        let to: wharf_queue::Address = address.into();
        let socket = queue.socket(&op::Socket::stream_for(&to));
        let socket = socket.expect("a socket");
        let token = queue.submit(op::Connect::new(&socket, to));
        let token = token.expect("room");
        look(&queue);
        let local = socket.local_addr().expect("it has asked");
        ports.push(local.ip().expect("internet").port());
        if round == 0 {
            // The table of all connections takes long to read, so it is read once.
            assert!(comes_true(|| is_half_open(&ports)), "it waits");
        }
        if round % 2 == 0 {
            queue.discard(token);
            drop(socket);
            drain(&queue);
        } else {
            let close = queue.submit(op::Close::new(socket)).expect("room");
            finish(&queue, close).into_result().expect("closed");
            drain(&queue);
        }
    }
    assert!(comes_true(|| !is_half_open(&ports)));
    census_is(before);
    drop(clients);
}

fn connect_against_its_cancel_leaves_no_descriptor(factory: &Factory) {
    const CONNECTS: usize = 1000;
    let queue = factory.queue();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let before = descriptors();
    let mut connected = 0;
    for race in 0..CONNECTS {
        let to: wharf_queue::Address = address.into();
        let socket = queue.socket(&op::Socket::stream_for(&to));
        let socket = socket.expect("a socket");
        let token = queue.submit(op::Connect::new(&socket, to));
        let token = token.expect("room");
        if race % 2 == 0 {
            look(&queue);
        }
        queue.cancel(token);
        let outcome = finish(&queue, token);
        if let Outcome::Completed(result) = outcome {
            result.expect("connected");
            connected += 1;
            let send = queue.submit(op::Send::new(&socket, *b"true"));
            finish(&queue, send.expect("room"))
                .0
                .into_result()
                .expect("sent");
            let close = queue.submit(op::Close::new(socket)).expect("room");
            finish(&queue, close).into_result().expect("closed");
            // One that was cancelled may have come through too; it is closed, and sends nothing.
            loop {
                let (mut client, _) = listener.accept().expect("one at least");
                let mut bytes = Vec::new();
                match client.read_to_end(&mut bytes) {
                    Ok(0) => {}
                    Ok(_) => break assert_eq!(bytes, b"true"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                }
            }
        }
    }
    assert!(connected > 0, "some are faster than their cancel");
    census_is(before);
}

/// A datagram of a length and contents of its own.
fn datagram(number: u32) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(4 + number as usize % 60, number as u8);
    bytes
}

fn datagram_recv_against_its_cancel_keeps_each_datagram_whole(factory: &Factory) {
    let queue = factory.queue();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    let socket = queue.attach(socket).expect("a socket");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let (mut received, mut cancelled) = (0, 0);
    for race in 0..RACES {
        let recv = op::RecvFrom::new(&socket, vec![0; 64]);
        let token = queue.submit(recv).expect("room");
        if race % 2 == 0 {
            look(&queue);
        }
        peer.send_to(&datagram(race), address).expect("sent");
        if race % 3 == 0 {
            look(&queue);
        }
        queue.cancel(token);
        let (outcome, buf) = finish(&queue, token);
        let (outcome, buf) = if outcome.is_cancelled() {
            cancelled += 1;
            let again = queue.submit(op::RecvFrom::new(&socket, buf));
            finish(&queue, again.expect("room"))
        } else {
            received += 1;
            (outcome, buf)
        };
        let got = outcome.into_result().expect("received");
        assert!(!got.truncated && got.len == buf.len());
        assert_eq!(got.from.ip(), peer.local_addr().ok());
        assert_eq!(buf, datagram(race));
    }
    assert_eq!(received + cancelled, RACES);
}

fn multishot_datagram_recv_against_its_cancel_keeps_each_datagram_whole(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(2).size(64).datagrams().build();
    let pool = pool.expect("a pool");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    let socket = queue.attach(socket).expect("a socket");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let mut number = 0;
    for race in 0..RACES {
        let multi = op::RecvFromMulti::new(&socket, &pool);
        let token = queue.submit(multi).expect("room");
        if race % 2 == 0 {
            look(&queue);
        }
        for more in 0..3 {
            let sent = datagram(race * 3 + more);
            peer.send_to(&sent, address).expect("sent");
        }
        if race % 3 == 0 {
            look(&queue);
        }
        queue.cancel(token);
        loop {
            let completion = next(&queue);
            let more = completion.more();
            match completion.take(token).expect("it") {
                Outcome::Completed(item) => {
                    let item = item.expect("received");
                    assert!(!item.truncated && more);
                    assert_eq!(*item.data, datagram(number));
                    number += 1;
                }
                outcome => break assert!(outcome.is_cancelled() && !more),
            }
        }
        while number < (race + 1) * 3 {
            let recv = op::RecvFrom::new(&socket, vec![0; 64]);
            let recv = queue.submit(recv).expect("room");
            let (outcome, buf) = finish(&queue, recv);
            assert!(!outcome.into_result().expect("received").truncated);
            assert_eq!(buf, datagram(number));
            number += 1;
        }
    }
}
