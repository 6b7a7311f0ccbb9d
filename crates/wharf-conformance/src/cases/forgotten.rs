//! What nobody waits for any more: results discarded, kept, held back, forgotten, and code of the
//! user's that panics (C1, C2, C6, C9, R3, R10, R15).

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use wharf_queue::op;

use crate::fixture::host::NULL;
use crate::fixture::trap::{Spring, Trap};
use crate::peer::{census, census_is, descriptors, pair};
use crate::{Factory, TEARDOWN, drain, finish, look, next};

super::cases!(
    "R3" [alone] discarded_open_and_socket_leave_no_descriptor,
    "R3" [alone] dropped_completion_of_an_open_closes_it,
    "R2" [alone] discarded_accept_closes_its_connection,
    "C6" [alone] kept_descriptors_are_closed_with_the_queue,
    "C6" [alone] untaken_connections_are_closed_with_the_queue,
    "C9" discarded_operation_does_not_end_a_wait,
    "C9" discarded_result_that_is_ready_does_not_end_a_wait,
    "C1" discarded_kept_result_is_dropped_at_once,
    "C2" completions_may_be_held_and_taken_in_any_order,
    "C2" items_of_a_dropped_completion_give_their_buffers_back,
    "R10" forgotten_completion_strands_nothing_else,
    "R10" forgotten_chain_ends_with_the_queue,
    "R10" panic_between_submit_and_take_leaves_the_queue_whole,
    "R10" buffer_that_panics_when_it_is_looked_at_leaves_no_trace,
    "R10" buffer_that_panics_when_it_is_filled_leaves_no_trace,
    "R10" buffer_that_panics_when_it_is_dropped_leaves_no_trace,
    "R10" buffer_that_panics_in_the_teardown_stops_no_other,
    "C6" teardown_without_time_frees_nothing_that_is_written,
    "C6" closure_past_the_teardown_keeps_what_it_uses,
);

fn discarded_open_and_socket_leave_no_descriptor(factory: &Factory) {
    const RACES: usize = 3000;
    let queue = factory.queue();
    // The pool's threads and what they need are there before the census.
    let token = queue.submit(op::Open::new(NULL)).expect("room");
    finish(&queue, token).into_result().expect("opened");
    let address = "127.0.0.1:0".parse::<std::net::SocketAddr>();
    let address = address.expect("valid").into();
    let before = descriptors();
    for race in 0..RACES {
        let open = queue.submit(op::Open::new(NULL)).expect("room");
        let socket = op::Socket::stream_for(&address);
        let socket = queue.submit(socket).expect("room");
        if race % 3 == 0 {
            look(&queue);
        }
        if race % 5 == 0 {
            std::thread::yield_now();
        }
        queue.discard(open);
        queue.discard(socket);
        if race % 64 == 0 {
            drain(&queue);
        }
    }
    drain(&queue);
    census_is(before);
    drop(queue);
    census(|now| now < before);
}

fn dropped_completion_of_an_open_closes_it(factory: &Factory) {
    let queue = factory.queue();
    let token = queue.submit(op::Open::new(NULL)).expect("room");
    finish(&queue, token).into_result().expect("opened");
    let before = descriptors();
    for _ in 0..100 {
        queue.submit(op::Open::new(NULL)).expect("room");
        drop(next(&queue));
    }
    census_is(before);
}

fn discarded_accept_closes_its_connection(factory: &Factory) {
    use std::io::Read;
    let queue = factory.queue();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener.local_addr().expect("bound").ip();
    let address = address.expect("internet");
    let before = descriptors();
    for _ in 0..100 {
        let token = queue.submit(op::Accept::new(&listener)).expect("room");
        let mut client = std::net::TcpStream::connect(address).expect("listens");
        look(&queue);
        queue.discard(token);
        drain(&queue);
        // It was accepted and closed in order, or it is still there for the next accept.
        client.set_nonblocking(true).expect("a socket");
        match client.read(&mut [0]) {
            Ok(len) => assert_eq!(len, 0),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                let token = queue.submit(op::Accept::new(&listener)).expect("room");
                finish(&queue, token).into_result().expect("accepted");
            }
        }
    }
    census_is(before);
}

fn kept_descriptors_are_closed_with_the_queue(factory: &Factory) {
    let before = descriptors();
    let queue = factory.queue();
    for _ in 0..10 {
        queue.submit(op::Open::new(NULL)).expect("room");
        next(&queue).keep().expect("final");
    }
    assert!(descriptors() >= before + 10);
    drop(queue);
    census_is(before);
}

