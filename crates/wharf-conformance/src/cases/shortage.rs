//! Out of descriptors, out of space: errors that surface, and what goes on when there is some again
//! (C7, C12).

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use wharf_queue::{Handle, Outcome, Queue, op};

use crate::fixture::host::{NO_DESCRIPTOR, NULL};
use crate::fixture::limit::{self, Limit};
use crate::fixture::signal::ignore_file_size;
use crate::peer::Dir;
use crate::{Factory, PATIENCE, finish, next};

super::cases!(
    "C7" [alone] [unix "no limit of descriptors or file sizes can be set for a process"] accept_without_descriptors_backs_off_and_loses_no_connection,
    "C7" [alone] [unix "no limit of descriptors or file sizes can be set for a process"] multishot_accept_without_descriptors_backs_off_and_goes_on,
    "C3" [alone] [unix "no limit of descriptors or file sizes can be set for a process"] accept_that_backs_off_can_be_cancelled_and_closed,
    "C7" [alone] [unix "no limit of descriptors or file sizes can be set for a process"] open_and_socket_without_descriptors_are_errors,
    "C7" [alone] [unix "no limit of descriptors or file sizes can be set for a process"] file_that_may_not_grow_gives_a_short_count_then_an_error,
    "C7" [alone] [unix "no limit of threads can be set for a process"] want_of_threads_is_an_error_and_no_cancel,
    "C7" [linux "the device that is always full is Linux's"] full_device_is_an_error_of_every_write,
);

/// How long a shortage lasts here, at least.
const SHORTAGE: Duration = Duration::from_millis(300);

/// How many attempts a listener may make in a time: the pauses between them double from 5 ms on, so
/// that it is 7 in the time above; whoever spins makes thousands. A busy machine lets more time pass.
fn attempts(time: Duration) -> usize {
    10 + usize::try_from(time.as_millis() / 50).expect("not so long")
}

/// A listener with clients in its queue that have each sent a number.
fn listener_with_clients(queue: &Queue, count: u8) -> (Handle, Vec<TcpStream>) {
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener.local_addr().expect("bound").ip();
    let address = address.expect("internet");
    let clients = (0..count)
        .map(|number| {
            let mut client = TcpStream::connect(address).expect("listens");
            client.write_all(&[number]).expect("connected");
            client
        })
        .collect();
    (listener, clients)
}

fn has_sent(queue: &Queue, socket: &Handle, number: u8) {
    let recv = queue.submit(op::Recv::new(socket, vec![0; 4]));
    assert_eq!(finish(queue, recv.expect("room")).1, [number]);
}

fn accept_without_descriptors_backs_off_and_loses_no_connection(factory: &Factory) {
    let queue = factory.queue();
    let (listener, _clients) = listener_with_clients(&queue, 5);
    let fillers = limit::leave_descriptors(0).expect("a limit");
    let calls = queue.stats().system_calls;
    let begin = Instant::now();
    let mut errors = 0;
    while errors < 2 || begin.elapsed() < SHORTAGE {
        let accept = queue.submit(op::Accept::new(&listener)).expect("room");
        let error = finish(&queue, accept).into_result();
        let error = error.expect_err("none is free");
        assert_eq!(error.raw_os_error(), Some(NO_DESCRIPTOR));
        errors += 1;
    }
    let attempts = attempts(begin.elapsed());
    assert!(errors <= attempts, "{errors} errors");
    let calls = queue.stats().system_calls - calls;
    assert!(calls <= 8 * attempts as u64, "{calls} system calls");
    drop(fillers);
    for number in 0..5 {
        let accept = queue.submit(op::Accept::new(&listener)).expect("room");
        let socket = finish(&queue, accept).into_result().expect("accepted");
        has_sent(&queue, &socket, number);
    }
}

fn multishot_accept_without_descriptors_backs_off_and_goes_on(factory: &Factory) {
    let queue = factory.queue();
    let (listener, _clients) = listener_with_clients(&queue, 5);
    let fillers = limit::leave_descriptors(0).expect("a limit");
    let calls = queue.stats().system_calls;
    let accept = queue.submit(op::AcceptMulti::new(&listener)).expect("room");
    let begin = Instant::now();
    let mut errors = 0;
    while errors < 2 || begin.elapsed() < SHORTAGE {
        let left = SHORTAGE.saturating_sub(begin.elapsed());
        let patience = if errors < 2 { PATIENCE } else { left };
        for completion in queue.wait(patience).expect("works") {
            assert!(completion.more(), "it goes on");
            let error = completion.take(accept).expect("it").into_result();
            let error = error.expect_err("none is free");
            assert_eq!(error.raw_os_error(), Some(NO_DESCRIPTOR));
            errors += 1;
        }
    }
    let attempts = attempts(begin.elapsed());
    assert!(errors <= attempts, "{errors} errors");
    let calls = queue.stats().system_calls - calls;
    assert!(calls <= 8 * attempts as u64, "{calls} system calls");
    drop(fillers);
    let mut number = 0;
    let mut sockets = Vec::new();
    while number < 5 {
        let completion = next(&queue);
        assert!(completion.more());
        // An attempt may have been under way when the descriptors came back.
        if let Ok(socket) = completion.take(accept).expect("it").into_result() {
            sockets.push(socket);
            number += 1;
        }
    }
    queue.cancel(accept);
    assert!(next(&queue).take(accept).expect("it").is_cancelled());
    for (number, socket) in sockets.iter().enumerate() {
        has_sent(&queue, socket, number as u8);
    }
}

