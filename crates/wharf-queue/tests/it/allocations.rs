//! In steady state an operation allocates nothing, on the loop and on the pool's threads.
//!
//! A test does the same again and again: at first whatever is kept is made (slots, scratch records,
//! lists), and then nothing more may be. A connection that is accepted is a new handle, and a chain
//! a new list: for these it is said how many allocations they take.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use wharf_queue::{Handle, Operation, Prepare, Queue, Token, op};

use crate::Test;
use crate::counting::allocations;

pub(crate) const TESTS: &[Test] = &[
    ("the_counter_counts", the_counter_counts),
    ("nops_allocate_nothing", nops_allocate_nothing),
    (
        "recv_and_send_allocate_nothing",
        recv_and_send_allocate_nothing,
    ),
    (
        "parked_recv_allocates_nothing",
        parked_recv_allocates_nothing,
    ),
    (
        "cancelled_recv_allocates_nothing",
        cancelled_recv_allocates_nothing,
    ),
    (
        "vectored_forms_allocate_nothing",
        vectored_forms_allocate_nothing,
    ),
    ("datagrams_allocate_nothing", datagrams_allocate_nothing),
    (
        "multishot_echo_allocates_nothing",
        multishot_echo_allocates_nothing,
    ),
    (
        "multishot_datagrams_allocate_nothing",
        multishot_datagrams_allocate_nothing,
    ),
    (
        "positional_reads_and_writes_allocate_nothing",
        positional_reads_and_writes_allocate_nothing,
    ),
    (
        "timers_and_deadlines_allocate_nothing",
        timers_and_deadlines_allocate_nothing,
    ),
    (
        "polls_and_pipes_allocate_nothing",
        polls_and_pipes_allocate_nothing,
    ),
    (
        "splice_and_send_file_allocate_nothing",
        splice_and_send_file_allocate_nothing,
    ),
    (
        "closures_and_notifications_allocate_nothing",
        closures_and_notifications_allocate_nothing,
    ),
    (
        "discarded_operations_allocate_nothing",
        discarded_operations_allocate_nothing,
    ),
    (
        "accept_allocates_its_handle_only",
        accept_allocates_its_handle_only,
    ),
    (
        "chain_allocates_its_list_only",
        chain_allocates_its_list_only,
    ),
];

const WARM_UP: usize = 200;
const ROUNDS: usize = 500;

/// How many allocations `round` makes in steady state, in `ROUNDS` of its kind.
fn allocations_of(mut round: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| round());
    let before = allocations();
    (0..ROUNDS).for_each(|_| round());
    allocations() - before
}

/// On a busy machine more may wait at a time than ever before, and what holds it grows then, once: a
/// run of rounds is repeated twice. An allocation of an operation's own is in each of them.
#[track_caller]
fn allocates_nothing(mut round: impl FnMut()) {
    let mut counts = Vec::new();
    let is_quiet = (0..3).any(|_| {
        counts.push(allocations_of(&mut round));
        counts.last() == Some(&0)
    });
    assert!(is_quiet, "allocations in {ROUNDS} rounds: {counts:?}");
}

/// Waits for one operation; nothing else is in flight.
fn finish<O: Operation>(queue: &Queue, token: Token<O>) -> O::Output {
    loop {
        let mut batch = queue.wait(Duration::from_secs(20)).expect("works");
        if let Some(completion) = batch.next() {
            let Ok(output) = completion.take(token) else {
                panic!("only one is in flight");
            };
            return output;
        }
        assert!(batch.notified(), "nothing has completed");
    }
}

fn run<P: Prepare>(queue: &Queue, operation: P) -> <P::Op as Operation>::Output {
    let token = queue.submit(operation).expect("room");
    finish(queue, token)
}

fn look(queue: &Queue) {
    queue.wait(Duration::ZERO).expect("works");
}

fn pair(queue: &Queue) -> (Handle, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
    let (stream, _) = listener.accept().expect("connected");
    (queue.attach(stream).expect("a socket"), peer)
}