fn untaken_connections_are_closed_with_the_queue(factory: &Factory) {
    use std::io::Read;
    let before = descriptors();
    let queue = factory.queue();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener.local_addr().expect("bound").ip();
    let address = address.expect("internet");
    queue.submit(op::AcceptMulti::new(&listener)).expect("room");
    let mut clients: Vec<_> = (0..10)
        .map(|_| std::net::TcpStream::connect(address).expect("listens"))
        .collect();
    while queue.stats().items < 10 {
        look(&queue);
    }
    drop((queue, listener));
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).expect("an orderly end"), 0);
    }
    drop(clients);
    census_is(before);
}

fn discarded_operation_does_not_end_a_wait(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    for _ in 0..100 {
        let recv = op::Recv::new(&socket, vec![0; 8]);
        let recv = queue.submit(recv).expect("room");
        look(&queue);
        let timer = op::Timer::after(Duration::from_micros(300));
        let timer = queue.submit(timer).expect("room");
        queue.discard(recv);
        let mut batch = queue.wait(None).expect("works");
        assert!(!batch.is_empty());
        let completion = batch.next().expect("a wait brings something");
        assert_eq!(completion.token(), timer.erase());
        drop(completion);
        assert!(batch.next().is_none());
    }
    drain(&queue);
}

fn discarded_result_that_is_ready_does_not_end_a_wait(factory: &Factory) {
    let queue = factory.queue();
    for _ in 0..100 {
        let nop = queue.submit(op::Nop::new()).expect("room");
        look(&queue);
        let timer = op::Timer::after(Duration::from_micros(300));
        let timer = queue.submit(timer).expect("room");
        queue.discard(nop);
        let mut batch = queue.wait(None).expect("works");
        let completion = batch.next().expect("a wait brings something");
        assert_eq!(completion.token(), timer.erase());
    }
    assert_eq!(queue.in_flight(), 0);
}

fn discarded_kept_result_is_dropped_at_once(factory: &Factory) {
    let queue = factory.queue();
    let value = std::sync::Arc::new(());
    let inside = value.clone();
    let token = queue.submit(op::Blocking::new(move || inside));
    let token = token.expect("room");
    next(&queue).keep().expect("final");
    assert_eq!(std::sync::Arc::strong_count(&value), 2);
    queue.discard(token);
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
    assert_eq!(queue.in_flight(), 0);
}

fn completions_may_be_held_and_taken_in_any_order(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(8).size(4).build();
    let pool = pool.expect("a pool");
    let (socket, mut peer) = pair(&queue);
    let token = queue.submit(op::RecvMulti::new(&socket, &pool));
    let token = token.expect("room");
    peer.write_all(b"aaaabbbbcccc").expect("connected");
    drop(peer);
    let mut held = Vec::new();
    while held.len() < 4 {
        held.push(next(&queue));
    }
    // The last one first, and then the slot's next operation among the rest.
    let last = held.pop().expect("four");
    assert!(!last.more() && queue.in_flight() > 0);
    let end = last.take(token).expect("it").into_result().expect("ended");
    assert!(end.is_empty());
    let (other, mut other_peer) = pair(&queue);
    let small = queue.buf_pool().buffers(1).size(4).build();
    let small = small.expect("a pool");
    let second = queue.submit(op::RecvMulti::new(&other, &small));
    let second = second.expect("room");
    drop(held.pop());
    for expected in [b"bbbb", b"aaaa"] {
        let item = held.pop().expect("more").take(token).expect("it");
        assert_eq!(&*item.into_result().expect("received"), expected);
    }
    other_peer.write_all(b"dddd").expect("connected");
    let item = next(&queue).take(second).expect("the second");
    assert_eq!(&*item.into_result().expect("received"), b"dddd");
    drop(other_peer);
    let end = finish(&queue, second);
    assert!(end.into_result().expect("ended").is_empty());
    assert_eq!(pool.available(), pool.buffers());
    assert_eq!(queue.in_flight(), 0);
}

fn items_of_a_dropped_completion_give_their_buffers_back(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(2).size(4).build();
    let pool = pool.expect("a pool");
    let (socket, mut peer) = pair(&queue);
    let token = queue.submit(op::RecvMulti::new(&socket, &pool));
    let token = token.expect("room");
    for _ in 0..100 {
        peer.write_all(b"abcd").expect("connected");
        assert!(next(&queue).more());
    }
    peer.write_all(b"abcdefgh").expect("connected");
    queue.discard(token);
    drain(&queue);
    assert_eq!(pool.available(), 2);
}

