//! Chains and deadlines (C11, R7).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use wharf_queue::{Handle, Outcome, Prepare, Queue, SubmitError, op};

use crate::peer::{Dir, own_loopback, pair};
use crate::{Factory, finish, look, next};

super::cases!(
    "C11" chain_runs_in_order,
    "C11" chain_connects_sends_and_receives,
    "C11" [alone] failure_cancels_the_rest_of_a_chain,
    "C11" short_read_breaks_a_chain,
    "C11" cancel_in_the_middle_ends_the_rest_at_once,
    "C11" cancel_of_the_first_ends_all,
    "C11" cancel_before_the_submission_of_a_chain_counts,
    "C11" deadline_in_the_middle_ends_the_rest_in_time,
    "C11" deadline_of_the_first_ends_all,
    "C11" close_of_a_handle_in_the_middle_does_not_wait_for_the_first,
    "C11" every_failure_breaks_a_chain,
    "C11" whole_results_do_not_break_a_chain,
    "C11" chains_do_not_wait_for_each_other,
    "C11" refusal_leaves_the_chain_as_it_was,
    "C11" deadline_ends_a_recv_as_timed_out,
    "R7" completion_wins_over_a_deadline_in_one_batch,
    "C8" timer_takes_no_deadline,
);

fn chain_runs_in_order(factory: &Factory) {
    let queue = factory.queue();
    let mut chain = queue.chain();
    let tokens: Vec<_> = (0..10)
        .map(|_| chain.then(op::Nop::new()).expect("room").erase())
        .collect();
    chain.submit();
    let order: Vec<_> = (0..10).map(|_| next(&queue).token()).collect();
    assert_eq!(order, tokens);
}

fn chain_connects_sends_and_receives(factory: &Factory) {
    let queue = factory.queue();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").into();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).expect("a request");
        stream.write_all(b"pong").expect("connected");
        bytes
    });
    let socket = queue
        .socket(&op::Socket::stream_for(&address))
        .expect("a socket");
    let mut chain = queue.chain();
    chain
        .then(op::Connect::new(&socket, address))
        .expect("room");
    chain.then(op::Send::new(&socket, *b"ping")).expect("room");
    let recv = chain
        .then(op::Recv::new(&socket, vec![0; 16]))
        .expect("room");
    chain.submit();
    assert_eq!(finish(&queue, recv).1, b"pong");
    assert_eq!(&server.join().expect("no panic"), b"ping");
}

fn failure_cancels_the_rest_of_a_chain(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    let listener = std::net::TcpListener::bind(own_loopback()).expect("loopback");
    let address = listener.local_addr().expect("bound").into();
    drop(listener);
    let client = queue
        .socket(&op::Socket::stream_for(&address))
        .expect("a socket");
    let mut chain = queue.chain();
    let connect = chain
        .then(op::Connect::new(&client, address))
        .expect("room");
    let recv = chain
        .then(op::Recv::new(&socket, vec![0; 16]))
        .expect("room");
    let last = chain.then(op::Nop::new()).expect("room");
    chain.submit();
    assert!(finish(&queue, connect).into_result().is_err());
    assert!(finish(&queue, recv).0.is_cancelled());
    assert!(finish(&queue, last).is_cancelled());
}

fn short_read_breaks_a_chain(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    std::fs::write(dir.0.join("short"), b"12345").expect("written");
    let file = std::fs::File::open(dir.0.join("short")).expect("there");
    let file = queue.attach(file).expect("a file");
    let mut chain = queue.chain();
    let read = chain
        .then(op::ReadAt::new(&file, vec![0; 10], 0))
        .expect("room");
    let last = chain.then(op::Nop::new()).expect("room");
    chain.submit();
    assert_eq!(finish(&queue, read).0.into_result().expect("read"), 5);
    assert!(finish(&queue, last).is_cancelled());
}

