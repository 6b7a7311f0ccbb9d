//! Connections in every state, and what lies in them: resets, half-closed streams, peeks, urgent
//! bytes, passed descriptors (C1, C7).

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::{MsgHdr, SockRef};
use wharf_queue::{Handle, Outcome, Queue, op};

use crate::fixture::local::{datagram_pair, pass, stream_pair};
use crate::fixture::pipe::duplicate_stream;
use crate::peer::{Dir, pair};
use crate::{Factory, finish, look, next};

super::cases!(
    "C7" reset_ends_whatever_waits_as_connection_reset,
    "C7" reset_is_no_end_of_a_multishot_recv,
    "C7" [unix "a connection that was reset is not handed to an accept that comes later"] reset_before_the_accept_shows_at_the_connection,
    "C7" [linux "a splice is Linux's"] reset_ends_a_splice,
    "C7" reset_before_the_accept_does_not_end_the_accept,
    "C7" reset_ends_a_poll,
    "C7" bytes_before_the_end_come_before_it,
    "C7" half_closed_stream_goes_on_in_the_other_direction,
    "C7" shutdown_here_ends_what_waits_here,
    "C1" peek_leaves_everything_for_the_next_recv,
    "C1" urgent_byte_does_not_hold_back_what_follows,
    "C1" [unix "no descriptors are passed by sockets"] passed_descriptor_does_not_hold_back_what_follows,
    "C1" two_receives_on_one_stream_share_its_bytes,
    "C1" both_directions_wait_at_the_same_time,
    "C1" duplicate_of_a_closed_descriptor_disturbs_no_other,
    "C1" poll_tells_what_is_ready,
    "C1" [unix "Unix sockets are not to be had under Wine, and not shown elsewhere"] unix_streams_connect_and_carry_bytes,
);

/// Ends a connection with a reset (tcp(7), `SO_LINGER` of nothing).
fn reset(peer: TcpStream) {
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
}

fn is_reset<T: std::fmt::Debug>(outcome: Outcome<T>) {
    let error = outcome.into_result().expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(error.raw_os_error().is_some());
}

/// Of a send that has bytes on the way, the one or the other.
fn is_gone<T: std::fmt::Debug>(outcome: Outcome<T>) {
    let error = outcome.into_result().expect_err("gone");
    let expected = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(expected.contains(&error.kind()), "{error}");
}

fn recv(queue: &Queue, socket: &Handle, len: usize) -> (usize, Vec<u8>) {
    let token = queue.submit(op::Recv::new(socket, vec![0; len]));
    let (outcome, buf) = finish(queue, token.expect("room"));
    (outcome.into_result().expect("received"), buf)
}

fn reset_ends_whatever_waits_as_connection_reset(factory: &Factory) {
    let queue = factory.queue();
    for waits in [true, false] {
        let (socket, peer) = pair(&queue);
        let token = queue.submit(op::Recv::new(&socket, vec![0; 8]));
        let token = token.expect("room");
        if waits {
            look(&queue);
        }
        reset(peer);
        is_reset(finish(&queue, token).0);
        let (socket, peer) = pair(&queue);
        let bufs = [vec![0; 8], vec![0; 8]];
        let token = queue.submit(op::RecvVectored::new(&socket, bufs));
        let token = token.expect("room");
        if waits {
            look(&queue);
        }
        reset(peer);
        is_reset(finish(&queue, token).0);
        let (socket, peer) = pair(&queue);
        let send = op::Send::new(&socket, vec![1; 16 << 20]).all();
        let token = queue.submit(send).expect("room");
        if waits {
            look(&queue);
        }
        reset(peer);
        is_gone(finish(&queue, token).0);
        let (socket, peer) = pair(&queue);
        let bufs: Vec<_> = (0..16).map(|_| vec![1; 1 << 20]).collect();
        let send = op::SendVectored::new(&socket, bufs).all();
        let token = queue.submit(send).expect("room");
        if waits {
            look(&queue);
        }
        reset(peer);
        is_gone(finish(&queue, token).0);
    }
    let dir = Dir::new();
    std::fs::write(dir.0.join("file"), vec![1; 16 << 20]).expect("written");
    let file = std::fs::File::open(dir.0.join("file")).expect("there");
    let file = queue.attach(file).expect("a file");
    let (socket, peer) = pair(&queue);
    let send = op::SendFile::new(&socket, &file, 0, 16 << 20);
    let token = queue.submit(send).expect("room");
    look(&queue);
    reset(peer);
    is_gone(finish(&queue, token));
}

