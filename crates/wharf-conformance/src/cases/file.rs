//! Files, directories, pipes, children, names (the table of operations).

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wharf_queue::{Address, BackendKind, Queue, op};

use crate::fixture::child::{copier, exits_with_three};
use crate::fixture::host::{NULL, is_inherited, raw_of};
use crate::fixture::pipe::{duplicate_file, pipe};
use crate::peer::{Dir, pair};
use crate::{Factory, finish};

super::cases!(
    "C1" file_is_written_read_and_measured,
    "C7" read_past_the_end_is_zero,
    "C7" [linux "the device that is always full is Linux's"] full_disk_is_an_error,
    "C1" names_are_made_moved_listed_and_removed,
    "C1" [not_wine "Wine 8 says that it has made a symbolic link, and makes none"] link_is_a_name_of_its_own,
    "C12" path_with_a_zero_byte_is_invalid,
    "C1" [linux "no other system opens below a directory and not elsewhere"] open_beneath_does_not_leave_the_directory,
    "C1" pipe_is_read_and_written,
    "C1" pipe_that_the_queue_makes_carries_bytes,
    "C1" peer_of_a_pair_is_this_process,
    "C1" [linux "a splice is Linux's"] splice_moves_a_file_into_a_pipe,
    "C1" [linux "a splice is Linux's"] splice_waits_for_either_end_in_turn,
    "C1" [linux "a splice is Linux's"] splice_moves_from_socket_to_socket_by_a_pipe,
    "C1" send_file_sends_a_file,
    "C1" child_exit_tells_the_status,
    "C1" child_in_shares_is_killed_while_it_is_waited_for,
    "C1" resolve_finds_localhost,
    "C12" closure_that_panics_is_an_error,
    "C12" every_descriptor_is_close_on_exec,
);

fn open(queue: &Queue, open: op::Open) -> wharf_queue::Handle {
    let token = queue.submit(open).expect("room");
    finish(queue, token).into_result().expect("opened")
}

fn file_is_written_read_and_measured(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("file");
    let file = open(
        &queue,
        op::Open::new(&path).read(true).write(true).create_new(true),
    );
    let bufs = vec![b"hello ".to_vec(), b"world".to_vec()];
    let token = queue
        .submit(op::WriteVectoredAt::new(&file, bufs, 0))
        .expect("room");
    assert_eq!(finish(&queue, token).0.into_result().expect("written"), 11);
    let token = queue
        .submit(op::WriteAt::new(&file, b"W".to_vec(), 6))
        .expect("room");
    assert_eq!(finish(&queue, token).0.into_result().expect("written"), 1);
    let token = queue.submit(op::Sync::data(&file)).expect("room");
    finish(&queue, token).into_result().expect("synced");
    let token = queue
        .submit(op::ReadAt::new(&file, vec![0; 100], 6))
        .expect("room");
    assert_eq!(finish(&queue, token).1, b"World");
    let bufs = [Vec::with_capacity(3), Vec::with_capacity(4)];
    let token = queue
        .submit(op::ReadVectoredAt::new(&file, bufs, 0))
        .expect("room");
    assert_eq!(finish(&queue, token).1, [b"hel".to_vec(), b"lo W".to_vec()]);
    let token = queue.submit(op::Truncate::new(&file, 5)).expect("room");
    finish(&queue, token).into_result().expect("cut");
    let token = queue
        .submit(op::Allocate::new(&file, 0, 4096))
        .expect("room");
    finish(&queue, token).into_result().expect("reserved");
    let token = queue.submit(op::Stat::handle(&file)).expect("room");
    let metadata = finish(&queue, token).into_result().expect("known");
    assert!(metadata.is_file() && metadata.len == 4096);
    let token = queue
        .submit(op::Read::new(&file, vec![0; 5]))
        .expect("room");
    assert_eq!(finish(&queue, token).1, b"hello");
}