fn deadline_ends_a_recv_as_timed_out(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    let timeout = Duration::from_millis(5);
    let before = std::time::Instant::now();
    let recv = op::Recv::new(&socket, vec![0; 4]).timeout(timeout);
    let token = queue.submit(recv).expect("room");
    let (outcome, buf) = finish(&queue, token);
    assert!(before.elapsed() >= timeout, "never early");
    assert!(matches!(outcome, Outcome::TimedOut { transferred: 0 }));
    assert_eq!(
        outcome.into_result().expect_err("late").kind(),
        ErrorKind::TimedOut
    );
    assert_eq!(buf.capacity(), 4);
}

fn completion_wins_over_a_deadline_in_one_batch(factory: &Factory) {
    let queue = factory.queue();
    let mut rounds = 0;
    while rounds < 100 {
        let (socket, mut peer) = pair(&queue);
        let deadline = queue.now() + Duration::from_millis(2);
        let recv = op::Recv::new(&socket, vec![0; 4]).deadline(deadline);
        let token = queue.submit(recv).expect("room");
        look(&queue);
        if queue.now() >= deadline {
            // This thread was held up, and the look may have found the deadline passed.
            queue.discard(token);
            continue;
        }
        peer.write_all(b"here").expect("connected");
        while queue.now() <= deadline {
            std::hint::spin_loop();
        }
        let (outcome, buf) = finish(&queue, token);
        assert_eq!(outcome.into_result().expect("it was there first"), 4);
        assert_eq!(buf, b"here");
        rounds += 1;
    }
}

fn timer_takes_no_deadline(factory: &Factory) {
    let queue = factory.queue();
    let timer = op::Timer::after(Duration::ZERO).timeout(Duration::ZERO);
    assert!(matches!(queue.submit(timer), Err(SubmitError::Invalid(..))));
}

/// Two streams that are attached, and their peers.
fn two(queue: &Queue) -> (Handle, TcpStream, Handle, TcpStream) {
    let (first, first_peer) = pair(queue);
    let (second, second_peer) = pair(queue);
    (first, first_peer, second, second_peer)
}

fn recv(socket: &Handle) -> op::Recv<Vec<u8>> {
    op::Recv::new(socket, vec![0; 8])
}

fn cancel_in_the_middle_ends_the_rest_at_once(factory: &Factory) {
    let queue = factory.queue();
    let (first, mut first_peer, second, mut second_peer) = two(&queue);
    let mut chain = queue.chain();
    let waits = chain.then(recv(&first)).expect("room");
    let middle = chain.then(recv(&second)).expect("room");
    let last = chain.then(op::Nop::new()).expect("room");
    chain.submit();
    look(&queue);
    assert!(queue.cancel(middle));
    assert!(finish(&queue, middle).0.is_cancelled());
    assert!(finish(&queue, last).is_cancelled());
    assert_eq!(queue.in_flight(), 1, "the first goes on");
    second_peer.write_all(b"kept").expect("connected");
    first_peer.write_all(b"came").expect("connected");
    assert_eq!(finish(&queue, waits).1, b"came");
    let other = queue.submit(recv(&second)).expect("room");
    assert_eq!(finish(&queue, other).1, b"kept");
}

fn cancel_of_the_first_ends_all(factory: &Factory) {
    let queue = factory.queue();
    let (first, _peer, second, mut second_peer) = two(&queue);
    for looks in [false, true] {
        let mut chain = queue.chain();
        let waits = chain.then(recv(&first)).expect("room");
        let next = chain.then(recv(&second)).expect("room");
        let send = op::Send::new(&second, *b"never");
        let send = chain.then(send).expect("room");
        chain.submit();
        if looks {
            look(&queue);
        }
        assert!(queue.cancel(waits));
        assert!(finish(&queue, waits).0.is_cancelled());
        assert!(finish(&queue, next).0.is_cancelled());
        assert!(finish(&queue, send).0.is_cancelled());
        assert_eq!(queue.in_flight(), 0);
    }
    let close = queue.submit(op::Close::new(second)).expect("room");
    finish(&queue, close).into_result().expect("closed");
    let mut bytes = Vec::new();
    second_peer.read_to_end(&mut bytes).expect("an orderly end");
    assert!(bytes.is_empty(), "what was cancelled has not begun");
}