fn forgotten_completion_strands_nothing_else(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(4).size(4).build();
    let pool = pool.expect("a pool");
    let (socket, mut peer) = pair(&queue);
    queue
        .submit(op::Recv::new(&socket, vec![0; 4]))
        .expect("room");
    peer.write_all(b"lost").expect("connected");
    std::mem::forget(next(&queue));
    let multi = queue.submit(op::RecvMulti::new(&socket, &pool));
    let multi = multi.expect("room");
    peer.write_all(b"1111").expect("connected");
    std::mem::forget(next(&queue));
    peer.write_all(b"2222").expect("connected");
    let item = next(&queue).take(multi).expect("it");
    assert_eq!(&*item.into_result().expect("received"), b"2222");
    queue.cancel(multi);
    std::mem::forget(next(&queue));
    for _ in 0..10 {
        let nop = queue.submit(op::Nop::new()).expect("room");
        finish(&queue, nop).into_result().expect("nothing");
    }
    let begin = Instant::now();
    drop(queue);
    assert!(begin.elapsed() < TEARDOWN);
}

fn forgotten_chain_ends_with_the_queue(factory: &Factory) {
    let queue = factory.queue();
    let alive = Rc::new(Cell::new(0));
    let (socket, _peer) = pair(&queue);
    let mut chain = queue.chain();
    for _ in 0..3 {
        let trap = Trap::new(Spring::Never, &alive);
        chain.then(op::Recv::new(&socket, trap)).expect("room");
    }
    std::mem::forget(chain);
    look(&queue);
    assert_eq!(alive.get(), 3);
    let mut chain = queue.chain();
    let trap = Trap::new(Spring::Never, &alive);
    chain.then(op::Recv::new(&socket, trap)).expect("room");
    drop(chain);
    look(&queue);
    assert_eq!(alive.get(), 3, "a dropped chain drops its operations");
    drop(queue);
    assert_eq!(alive.get(), 0);
}

fn panic_between_submit_and_take_leaves_the_queue_whole(factory: &Factory) {
    let queue = factory.queue();
    let alive = Rc::new(Cell::new(0));
    let (socket, mut peer) = pair(&queue);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let trap = Trap::new(Spring::Never, &alive);
        queue.submit(op::Recv::new(&socket, trap)).expect("room");
        let mut chain = queue.chain();
        chain.then(op::Nop::new()).expect("room");
        let completion = next_of_a_nop(&queue);
        let batch = queue.wait(Duration::ZERO).expect("works");
        panic!("on purpose, with {completion:?} and {batch:?}");
    }));
    assert!(result.is_err());
    assert_eq!(alive.get(), 1, "the buffer is the queue's until the end");
    peer.write_all(b"late").expect("connected");
    let mut got = false;
    while !got {
        let completion = next(&queue);
        got = completion
            .take_as::<op::Recv<Trap>>()
            .is_ok_and(|(outcome, _)| outcome.into_result().expect("received") == 4);
    }
    drain(&queue);
    assert_eq!(alive.get(), 0);
}

fn next_of_a_nop(queue: &wharf_queue::Queue) -> wharf_queue::Completion<'_> {
    queue.submit(op::Nop::new()).expect("room");
    next(queue)
}

/// Runs what panics on purpose.
fn springs(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "it panicked");
}

fn buffer_that_panics_when_it_is_looked_at_leaves_no_trace(factory: &Factory) {
    let queue = factory.queue();
    let alive = Rc::new(Cell::new(0));
    let (socket, _peer) = pair(&queue);
    springs(|| {
        let trap = Trap::new(Spring::AsBytes, &alive);
        drop(queue.submit(op::Send::new(&socket, trap)));
    });
    springs(|| {
        let trap = Trap::new(Spring::AsUninit, &alive);
        drop(queue.submit(op::Recv::new(&socket, trap)));
    });
    springs(|| {
        let mut chain = queue.chain();
        chain.then(op::Nop::new()).expect("room");
        let trap = Trap::new(Spring::AsUninit, &alive);
        drop(chain.then(op::Recv::new(&socket, trap)));
    });
    assert_eq!(alive.get(), 0);
    drain(&queue);
    assert_eq!((queue.in_flight(), queue.stats().in_flight), (0, 0));
    let close = queue.submit(op::Close::new(socket)).expect("room");
    finish(&queue, close).into_result().expect("closed");
    let begin = Instant::now();
    drop(queue);
    assert!(begin.elapsed() < TEARDOWN);
}

