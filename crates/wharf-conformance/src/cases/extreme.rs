//! Extreme arguments and things that are not what they should be: lengths of nothing and of more
//! than 32 bits, times beyond the clock, directories for files (C7, C12).

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use wharf_queue::{Handle, IoBuf, Queue, SubmitError, op};

use crate::fixture::host::{NAME_TOO_LONG, NEVER_CONNECTED, NOT_A_SOCKET, NULL, TOO_MANY_LINKS};
use crate::fixture::local::datagram_pair;
use crate::fixture::memory::reserve;
use crate::fixture::pipe::named;
use crate::peer::{Dir, pair};
use crate::{Factory, finish, look, next};

super::cases!(
    "C12" [alone] lengths_above_32_bits_are_not_cut_to_their_lower_half,
    "C12" [alone] lengths_above_32_bits_in_parts_are_not_cut,
    "C12" offsets_above_32_bits_are_not_cut,
    "C12" file_lengths_above_the_limit_are_the_same_error,
    "C7" lengths_of_nothing_complete_at_once,
    "C12" waits_and_deadlines_of_centuries_sleep,
    "C7" directories_and_missing_files_are_the_errors_they_are,
    "C7" [not_wine "Wine 8 says that it has made a symbolic link, and makes none"] link_that_leads_to_itself_is_an_error,
    "C7" operations_on_what_cannot_do_them_are_errors,
    "C3" [unix "named pipes have no place in the file system"] named_pipe_is_read_without_holding_a_thread,
    "C8" [linux "a splice is Linux's"] splice_at_the_offset_that_means_none_is_refused,
);

/// A length whose lower 32 bits are 16.
const LONG: usize = (1 << 32) + 16;
/// What one call moves at the most (read(2)).
const MOST: usize = 0x7fff_f000;

fn open(queue: &Queue, open: op::Open) -> Handle {
    let token = queue.submit(open).expect("room");
    finish(queue, token).into_result().expect("opened")
}

fn file_of(queue: &Queue, dir: &Dir, bytes: &[u8]) -> Handle {
    let path = dir.0.join("file");
    std::fs::write(&path, bytes).expect("written");
    open(queue, op::Open::new(path).read(true).write(true))
}

fn lengths_above_32_bits_are_not_cut_to_their_lower_half(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let file = file_of(&queue, &dir, &[5; 1000]);
    let buf = reserve(LONG);
    let token = queue.submit(op::ReadAt::new(&file, buf, 0)).expect("room");
    let (outcome, buf) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("read"), 1000);
    let token = queue.submit(op::Read::new(&file, buf)).expect("room");
    let (outcome, buf) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("read"), 1000);
    assert_eq!(buf.len(), LONG);
    let (socket, mut peer) = pair(&queue);
    peer.write_all(&[6; 1000]).expect("connected");
    let token = queue.submit(op::Recv::new(&socket, buf)).expect("room");
    let (outcome, buf) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("received"), 1000);
    let part = buf.slice(7..);
    peer.write_all(&[7; 1000]).expect("connected");
    let token = queue.submit(op::Recv::new(&socket, part)).expect("room");
    let (outcome, part) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("received"), 1000);
    let buf = part.into_inner();
    assert_eq!(buf[7..1007], [7; 1000]);
    // A device that takes everything without a look at it.
    let null = open(&queue, op::Open::new(NULL).write(true));
    let token = queue.submit(op::WriteAt::new(&null, buf, 0)).expect("room");
    let (outcome, buf) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("written"), MOST);
    // The peer takes a little: the send is cancelled, and tells how much of it was sent.
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 20];
        peer.read_exact(&mut bytes).map(|()| peer)
    });
    let token = queue.submit(op::Send::new(&socket, buf).all());
    let token = token.expect("room");
    look(&queue);
    let mut peer = reader.join().expect("no panic").expect("read");
    queue.cancel(token);
    let (outcome, _) = finish(&queue, token);
    let wharf_queue::Outcome::Cancelled { transferred } = outcome else {
        panic!("{outcome:?}")
    };
    let close = queue.submit(op::Close::new(socket)).expect("room");
    finish(&queue, close).into_result().expect("closed");
    let rest = std::io::copy(&mut peer, &mut std::io::sink());
    let rest = rest.expect("an orderly end") as usize;
    assert_eq!(transferred, (1 << 20) + rest);
}

