//! Named pipes, and handles that only calls which block can be made on (C1, C3, C5, C7).

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use wharf_queue::os::windows::{PipeOptions, connect_pipe, open_pipe};
use wharf_queue::{Handle, Queue, op};

use crate::peer::Dir;
use crate::{Factory, finish, finish_keeping, look};

crate::cases::cases!(
    "C1" pipe_waits_for_its_client_and_carries_bytes,
    "C1" pipe_whose_client_came_first_is_connected_at_once,
    "C7" message_longer_than_the_buffer_comes_in_parts,
    "C7" pipe_without_a_reader_is_broken,
    "C3" wait_for_a_client_can_be_cancelled_and_closed,
    "C1" handle_of_calls_that_block_is_served_by_the_pool,
    "C1" reads_at_a_files_own_position_follow_each_other,
);

fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        r"\\.\pipe\wharf-conformance-{}-{number}",
        std::process::id()
    )
}

fn server(queue: &Queue, name: &str, messages: bool) -> Handle {
    let options = PipeOptions::new().messages(messages).first_instance(true);
    let server = options.create(name).expect("a new name");
    queue.attach(server).expect("a pipe")
}

fn read(queue: &Queue, pipe: &Handle, len: usize) -> std::io::Result<Vec<u8>> {
    let token = queue.submit(op::Read::new(pipe, vec![0; len]));
    let (outcome, buf) = finish_keeping(queue, token.expect("room"));
    outcome.into_result().map(|_| buf)
}

fn write(queue: &Queue, pipe: &Handle, bytes: &[u8]) -> std::io::Result<usize> {
    let token = queue.submit(op::Write::new(pipe, bytes.to_vec()));
    finish_keeping(queue, token.expect("room")).0.into_result()
}

fn pipe_waits_for_its_client_and_carries_bytes(factory: &Factory) {
    let (queue, name) = (factory.queue(), name());
    let server = server(&queue, &name, false);
    let connect = queue.submit(connect_pipe(&server)).expect("room");
    look(&queue);
    assert_eq!(queue.in_flight(), 1, "it waits");
    let client = queue.attach(open_pipe(&name, true, true).expect("there"));
    let client = client.expect("a pipe");
    finish(&queue, connect).0.into_result().expect("connected");
    assert_eq!(write(&queue, &server, b"hello").expect("room"), 5);
    assert_eq!(read(&queue, &client, 16).expect("it is there"), b"hello");
    let waits = queue.submit(op::Read::new(&server, vec![0; 16]));
    look(&queue);
    assert_eq!(write(&queue, &client, b"back").expect("room"), 4);
    assert_eq!(finish_keeping(&queue, waits.expect("room")).1, b"back");
    drop(client);
    assert_eq!(read(&queue, &server, 16).expect("the end"), b"");
}

fn pipe_whose_client_came_first_is_connected_at_once(factory: &Factory) {
    let (queue, name) = (factory.queue(), name());
    let server = server(&queue, &name, false);
    // A client of the standard library's, whose calls block.
    let mut open = std::fs::OpenOptions::new();
    let mut client = open.read(true).write(true).open(&name).expect("there");
    let connect = queue.submit(connect_pipe(&server)).expect("room");
    finish(&queue, connect).0.into_result().expect("connected");
    client.write_all(b"plain").expect("room");
    assert_eq!(read(&queue, &server, 16).expect("it is there"), b"plain");
    assert_eq!(write(&queue, &server, b"reply").expect("room"), 5);
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).expect("it is there");
    assert_eq!(&bytes, b"reply");
}

