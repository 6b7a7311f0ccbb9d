//! Signals: a wait that is interrupted goes on, and a broken pipe is an error (C7, C9).

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use wharf_queue::{Outcome, Queue, op};

use crate::fixture::local::{datagram_pair, stream_pair};
use crate::fixture::pipe::pipe;
use crate::fixture::signal::{handled, let_broken_pipes_kill, this_thread};
use crate::peer::{Dir, pair};
use crate::{Factory, finish, look};

super::cases!(
    "C9" [alone] [unix "there are no signals"] interrupted_wait_goes_on_to_its_end,
    "C9" [alone] [unix "there are no signals"] interrupted_operations_have_their_true_results,
    "C7" [alone] [unix "there are no signals, and the errors are checked elsewhere"] broken_connection_is_an_error_and_no_signal,
);

/// Interrupts the calling thread again and again while `f` runs.
fn interrupted<R>(f: impl FnOnce() -> R) -> R {
    let thread = this_thread();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let interrupter = std::thread::spawn(move || {
        let pause = Duration::from_micros(200);
        while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
            thread.interrupt();
        }
    });
    // The other thread has begun, however late it was started.
    while handled() == 0 {
        std::thread::yield_now();
    }
    let result = f();
    drop(stop);
    interrupter.join().expect("no panic");
    result
}

fn interrupted_wait_goes_on_to_its_end(factory: &Factory) {
    let queue = factory.queue();
    interrupted(|| {
        for _ in 0..5 {
            let (before, timeout) = (Instant::now(), Duration::from_millis(10));
            let batch = queue.wait(timeout).expect("not an error");
            assert!(batch.is_empty() && !batch.notified());
            assert!(before.elapsed() >= timeout);
        }
        let timer = queue.submit(op::Timer::after(Duration::from_millis(10)));
        let timer = timer.expect("room");
        let mut batch = queue.wait(None).expect("not an error");
        let completion = batch.next().expect("a wait for ever brings something");
        let due = completion.take(timer).expect("it");
        due.into_result().expect("due");
        let notifier = queue.notifier();
        let later = std::thread::spawn(move || notifier.notify());
        assert!(queue.wait(None).expect("not an error").notified());
        later.join().expect("no panic");
    });
}

fn interrupted_operations_have_their_true_results(factory: &Factory) {
    use std::io::{Read, Write};
    const LEN: usize = 8 << 20;
    let queue = factory.queue();
    let (socket, mut peer) = pair(&queue);
    let echo = std::thread::spawn(move || {
        let mut bytes = vec![0; LEN];
        peer.read_exact(&mut bytes)
            .and_then(|()| peer.write_all(&bytes))
    });
    let dir = Dir::new();
    std::fs::write(dir.0.join("file"), vec![4; LEN]).expect("written");
    let file = std::fs::File::open(dir.0.join("file")).expect("there");
    let file = queue.attach(file).expect("a file");
    interrupted(|| {
        let send = op::Send::new(&socket, vec![6u8; LEN]).all();
        let send = queue.submit(send).expect("room");
        assert_eq!(finish(&queue, send).0.into_result().expect("sent"), LEN);
        let mut got = 0;
        while got < LEN {
            let recv = op::Recv::new(&socket, vec![0; 1 << 16]);
            let recv = queue.submit(recv).expect("room");
            let (outcome, buf) = finish(&queue, recv);
            got += outcome.into_result().expect("received");
            assert!(buf.iter().all(|&byte| byte == 6));
        }
        for _ in 0..20 {
            let read = op::ReadAt::new(&file, vec![0; LEN], 0);
            let read = queue.submit(read).expect("room");
            let (outcome, buf) = finish(&queue, read);
            assert_eq!(outcome.into_result().expect("read"), LEN);
            assert!(buf.iter().all(|&byte| byte == 4));
        }
    });
    echo.join().expect("no panic").expect("echoed");
}

fn is_broken<T: std::fmt::Debug>(outcome: Outcome<T>) {
    let error = outcome.into_result().expect_err("nobody is there");
    let expected = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(expected.contains(&error.kind()), "{error}");
}

/// A stream whose peer is gone for good.
fn broken(queue: &Queue) -> wharf_queue::Handle {
    let (stream, peer) = stream_pair();
    drop(peer);
    queue.attach(stream).expect("a socket")
}

fn broken_connection_is_an_error_and_no_signal(factory: &Factory) {
    let_broken_pipes_kill();
    let queue = factory.queue();
    let send = op::Send::new(&broken(&queue), vec![1; 64]);
    let send = queue.submit(send).expect("room");
    is_broken(finish(&queue, send).0);
    let send = op::SendVectored::new(&broken(&queue), [vec![1; 64]]).all();
    let send = queue.submit(send).expect("room");
    is_broken(finish(&queue, send).0);
    let (stream, peer) = datagram_pair();
    drop(peer);
    let stream = queue.attach(stream).expect("a socket");
    let send = queue.submit(op::Send::new(&stream, vec![1; 64]));
    let error = finish(&queue, send.expect("room")).0.into_result();
    error.expect_err("nobody is there");
    let dir = Dir::new();
    std::fs::write(dir.0.join("file"), [1; 4096]).expect("written");
    let file = std::fs::File::open(dir.0.join("file")).expect("there");
    let file = queue.attach(file).expect("a file");
    let send = op::SendFile::new(&broken(&queue), &file, 0, 4096);
    let send = queue.submit(send).expect("room");
    is_broken(finish(&queue, send));
    // A send that waits while the peer goes.
    let (stream, peer) = stream_pair();
    let stream = queue.attach(stream).expect("a socket");
    let send = op::Send::new(&stream, vec![1; 4 << 20]).all();
    let send = queue.submit(send).expect("room");
    look(&queue);
    drop(peer);
    is_broken(finish(&queue, send).0);
    let (reader, writer) = pipe();
    std::io::Write::write_all(&mut std::fs::File::from(writer), &[1; 64]).expect("open");
    let reader = queue.attach(reader).expect("a pipe");
    let splice = op::Splice::new(&reader, &broken(&queue), 64);
    let splice = queue.submit(splice).expect("room");
    is_broken(finish(&queue, splice));
    let (reader, writer) = pipe();
    drop(reader);
    let writer = queue.attach(writer).expect("a pipe");
    let write = queue.submit(op::Write::new(&writer, vec![1; 64]));
    is_broken(finish(&queue, write.expect("room")).0);
    let splice = op::Splice::new(&file, &writer, 64).from_offset(0);
    let splice = queue.submit(splice).expect("room");
    is_broken(finish(&queue, splice));
}