fn reset_is_no_end_of_a_multishot_recv(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(4).size(64).build();
    let pool = pool.expect("a pool");
    let (socket, mut peer) = pair(&queue);
    let token = queue.submit(op::RecvMulti::new(&socket, &pool));
    let token = token.expect("room");
    peer.write_all(b"before").expect("connected");
    let item = next(&queue).take(token).expect("it").into_result();
    assert_eq!(&*item.expect("received"), b"before");
    reset(peer);
    let completion = next(&queue);
    assert!(!completion.more());
    is_reset(completion.take(token).expect("it"));
    assert_eq!(pool.available(), 4);
}

fn reset_before_the_accept_shows_at_the_connection(factory: &Factory) {
    let queue = factory.queue();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener.local_addr().expect("bound").ip();
    let address = address.expect("internet");
    reset(TcpStream::connect(address).expect("listens"));
    let accept = queue.submit(op::Accept::new(&listener)).expect("room");
    let socket = finish(&queue, accept).into_result().expect("accepted");
    let token = queue.submit(op::Recv::new(&socket, vec![0; 8]));
    is_reset(finish(&queue, token.expect("room")).0);
    let _client = TcpStream::connect(address).expect("it goes on");
    let accept = queue.submit(op::Accept::new(&listener)).expect("room");
    finish(&queue, accept).into_result().expect("accepted");
}

fn reset_before_the_accept_does_not_end_the_accept(factory: &Factory) {
    let queue = factory.queue();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener.local_addr().expect("bound").ip();
    let address = address.expect("internet");
    reset(TcpStream::connect(address).expect("listens"));
    let mut client = TcpStream::connect(address).expect("listens");
    client.write_all(b"whole").expect("connected");
    let name = client.local_addr().expect("connected");
    loop {
        let accept = queue.submit(op::Accept::new(&listener)).expect("room");
        let socket = finish(&queue, accept).into_result().expect("accepted");
        // The first one may have been handed over, or not.
        if socket.peer_addr().is_ok_and(|peer| peer.ip() == Some(name)) {
            assert_eq!(recv(&queue, &socket, 8).1, b"whole");
            break;
        }
    }
}

fn reset_ends_a_splice(factory: &Factory) {
    let queue = factory.queue();
    let (socket, peer) = pair(&queue);
    let (_reader, writer) = crate::fixture::pipe::pipe();
    let writer = queue.attach(writer).expect("a pipe");
    let token = queue.submit(op::Splice::new(&socket, &writer, 64));
    let token = token.expect("room");
    look(&queue);
    reset(peer);
    is_reset(finish(&queue, token));
}

fn reset_ends_a_poll(factory: &Factory) {
    let queue = factory.queue();
    let (socket, peer) = pair(&queue);
    let poll = op::Poll::new(&socket, op::Interest::Readable);
    let token = queue.submit(poll).expect("room");
    look(&queue);
    reset(peer);
    let ready = finish(&queue, token).into_result().expect("ready");
    assert!(ready.is_readable() && ready.is_error());
    let token = queue.submit(op::Recv::new(&socket, vec![0; 8]));
    is_reset(finish(&queue, token.expect("room")).0);
}

fn bytes_before_the_end_come_before_it(factory: &Factory) {
    let queue = factory.queue();
    for waits in [true, false] {
        let (socket, mut peer) = pair(&queue);
        if waits {
            // The socket has been waited for before: what is known of it must not be stale.
            peer.write_all(b"x").expect("connected");
            assert_eq!(recv(&queue, &socket, 8).0, 1);
            let token = queue.submit(op::Recv::new(&socket, vec![0; 8]));
            let token = token.expect("room");
            look(&queue);
            peer.write_all(b"y").expect("connected");
            assert_eq!(finish(&queue, token).1, b"y");
        }
        peer.write_all(b"last words").expect("connected");
        drop(peer);
        assert_eq!(recv(&queue, &socket, 4).1, b"last");
        assert_eq!(recv(&queue, &socket, 100).1, b" words");
        assert_eq!(recv(&queue, &socket, 100).0, 0);
        assert_eq!(recv(&queue, &socket, 100).0, 0);
    }
}