fn lengths_above_32_bits_in_parts_are_not_cut(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let file = file_of(&queue, &dir, &[5; 1000]);
    let bufs = [reserve(LONG), reserve(LONG)];
    let read = op::ReadVectoredAt::new(&file, bufs, 0);
    let token = queue.submit(read).expect("room");
    let (outcome, bufs) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("read"), 1000);
    let (socket, mut peer) = pair(&queue);
    peer.write_all(&[6; 1000]).expect("connected");
    let token = queue.submit(op::RecvVectored::new(&socket, bufs));
    let (outcome, bufs) = finish(&queue, token.expect("room"));
    assert_eq!(outcome.into_result().expect("received"), 1000);
    assert_eq!(bufs[0][999], 6);
    let null = open(&queue, op::Open::new(NULL).write(true));
    let write = op::WriteVectoredAt::new(&null, bufs, 0);
    let token = queue.submit(write).expect("room");
    let written = finish(&queue, token).0.into_result().expect("written");
    assert!((MOST..=2 * LONG).contains(&written), "{written}");
    // More buffers than one call takes give a short count, not an error.
    let many: Vec<_> = (0..5000).map(|_| [9u8; 1]).collect();
    let write = op::WriteVectoredAt::new(&file, many, 0);
    let token = queue.submit(write).expect("room");
    assert_eq!(finish(&queue, token).0.into_result().expect("some"), 1024);
    let many: Vec<_> = (0..5000).map(|_| [9u8; 1]).collect();
    let token = queue.submit(op::SendVectored::new(&socket, many));
    let (outcome, _) = finish(&queue, token.expect("room"));
    assert_eq!(outcome.into_result().expect("some"), 1024);
}

fn offsets_above_32_bits_are_not_cut(factory: &Factory) {
    const FAR: u64 = (1 << 33) + 5;
    let queue = factory.queue();
    let dir = Dir::new();
    let file = file_of(&queue, &dir, b"near");
    let token = queue.submit(op::WriteAt::new(&file, *b"far", FAR));
    let (outcome, _) = finish(&queue, token.expect("room"));
    assert_eq!(outcome.into_result().expect("written"), 3);
    let token = queue.submit(op::ReadAt::new(&file, vec![0; 8], FAR));
    assert_eq!(finish(&queue, token.expect("room")).1, b"far");
    let bufs = [[0u8; 2], [0u8; 2]];
    let token = queue.submit(op::ReadVectoredAt::new(&file, bufs, FAR));
    let (outcome, bufs) = finish(&queue, token.expect("room"));
    assert_eq!(outcome.into_result().expect("read"), 3);
    assert_eq!(bufs[0], *b"fa");
    let token = queue.submit(op::Truncate::new(&file, FAR + 1));
    finish(&queue, token.expect("room"))
        .into_result()
        .expect("cut");
    let token = queue.submit(op::Allocate::new(&file, FAR, 4096));
    finish(&queue, token.expect("room"))
        .into_result()
        .expect("reserved");
    let token = queue.submit(op::Stat::handle(&file)).expect("room");
    let metadata = finish(&queue, token).into_result().expect("known");
    assert_eq!(metadata.len, FAR + 4096);
    let (socket, mut peer) = pair(&queue);
    let send = op::SendFile::new(&socket, &file, FAR, 1);
    let token = queue.submit(send).expect("room");
    assert_eq!(finish(&queue, token).into_result().expect("sent"), 1);
    let mut byte = [0];
    peer.read_exact(&mut byte).expect("arrives");
    assert_eq!(&byte, b"f");
}