fn accept_that_backs_off_can_be_cancelled_and_closed(factory: &Factory) {
    let queue = factory.queue();
    let (listener, _clients) = listener_with_clients(&queue, 1);
    let fillers = limit::leave_descriptors(0).expect("a limit");
    let multi = queue.submit(op::AcceptMulti::new(&listener)).expect("room");
    for _ in 0..4 {
        let error = next(&queue).take(multi).expect("it").into_result();
        error.expect_err("none is free");
    }
    let single = queue.submit(op::Accept::new(&listener)).expect("room");
    assert!(queue.cancel(multi));
    assert!(finish(&queue, multi).is_cancelled());
    let close = queue.submit(op::Close::new(listener)).expect("room");
    assert!(finish(&queue, single).is_cancelled());
    finish(&queue, close).into_result().expect("closed");
    drop(fillers);
}

fn open_and_socket_without_descriptors_are_errors(factory: &Factory) {
    let queue = factory.queue();
    let address = "127.0.0.1:0".parse::<std::net::SocketAddr>();
    let address = address.expect("valid").into();
    let socket = || op::Socket::stream_for(&address);
    let fillers = limit::leave_descriptors(0).expect("a limit");
    let open = queue.submit(op::Open::new(NULL)).expect("room");
    let error = finish(&queue, open)
        .into_result()
        .expect_err("none is free");
    assert_eq!(error.raw_os_error(), Some(NO_DESCRIPTOR));
    let made = queue.submit(socket()).expect("room");
    let error = finish(&queue, made)
        .into_result()
        .expect_err("none is free");
    assert_eq!(error.raw_os_error(), Some(NO_DESCRIPTOR));
    queue.socket(&socket()).expect_err("none is free");
    drop(queue.arm());
    drop(fillers);
    let made = queue.submit(socket()).expect("room");
    finish(&queue, made).into_result().expect("some are free");
}

fn file_that_may_not_grow_gives_a_short_count_then_an_error(factory: &Factory) {
    const MOST: usize = 64 << 10;
    let queue = factory.queue();
    let dir = Dir::new();
    let mut open = std::fs::OpenOptions::new();
    let open = open.write(true).create(true).open(dir.0.join("file"));
    let file = queue.attach(open.expect("made")).expect("a file");
    ignore_file_size();
    limit::set(Limit::FileSize, MOST as u64).expect("less is allowed");
    let write = op::WriteAt::new(&file, vec![1; MOST], MOST as u64 / 2);
    let write = queue.submit(write).expect("room");
    let (outcome, buf) = finish(&queue, write);
    assert_eq!(outcome.into_result().expect("a part of it"), MOST / 2);
    assert_eq!(buf.len(), MOST);
    let bufs = [vec![1; 512], vec![2; 512]];
    let write = op::WriteVectoredAt::new(&file, bufs, MOST as u64);
    let write = queue.submit(write).expect("room");
    let error = finish(&queue, write).0.into_result();
    assert_eq!(error.expect_err("the end").kind(), ErrorKind::FileTooLarge);
    let longer = queue.submit(op::Truncate::new(&file, MOST as u64 + 1));
    let error = finish(&queue, longer.expect("room")).into_result();
    assert_eq!(error.expect_err("the end").kind(), ErrorKind::FileTooLarge);
    let mut chain = queue.chain();
    let write = op::WriteAt::new(&file, vec![1; 100], MOST as u64 - 50);
    let write = chain.then(write).expect("room");
    let sync = chain.then(op::Sync::all(&file)).expect("room");
    chain.submit();
    assert_eq!(finish(&queue, write).0.into_result().expect("a part"), 50);
    assert!(finish(&queue, sync).is_cancelled(), "a short write breaks");
}

fn full_device_is_an_error_of_every_write(factory: &Factory) {
    let queue = factory.queue();
    let open = op::Open::new("/dev/full").write(true);
    let open = queue.submit(open).expect("room");
    let file = finish(&queue, open).into_result().expect("opened");
    let full = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::StorageFull);
    let write = queue.submit(op::WriteAt::new(&file, vec![1; 100], 0));
    full(
        finish(&queue, write.expect("room"))
            .0
            .into_result()
            .expect_err("full"),
    );
    let write = queue.submit(op::Write::new(&file, vec![1; 100]));
    full(
        finish(&queue, write.expect("room"))
            .0
            .into_result()
            .expect_err("full"),
    );
    let write = op::WriteVectoredAt::new(&file, [[1; 8], [2; 8]], 0);
    let write = queue.submit(write).expect("room");
    let (outcome, bufs) = finish(&queue, write);
    full(outcome.into_result().expect_err("full"));
    assert_eq!(bufs, [[1; 8], [2; 8]], "the buffers come back");
}

/// Whoever carries it out, a thread of the pool or of the kernel, cannot be started.
fn want_of_threads_is_an_error_and_no_cancel(factory: &Factory) {
    let (queue, dir) = (factory.queue(), Dir::new());
    let file = std::fs::File::create(dir.0.join("file")).expect("a new file");
    let file = queue.attach(file).expect("a file");
    let sync = || {
        let sync = queue.submit(op::Sync::all(&file)).expect("room");
        finish(&queue, sync)
    };
    if limit::is_root() {
        limit::give_up_root().expect("root may");
    }
    limit::set(Limit::Threads, 1).expect("less is allowed");
    for _ in 0..3 {
        let synced = sync();
        let Outcome::Completed(Err(error)) = synced else {
            panic!("there is no thread, and nobody asked for an end: {synced:?}");
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    limit::set(Limit::Threads, u64::MAX).expect("as before");
    sync().into_result().expect("there are threads again");
}