fn cancel_before_the_submission_of_a_chain_counts(factory: &Factory) {
    let queue = factory.queue();
    let mut chain = queue.chain();
    let first = chain.then(op::Nop::new()).expect("room");
    let second = chain.then(op::Nop::new()).expect("room");
    let third = chain.then(op::Nop::new()).expect("room");
    assert!(queue.cancel(second));
    chain.submit();
    assert!(finish(&queue, second).is_cancelled());
    assert!(finish(&queue, third).is_cancelled());
    finish(&queue, first).into_result().expect("it was before");
}

fn deadline_in_the_middle_ends_the_rest_in_time(factory: &Factory) {
    let queue = factory.queue();
    let (first, mut first_peer, second, _second_peer) = two(&queue);
    let timeout = Duration::from_millis(5);
    let before = std::time::Instant::now();
    let mut chain = queue.chain();
    let waits = chain.then(recv(&first)).expect("room");
    let middle = chain.then(recv(&second).timeout(timeout)).expect("room");
    let last = chain.then(op::Nop::new()).expect("room");
    chain.submit();
    let (outcome, buf) = finish(&queue, middle);
    assert!(outcome.is_timed_out() && buf.capacity() == 8);
    assert!(before.elapsed() >= timeout);
    assert!(finish(&queue, last).is_cancelled());
    first_peer.write_all(b"came").expect("connected");
    assert_eq!(finish(&queue, waits).1, b"came");
}

fn deadline_of_the_first_ends_all(factory: &Factory) {
    let queue = factory.queue();
    let (first, _peer, second, _second_peer) = two(&queue);
    let mut chain = queue.chain();
    let timeout = Duration::from_millis(3);
    let waits = chain.then(recv(&first).timeout(timeout)).expect("room");
    let next = chain.then(recv(&second)).expect("room");
    chain.submit();
    assert!(finish(&queue, waits).0.is_timed_out());
    assert!(finish(&queue, next).0.is_cancelled());
}

fn close_of_a_handle_in_the_middle_does_not_wait_for_the_first(factory: &Factory) {
    let queue = factory.queue();
    let (first, mut first_peer, second, mut second_peer) = two(&queue);
    let mut chain = queue.chain();
    let waits = chain.then(recv(&first)).expect("room");
    let middle = chain.then(recv(&second)).expect("room");
    chain.submit();
    look(&queue);
    let close = queue.submit(op::Close::new(second)).expect("room");
    assert!(finish(&queue, middle).0.is_cancelled());
    finish(&queue, close).into_result().expect("closed");
    assert_eq!(second_peer.read(&mut [0]).expect("an orderly end"), 0);
    first_peer.write_all(b"came").expect("connected");
    assert_eq!(finish(&queue, waits).1, b"came");
}