fn file_lengths_above_the_limit_are_the_same_error(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let file = file_of(&queue, &dir, b"");
    for len in [u64::MAX, i64::MAX as u64 + 1, i64::MAX as u64] {
        let token = queue.submit(op::Truncate::new(&file, len)).expect("room");
        let error = finish(&queue, token).into_result().expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{len}: {error}");
        let token = queue.submit(op::Allocate::new(&file, len, 4096));
        let error = finish(&queue, token.expect("room")).into_result();
        let error = error.expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{len}: {error}");
    }
    let token = queue.submit(op::Allocate::new(&file, 0, 0)).expect("room");
    let error = finish(&queue, token).into_result().expect_err("nothing");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let far = op::ReadAt::new(&file, vec![0; 8], i64::MAX as u64);
    let token = queue.submit(far).expect("allowed");
    let end = finish(&queue, token).0.into_result();
    // The kernel may say that the end of such a read is no number, or that the file ends before.
    if let Err(error) = end {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let (socket, _peer) = pair(&queue);
    let send = op::SendFile::new(&socket, &file, u64::MAX, 10);
    assert!(matches!(queue.submit(send), Err(SubmitError::Invalid(..))));
}

fn lengths_of_nothing_complete_at_once(factory: &Factory) {
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let dir = Dir::new();
    let file = file_of(&queue, &dir, b"12345");
    let nothing = Vec::new;
    let token = queue.submit(op::Recv::new(&socket, nothing()));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::Recv::new(&socket, [0u8; 0]).peek());
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::RecvVectored::new(&socket, [nothing(), nothing()]));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::RecvVectored::new(&socket, Vec::<Vec<u8>>::new()));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::Send::new(&socket, nothing()).all());
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::SendVectored::new(&socket, [nothing()]).all());
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::ReadAt::new(&file, nothing(), 0));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::WriteAt::new(&file, nothing(), 0));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::ReadVectoredAt::new(&file, [nothing()], 0));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::WriteVectoredAt::new(&file, [nothing()], 0));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::SendFile::new(&socket, &file, 0, 0));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .into_result()
            .expect("0"),
        0
    );
    let (reader, writer) = crate::fixture::pipe::pipe();
    let (reader, writer) = (queue.attach(reader), queue.attach(writer));
    let (reader, writer) = (reader.expect("a pipe"), writer.expect("a pipe"));
    let token = queue.submit(op::Read::new(&reader, nothing()));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    let token = queue.submit(op::Write::new(&writer, nothing()));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    if let Ok(token) = queue.submit(op::Splice::new(&reader, &socket, 0)) {
        assert_eq!(finish(&queue, token).into_result().expect("0"), 0);
    }
    // And the stream is as it was.
    peer.write_all(b"whole").expect("connected");
    let token = queue.submit(op::Recv::new(&socket, vec![0; 8]));
    assert_eq!(finish(&queue, token.expect("room")).1, b"whole");
    // A datagram of nothing is a datagram.
    let (left, right) = datagram_pair();
    let left = queue.attach(left).expect("a socket");
    let token = queue.submit(op::Send::new(&left, nothing()));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("0"),
        0
    );
    right.set_nonblocking(true).expect("a socket");
    assert_eq!(right.recv(&mut [0; 4]).expect("it is there"), 0);
    right.send(b"").expect("connected");
    right.send(b"x").expect("connected");
    let token = queue.submit(op::RecvFrom::new(&left, vec![0; 4]));
    let datagram = finish(&queue, token.expect("room")).0.into_result();
    let datagram = datagram.expect("received");
    assert!(datagram.len == 0 && !datagram.truncated);
    let token = queue.submit(op::RecvFrom::new(&left, nothing()));
    let datagram = finish(&queue, token.expect("room")).0.into_result();
    let datagram = datagram.expect("received");
    assert!(datagram.len == 0 && datagram.truncated);
}