fn read_past_the_end_is_zero(factory: &Factory) {
    let queue = factory.queue();
    let file = open(
        &queue,
        op::Open::new(std::env::current_exe().expect("it runs")),
    );
    let token = queue
        .submit(op::ReadAt::new(&file, vec![0; 8], 1 << 40))
        .expect("room");
    assert_eq!(finish(&queue, token).0.into_result().expect("the end"), 0);
}

fn full_disk_is_an_error(factory: &Factory) {
    let queue = factory.queue();
    let file = open(&queue, op::Open::new("/dev/full").write(true));
    let token = queue
        .submit(op::WriteAt::new(&file, vec![1; 100], 0))
        .expect("room");
    let error = finish(&queue, token).0.into_result().expect_err("full");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

fn names_are_made_moved_listed_and_removed(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let at = |name: &str| dir.0.join(name);
    let token = queue.submit(op::CreateDir::new(at("sub"))).expect("room");
    finish(&queue, token).into_result().expect("made");
    std::fs::write(at("a"), b"abc").expect("written");
    let token = queue
        .submit(op::HardLink::new(at("a"), at("b")))
        .expect("room");
    finish(&queue, token).into_result().expect("linked");
    let token = queue
        .submit(op::Rename::new(at("b"), at("sub/b")))
        .expect("room");
    finish(&queue, token).into_result().expect("moved");
    let token = queue
        .submit(op::CopyFile::new(at("a"), at("d")))
        .expect("room");
    assert_eq!(finish(&queue, token).into_result().expect("copied"), 3);
    let token = queue.submit(op::ReadDir::new(&dir.0)).expect("room");
    let entries = finish(&queue, token).into_result().expect("listed");
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
    names.sort();
    assert_eq!(names, ["a", "d", "sub"]);
    let token = queue.submit(op::Remove::file(at("sub/b"))).expect("room");
    finish(&queue, token).into_result().expect("removed");
    let token = queue.submit(op::Remove::dir(at("sub"))).expect("room");
    finish(&queue, token).into_result().expect("removed");
    let token = queue.submit(op::Stat::path(at("sub"))).expect("room");
    let error = finish(&queue, token).into_result().expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

fn link_is_a_name_of_its_own(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let at = |name: &str| dir.0.join(name);
    std::fs::write(at("a"), b"abc").expect("written");
    let token = queue
        .submit(op::SymbolicLink::new("a", at("c")))
        .expect("room");
    finish(&queue, token).into_result().expect("linked");
    let token = queue
        .submit(op::CopyFile::new(at("c"), at("d")))
        .expect("room");
    assert_eq!(finish(&queue, token).into_result().expect("copied"), 3);
    for (stat, expected) in [
        (op::Stat::link(at("c")), op::FileType::Symlink),
        (op::Stat::path(at("c")), op::FileType::File),
    ] {
        let token = queue.submit(stat).expect("room");
        let metadata = finish(&queue, token).into_result().expect("known");
        assert_eq!(metadata.file_type, expected);
    }
    let token = queue.submit(op::Remove::file(at("c"))).expect("room");
    finish(&queue, token).into_result().expect("removed");
    assert!(at("a").exists() && !at("c").exists());
}

fn path_with_a_zero_byte_is_invalid(factory: &Factory) {
    let queue = factory.queue();
    let token = queue.submit(op::Open::new("a\0b")).expect("room");
    let error = finish(&queue, token).into_result().expect_err("no path");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

fn open_beneath_does_not_leave_the_directory(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let at = |name: &str| dir.0.join(name);
    std::fs::create_dir(at("root")).expect("made");
    std::fs::create_dir(at("root/sub")).expect("made");
    std::fs::write(at("secret"), "secret").expect("written");
    std::fs::write(at("root/file"), "file").expect("written");
    for (target, link) in [
        ("../file", "root/sub/inside"),
        ("../../secret", "root/sub/outside"),
        ("..", "root/up"),
        ("circle", "root/circle"),
    ] {
        let token = queue.submit(op::SymbolicLink::new(target, at(link)));
        let linked = finish(&queue, token.expect("room")).into_result();
        linked.expect("linked");
    }
    let token = queue.submit(op::SymbolicLink::new(at("root/file"), at("root/absolute")));
    let linked = finish(&queue, token.expect("room")).into_result();
    linked.expect("linked");
    let root = open(&queue, op::Open::new(at("root")));
    let try_open = |path: &str| {
        let token = queue.submit(op::Open::new(path).beneath(&root));
        finish(&queue, token.expect("room")).into_result()
    };
    for path in ["file", "sub/inside", "sub/../file", "."] {
        try_open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for path in [
        "../secret",
        "sub/outside",
        "up",
        "up/secret",
        "/",
        "absolute",
        "sub/../..",
    ] {
        let error = try_open(path).expect_err(path);
        assert_eq!(error.kind(), ErrorKind::CrossesDevices, "{path}");
    }
    assert_eq!(
        try_open("nothing").expect_err("nothing").kind(),
        ErrorKind::NotFound
    );
    try_open("circle").expect_err("leads nowhere");
    let made = op::Open::new("new")
        .write(true)
        .create_new(true)
        .mode(0o600)
        .beneath(&root);
    let made = open(&queue, made);
    let token = queue.submit(op::Stat::handle(&made)).expect("room");
    let metadata = finish(&queue, token).into_result().expect("known");
    assert_eq!(metadata.mode & 0o777, 0o600);
}

fn pipe_is_read_and_written(factory: &Factory) {
    let queue = factory.queue();
    let mut cat = copier();
    let stdin = cat.stdin.take().expect("piped");
    let stdout = cat.stdout.take().expect("piped");
    let stdin = queue.attach(stdin).expect("a pipe");
    let stdout = queue.attach(stdout).expect("a pipe");
    let read = queue
        .submit(op::Read::new(&stdout, vec![0; 16]))
        .expect("room");
    assert!(
        queue
            .wait(std::time::Duration::ZERO)
            .expect("works")
            .is_empty()
    );
    let write = queue
        .submit(op::Write::new(&stdin, b"through".to_vec()))
        .expect("room");
    for _ in 0..2 {
        match crate::next(&queue).take(read) {
            Ok((_, buf)) => assert_eq!(buf, b"through"),
            Err(other) => drop(other.take(write).expect("one of the two")),
        }
    }
    drop(stdin);
    let token = queue
        .submit(op::Read::new(&stdout, vec![0; 16]))
        .expect("room");
    assert_eq!(finish(&queue, token).0.into_result().expect("the end"), 0);
    assert!(cat.wait().expect("exits").success());
}

fn splice_moves_a_file_into_a_pipe(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    std::fs::write(dir.0.join("file"), b"0123456789").expect("written");
    let file = open(&queue, op::Open::new(dir.0.join("file")));
    let mut cat = copier();
    let mut reader = cat.stdout.take().expect("piped");
    let writer = cat.stdin.take().expect("piped");
    let writer = queue.attach(writer).expect("a pipe");
    let splice = op::Splice::new(&file, &writer, 5).from_offset(2);
    let token = queue.submit(splice).expect("room");
    assert_eq!(finish(&queue, token).into_result().expect("moved"), 5);
    let mut bytes = [0; 5];
    reader.read_exact(&mut bytes).expect("there");
    assert_eq!(&bytes, b"23456");
    drop(writer);
    assert!(cat.wait().expect("exits").success());
}

/// It waits for room first. When there is room somebody else has taken the byte that it was for, and
/// it has to wait for another one.
fn splice_waits_for_either_end_in_turn(factory: &Factory) {
    let queue = factory.queue();
    let (from, from_writer) = pipe();
    let (to_reader, to) = pipe();
    let from = queue.attach(from).expect("a pipe");
    let to = queue.attach(to).expect("a pipe");
    let mut other_reader = duplicate_file(from.raw());
    let other_writer = duplicate_file(to.raw());
    let (mut from_writer, mut to_reader) = (File::from(from_writer), File::from(to_reader));
    let filled = crate::fixture::pipe::fill(&other_writer);
    from_writer.write_all(b"a").expect("room");
    let token = queue.submit(op::Splice::new(&from, &to, 1)).expect("room");
    let nothing = |queue: &Queue| {
        for _ in 0..4 {
            let batch = queue.wait(Duration::ZERO).expect("the queue works");
            assert!(batch.is_empty(), "there was nothing to move");
        }
    };
    nothing(&queue);
    other_reader.read_exact(&mut [0]).expect("the byte");
    to_reader
        .read_exact(&mut vec![0; filled])
        .expect("what was written");
    nothing(&queue);
    from_writer.write_all(b"b").expect("room");
    assert_eq!(finish(&queue, token).into_result().expect("moved"), 1);
    let mut byte = [0];
    to_reader.read_exact(&mut byte).expect("there");
    assert_eq!(&byte, b"b");
}

/// Where there is no such pipe, it says so.
fn pipe_that_the_queue_makes_carries_bytes(factory: &Factory) {
    let queue = factory.queue();
    for capacity in [0, 1 << 16] {
        let (read, write) = match queue.pipe(capacity) {
            Ok(both) => both,
            Err(error) => return is_refused_on_windows(factory, &error),
        };
        assert!(!is_inherited(read.raw()) && !is_inherited(write.raw()));
        let reading = queue.submit(op::Read::new(&read, vec![0; 16]));
        let reading = reading.expect("room");
        assert!(queue.wait(Duration::ZERO).expect("works").is_empty());
        let writing = queue.submit(op::Write::new(&write, b"through".to_vec()));
        let writing = writing.expect("room");
        for _ in 0..2 {
            match crate::next(&queue).take(reading) {
                Ok((_, buf)) => assert_eq!(buf, b"through"),
                Err(other) => drop(other.take(writing).expect("one of the two")),
            }
        }
        drop(write);
        let ended = queue.submit(op::Read::new(&read, vec![0; 16]));
        let (outcome, _) = finish(&queue, ended.expect("room"));
        assert_eq!(outcome.into_result().expect("the end"), 0);
    }
}

/// The system knows who made it. Where it does not, it says so; and of other sockets it is an error.
fn peer_of_a_pair_is_this_process(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    assert!(socket.peer_credentials().is_err());
    match queue.socket_pair(&op::Socket::stream_for(&Address::Unnamed)) {
        Ok((one, other)) => {
            let (one, other) = (one.peer_credentials(), other.peer_credentials());
            let peer = one.expect("connected");
            assert_eq!(peer, other.expect("connected"));
            assert!(peer.pid.is_none_or(|pid| pid == std::process::id()));
        }
        Err(error) => is_refused_on_windows(factory, &error),
    }
}

fn is_refused_on_windows(factory: &Factory, error: &std::io::Error) {
    let refused = (BackendKind::Iocp, ErrorKind::Unsupported);
    assert_eq!((factory.kind, error.kind()), refused, "{error}");
}

fn splice_moves_from_socket_to_socket_by_a_pipe(factory: &Factory) {
    let queue = factory.queue();
    let (from, mut client) = pair(&queue);
    let (to, mut server) = pair(&queue);
    let (read, write) = queue.pipe(1 << 16).expect("descriptors");
    assert!(!is_inherited(read.raw()) && !is_inherited(write.raw()));
    // Each of them begins with nothing to move.
    let into = queue.submit(op::Splice::new(&from, &write, 1 << 16));
    let out = queue.submit(op::Splice::new(&read, &to, 1 << 16));
    let (into, out) = (into.expect("room"), out.expect("room"));
    assert!(queue.wait(Duration::ZERO).expect("works").next().is_none());
    client.write_all(b"moved").expect("connected");
    assert_eq!(finish(&queue, into).into_result().expect("moved"), 5);
    assert_eq!(finish(&queue, out).into_result().expect("moved"), 5);
    let mut bytes = [0; 5];
    server.read_exact(&mut bytes).expect("there");
    assert_eq!(&bytes, b"moved");
    drop(client);
    let into = queue.submit(op::Splice::new(&from, &write, 1 << 16));
    let ended = finish(&queue, into.expect("room"));
    assert_eq!(ended.into_result().expect("the end"), 0);
}

fn send_file_sends_a_file(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let bytes: Vec<u8> = (0..5_000_000u32).map(|n| (n % 241) as u8).collect();
    std::fs::write(dir.0.join("file"), &bytes).expect("written");
    let file = open(&queue, op::Open::new(dir.0.join("file")));
    let (socket, mut peer) = pair(&queue);
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).map(|_| received)
    });
    let send = op::SendFile::new(&socket, &file, 1000, usize::MAX);
    let token = queue.submit(send).expect("room");
    assert_eq!(
        finish(&queue, token).into_result().expect("sent"),
        bytes.len() - 1000
    );
    let token = queue.submit(op::Close::new(socket)).expect("room");
    finish(&queue, token).into_result().expect("closed");
    assert!(reader.join().expect("no panic").expect("read") == bytes[1000..]);
}

fn child_exit_tells_the_status(factory: &Factory) {
    let queue = factory.queue();
    let mut child = exits_with_three();
    let stdin = child.stdin.take();
    let token = queue.submit(op::ChildExit::new(child)).expect("room");
    assert!(
        queue
            .wait(std::time::Duration::ZERO)
            .expect("works")
            .is_empty()
    );
    drop(stdin);
    let (outcome, mut child) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("exited").code(), Some(3));
    assert_eq!(child.wait().expect("known").code(), Some(3));
}