fn buffer_that_panics_when_it_is_filled_leaves_no_trace(factory: &Factory) {
    let queue = factory.queue();
    let alive = Rc::new(Cell::new(0));
    let (socket, mut peer) = pair(&queue);
    let trap = || Trap::new(Spring::SetFilled, &alive);
    let token = queue.submit(op::Recv::new(&socket, trap())).expect("room");
    peer.write_all(b"once").expect("connected");
    springs(|| drop(finish(&queue, token)));
    assert_eq!((alive.get(), queue.in_flight()), (0, 0));
    queue.submit(op::Recv::new(&socket, trap())).expect("room");
    peer.write_all(b"more").expect("connected");
    springs(|| drop(next(&queue)));
    assert_eq!((alive.get(), queue.in_flight()), (0, 0));
}

fn buffer_that_panics_when_it_is_dropped_leaves_no_trace(factory: &Factory) {
    let queue = factory.queue();
    let alive = Rc::new(Cell::new(0));
    let (socket, mut peer) = pair(&queue);
    let trap = || Trap::new(Spring::Drop, &alive);
    queue.submit(op::Recv::new(&socket, trap())).expect("room");
    peer.write_all(b"once").expect("connected");
    springs(|| drop(next(&queue)));
    assert_eq!((alive.get(), queue.in_flight()), (0, 0));
    // Two that are discarded at once: the first panic must not strand the second.
    for _ in 0..2 {
        let recv = op::Recv::new(&socket, trap());
        let token = queue.submit(recv).expect("room");
        queue.discard(token);
    }
    let timer = queue.submit(op::Timer::after(Duration::ZERO));
    let timer = timer.expect("room");
    let mut panics = 0;
    while queue.in_flight() > 1 {
        let waited = catch_unwind(AssertUnwindSafe(|| look(&queue)));
        panics += usize::from(waited.is_err());
    }
    assert_eq!((panics, alive.get()), (2, 0));
    finish(&queue, timer).into_result().expect("due");
    assert_eq!(queue.in_flight(), 0);
}

fn buffer_that_panics_in_the_teardown_stops_no_other(factory: &Factory) {
    let queue = factory.queue();
    let alive = Rc::new(Cell::new(0));
    let (socket, _peer) = pair(&queue);
    for spring in [Spring::Never, Spring::Drop, Spring::Never] {
        let recv = op::Recv::new(&socket, Trap::new(spring, &alive));
        queue.submit(recv).expect("room");
    }
    look(&queue);
    springs(move || drop(queue));
    assert_eq!(alive.get(), 0);
}

fn teardown_without_time_frees_nothing_that_is_written(factory: &Factory) {
    let builder = factory.builder().teardown_timeout(Duration::ZERO);
    let queue = builder.build().expect("a queue");
    let pool = queue.buf_pool().buffers(4).size(64).build();
    let pool = pool.expect("a pool");
    let mut peers = Vec::new();
    for _ in 0..8 {
        let (socket, peer) = pair(&queue);
        let multi = op::RecvMulti::new(&socket, &pool);
        queue.submit(multi).expect("room");
        let other = op::Recv::new(&socket, vec![0; 64]);
        queue.submit(other).expect("room");
        peers.push(peer);
    }
    look(&queue);
    drop((queue, pool));
    let canaries: Vec<_> = (0..64).map(|_| vec![0xaau8; 64]).collect();
    let rings: Vec<_> = (0..8).map(|_| vec![0xaau8; 4096]).collect();
    for peer in &mut peers {
        // The connection may be closed already.
        drop(peer.write_all(&[0x55; 64]));
    }
    std::thread::yield_now();
    let all = canaries.iter().chain(&rings).flatten();
    assert!(all.copied().all(|byte| byte == 0xaa));
}

fn closure_past_the_teardown_keeps_what_it_uses(factory: &Factory) {
    let builder = factory.builder().teardown_timeout(Duration::from_millis(5));
    let queue = builder.build().expect("a queue");
    let (begun, wait) = std::sync::mpsc::channel();
    let (go_on, gate) = std::sync::mpsc::channel::<()>();
    let (report, reported) = std::sync::mpsc::channel();
    let bytes = vec![5u8; 1 << 16];
    queue
        .submit(op::Blocking::new(move || {
            begun.send(()).expect("somebody waits");
            gate.recv().expect("a word");
            let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
            report.send(sum).expect("somebody waits");
            bytes
        }))
        .expect("room");
    wait.recv().expect("it runs");
    let begin = Instant::now();
    drop(queue);
    assert!(begin.elapsed() >= Duration::from_millis(5));
    let canary = vec![9u8; 1 << 16];
    go_on.send(()).expect("it waits");
    assert_eq!(reported.recv().expect("it goes on"), 5 << 16);
    assert!(canary.iter().all(|&byte| byte == 9));
}
