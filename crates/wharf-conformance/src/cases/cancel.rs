//! Cancels, closes and teardowns, and the races between them and what arrives (C2 to C6).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use wharf_queue::{Outcome, SubmitError, op};

use crate::peer::{Clients, Dir, descriptors, own_loopback, pair, read_what_comes};
use crate::{Factory, finish, next};

super::cases!(
    "C3" cancel_of_a_pending_recv_gives_the_buffer_back,
    "C3" cancel_of_a_completed_op_is_a_no_op,
    "R11" stale_token_reaches_no_other_operation,
    "R1" cancel_against_arriving_bytes_loses_none,
    "R2" cancel_against_arriving_connections_loses_none,
    "R4" cancelled_send_counts_what_the_peer_gets,
    "R8" [alone] close_ends_what_is_in_flight_and_frees_the_port,
    "R9" drop_with_file_reads_in_flight_is_clean,
    "R14" cancels_fit_however_small_the_ring,
    "R15" value_of_a_discarded_closure_is_dropped,
);

fn cancel_of_a_pending_recv_gives_the_buffer_back(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let token = queue
        .submit(op::Recv::new(&socket, vec![7; 10]))
        .expect("room");
    assert!(queue.wait(Duration::ZERO).expect("works").is_empty());
    assert!(queue.cancel(token));
    let (outcome, buf) = finish(&queue, token);
    assert!(matches!(outcome, Outcome::Cancelled { transferred: 0 }));
    assert_eq!(buf.capacity(), 10);
    peer.write_all(b"later").expect("connected");
    let token = queue
        .submit(op::Recv::new(&socket, vec![0; 10]))
        .expect("room");
    assert_eq!(finish(&queue, token).1, b"later");
}

fn cancel_of_a_completed_op_is_a_no_op(factory: &Factory) {
    let queue = factory.queue();
    let token = queue.submit(op::Nop::new()).expect("room");
    let completion = next(&queue);
    assert!(!queue.cancel(token));
    completion
        .take(token)
        .expect("it")
        .into_result()
        .expect("nothing");
    assert!(!queue.cancel(token));
}

fn stale_token_reaches_no_other_operation(factory: &Factory) {
    let queue = factory.queue();
    let old = queue
        .submit(op::Timer::after(Duration::ZERO))
        .expect("room");
    finish(&queue, old).into_result().expect("due");
    let new = queue
        .submit(op::Timer::after(Duration::from_millis(1)))
        .expect("room");
    assert_eq!(new.index(), old.index());
    assert!(!queue.cancel(old));
    queue.discard(old);
    assert!(queue.take(old).is_none());
    finish(&queue, new).into_result().expect("not cancelled");
}

fn cancel_against_arriving_bytes_loses_none(factory: &Factory) {
    const RACES: u32 = 3000;
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let writer = std::thread::spawn(move || {
        (0..RACES).try_for_each(|number| peer.write_all(&number.to_le_bytes()))
    });
    let mut received = Vec::new();
    let mut cancelled = 0;
    let mut races = 0;
    while received.len() < RACES as usize * 4 || races < RACES {
        if received.len() == RACES as usize * 4 {
            break;
        }
        races += 1;
        let token = queue
            .submit(op::Recv::new(&socket, vec![0; 3]))
            .expect("room");
        if races % 3 != 0 {
            drop(queue.wait(Duration::ZERO).map(|batch| batch.is_empty()));
        }
        queue.cancel(token);
        let (outcome, buf) = finish(&queue, token);
        match outcome {
            Outcome::Completed(result) => {
                received.extend_from_slice(&buf[..result.expect("received")]);
            }
            Outcome::Cancelled { transferred } => {
                assert_eq!(transferred, 0);
                cancelled += 1;
            }
            Outcome::TimedOut { .. } => panic!("no deadline was set"),
        }
    }
    writer.join().expect("no panic").expect("written");
    assert!(races >= RACES, "{races} races, {cancelled} cancelled");
    let numbers = received
        .chunks(4)
        .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4")));
    assert!(numbers.eq(0..RACES), "what was sent was received, in order");
}

fn cancel_against_arriving_connections_loses_none(factory: &Factory) {
    const RACES: usize = 3000;
    let queue = factory.queue();
    let any: SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener
        .local_addr()
        .expect("bound")
        .ip()
        .expect("internet");
    let client = std::thread::spawn(move || {
        let mut clients = Clients::new(address, Clients::end_in_order);
        (0..RACES as u32).for_each(|number| clients.come(number));
        clients.leave();
    });
    let mut accepted = 0;
    while accepted < RACES {
        let token = queue.submit(op::Accept::new(&listener)).expect("room");
        drop(queue.wait(Duration::ZERO).map(|batch| batch.is_empty()));
        queue.cancel(token);
        match finish(&queue, token) {
            Outcome::Completed(result) => {
                let socket = result.expect("accepted");
                let token = queue
                    .submit(op::Recv::new(&socket, vec![0; 4]))
                    .expect("room");
                let (outcome, buf) = finish(&queue, token);
                assert_eq!(outcome.into_result().expect("received"), 4);
                assert_eq!(buf, (accepted as u32).to_le_bytes());
                accepted += 1;
            }
            Outcome::Cancelled { .. } => {}
            Outcome::TimedOut { .. } => panic!("no deadline was set"),
        }
    }
    client.join().expect("every client was served");
}