fn child_in_shares_is_killed_while_it_is_waited_for(factory: &Factory) {
    let queue = factory.queue();
    let child = Arc::new(Mutex::new(copier()));
    let exit = op::ChildExit::new(child.clone());
    let token = queue.submit(exit).expect("room");
    child.lock().expect("no panic").kill().expect("it lives");
    let (outcome, _) = finish(&queue, token);
    assert!(!outcome.into_result().expect("exited").success());
    let status = child.lock().expect("no panic").try_wait();
    assert!(status.expect("known").is_some());
}

fn resolve_finds_localhost(factory: &Factory) {
    let queue = factory.queue();
    let token = queue
        .submit(op::Resolve::new("localhost", 80))
        .expect("room");
    let addresses = finish(&queue, token).into_result().expect("found");
    assert!(
        addresses
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 80)
    );
    assert!(!addresses.is_empty());
}

fn closure_that_panics_is_an_error(factory: &Factory) {
    let queue = factory.queue();
    let token = queue
        .submit(op::Blocking::new(|| panic!("on purpose")))
        .expect("room");
    let error = finish::<op::Blocking<_, ()>>(&queue, token)
        .into_result()
        .expect_err("panicked");
    assert!(error.to_string().contains("on purpose"));
    let token = queue.submit(op::Blocking::new(|| 6 * 7)).expect("room");
    assert_eq!(finish(&queue, token).into_result().expect("a number"), 42);
}

fn every_descriptor_is_close_on_exec(factory: &Factory) {
    let queue = factory.queue();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = queue.listen(any).expect("listens");
    let address = listener
        .local_addr()
        .expect("bound")
        .ip()
        .expect("internet");
    let _client = std::net::TcpStream::connect(address).expect("listens");
    let token = queue.submit(op::Accept::new(&listener)).expect("room");
    let accepted = finish(&queue, token).into_result().expect("accepted");
    let file = open(&queue, op::Open::new(NULL));
    let armed = queue.arm().expect("a descriptor");
    let armed = raw_of(&armed);
    for raw in [listener.raw(), accepted.raw(), file.raw(), armed] {
        assert!(!is_inherited(raw), "{raw:?}");
    }
}