fn the_counter_counts(_: &Queue) {
    let count = allocations_of(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(count, ROUNDS as u64);
}

fn nops_allocate_nothing(queue: &Queue) {
    allocates_nothing(|| {
        for _ in 0..32 {
            queue.submit(op::Nop::new()).expect("room");
        }
        let mut left = 32;
        while left > 0 {
            left -= queue.wait(None).expect("works").map(drop).count();
        }
    });
}

fn recv_and_send_allocate_nothing(queue: &Queue) {
    let (socket, mut peer) = pair(queue);
    let mut kept = Some((vec![1u8; 64], vec![0u8; 64]));
    allocates_nothing(|| {
        let (sent, received) = kept.take().expect("put back");
        let (outcome, sent) = run(queue, op::Send::new(&socket, sent).all());
        outcome.into_result().expect("sent");
        let mut bytes = [0; 64];
        peer.read_exact(&mut bytes).expect("arrives");
        peer.write_all(&bytes).expect("connected");
        let (outcome, received) = run(queue, op::Recv::new(&socket, received));
        outcome.into_result().expect("received");
        kept = Some((sent, received));
    });
}

fn parked_recv_allocates_nothing(queue: &Queue) {
    let (socket, mut peer) = pair(queue);
    let mut kept = Some(vec![0u8; 64]);
    allocates_nothing(|| {
        let buf = kept.take().expect("put back");
        let token = queue.submit(op::Recv::new(&socket, buf)).expect("room");
        look(queue);
        peer.write_all(&[7; 32]).expect("connected");
        kept = Some(finish(queue, token).1);
    });
}

fn cancelled_recv_allocates_nothing(queue: &Queue) {
    let (socket, _peer) = pair(queue);
    let mut kept = Some(vec![0u8; 64]);
    allocates_nothing(|| {
        let buf = kept.take().expect("put back");
        let token = queue.submit(op::Recv::new(&socket, buf)).expect("room");
        look(queue);
        queue.cancel(token);
        let (outcome, buf) = finish(queue, token);
        assert!(outcome.is_cancelled());
        kept = Some(buf);
    });
}

fn vectored_forms_allocate_nothing(queue: &Queue) {
    let (socket, mut peer) = pair(queue);
    let mut kept = Some([vec![1u8; 40], vec![2u8; 24]]);
    allocates_nothing(|| {
        let bufs = kept.take().expect("put back");
        let (outcome, bufs) = run(queue, op::SendVectored::new(&socket, bufs).all());
        outcome.into_result().expect("sent");
        let mut bytes = [0; 64];
        peer.read_exact(&mut bytes).expect("arrives");
        peer.write_all(&bytes).expect("connected");
        let (outcome, bufs) = run(queue, op::RecvVectored::new(&socket, bufs));
        assert_eq!(outcome.into_result().expect("received"), 64);
        kept = Some(bufs);
    });
}

fn datagrams_allocate_nothing(queue: &Queue) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let socket = queue.attach(socket).expect("a socket");
    let address = socket.local_addr().expect("bound");
    let mut kept = Some((vec![1u8; 64], vec![0u8; 64]));
    allocates_nothing(|| {
        let (sent, received) = kept.take().expect("put back");
        let send = op::SendTo::new(&socket, sent, address.clone());
        let (outcome, sent) = run(queue, send);
        outcome.into_result().expect("sent");
        let (outcome, received) = run(queue, op::RecvFrom::new(&socket, received));
        assert_eq!(outcome.into_result().expect("received").len, 64);
        kept = Some((sent, received));
    });
}

fn multishot_echo_allocates_nothing(queue: &Queue) {
    for incremental in [false, true] {
        let builder = queue.buf_pool().buffers(8).size(4096);
        let pool = match incremental {
            true => builder.incremental().build(),
            false => builder.build(),
        };
        let pool = pool.expect("a pool");
        let (socket, mut peer) = pair(queue);
        let token = queue.submit(op::RecvMulti::new(&socket, &pool));
        let token = token.expect("room");
        allocates_nothing(|| {
            peer.write_all(&[9; 64]).expect("connected");
            let mut echoed = 0;
            while echoed < 64 {
                for completion in queue.wait(None).expect("works") {
                    match completion.take(token) {
                        Ok(piece) => {
                            let piece = piece.into_result().expect("received");
                            let send = op::Send::new(&socket, piece).all();
                            queue.submit(send).expect("room");
                        }
                        Err(sent) => echoed += sent_by(sent),
                    }
                }
            }
            let mut bytes = [0; 64];
            peer.read_exact(&mut bytes).expect("arrives");
        });
        queue.cancel(token);
        assert!(finish(queue, token).is_cancelled());
    }
}

