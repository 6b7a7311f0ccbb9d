//! Fullness, refusals, and extreme arguments (C8, C10, C12).

use std::io::{Read, Write};
use std::time::Duration;

use wharf_queue::{SubmitError, op};

use crate::fixture::host::{NULL, raw_of};
use crate::peer::{Dir, pair};
use crate::{Factory, drain, finish, look, next};

super::cases!(
    "C10" more_operations_than_the_ring_holds_all_complete,
    "C10" ring_of_any_size_carries_thousands_in_order,
    "C10" small_ring_carries_streams_and_files_whole,
    "R14" cancels_of_a_backlog_are_not_lost,
    "C10" full_queue_gives_the_operation_back,
    "C10" full_queue_takes_again_when_a_result_is_taken,
    "C10" closures_beyond_the_threads_wait_their_turn,
    "C10" one_call_after_another_takes_one_thread,
    "C10" one_buffer_of_one_byte_receives_everything,
    "C10" starved_receives_share_a_pool_fairly,
    "C8" foreign_handle_is_refused,
    "C8" closed_handle_is_refused_in_every_way,
    "C8" used_token_gives_nothing_twice,
    "C8" pool_of_no_size_is_refused,
    "C8" detached_handle_is_the_systems_again,
    "C8" unused_handle_can_be_given_to_another_queue,
    "C8" [not_wine "Wine 8 does not move a handle to another port (FileReplaceCompletionInformation)"] detached_handle_can_be_attached_to_another_queue,
    "C8" datagrams_need_a_pool_of_their_kind,
    "C12" extreme_durations_do_no_harm,
    "C12" offset_above_the_limit_is_refused,
);

fn more_operations_than_the_ring_holds_all_complete(factory: &Factory) {
    let queue = factory.builder().ring_entries(8).build().expect("a queue");
    for _ in 0..1000 {
        queue.submit(op::Nop::new()).expect("room");
    }
    for _ in 0..1000 {
        next(&queue);
    }
    assert_eq!(queue.in_flight(), 0);
    assert_eq!(queue.stats().completed, 1000);
}

