//! Streams and datagrams: what arrives, and how ends and errors show (C1, C7, C10).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};

use wharf_queue::{IoBuf, Outcome, op};

use crate::peer::{Dir, own_loopback, pair};
use crate::{Factory, finish, finish_keeping, look, next};

super::cases!(
    "C1" recv_fills_the_buffer_that_was_handed_in,
    "C7" recv_of_nothing_completes_at_once,
    "C7" recv_at_the_end_is_zero,
    "C7" recv_after_a_reset_is_connection_reset,
    "C7" [alone] connect_to_nobody_is_refused,
    "C7" send_to_a_peer_that_is_gone_fails_without_a_signal,
    "C1" send_all_sends_every_byte,
    "C1" sends_go_on_to_a_peer_that_has_nothing_more_to_say,
    "C1" vectored_send_and_recv_keep_the_order,
    "C1" slice_receives_behind_what_it_keeps,
    "R6" datagram_longer_than_the_buffer_is_truncated,
    "C7" datagram_that_is_too_long_is_an_error_of_its_send,
    "R6" datagrams_from_the_pool_keep_sender_and_bounds,
    "C1" recv_multi_brings_all_bytes_and_one_final_completion,
    "C10" recv_multi_rests_on_an_empty_pool_and_goes_on,
    "C10" recv_multi_rests_until_another_thread_drops_a_buffer,
    "C1" accept_multi_brings_every_connection,
);

fn recv_fills_the_buffer_that_was_handed_in(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let token = queue
        .submit(op::Recv::new(&socket, [0u8; 16]))
        .expect("room");
    peer.write_all(b"hello").expect("connected");
    let (outcome, buf) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("received"), 5);
    assert_eq!(&buf[..5], b"hello");
    assert_eq!(queue.in_flight(), 0);
}

fn recv_of_nothing_completes_at_once(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    let token = queue
        .submit(op::Recv::new(&socket, Vec::new()))
        .expect("room");
    assert_eq!(finish(&queue, token).0.into_result().expect("nothing"), 0);
}

fn recv_at_the_end_is_zero(factory: &Factory) {
    let queue = factory.queue();
    let (socket, peer) = pair(&queue);
    peer.shutdown(Shutdown::Write).expect("connected");
    for _ in 0..2 {
        let token = queue
            .submit(op::Recv::new(&socket, vec![0; 8]))
            .expect("room");
        assert_eq!(finish(&queue, token).0.into_result().expect("the end"), 0);
    }
}

fn recv_after_a_reset_is_connection_reset(factory: &Factory) {
    let queue = factory.queue();
    let (socket, peer) = pair(&queue);
    let token = queue
        .submit(op::Send::new(&socket, b"unread".to_vec()))
        .expect("room");
    finish(&queue, token).0.into_result().expect("sent");
    // A socket that is closed with unread bytes resets its connection (tcp(7)).
    peer.set_nonblocking(false).expect("a socket");
    let mut peek = [0u8; 1];
    assert_eq!(peer.peek(&mut peek).expect("arrived"), 1);
    let token = queue
        .submit(op::Recv::new(&socket, vec![0; 8]))
        .expect("room");
    drop(peer);
    let error = finish(&queue, token).0.into_result().expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.raw_os_error().is_some());
}

fn connect_to_nobody_is_refused(factory: &Factory) {
    let queue = factory.queue();
    let listener = TcpListener::bind(own_loopback()).expect("loopback");
    let address = listener.local_addr().expect("bound").into();
    drop(listener);
    let socket = queue
        .socket(&op::Socket::stream_for(&address))
        .expect("a socket");
    let token = queue
        .submit(op::Connect::new(&socket, address))
        .expect("room");
    let error = finish(&queue, token)
        .into_result()
        .expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

fn send_to_a_peer_that_is_gone_fails_without_a_signal(factory: &Factory) {
    let queue = factory.queue();
    let (socket, peer) = pair(&queue);
    drop(peer);
    for _ in 0..1000 {
        let token = queue
            .submit(op::Send::new(&socket, vec![1; 4096]))
            .expect("room");
        if let Err(error) = finish(&queue, token).0.into_result() {
            let expected = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(expected.contains(&error.kind()), "{error}");
            return;
        }
    }
    panic!("a peer that is gone took 1000 sends");
}

fn send_all_sends_every_byte(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let len = 8 << 20;
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).map(|_| received)
    });
    let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
    let token = queue
        .submit(op::Send::new(&socket, bytes).all())
        .expect("room");
    let (outcome, bytes) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("sent"), len);
    let token = queue.submit(op::Close::new(socket)).expect("room");
    finish(&queue, token).into_result().expect("closed");
    assert!(reader.join().expect("no panic").expect("read") == bytes);
}