fn half_closed_stream_goes_on_in_the_other_direction(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    peer.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(recv(&queue, &socket, 8).0, 0);
    let token = queue.submit(op::Send::new(&socket, *b"still"));
    finish(&queue, token.expect("room"))
        .0
        .into_result()
        .expect("sent");
    let mut bytes = [0; 5];
    peer.read_exact(&mut bytes).expect("arrives");
    let (socket, mut peer) = pair(&queue);
    let end = op::Shutdown::new(&socket, Shutdown::Write);
    let token = queue.submit(end).expect("room");
    finish(&queue, token).into_result().expect("shut down");
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
    peer.write_all(b"reply").expect("connected");
    assert_eq!(recv(&queue, &socket, 8).1, b"reply");
    let token = queue.submit(op::Send::new(&socket, *b"late"));
    let error = finish(&queue, token.expect("room")).0.into_result();
    assert_eq!(error.expect_err("shut").kind(), ErrorKind::BrokenPipe);
}

fn shutdown_here_ends_what_waits_here(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    let waits = queue.submit(op::Recv::new(&socket, vec![0; 8]));
    let waits = waits.expect("room");
    look(&queue);
    let end = op::Shutdown::new(&socket, Shutdown::Both);
    let end = queue.submit(end).expect("room");
    let (mut ended, mut received) = (false, None);
    while !ended || received.is_none() {
        match next(&queue).take(end) {
            Ok(outcome) => {
                outcome.into_result().expect("shut down");
                ended = true;
            }
            Err(other) => received = Some(other.take(waits).expect("one of the two").0),
        }
    }
    let received = received.expect("it ended");
    assert_eq!(received.into_result().expect("the end"), 0);
}

fn peek_leaves_everything_for_the_next_recv(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    for round in 0..3 {
        let peek = op::Recv::new(&socket, vec![0; 100]).peek();
        let token = queue.submit(peek).expect("room");
        look(&queue);
        peer.write_all(b"hello").expect("connected");
        assert_eq!(finish(&queue, token).1, b"hello", "round {round}");
        for _ in 0..2 {
            let peek = op::Recv::new(&socket, vec![0; 100]).peek();
            let token = queue.submit(peek).expect("room");
            assert_eq!(finish(&queue, token).1, b"hello");
        }
        assert_eq!(recv(&queue, &socket, 100).1, b"hello");
    }
    let (left, right) = datagram_pair();
    let left = queue.attach(left).expect("a socket");
    right.send(b"datagram").expect("connected");
    for peek in [true, true, false] {
        let recv = op::RecvFrom::new(&left, vec![0; 100]);
        let recv = if peek { recv.peek() } else { recv };
        let token = queue.submit(recv).expect("room");
        assert_eq!(finish(&queue, token).1, b"datagram");
    }
}

fn urgent_byte_does_not_hold_back_what_follows(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    // The socket is waited for, so that an emulation knows it.
    let token = queue.submit(op::Recv::new(&socket, vec![0; 100]));
    let token = token.expect("room");
    look(&queue);
    peer.write_all(b"first").expect("connected");
    assert_eq!(finish(&queue, token).1, b"first");
    peer.write_all(b"before").expect("connected");
    let urgent = SockRef::from(&peer).send_out_of_band(b"!");
    assert_eq!(urgent.expect("connected"), 1);
    peer.write_all(b"after").expect("connected");
    let mut got = Vec::new();
    // A receive stops at the urgent byte, which is not part of the stream (tcp(7)).
    while got.len() < 11 {
        got.extend(recv(&queue, &socket, 100).1);
    }
    assert_eq!(got, b"beforeafter");
}

fn passed_descriptor_does_not_hold_back_what_follows(factory: &Factory) {
    let queue = factory.queue();
    let (stream, mut peer) = stream_pair();
    let socket = queue.attach(stream).expect("a socket");
    let token = queue.submit(op::Recv::new(&socket, vec![0; 100]));
    let token = token.expect("room");
    look(&queue);
    peer.write_all(b"first").expect("connected");
    assert_eq!(finish(&queue, token).1, b"first");
    let control = pass(&peer);
    let bufs = [IoSlice::new(b"before")];
    let message = MsgHdr::new().with_buffers(&bufs).with_control(&control);
    let sent = SockRef::from(&peer).sendmsg(&message, 0);
    assert_eq!(sent.expect("connected"), 6);
    peer.write_all(b"after").expect("connected");
    let mut got = Vec::new();
    // A receive does not go beyond bytes that a descriptor came with.
    while got.len() < 11 {
        got.extend(recv(&queue, &socket, 100).1);
    }
    assert_eq!(got, b"beforeafter");
}