fn full_queue_gives_the_operation_back(factory: &Factory) {
    let queue = factory.builder().max_in_flight(2).build().expect("a queue");
    let (socket, _peer) = pair(&queue);
    for _ in 0..2 {
        queue
            .submit(op::Recv::new(&socket, vec![0; 4]))
            .expect("room");
    }
    match queue.submit(op::Recv::new(&socket, vec![0; 77])) {
        Err(SubmitError::Full(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.cancel_all(&socket), 2);
    next(&queue);
    queue.submit(op::Nop::new()).expect("room again");
}

fn foreign_handle_is_refused(factory: &Factory) {
    let (queue, other) = (factory.queue(), factory.queue());
    let (socket, _peer) = pair(&other);
    let refused = queue.submit(op::Recv::new(&socket, vec![0; 4]));
    assert!(matches!(refused, Err(SubmitError::Foreign(_))));
    let pool = other.buf_pool().buffers(1).build().expect("a pool");
    let (socket, _peer) = pair(&queue);
    let refused = queue.submit(op::RecvMulti::new(&socket, &pool));
    assert!(matches!(refused, Err(SubmitError::Foreign(_))));
}

fn datagrams_need_a_pool_of_their_kind(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    let pool = queue.buf_pool().buffers(1).build().expect("a pool");
    let refused = queue.submit(op::RecvFromMulti::new(&socket, &pool));
    assert!(matches!(refused, Err(SubmitError::Invalid(..))));
}

fn extreme_durations_do_no_harm(factory: &Factory) {
    use wharf_queue::Prepare;
    let queue = factory.queue();
    let never = queue.submit(op::Timer::after(Duration::MAX)).expect("room");
    let nop = queue
        .submit(op::Nop::new().timeout(Duration::MAX))
        .expect("room");
    let first = queue
        .wait(Duration::MAX)
        .expect("works")
        .next()
        .expect("the nop");
    assert_eq!(first.token(), nop.erase());
    assert!(queue.cancel(never));
    assert!(next(&queue).take(never).expect("it").is_cancelled());
}

fn offset_above_the_limit_is_refused(factory: &Factory) {
    let queue = factory.queue();
    let file = std::fs::File::open(NULL).expect("there");
    let file = queue.attach(file).expect("a file");
    let refused = queue.submit(op::ReadAt::new(&file, vec![0; 1], u64::MAX));
    assert!(matches!(refused, Err(SubmitError::Invalid(..))));
}

fn ring_of_any_size_carries_thousands_in_order(factory: &Factory) {
    for entries in [1, 2, 3, 4, 8] {
        let queue = factory.builder().ring_entries(entries).build();
        let queue = queue.expect("a queue");
        let (socket, mut peer) = pair(&queue);
        for number in 0..2000u16 {
            // Short enough for the socket's buffer, so that none waits for another's end.
            let send = op::Send::new(&socket, number.to_le_bytes());
            queue.submit(send).expect("room");
            queue.submit(op::Nop::new()).expect("room");
        }
        drain(&queue);
        let mut bytes = vec![0; 4000];
        peer.read_exact(&mut bytes).expect("all arrive");
        let numbers = bytes
            .chunks(2)
            .map(|bytes| u16::from_le_bytes(bytes.try_into().expect("2")));
        assert!(numbers.eq(0..2000), "{entries} entries");
        let tokens: Vec<_> = (0..3000)
            .map(|_| queue.submit(op::Nop::new()).expect("room").erase())
            .collect();
        let order: Vec<_> = tokens.iter().map(|_| next(&queue).token()).collect();
        assert!(order == tokens, "{entries} entries");
    }
}

fn small_ring_carries_streams_and_files_whole(factory: &Factory) {
    let queue = factory.builder().ring_entries(1).build();
    let queue = queue.expect("a queue");
    let dir = Dir::new();
    let bytes: Vec<u8> = (0..400_000u32).map(|n| (n % 239) as u8).collect();
    std::fs::write(dir.0.join("file"), &bytes).expect("written");
    let file = std::fs::File::open(dir.0.join("file")).expect("there");
    let file = queue.attach(file).expect("a file");
    let reads: Vec<_> = (0..100)
        .map(|part| {
            let read = op::ReadAt::new(&file, vec![0; 4000], part * 4000);
            queue.submit(read).expect("room")
        })
        .collect();
    let mut read = vec![Vec::new(); 100];
    for _ in 0..100 {
        let completion = next(&queue);
        let token = completion.token();
        let place = reads.iter().position(|read| read.erase() == token);
        let place = place.expect("one of them");
        read[place] = completion.take(reads[place]).expect("it").1;
    }
    assert!(read.concat() == bytes);
    let pool = queue.buf_pool().buffers(2).size(100).build();
    let pool = pool.expect("a pool");
    let pairs: Vec<_> = (0..20).map(|_| pair(&queue)).collect();
    let mut tokens = Vec::new();
    for (socket, _) in &pairs {
        let multi = op::RecvMulti::new(socket, &pool);
        tokens.push(queue.submit(multi).expect("room"));
    }
    let mut writers = Vec::new();
    for (number, (_, peer)) in pairs.iter().enumerate() {
        let mut peer = peer.try_clone().expect("a duplicate");
        writers.push(std::thread::spawn(move || {
            peer.write_all(&vec![number as u8; 5000])?;
            peer.shutdown(std::net::Shutdown::Write)
        }));
    }
    let mut got = [0; 20];
    let mut ended = 0;
    while ended < 20 {
        let completion = next(&queue);
        let token = completion.token();
        let place = tokens.iter().position(|other| other.erase() == token);
        let place = place.expect("one of them");
        ended += usize::from(!completion.more());
        let piece = completion.take(tokens[place]).expect("it");
        let piece = piece.into_result().expect("received");
        assert!(piece.iter().all(|&byte| usize::from(byte) == place));
        got[place] += piece.len();
    }
    assert_eq!(got, [5000; 20]);
    for writer in writers {
        writer.join().expect("no panic").expect("written");
    }
}

fn cancels_of_a_backlog_are_not_lost(factory: &Factory) {
    for entries in [1, 2, 8] {
        let queue = factory.builder().ring_entries(entries).build();
        let queue = queue.expect("a queue");
        let (socket, mut peer) = pair(&queue);
        let tokens: Vec<_> = (0..500)
            .map(|_| {
                let recv = op::Recv::new(&socket, vec![0; 8]);
                queue.submit(recv).expect("room")
            })
            .collect();
        // Some are in the kernel, some in the ring, some wait for room; none has been looked at.
        for (number, &token) in tokens.iter().enumerate() {
            if number % 7 == 0 {
                look(&queue);
            }
            assert!(queue.cancel(token));
        }
        for _ in &tokens {
            let recv = next(&queue).take_as::<op::Recv<Vec<u8>>>();
            assert!(recv.expect("a receive").0.is_cancelled());
        }
        peer.write_all(b"whole").expect("connected");
        let recv = queue.submit(op::Recv::new(&socket, vec![0; 8]));
        assert_eq!(finish(&queue, recv.expect("room")).1, b"whole");
    }
}

fn full_queue_takes_again_when_a_result_is_taken(factory: &Factory) {
    let queue = factory.builder().max_in_flight(3).build();
    let queue = queue.expect("a queue");
    for _ in 0..1000 {
        while queue.submit(op::Nop::new()).is_ok() {}
        assert_eq!(queue.in_flight(), 3);
        let Err(SubmitError::Full(op)) = queue.submit(op::Blocking::new(|| vec![1, 2])) else {
            panic!("there is no room");
        };
        drop(next(&queue));
        let token = queue.submit(op).expect("room again");
        let value = finish(&queue, token).into_result().expect("ran");
        assert_eq!(value, [1, 2], "it came back whole");
    }
    drain(&queue);
    let none = factory.builder().max_in_flight(0).build();
    let none = none.expect("a queue");
    let refused = none.submit(op::Nop::new());
    assert!(matches!(refused, Err(SubmitError::Full(_))));
}

fn closures_beyond_the_threads_wait_their_turn(factory: &Factory) {
    let queue = factory.builder().blocking_threads(1).build();
    let queue = queue.expect("a queue");
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let first = queue.submit(op::Blocking::new(move || gate.recv().is_ok()));
    let first = first.expect("room");
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let tokens: Vec<_> = (0..300)
        .map(|number| {
            let order = order.clone();
            let closure = op::Blocking::new(move || {
                order.lock().expect("not poisoned").push(number);
                number
            });
            queue.submit(closure).expect("room")
        })
        .collect();
    // One that waits for its turn can still be cancelled, and does not run.
    assert!(queue.cancel(tokens[100]));
    assert!(finish(&queue, tokens[100]).is_cancelled());
    go.send(()).expect("it waits");
    assert!(finish(&queue, first).into_result().expect("ran"));
    drain(&queue);
    assert!(queue.stats().blocking_threads <= 1);
    let expected: Vec<_> = (0..300).filter(|&number| number != 100).collect();
    assert_eq!(*order.lock().expect("not poisoned"), expected);
}

fn one_call_after_another_takes_one_thread(factory: &Factory) {
    let queue = factory.queue();
    for number in 0..300 {
        let token = queue.submit(op::Blocking::new(move || number));
        let value = finish(&queue, token.expect("room")).into_result();
        assert_eq!(value.expect("ran"), number);
        // The thread that brought the result is free by then, and the next call is its.
        assert_eq!(queue.stats().blocking_threads, 1);
    }
}

fn one_buffer_of_one_byte_receives_everything(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(1).size(1).build();
    let pool = pool.expect("a pool");
    let (socket, mut peer) = pair(&queue);
    let token = queue.submit(op::RecvMulti::new(&socket, &pool));
    let token = token.expect("room");
    let sent: Vec<u8> = (0..3000u32).map(|n| (n % 251) as u8).collect();
    peer.write_all(&sent).expect("connected");
    peer.shutdown(std::net::Shutdown::Write).expect("connected");
    let mut received = Vec::new();
    loop {
        let completion = next(&queue);
        let more = completion.more();
        let piece = completion.take(token).expect("it").into_result();
        received.extend_from_slice(&piece.expect("received"));
        if !more {
            break;
        }
    }
    assert!(received == sent);
}

fn starved_receives_share_a_pool_fairly(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(1).size(4).build();
    let pool = pool.expect("a pool");
    let mut pairs: Vec<_> = (0..5).map(|_| pair(&queue)).collect();
    let tokens: Vec<_> = pairs
        .iter()
        .map(|(socket, _)| {
            let multi = op::RecvMulti::new(socket, &pool);
            queue.submit(multi).expect("room").erase()
        })
        .collect();
    for (_, peer) in &mut pairs {
        peer.write_all(&[1; 4000]).expect("connected");
    }
    let mut shares = [0; 5];
    for _ in 0..500 {
        let completion = next(&queue);
        let place = tokens.iter().position(|&token| token == completion.token());
        shares[place.expect("one of them")] += 1;
    }
    assert!(shares.iter().all(|&share| share >= 20), "{shares:?}");
}

fn closed_handle_is_refused_in_every_way(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    let other = socket.clone();
    let waits = queue.submit(op::Recv::new(&socket, vec![0; 8]));
    let waits = waits.expect("room");
    let close = queue.submit(op::Close::new(socket)).expect("room");
    for closed in [false, true] {
        let refused = queue.submit(op::Recv::new(&other, vec![0; 77]));
        let Err(SubmitError::Closed(op)) = refused else {
            panic!("{refused:?}")
        };
        drop(op);
        let refused = queue.submit(op::Close::new(other.clone()));
        assert!(matches!(refused, Err(SubmitError::Closed(_))));
        let mut chain = queue.chain();
        let refused = chain.then(op::Send::new(&other, vec![0; 8]));
        assert!(matches!(refused, Err(SubmitError::Closed(_))));
        let kind = other.local_addr().expect_err("it is closed").kind();
        assert_eq!(kind, std::io::ErrorKind::NotConnected);
        assert!(other.set_nodelay(true).is_err());
        // The close has asked for the end of what is in flight; it may have ended by now.
        assert!(queue.cancel_all(&other) <= usize::from(!closed));
        let back = queue.detach(other.clone());
        back.expect_err("it is closed");
        if !closed {
            assert!(finish(&queue, waits).0.is_cancelled());
            finish(&queue, close).into_result().expect("closed");
        }
    }
}

fn used_token_gives_nothing_twice(factory: &Factory) {
    let queue = factory.queue();
    let token = queue.submit(op::Nop::new()).expect("room");
    finish(&queue, token).into_result().expect("nothing");
    assert!(queue.take(token).is_none());
    assert!(!queue.cancel(token));
    queue.discard(token);
    let other = queue.submit(op::Nop::new()).expect("room");
    let completion = next(&queue);
    let completion = completion.take(token).expect_err("it is stale");
    assert_eq!(completion.token(), other.erase());
    completion.keep().expect("final");
    assert!(queue.take(token).is_none());
    assert!(queue.take(other).is_some());
    assert!(queue.take(other).is_none());
    // A token of another queue means nothing here, or what this one gave the same name to.
    let stranger = factory.queue();
    assert!(!stranger.cancel(other));
    assert_eq!(queue.in_flight(), 0);
}

fn pool_of_no_size_is_refused(factory: &Factory) {
    let queue = factory.queue();
    let invalid = |error: std::io::Error| {
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    };
    invalid(queue.buf_pool().buffers(0).build().expect_err("none"));
    invalid(queue.buf_pool().size(0).build().expect_err("none"));
    invalid(
        queue
            .buf_pool()
            .size(u32::MAX)
            .build()
            .expect_err("too large"),
    );
    let both = queue.buf_pool().datagrams().incremental().build();
    invalid(both.expect_err("they exclude each other"));
    // 1 TiB: an error and not an abort. (Wine has a table of all pages, a byte for each: no more than
    // that, or the table is what takes the memory.)
    let huge = queue.buf_pool().buffers(1 << 10).size(1 << 30).build();
    drop(huge);
}

fn detached_handle_is_the_systems_again(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let token = queue.submit(op::Recv::new(&socket, vec![0; 8]));
    let token = token.expect("room");
    look(&queue);
    let socket = queue.detach(socket).expect_err("an operation is on it");
    queue.cancel(token);
    assert!(finish(&queue, token).0.is_cancelled());
    let raw = socket.raw();
    let owned = queue.detach(socket).expect("nothing is on it");
    assert_eq!(raw_of(&owned), raw);
    let mut stream = std::net::TcpStream::from(owned);
    stream.set_nonblocking(false).expect("a socket");
    peer.write_all(b"hello").expect("connected");
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).expect("arrives");
}

fn unused_handle_can_be_given_to_another_queue(factory: &Factory) {
    let (queue, other) = (factory.queue(), factory.queue());
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener.local_addr().expect("bound").ip();
    let accept = queue.submit(op::Accept::new(&listener)).expect("room");
    let mut peer = std::net::TcpStream::connect(address.expect("internet")).expect("listens");
    let accepted = finish(&queue, accept).into_result().expect("accepted");
    // As one worker does it that accepts for others.
    let given = queue.detach(accepted).expect("nothing is on it");
    let socket = other.attach(given).expect("a socket");
    let token = other.submit(op::Recv::new(&socket, vec![0; 8]));
    peer.write_all(b"hello").expect("connected");
    assert_eq!(finish(&other, token.expect("room")).1, b"hello");
}

fn detached_handle_can_be_attached_to_another_queue(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let recv = queue.submit(op::Recv::new(&socket, vec![0; 8]));
    peer.write_all(b"hello").expect("connected");
    assert_eq!(finish(&queue, recv.expect("room")).1, b"hello");
    let stream = queue.detach(socket).expect("nothing is on it");
    let other = factory.queue();
    let socket = other.attach(stream).expect("a socket");
    let token = other.submit(op::Send::new(&socket, *b"back"));
    finish(&other, token.expect("room"))
        .0
        .into_result()
        .expect("sent");
}