/// The peer ends its own direction while it is sent to, and takes what is sent only then.
fn sends_go_on_to_a_peer_that_has_nothing_more_to_say(factory: &Factory) {
    /// More of these than all buffers between the two hold.
    const PIECES: usize = 256;
    const LEN: usize = 64 << 10;
    let queue = factory.queue();
    let dir = Dir::new();
    let piece = |number: usize| vec![number as u8; LEN];
    let whole: Vec<u8> = (0..PIECES).flat_map(piece).collect();
    std::fs::write(dir.0.join("file"), &whole).expect("written");
    let file = std::fs::File::open(dir.0.join("file")).expect("there");
    let file = queue.attach(file).expect("a file");
    for sends_file in [false, true] {
        let (socket, mut peer) = pair(&queue);
        let recv = op::Recv::new(&socket, vec![0; 8]);
        let recv = queue.submit(recv).expect("room");
        let mut sends = Vec::new();
        let mut sends_of_file = Vec::new();
        for number in 0..PIECES {
            if sends_file {
                let send = op::SendFile::new(&socket, &file, (number * LEN) as u64, LEN);
                sends_of_file.push(queue.submit(send).expect("room"));
            } else {
                let send = op::Send::new(&socket, piece(number)).all();
                sends.push(queue.submit(send).expect("room"));
            }
        }
        look(&queue);
        peer.shutdown(Shutdown::Write).expect("connected");
        let (outcome, _) = finish_keeping(&queue, recv);
        assert_eq!(outcome.into_result().expect("the end"), 0);
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        for send in sends {
            let (outcome, _) = finish_keeping(&queue, send);
            assert_eq!(outcome.into_result().expect("sent"), LEN);
        }
        for send in sends_of_file {
            let sent = finish_keeping(&queue, send);
            assert_eq!(sent.into_result().expect("sent"), LEN);
        }
        let close = queue.submit(op::Close::new(socket)).expect("room");
        finish(&queue, close).into_result().expect("closed");
        let received = reader.join().expect("no panic").expect("an orderly end");
        // Which of several goes first is the system's choice.
        let mut counts = [0; PIECES];
        for byte in received {
            counts[usize::from(byte)] += 1;
        }
        assert_eq!(counts, [LEN; PIECES]);
    }
}

fn vectored_send_and_recv_keep_the_order(factory: &Factory) {
    let queue = factory.queue();
    let ((left, mut peer_left), (right, mut peer_right)) = (pair(&queue), pair(&queue));
    let send = op::SendVectored::new(&left, [b"one".to_vec(), b"two".to_vec()]).all();
    let token = queue.submit(send).expect("room");
    assert_eq!(finish(&queue, token).0.into_result().expect("sent"), 6);
    let mut bytes = [0; 6];
    peer_left.read_exact(&mut bytes).expect("arrives");
    assert_eq!(&bytes, b"onetwo");
    peer_right.write_all(b"abcd").expect("connected");
    let bufs = vec![Vec::with_capacity(3), Vec::with_capacity(3)];
    let token = queue
        .submit(op::RecvVectored::new(&right, bufs))
        .expect("room");
    let (outcome, bufs) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("received"), 4);
    assert_eq!(bufs, [b"abc".to_vec(), b"d".to_vec()]);
}

fn slice_receives_behind_what_it_keeps(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    peer.write_all(b"world").expect("connected");
    let mut buf = Vec::with_capacity(64);
    buf.extend_from_slice(b"hello ");
    let token = queue
        .submit(op::Recv::new(&socket, buf.slice(6..)))
        .expect("room");
    let (outcome, slice) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("received"), 5);
    assert_eq!(slice.into_inner(), b"hello world");
}

fn datagram_longer_than_the_buffer_is_truncated(factory: &Factory) {
    let queue = factory.queue();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    let socket = queue.attach(socket).expect("a socket");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    peer.send_to(b"0123456789", address).expect("sent");
    let token = queue
        .submit(op::RecvFrom::new(&socket, vec![0; 4]))
        .expect("room");
    let (outcome, buf) = finish(&queue, token);
    let datagram = outcome.into_result().expect("received");
    assert!(datagram.truncated && datagram.len == 4 && buf == b"0123");
    assert_eq!(datagram.from.ip(), peer.local_addr().ok());
    let reply = op::SendTo::new(&socket, b"back".to_vec(), datagram.from);
    let token = queue.submit(reply).expect("room");
    assert_eq!(finish(&queue, token).0.into_result().expect("sent"), 4);
    let mut bytes = [0; 8];
    assert_eq!(peer.recv(&mut bytes).expect("arrives"), 4);
}

fn datagram_that_is_too_long_is_an_error_of_its_send(factory: &Factory) {
    let queue = factory.queue();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = peer.local_addr().expect("bound");
    let socket = queue.attach(socket).expect("a socket");
    for len in [70_000, 4] {
        let send = op::SendTo::new(&socket, vec![1; len], address);
        let token = queue.submit(send).expect("room");
        let (outcome, buf) = finish(&queue, token);
        assert_eq!(buf.len(), len);
        assert_eq!(outcome.into_result().is_ok(), len == 4);
    }
    let mut bytes = [0; 8];
    assert_eq!(peer.recv(&mut bytes).expect("the second one"), 4);
}