fn cancelled_send_counts_what_the_peer_gets(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let token = queue
        .submit(op::Send::new(&socket, vec![5u8; 64 << 20]).all())
        .expect("room");
    drop(queue.wait(Duration::ZERO).map(|batch| batch.is_empty()));
    let got = read_what_comes(&queue, &mut peer);
    drop(
        queue
            .wait(Duration::from_millis(1))
            .map(|batch| batch.is_empty()),
    );
    queue.cancel(token);
    let (outcome, buf) = finish(&queue, token);
    assert_eq!(buf.len(), 64 << 20);
    let Outcome::Cancelled { transferred } = outcome else {
        panic!("{outcome:?}")
    };
    let token = queue.submit(op::Close::new(socket)).expect("room");
    finish(&queue, token).into_result().expect("closed");
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).expect("an orderly end");
    assert_eq!(got + rest.len(), transferred);
}

fn close_ends_what_is_in_flight_and_frees_the_port(factory: &Factory) {
    let queue = factory.queue();
    let listener = queue.listen(own_loopback()).expect("listens");
    let address = listener
        .local_addr()
        .expect("bound")
        .ip()
        .expect("internet");
    let accept = queue
        .submit(op::Accept::new(&listener))
        .expect("room")
        .erase();
    let multi = queue
        .submit(op::AcceptMulti::new(&listener))
        .expect("room")
        .erase();
    let poll = op::Poll::new(&listener, op::Interest::Readable);
    let poll = queue.submit(poll).expect("room").erase();
    assert!(queue.wait(Duration::ZERO).expect("works").is_empty());
    let close = queue
        .submit(op::Close::new(listener.clone()))
        .expect("room")
        .erase();
    let refused = queue.submit(op::Accept::new(&listener));
    assert!(matches!(refused, Err(SubmitError::Closed(_))));
    let mut order = Vec::new();
    while order.len() < 4 {
        let completion = next(&queue);
        assert!(!completion.more());
        order.push(completion.token());
    }
    assert_eq!(order[3], close, "the close comes last");
    assert!(
        [accept, multi, poll]
            .iter()
            .all(|token| order.contains(token))
    );
    drop(TcpListener::bind(address).expect("the port is free at once"));
}

fn drop_with_file_reads_in_flight_is_clean(factory: &Factory) {
    let dir = Dir::new();
    let path = dir.0.join("data");
    std::fs::write(&path, vec![9u8; 32 << 20]).expect("written");
    for _ in 0..3 {
        let queue = factory.queue();
        let file = queue
            .attach(std::fs::File::open(&path).expect("there"))
            .expect("a file");
        for number in 0..32 {
            let buf = vec![0u8; 1 << 20];
            queue
                .submit(op::ReadAt::new(&file, buf, number << 20))
                .expect("room");
        }
        drop(queue.wait(Duration::ZERO).map(|batch| batch.is_empty()));
        drop((queue, file));
        let canaries: Vec<_> = (0..32).map(|_| vec![0xaau8; 1 << 20]).collect();
        std::thread::yield_now();
        assert!(canaries.iter().flatten().all(|&byte| byte == 0xaa));
    }
}

fn cancels_fit_however_small_the_ring(factory: &Factory) {
    let queue = factory.builder().ring_entries(8).build().expect("a queue");
    let sockets: Vec<_> = (0..100).map(|_| pair(&queue)).collect();
    let tokens: Vec<_> = sockets
        .iter()
        .map(|(socket, _)| {
            queue
                .submit(op::Recv::new(socket, vec![0; 8]))
                .expect("room")
        })
        .collect();
    drop(queue.wait(Duration::ZERO).map(|batch| batch.is_empty()));
    for &token in &tokens {
        assert!(queue.cancel(token));
    }
    let mut ended = 0;
    while ended < tokens.len() {
        next(&queue);
        ended += 1;
    }
    for (socket, mut peer) in sockets {
        peer.write_all(b"whole").expect("connected");
        let token = queue
            .submit(op::Recv::new(&socket, vec![0; 8]))
            .expect("room");
        assert_eq!(finish(&queue, token).1, b"whole", "nobody swallowed it");
    }
}

fn value_of_a_discarded_closure_is_dropped(factory: &Factory) {
    let queue = factory.queue();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let (started, wait) = std::sync::mpsc::channel();
    let token = queue
        .submit(op::Blocking::new(move || {
            started.send(()).expect("somebody waits");
            sender
        }))
        .expect("room");
    wait.recv().expect("it runs");
    queue.discard(token);
    drop(queue);
    assert!(receiver.recv().is_err(), "the value, a sender, is gone");
    assert!(descriptors() > 0);
}