fn two_receives_on_one_stream_share_its_bytes(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    for _ in 0..100 {
        let first = queue.submit(op::Recv::new(&socket, vec![0; 2]));
        let first = first.expect("room");
        let second = queue.submit(op::Recv::new(&socket, vec![0; 2]));
        let second = second.expect("room");
        look(&queue);
        peer.write_all(b"abcd").expect("connected");
        let mut parts = [Vec::new(), Vec::new()];
        for _ in 0..2 {
            match next(&queue).take(first) {
                Ok((_, buf)) => parts[0] = buf,
                Err(other) => parts[1] = other.take(second).expect("the other").1,
            }
        }
        // Which of the two comes first is not said.
        parts.sort();
        assert_eq!(parts, [b"ab".to_vec(), b"cd".to_vec()]);
    }
}

fn both_directions_wait_at_the_same_time(factory: &Factory) {
    const LEN: usize = 8 << 20;
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let send = op::Send::new(&socket, vec![1; LEN]).all();
    let send = queue.submit(send).expect("room");
    let recv = queue.submit(op::Recv::new(&socket, vec![0; 8]));
    let recv = recv.expect("room");
    look(&queue);
    peer.write_all(b"hello").expect("connected");
    assert_eq!(finish(&queue, recv).1, b"hello");
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; LEN];
        peer.read_exact(&mut bytes)
    });
    let (outcome, _) = finish(&queue, send);
    assert_eq!(outcome.into_result().expect("sent"), LEN);
    reader.join().expect("no panic").expect("read");
}

fn duplicate_of_a_closed_descriptor_disturbs_no_other(factory: &Factory) {
    let queue = factory.queue();
    for _ in 0..50 {
        let (socket, mut peer) = pair(&queue);
        let duplicate = duplicate_stream(socket.raw());
        let token = queue.submit(op::Recv::new(&socket, vec![0; 8]));
        let token = token.expect("room");
        look(&queue);
        let close = queue.submit(op::Close::new(socket)).expect("room");
        assert!(finish(&queue, token).0.is_cancelled());
        finish(&queue, close).into_result().expect("closed");
        // What happens to the open file by way of its other descriptor is nothing to the queue.
        let (other, mut other_peer) = pair(&queue);
        let token = queue.submit(op::Recv::new(&other, vec![0; 8]));
        let token = token.expect("room");
        look(&queue);
        peer.write_all(b"stray").expect("connected");
        let batch = queue.wait(Duration::from_micros(100)).expect("works");
        assert!(batch.is_empty());
        other_peer.write_all(b"mine").expect("connected");
        assert_eq!(finish(&queue, token).1, b"mine");
        drop(duplicate);
    }
}

fn poll_tells_what_is_ready(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let poll = |interest| {
        let poll = op::Poll::new(&socket, interest);
        queue.submit(poll).expect("room")
    };
    let ready = finish(&queue, poll(op::Interest::Both));
    let ready = ready.into_result().expect("ready");
    assert!(ready.is_writable() && !ready.is_readable());
    let tokens: Vec<_> = (0..3).map(|_| poll(op::Interest::Readable)).collect();
    look(&queue);
    peer.write_all(b"x").expect("connected");
    for _ in &tokens {
        let ready = next(&queue).take_as::<op::Poll>().expect("a poll");
        assert!(ready.into_result().expect("ready").is_readable());
    }
    assert_eq!(recv(&queue, &socket, 8).1, b"x", "a poll takes nothing");
}

fn unix_streams_connect_and_carry_bytes(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("socket");
    let listener = queue.listen(path.as_path()).expect("listens");
    let address: wharf_queue::Address = path.as_path().into();
    let client = queue.socket(&op::Socket::stream_for(&address));
    let client = client.expect("a socket");
    let accept = queue.submit(op::Accept::new(&listener)).expect("room");
    let connect = queue.submit(op::Connect::new(&client, address));
    let connect = connect.expect("room");
    let (mut server, mut connected) = (None, false);
    while server.is_none() || !connected {
        match next(&queue).take(accept) {
            Ok(socket) => server = Some(socket.into_result().expect("accepted")),
            Err(other) => {
                let outcome = other.take(connect).expect("one of the two");
                outcome.into_result().expect("connected");
                connected = true;
            }
        }
    }
    let server = server.expect("accepted");
    let send = queue.submit(op::Send::new(&client, *b"hello"));
    finish(&queue, send.expect("room"))
        .0
        .into_result()
        .expect("sent");
    assert_eq!(recv(&queue, &server, 8).1, b"hello");
    let none = dir.0.join("none");
    let other: wharf_queue::Address = none.as_path().into();
    let socket = queue.socket(&op::Socket::stream_for(&other));
    let socket = socket.expect("a socket");
    let connect = queue.submit(op::Connect::new(&socket, other));
    let error = finish(&queue, connect.expect("room")).into_result();
    assert_eq!(error.expect_err("nobody").kind(), ErrorKind::NotFound);
}