/// The bytes of a completed send of a piece of the pool.
fn sent_by(completion: wharf_queue::Completion<'_>) -> usize {
    let send = completion.take_as::<op::Send<wharf_queue::PoolBuf>>();
    let (outcome, _) = send.expect("a send");
    outcome.into_result().expect("sent")
}

fn multishot_datagrams_allocate_nothing(queue: &Queue) {
    let pool = queue.buf_pool().buffers(8).size(256).datagrams().build();
    let pool = pool.expect("a pool");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    let socket = queue.attach(socket).expect("a socket");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let token = queue.submit(op::RecvFromMulti::new(&socket, &pool));
    let token = token.expect("room");
    allocates_nothing(|| {
        peer.send_to(&[3; 64], address).expect("sent");
        let datagram = finish(queue, token).into_result().expect("received");
        assert_eq!(datagram.data.len(), 64);
    });
}

/// A file of some bytes without a name.
fn file(queue: &Queue) -> Handle {
    let path = std::env::temp_dir().join(format!("wharf-queue-it-{}", std::process::id()));
    std::fs::write(&path, vec![5u8; 1 << 16]).expect("written");
    let mut open = std::fs::OpenOptions::new();
    let file = open.read(true).write(true).open(&path).expect("there");
    std::fs::remove_file(&path).expect("there");
    queue.attach(file).expect("a file")
}

fn positional_reads_and_writes_allocate_nothing(queue: &Queue) {
    let file = file(queue);
    let mut kept = Some(vec![5u8; 4096]);
    allocates_nothing(|| {
        let buf = kept.take().expect("put back");
        let (outcome, buf) = run(queue, op::WriteAt::new(&file, buf, 4096));
        assert_eq!(outcome.into_result().expect("written"), 4096);
        let (outcome, buf) = run(queue, op::ReadAt::new(&file, buf, 8192));
        assert_eq!(outcome.into_result().expect("read"), 4096);
        run(queue, op::Sync::data(&file))
            .into_result()
            .expect("synced");
        kept = Some(buf);
    });
    // Many at a time, in the pool's line where there is one. All its threads are there before.
    let builder = Queue::builder().backend(queue.backend());
    let queue = &builder.blocking_threads(2).build().expect("a queue");
    let both = std::sync::Arc::new(std::sync::Barrier::new(2));
    for _ in 0..2 {
        let both = both.clone();
        let wait = op::Blocking::new(move || both.wait().is_leader());
        queue.submit(wait).expect("room");
    }
    while queue.in_flight() > 0 {
        queue.wait(None).expect("works").for_each(drop);
    }
    let file = self::file(queue);
    let bufs = RefCell::new((0..32).map(|_| vec![0u8; 512]).collect::<Vec<_>>());
    allocates_nothing(|| {
        while let Some(buf) = { bufs.borrow_mut().pop() } {
            queue.submit(op::ReadAt::new(&file, buf, 0)).expect("room");
        }
        while bufs.borrow().len() < 32 {
            for completion in queue.wait(None).expect("works") {
                let read = completion.take_as::<op::ReadAt<Vec<u8>>>();
                bufs.borrow_mut().push(read.expect("a read").1);
            }
        }
    });
}

fn timers_and_deadlines_allocate_nothing(queue: &Queue) {
    let (socket, _peer) = pair(queue);
    let mut kept = Some(vec![0u8; 64]);
    allocates_nothing(|| {
        let timer = op::Timer::after(Duration::from_micros(10));
        run(queue, timer).into_result().expect("due");
        let buf = kept.take().expect("put back");
        let recv = op::Recv::new(&socket, buf).timeout(Duration::from_micros(10));
        let (outcome, buf) = run(queue, recv);
        assert!(outcome.is_timed_out());
        kept = Some(buf);
    });
}