fn message_longer_than_the_buffer_comes_in_parts(factory: &Factory) {
    let (queue, name) = (factory.queue(), name());
    let server = server(&queue, &name, true);
    let mut open = std::fs::OpenOptions::new();
    let mut client = open.write(true).open(&name).expect("there");
    for waits in [false, true] {
        let first = || queue.submit(op::Read::new(&server, vec![0; 4]));
        let waiting = waits.then(|| first().expect("room"));
        look(&queue);
        client.write_all(b"12345678").expect("room");
        client.write_all(b"next").expect("room");
        let first = waiting.unwrap_or_else(|| first().expect("room"));
        assert_eq!(finish(&queue, first).1, b"1234");
        assert_eq!(read(&queue, &server, 16).expect("the rest"), b"5678");
        assert_eq!(read(&queue, &server, 16).expect("another"), b"next");
    }
}

fn pipe_without_a_reader_is_broken(factory: &Factory) {
    let queue = factory.queue();
    let (reader, writer) = wharf_queue::os::windows::pipe().expect("a pipe");
    let writer = queue.attach(writer).expect("a pipe");
    drop(reader);
    let error = write(&queue, &writer, b"late").expect_err("nobody reads");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
}

fn wait_for_a_client_can_be_cancelled_and_closed(factory: &Factory) {
    let (queue, name) = (factory.queue(), name());
    let server = server(&queue, &name, false);
    let connect = queue.submit(connect_pipe(&server)).expect("room");
    look(&queue);
    assert!(queue.cancel(connect));
    assert!(finish(&queue, connect).0.is_cancelled());
    let connect = queue.submit(connect_pipe(&server)).expect("room");
    look(&queue);
    let close = queue.submit(op::Close::new(server)).expect("room");
    assert!(finish(&queue, connect).0.is_cancelled());
    finish(&queue, close).into_result().expect("closed");
    open_pipe(&name, true, true).expect_err("it is gone");
}

fn handle_of_calls_that_block_is_served_by_the_pool(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let mut open = std::fs::OpenOptions::new();
    let open = open.read(true).write(true).create(true);
    let file = open.open(dir.0.join("file")).expect("made");
    let file = queue.attach(file).expect("a file");
    let token = queue.submit(op::WriteAt::new(&file, *b"hello world", 0));
    assert_eq!(
        finish(&queue, token.expect("room"))
            .0
            .into_result()
            .expect("written"),
        11
    );
    let token = queue.submit(op::ReadAt::new(&file, vec![0; 16], 6));
    assert_eq!(finish(&queue, token.expect("room")).1, b"world");
    let token = queue.submit(op::ReadAt::new(&file, vec![0; 16], 100));
    assert_eq!(finish(&queue, token.expect("room")).1, b"");
    // The client's side of a pipe, as the standard library opens it.
    let name = name();
    let server = server(&queue, &name, false);
    let mut open = std::fs::OpenOptions::new();
    let client = open.read(true).write(true).open(&name).expect("there");
    let client = queue.attach(client).expect("a pipe");
    let waits = queue.submit(op::Read::new(&client, vec![0; 16]));
    look(&queue);
    assert_eq!(write(&queue, &server, b"late").expect("room"), 4);
    assert_eq!(finish_keeping(&queue, waits.expect("room")).1, b"late");
}

fn reads_at_a_files_own_position_follow_each_other(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    std::fs::write(dir.0.join("file"), b"abcdefghij").expect("written");
    let open = op::Open::new(dir.0.join("file")).read(true).write(true);
    let open = queue.submit(open).expect("room");
    let file = finish(&queue, open).into_result().expect("there");
    let reads: Vec<_> = (0..5)
        .map(|_| {
            let read = op::Read::new(&file, vec![0; 3]);
            queue.submit(read).expect("room")
        })
        .collect();
    let got: Vec<_> = reads
        .into_iter()
        .map(|read| finish_keeping(&queue, read).1)
        .collect();
    assert_eq!(got.concat(), b"abcdefghij");
    assert_eq!(write(&queue, &file, b"!").expect("written"), 1);
    let bytes = std::fs::read(dir.0.join("file")).expect("there");
    assert_eq!(bytes, b"abcdefghij!");
}