fn datagrams_from_the_pool_keep_sender_and_bounds(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue
        .buf_pool()
        .buffers(4)
        .size(64)
        .datagrams()
        .build()
        .expect("a pool");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    let socket = queue.attach(socket).expect("a socket");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let token = queue
        .submit(op::RecvFromMulti::new(&socket, &pool))
        .expect("room");
    for round in 0u8..20 {
        peer.send_to(&vec![round; usize::from(round) * 5], address)
            .expect("sent");
        let completion = next(&queue);
        assert!(completion.more());
        let datagram = completion
            .take(token)
            .expect("it")
            .into_result()
            .expect("received");
        let len = usize::from(round) * 5;
        assert_eq!(datagram.from.ip(), peer.local_addr().ok());
        assert_eq!(
            (datagram.data.len(), datagram.truncated),
            (len.min(64), len > 64)
        );
        assert!(datagram.data.iter().all(|&byte| byte == round));
    }
    queue.cancel(token);
    let completion = next(&queue);
    assert!(!completion.more());
    assert!(completion.take(token).expect("it").is_cancelled());
}

fn recv_multi_brings_all_bytes_and_one_final_completion(factory: &Factory) {
    let queue = factory.queue();
    for incremental in [false, true] {
        let builder = queue.buf_pool().buffers(4).size(1000);
        let pool = if incremental {
            builder.incremental()
        } else {
            builder
        };
        let pool = pool.build().expect("a pool");
        let (socket, mut peer) = pair(&queue);
        let token = queue
            .submit(op::RecvMulti::new(&socket, &pool))
            .expect("room");
        let sent: Vec<u8> = (0..100_000u32).map(|n| (n % 253) as u8).collect();
        let bytes = sent.clone();
        let writer = std::thread::spawn(move || peer.write_all(&bytes));
        let mut received = Vec::new();
        loop {
            let completion = next(&queue);
            let more = completion.more();
            let piece = completion
                .take(token)
                .expect("it")
                .into_result()
                .expect("received");
            received.extend_from_slice(&piece);
            assert_eq!(piece.is_empty(), !more, "the end is the final completion");
            if !more {
                break;
            }
        }
        writer.join().expect("no panic").expect("written");
        assert!(received == sent);
        assert_eq!(queue.in_flight(), 0);
        assert_eq!(pool.available(), pool.buffers());
    }
}

fn recv_multi_rests_on_an_empty_pool_and_goes_on(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(1).size(4).build().expect("a pool");
    let (socket, mut peer) = pair(&queue);
    let token = queue
        .submit(op::RecvMulti::new(&socket, &pool))
        .expect("room");
    peer.write_all(b"aaaabbbbcccc").expect("connected");
    for expected in [b"aaaa", b"bbbb", b"cccc"] {
        let piece = next(&queue)
            .take(token)
            .expect("it")
            .into_result()
            .expect("received");
        assert_eq!(&*piece, expected);
        let nothing = queue.wait(std::time::Duration::ZERO).expect("works");
        assert!(nothing.is_empty(), "the only buffer is out");
    }
    queue.discard(token);
    assert!(queue.stats().pool_starved > 0);
}

fn recv_multi_rests_until_another_thread_drops_a_buffer(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(1).size(4).build().expect("a pool");
    let (socket, mut peer) = pair(&queue);
    let token = queue
        .submit(op::RecvMulti::new(&socket, &pool))
        .expect("room");
    peer.write_all(b"aaaabbbb").expect("connected");
    for round in 0..2 {
        let piece = next(&queue)
            .take(token)
            .expect("it")
            .into_result()
            .expect("received");
        assert_eq!(&*piece, [b"aaaa", b"bbbb"][round]);
        std::thread::spawn(move || drop(piece));
    }
    queue.discard(token);
}

fn accept_multi_brings_every_connection(factory: &Factory) {
    let queue = factory.queue();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener
        .local_addr()
        .expect("bound")
        .ip()
        .expect("internet");
    let token = queue.submit(op::AcceptMulti::new(&listener)).expect("room");
    let clients: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(address).expect("listens"))
        .collect();
    let mut accepted = Vec::new();
    while accepted.len() < clients.len() {
        let completion = next(&queue);
        assert!(completion.more());
        accepted.push(
            completion
                .take(token)
                .expect("it")
                .into_result()
                .expect("accepted"),
        );
    }
    let mut ports: Vec<_> = accepted
        .iter()
        .map(|handle| {
            handle
                .peer_addr()
                .expect("connected")
                .ip()
                .expect("internet")
                .port()
        })
        .collect();
    let mut expected: Vec<_> = clients
        .iter()
        .map(|client| client.local_addr().expect("bound").port())
        .collect();
    ports.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ports, expected);
    queue.cancel(token);
    let completion = next(&queue);
    assert!(!completion.more());
    assert!(matches!(
        completion.take(token).expect("it"),
        Outcome::Cancelled { .. }
    ));
}