fn polls_and_pipes_allocate_nothing(queue: &Queue) {
    let (socket, mut peer) = pair(queue);
    let mut kept = Some(vec![0u8; 64]);
    allocates_nothing(|| {
        let poll = op::Poll::new(&socket, op::Interest::Readable);
        let token = queue.submit(poll).expect("room");
        look(queue);
        peer.write_all(&[1; 64]).expect("connected");
        let ready = finish(queue, token).into_result().expect("ready");
        assert!(ready.is_readable());
        let buf = kept.take().expect("put back");
        let (outcome, buf) = run(queue, op::Read::new(&socket, buf));
        assert_eq!(outcome.into_result().expect("read"), 64);
        let (outcome, buf) = run(queue, op::Write::new(&socket, buf));
        assert_eq!(outcome.into_result().expect("written"), 64);
        let mut bytes = [0; 64];
        peer.read_exact(&mut bytes).expect("arrives");
        kept = Some(buf);
    });
}

fn splice_and_send_file_allocate_nothing(queue: &Queue) {
    let file = file(queue);
    let (socket, mut peer) = pair(queue);
    allocates_nothing(|| {
        let send = op::SendFile::new(&socket, &file, 0, 4096);
        assert_eq!(run(queue, send).into_result().expect("sent"), 4096);
        let mut bytes = [0; 4096];
        peer.read_exact(&mut bytes).expect("arrives");
    });
    if matches!(
        queue.support(wharf_queue::OpKind::Splice),
        wharf_queue::Support::Unsupported(_)
    ) {
        return;
    }
    let mut cat = std::process::Command::new("cat");
    cat.stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut cat = cat.spawn().expect("cat");
    let mut stdout = cat.stdout.take().expect("piped");
    let stdin = queue
        .attach(cat.stdin.take().expect("piped"))
        .expect("a pipe");
    allocates_nothing(|| {
        let splice = op::Splice::new(&file, &stdin, 512).from_offset(0);
        assert_eq!(run(queue, splice).into_result().expect("moved"), 512);
        let mut bytes = [0; 512];
        stdout.read_exact(&mut bytes).expect("comes through");
    });
    drop(stdin);
    assert!(cat.wait().expect("exits").success());
}

fn closures_and_notifications_allocate_nothing(queue: &Queue) {
    let notifier = queue.notifier();
    allocates_nothing(|| {
        let number = std::hint::black_box(20u64);
        let closure = op::Blocking::new(move || number + 1);
        assert_eq!(run(queue, closure).into_result().expect("ran"), 21);
        notifier.notify();
        assert!(queue.wait(None).expect("works").notified());
    });
}

fn discarded_operations_allocate_nothing(queue: &Queue) {
    let (socket, _peer) = pair(queue);
    let buf: &'static mut [u8] = Vec::leak(vec![0; 64]);
    let (pointer, mut kept) = (buf.as_ptr(), Some(buf));
    allocates_nothing(|| {
        // The buffer of a discarded receive is gone; an array is part of the operation.
        let recv = op::Recv::new(&socket, [0u8; 64]);
        let token = queue.submit(recv).expect("room");
        look(queue);
        queue.discard(token);
        let buf = kept.take().expect("put back");
        let token = queue.submit(op::Recv::new(&socket, buf)).expect("room");
        queue.cancel(token);
        let (outcome, buf) = finish(queue, token);
        assert!(outcome.is_cancelled() && buf.as_ptr() == pointer);
        kept = Some(buf);
    });
    while queue.in_flight() > 0 {
        look(queue);
    }
}

fn accept_allocates_its_handle_only(queue: &Queue) {
    const MOST: u64 = 1;
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener.local_addr().expect("bound").ip();
    let address = address.expect("internet");
    let count = allocations_of(|| {
        let client = TcpStream::connect(address).expect("listens");
        let accept = run(queue, op::Accept::new(&listener));
        let socket = accept.into_result().expect("accepted");
        drop((client, socket));
    });
    let each = count as f64 / ROUNDS as f64;
    println!("an accepted connection takes {each} allocations");
    assert!(count <= MOST * ROUNDS as u64, "{each} allocations each");
}

fn chain_allocates_its_list_only(queue: &Queue) {
    const MOST: u64 = 1;
    let count = allocations_of(|| {
        let mut chain = queue.chain();
        for _ in 0..3 {
            chain.then(op::Nop::new()).expect("room");
        }
        chain.submit();
        let mut left = 3;
        while left > 0 {
            left -= queue.wait(None).expect("works").map(drop).count();
        }
    });
    let each = count as f64 / ROUNDS as f64;
    println!("a chain of three takes {each} allocations");
    assert!(count <= MOST * ROUNDS as u64, "{each} allocations each");
}