fn waits_and_deadlines_of_centuries_sleep(factory: &Factory) {
    use wharf_queue::Prepare;
    let year = Duration::from_secs(365 * 24 * 3600);
    let long = [
        year,
        year * 100,
        // The longest that a signed number of nanoseconds holds, and beyond.
        Duration::from_nanos(i64::MAX as u64),
        year * 300,
        Duration::from_nanos(u64::MAX - 1),
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ];
    for timeout in long {
        let queue = factory.builder().teardown_timeout(timeout);
        let queue = queue.build().expect("a queue");
        let (socket, _peer) = pair(&queue);
        let timer = queue.submit(op::Timer::after(timeout)).expect("room");
        let recv = op::Recv::new(&socket, vec![0; 8]).timeout(timeout);
        let recv = queue.submit(recv).expect("room");
        let mut chain = queue.chain();
        let nop = chain.then(op::Nop::new().timeout(timeout));
        nop.expect("room");
        chain.submit();
        next(&queue);
        // What the connection itself still has to tell, on a busy machine, wakes a sleep as well, but
        // not each. A sleep of a cut time-out would be woken each time.
        let mut calls = Vec::new();
        while calls.last().is_none_or(|&calls| calls > 4) {
            assert!(
                calls.len() < 5,
                "{timeout:?}: {calls:?} system calls for a sleep"
            );
            calls.push(calls_of_a_sleep(&queue, timeout));
        }
        queue.arm().expect("a descriptor");
        assert!(queue.cancel(timer) && queue.cancel(recv));
    }
}

/// Sleeps until it is notified, and gives how many system calls that took.
fn calls_of_a_sleep(queue: &Queue, timeout: Duration) -> u64 {
    let calls = queue.stats().system_calls;
    let notifier = queue.notifier();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let begin = Instant::now();
    let later = std::thread::spawn(move || {
        let early = gone.recv_timeout(Duration::from_millis(10));
        notifier.notify();
        early
    });
    let batch = queue.wait(timeout).expect("works");
    assert!(batch.notified() && batch.is_empty(), "{timeout:?}");
    assert!(begin.elapsed() >= Duration::from_millis(9), "{timeout:?}");
    later
        .join()
        .expect("no panic")
        .expect_err("nobody hurried it");
    drop(go);
    queue.stats().system_calls - calls
}

