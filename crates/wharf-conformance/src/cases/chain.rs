//! Chains and deadlines (C11, R7).

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use wharf_queue::{Outcome, Prepare, SubmitError, op};

use crate::peer::{Dir, pair};
use crate::{Factory, finish, next};

super::cases!(
    "C11" chain_runs_in_order,
    "C11" chain_connects_sends_and_receives,
    "C11" failure_cancels_the_rest_of_a_chain,
    "C11" short_read_breaks_a_chain,
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
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
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
    for _ in 0..100 {
        let (socket, mut peer) = pair(&queue);
        let deadline = queue.now() + Duration::from_micros(200);
        let recv = op::Recv::new(&socket, vec![0; 4]).deadline(deadline);
        let token = queue.submit(recv).expect("room");
        drop(queue.wait(Duration::ZERO).map(|batch| batch.is_empty()));
        peer.write_all(b"here").expect("connected");
        while queue.now() <= deadline {
            std::hint::spin_loop();
        }
        let (outcome, buf) = finish(&queue, token);
        // It may have ended before the bytes came, in the look above; then they are still there.
        match outcome {
            Outcome::Completed(result) => assert_eq!(result.expect("received"), 4),
            Outcome::TimedOut { .. } => {
                let token = queue.submit(op::Recv::new(&socket, buf)).expect("room");
                assert_eq!(finish(&queue, token).1, b"here");
            }
            Outcome::Cancelled { .. } => panic!("a time-out is not a cancel"),
        }
    }
}

fn timer_takes_no_deadline(factory: &Factory) {
    let queue = factory.queue();
    let timer = op::Timer::after(Duration::ZERO).timeout(Duration::ZERO);
    assert!(matches!(queue.submit(timer), Err(SubmitError::Invalid(..))));
}