fn every_failure_breaks_a_chain(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    std::fs::write(dir.0.join("file"), b"12345").expect("written");
    let file = std::fs::File::open(dir.0.join("file")).expect("there");
    let file = queue.attach(file).expect("a file");
    let (socket, peer) = pair(&queue);
    drop(peer);
    type Add = fn(&mut wharf_queue::Chain<'_>, &Handle, &Handle);
    let breaks: [Add; 9] = [
        |chain, file, _| drop(chain.then(op::ReadAt::new(file, vec![0; 10], 0))),
        |chain, file, _| drop(chain.then(op::ReadAt::new(file, vec![0; 10], 100))),
        |chain, file, _| drop(chain.then(op::ReadVectoredAt::new(file, [[0; 3], [0; 3]], 0))),
        |chain, file, _| drop(chain.then(op::WriteAt::new(file, vec![0; 10], 0))),
        |chain, _, _| drop(chain.then(op::Open::new("/nowhere/at/all"))),
        |chain, _, _| drop(chain.then(op::Stat::path("a\0b"))),
        |chain, file, _| drop(chain.then(op::Recv::new(file, vec![0; 10]))),
        |chain, _, _| drop(chain.then(op::Blocking::new(|| panic!("on purpose")))),
        |chain, _, _| drop(chain.then(op::Resolve::new("no such host", 0))),
    ];
    for (number, add) in breaks.into_iter().enumerate() {
        let mut chain = queue.chain();
        let before = chain.then(op::Nop::new()).expect("room");
        add(&mut chain, &file, &socket);
        let after = chain.then(op::Nop::new()).expect("room");
        let last = chain.then(op::Nop::new()).expect("room");
        chain.submit();
        finish(&queue, before).into_result().expect("it was before");
        let broken = next(&queue);
        assert!(!broken.more());
        drop(broken);
        assert!(finish(&queue, after).is_cancelled(), "{number}");
        assert!(finish(&queue, last).is_cancelled(), "{number}");
    }
    assert_eq!(queue.in_flight(), 0);
}

fn whole_results_do_not_break_a_chain(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let mut open = std::fs::OpenOptions::new();
    let open = open.read(true).write(true).create(true);
    let file = open.open(dir.0.join("file")).expect("made");
    let file = queue.attach(file).expect("a file");
    let (socket, mut peer) = pair(&queue);
    peer.write_all(b"a few").expect("connected");
    let mut chain = queue.chain();
    chain
        .then(op::WriteVectoredAt::new(&file, [[1; 3], [2; 3]], 0))
        .expect("room");
    chain.then(op::Sync::all(&file)).expect("room");
    chain
        .then(op::ReadVectoredAt::new(&file, [[0; 3], [0; 3]], 0))
        .expect("room");
    // A stream gives what it has: less than the room is no failure.
    chain
        .then(op::Recv::new(&socket, vec![0; 100]))
        .expect("room");
    chain
        .then(op::Send::new(&socket, vec![7; 100]).all())
        .expect("room");
    chain
        .then(op::Timer::after(Duration::from_millis(1)))
        .expect("room");
    chain.then(op::Blocking::new(|| ())).expect("room");
    let last = chain.then(op::Nop::new()).expect("room");
    chain.submit();
    finish(&queue, last).into_result().expect("all went well");
    assert_eq!(queue.in_flight(), 0);
    let mut bytes = [0; 100];
    peer.read_exact(&mut bytes).expect("arrives");
}

fn chains_do_not_wait_for_each_other(factory: &Factory) {
    let queue = factory.builder().ring_entries(4).build();
    let queue = queue.expect("a queue");
    let (socket, mut peer) = pair(&queue);
    let mut chain = queue.chain();
    let waits = chain.then(recv(&socket)).expect("room");
    let behind = chain.then(op::Nop::new()).expect("room");
    chain.submit();
    for _ in 0..100 {
        let mut chain = queue.chain();
        let tokens: Vec<_> = (0..10)
            .map(|_| chain.then(op::Nop::new()).expect("room").erase())
            .collect();
        chain.submit();
        for token in tokens {
            assert_eq!(next(&queue).token(), token, "in order");
        }
    }
    peer.write_all(b"came").expect("connected");
    assert_eq!(finish(&queue, waits).1, b"came");
    finish(&queue, behind).into_result().expect("nothing");
}

fn refusal_leaves_the_chain_as_it_was(factory: &Factory) {
    let queue = factory.builder().max_in_flight(2).build();
    let queue = queue.expect("a queue");
    let other = factory.queue();
    let (foreign, _peer) = pair(&other);
    let mut chain = queue.chain();
    let first = chain.then(op::Nop::new()).expect("room");
    let refused = chain.then(recv(&foreign));
    assert!(matches!(refused, Err(SubmitError::Foreign(_))));
    let second = chain.then(op::Nop::new()).expect("room");
    let refused = chain.then(op::Nop::new());
    assert!(matches!(refused, Err(SubmitError::Full(_))));
    let (socket, _peer) = pair(&queue);
    let refused = chain.then(op::AcceptMulti::new(&socket));
    assert!(matches!(refused, Err(SubmitError::Invalid(..))));
    let refused = chain.then(op::Close::new(socket));
    assert!(matches!(refused, Err(SubmitError::Invalid(..))));
    chain.submit();
    finish(&queue, first).into_result().expect("nothing");
    finish(&queue, second).into_result().expect("nothing");
    queue.chain().submit();
    assert_eq!(queue.in_flight(), 0, "an empty chain is nothing");
}