fn directories_and_missing_files_are_the_errors_they_are(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let at = |name: &str| dir.0.join(name);
    std::fs::write(at("file"), b"12345").expect("written");
    std::fs::create_dir(at("dir")).expect("made");
    std::fs::write(at("dir/inside"), b"").expect("written");
    let fails = |open: op::Open| {
        let token = queue.submit(open).expect("room");
        finish(&queue, token).into_result().expect_err("no").kind()
    };
    let long = "x".repeat(300);
    assert_eq!(fails(op::Open::new(at("none"))), ErrorKind::NotFound);
    assert_eq!(fails(op::Open::new("")), ErrorKind::NotFound);
    assert_eq!(fails(op::Open::new(at("file/x"))), ErrorKind::NotADirectory);
    let write = op::Open::new(at("dir")).write(true);
    assert_eq!(fails(write), ErrorKind::IsADirectory);
    let new = op::Open::new(at("file")).write(true).create_new(true);
    assert_eq!(fails(new), ErrorKind::AlreadyExists);
    let token = queue.submit(op::Open::new(at(&long))).expect("room");
    let error = finish(&queue, token).into_result().expect_err("no");
    assert_eq!(error.raw_os_error(), Some(NAME_TOO_LONG), "{error}");
    let fails = |token| {
        let outcome: wharf_queue::Outcome<()> = token;
        outcome.into_result().expect_err("no").kind()
    };
    let token = queue.submit(op::Remove::file(at("dir"))).expect("room");
    assert_eq!(fails(finish(&queue, token)), ErrorKind::IsADirectory);
    let token = queue.submit(op::Remove::dir(at("dir"))).expect("room");
    assert_eq!(fails(finish(&queue, token)), ErrorKind::DirectoryNotEmpty);
    let token = queue.submit(op::Remove::dir(at("file"))).expect("room");
    assert_eq!(fails(finish(&queue, token)), ErrorKind::NotADirectory);
    let token = queue.submit(op::CreateDir::new(at("dir"))).expect("room");
    assert_eq!(fails(finish(&queue, token)), ErrorKind::AlreadyExists);
    let token = queue.submit(op::Rename::new(at("none"), at("other")));
    let outcome = finish(&queue, token.expect("room"));
    assert_eq!(fails(outcome), ErrorKind::NotFound);
    let token = queue.submit(op::HardLink::new(at("file"), at("dir")));
    let outcome = finish(&queue, token.expect("room"));
    assert_eq!(fails(outcome), ErrorKind::AlreadyExists);
    let token = queue.submit(op::ReadDir::new(at("file"))).expect("room");
    let error = finish(&queue, token).into_result().expect_err("no");
    assert_eq!(error.kind(), ErrorKind::NotADirectory);
    let token = queue.submit(op::CopyFile::new(at("none"), at("other")));
    let error = finish(&queue, token.expect("room")).into_result();
    assert_eq!(error.expect_err("no").kind(), ErrorKind::NotFound);
    let handle = open(&queue, op::Open::new(at("dir")));
    let token = queue.submit(op::ReadAt::new(&handle, vec![0; 8], 0));
    let (outcome, buf) = finish(&queue, token.expect("room"));
    let error = outcome.into_result().expect_err("no");
    assert_eq!((error.kind(), buf.capacity()), (ErrorKind::IsADirectory, 8));
    let token = queue.submit(op::Read::new(&handle, vec![0; 8]));
    let (outcome, _) = finish(&queue, token.expect("room"));
    assert_eq!(
        outcome.into_result().expect_err("no").kind(),
        ErrorKind::IsADirectory
    );
    let token = queue.submit(op::Stat::handle(&handle)).expect("room");
    assert!(finish(&queue, token).into_result().expect("known").is_dir());
    let token = queue.submit(op::Sync::all(&handle)).expect("room");
    finish(&queue, token)
        .into_result()
        .expect("directories are synced too");
}

fn link_that_leads_to_itself_is_an_error(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("loop");
    let link = queue.submit(op::SymbolicLink::new("loop", &path));
    finish(&queue, link.expect("room"))
        .into_result()
        .expect("made");
    let token = queue.submit(op::Open::new(&path)).expect("room");
    let error = finish(&queue, token).into_result().expect_err("no");
    assert_eq!(error.raw_os_error(), Some(TOO_MANY_LINKS), "{error}");
}

fn operations_on_what_cannot_do_them_are_errors(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let file = file_of(&queue, &dir, b"12345");
    let (socket, _peer) = pair(&queue);
    const NO_SOCKET: Option<i32> = Some(NOT_A_SOCKET);
    let code = |error: std::io::Error| error.raw_os_error();
    let token = queue.submit(op::Recv::new(&file, vec![0; 8]));
    let (outcome, buf) = finish(&queue, token.expect("room"));
    assert_eq!(
        code(outcome.into_result().expect_err("no socket")),
        NO_SOCKET
    );
    assert_eq!(buf.capacity(), 8);
    let token = queue.submit(op::Send::new(&file, vec![0; 8]).all());
    let (outcome, _) = finish(&queue, token.expect("room"));
    assert_eq!(
        code(outcome.into_result().expect_err("no socket")),
        NO_SOCKET
    );
    let token = queue.submit(op::Accept::new(&file)).expect("room");
    let error = finish(&queue, token).into_result().expect_err("no socket");
    assert_eq!(code(error), NO_SOCKET);
    let token = queue.submit(op::AcceptMulti::new(&socket)).expect("room");
    let completion = next(&queue);
    assert!(!completion.more());
    let error = completion.take(token).expect("it").into_result();
    let error = error.expect_err("it does not listen");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let pool = queue.buf_pool().buffers(1).build().expect("a pool");
    let token = queue.submit(op::RecvMulti::new(&file, &pool));
    let error = finish(&queue, token.expect("room")).into_result();
    assert_eq!(code(error.expect_err("no socket")), NO_SOCKET);
    let token = queue.submit(op::ReadAt::new(&socket, vec![0; 8], 0));
    let (outcome, _) = finish(&queue, token.expect("room"));
    assert_eq!(
        outcome.into_result().expect_err("no place").kind(),
        ErrorKind::NotSeekable
    );
    let token = queue.submit(op::Sync::all(&socket)).expect("room");
    let error = finish(&queue, token).into_result().expect_err("no disk");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // Where there are splices at all.
    if let Ok(token) = queue.submit(op::Splice::new(&file, &socket, 5)) {
        let error = finish(&queue, token).into_result();
        assert_eq!(error.expect_err("no pipe").kind(), ErrorKind::InvalidInput);
    }
    let address = "127.0.0.1:0"
        .parse::<std::net::SocketAddr>()
        .expect("valid")
        .into();
    let alone = queue
        .socket(&op::Socket::stream_for(&address))
        .expect("a socket");
    let token = queue
        .submit(op::Send::new(&alone, vec![0; 8]))
        .expect("room");
    let error = finish(&queue, token).0.into_result().expect_err("nobody");
    assert!(NEVER_CONNECTED.contains(&error.kind()), "{error}");
    let token = queue
        .submit(op::Recv::new(&alone, vec![0; 8]))
        .expect("room");
    let error = finish(&queue, token).0.into_result().expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let token = queue.submit(op::Shutdown::new(&alone, std::net::Shutdown::Both));
    let error = finish(&queue, token.expect("room")).into_result();
    assert_eq!(error.expect_err("nobody").kind(), ErrorKind::NotConnected);
}

fn named_pipe_is_read_without_holding_a_thread(factory: &Factory) {
    let queue = factory.builder().blocking_threads(1).build();
    let queue = queue.expect("a queue");
    let dir = Dir::new();
    let path = dir.0.join("pipe");
    named(&path);
    // Open for both, so that neither open nor read waits for another process.
    let pipe = open(&queue, op::Open::new(&path).read(true).write(true));
    let read = queue
        .submit(op::Read::new(&pipe, vec![0; 8]))
        .expect("room");
    look(&queue);
    let closure = queue.submit(op::Blocking::new(|| 3)).expect("room");
    assert_eq!(finish(&queue, closure).into_result().expect("ran"), 3);
    assert!(queue.cancel(read));
    assert!(finish(&queue, read).0.is_cancelled());
    let write = queue
        .submit(op::Write::new(&pipe, *b"hello"))
        .expect("room");
    finish(&queue, write).0.into_result().expect("written");
    let read = queue
        .submit(op::Read::new(&pipe, vec![0; 8]))
        .expect("room");
    assert_eq!(finish(&queue, read).1, b"hello");
}

fn splice_at_the_offset_that_means_none_is_refused(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let file = file_of(&queue, &dir, b"12345");
    let (_reader, writer) = crate::fixture::pipe::pipe();
    let writer = queue.attach(writer).expect("a pipe");
    for offset in [u64::MAX, i64::MAX as u64 + 1] {
        let splice = op::Splice::new(&file, &writer, 5).from_offset(offset);
        assert!(matches!(
            queue.submit(splice),
            Err(SubmitError::Invalid(..))
        ));
        let splice = op::Splice::new(&writer, &file, 5).to_offset(offset);
        assert!(matches!(
            queue.submit(splice),
            Err(SubmitError::Invalid(..))
        ));
    }
}
