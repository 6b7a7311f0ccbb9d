//! Parts of files, sent on streams: whole, cut short by either side, stopped, and dropped.

use std::future::{Future, pending, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as Plain;
use std::pin::pin;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use wharf::fs::{self, File, OpenOptions};
use wharf::net::{TcpListener, TcpStream, UnixStream};
use wharf::sync::channel::bounded;
use wharf::time::{sleep, timeout};

use crate::{PATIENCE, on_each_backend};

/// More than all buffers between two sockets hold.
const LONG: usize = 24 * 1024 * 1024;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 253) as u8).collect()
}

async fn file_of(dir: &tempfile::TempDir, bytes: &[u8]) -> File {
    let path = dir.path().join("file");
    fs::write(&path, bytes).await.unwrap();
    let mut options = OpenOptions::new();
    options.read(true).write(true).open(&path).await.unwrap()
}

async fn plain_pair() -> (TcpStream, Plain) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Plain::connect(listener.local_addr()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (stream, peer)
}

/// Reads to the end of the stream, on a thread.
fn read_all(mut peer: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).map(|_| received).unwrap()
    })
}

async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn part_of_a_file_is_sent_between_what_is_written() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(LONG);
        let file = file_of(&dir, &bytes).await;
        let (mut stream, peer) = plain_pair().await;
        let reader = read_all(peer);
        stream.write_all(b"before").await.unwrap();
        let sent = stream.send_file(&file, 1000, LONG as u64).await.unwrap();
        assert_eq!(sent, LONG as u64 - 1000);
        stream.write_all(b"between").await.unwrap();
        assert_eq!(stream.send_file(&file, 5, 10).await.unwrap(), 10);
        assert_eq!(stream.send_file(&file, 5, 0).await.unwrap(), 0);
        let beyond = stream.send_file(&file, LONG as u64 + 9, 10).await;
        assert_eq!(beyond.unwrap(), 0);
        // What was written to a file just before is sent as well. It is another file: the system sends
        // pages, not copies of them, and those of the first one may be on their way still.
        let path = dir.path().join("other");
        let mut other = File::create_new(path).await.unwrap();
        other.write_all(b"new beginning").await.unwrap();
        assert_eq!(stream.send_file(&other, 4, 9).await.unwrap(), 9);
        stream.close().await.unwrap();
        let parts: [&[u8]; 5] = [
            b"before",
            &bytes[1000..],
            b"between",
            &bytes[5..15],
            b"beginning",
        ];
        assert!(reader.join().unwrap() == parts.concat());
    });
}

#[test]
#[cfg_attr(windows, ignore = "Wine 8 has no Unix sockets")]
fn file_is_sent_on_unix_streams() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(300_000);
        let file = file_of(&dir, &bytes).await;
        let (one, mut other) = UnixStream::pair().unwrap();
        let sending = wharf::spawn(async move {
            let mut one = one;
            let sent = one.send_file(&file, 0, u64::MAX / 2).await;
            one.shutdown().await.map(|()| sent)
        });
        let mut received = Vec::new();
        while let Some(piece) = other.recv().await.unwrap() {
            received.extend_from_slice(&piece);
        }
        assert_eq!(sending.await.unwrap().unwrap().unwrap(), 300_000);
        assert!(received == bytes);
    });
}

#[test]
fn file_is_sent_on_a_half_and_the_other_stays() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(300_000);
        let file = file_of(&dir, &bytes).await;
        let (stream, mut peer) = plain_pair().await;
        peer.write_all(b"question").unwrap();
        let reader = read_all(peer);
        let (mut read, mut write) = stream.into_split();
        let sent = write.send_file(&file, 0, u64::MAX / 2).await;
        assert_eq!(sent.unwrap(), 300_000);
        write.shutdown().await.unwrap();
        let mut question = [0; 8];
        read.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"question");
        assert!(reader.join().unwrap() == bytes);
    });
}

#[test]
fn file_and_stream_of_different_workers_meet() {
    on_each_backend(2, async || {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(1_000_000);
        let file = file_of(&dir, &bytes).await;
        let (stream, peer) = plain_pair().await;
        let reader = read_all(peer);
        // Both are elsewhere for this task; then one of the two is.
        let moved = wharf::spawn_on(1, move || async move {
            let mut stream = stream;
            let sent = stream.send_file(&file, 100, 500_000).await?;
            let path = dir.path().join("file");
            let here = File::open(path).await?;
            let more = stream.send_file(&here, 0, u64::MAX / 2).await?;
            stream.close().await?;
            std::io::Result::Ok((sent, more))
        });
        assert_eq!(moved.await.unwrap().unwrap(), (500_000, 1_000_000));
        let parts = [&bytes[100..500_100], &bytes];
        assert!(reader.join().unwrap() == parts.concat());
    });
}

#[test]
fn file_that_shrinks_is_sent_to_the_end_it_has() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(LONG);
        let file = file_of(&dir, &bytes).await;
        let (mut stream, peer) = plain_pair().await;
        let truncating = file.set_len(50_000);
        let sending = stream.send_file(&file, 0, LONG as u64);
        let (sent, reader) = futures_lite::future::zip(sending, async {
            // Nobody reads, so it is under way and cannot be done.
            sleep(Duration::from_millis(1)).await;
            truncating.await.unwrap();
            read_all(peer)
        })
        .await;
        let sent = sent.unwrap() as usize;
        assert!((50_000..LONG).contains(&sent), "{sent}");
        stream.write_all(b"the end").await.unwrap();
        stream.close().await.unwrap();
        let received = reader.join().unwrap();
        // How much is what was said; what was cut off meanwhile may have been sent as zeros.
        assert_eq!(received.len(), sent + 7);
        assert!(received[..50_000] == bytes[..50_000]);
        assert!(received.ends_with(b"the end"));
    });
}

#[test]
fn peer_that_closes_is_an_error_and_no_signal() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let file = file_of(&dir, &pattern(LONG)).await;
        let (mut stream, mut peer) = plain_pair().await;
        let closing = std::thread::spawn(move || peer.read_exact(&mut [0; 70_000]));
        let error = stream.send_file(&file, 0, LONG as u64).await.unwrap_err();
        closing.join().unwrap().unwrap();
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
        // And the next write says so as well.
        let error = async {
            loop {
                stream.write_all(&[0; 1000]).await?;
                stream.flush().await?;
            }
        };
        let error: std::io::Result<()> = error.await;
        assert!(kinds.contains(&error.unwrap_err().kind()));
    });
}

#[test]
fn sending_that_is_stopped_says_how_much_the_peer_gets() {
    on_each_backend(2, async || {
        for worker in 0..2 {
            let dir = tempfile::tempdir().unwrap();
            let bytes = pattern(LONG);
            let file = file_of(&dir, &bytes).await;
            let (mut stream, peer) = plain_pair().await;
            let (stop, stopped) = bounded::<()>(1);
            // On the other worker it is read and written.
            let sending = wharf::spawn_on(worker, move || async move {
                let stopped = async { stopped.recv().await.unwrap() };
                let sent = stream.send_file_until(&file, 0, LONG as u64, stopped);
                let sent = sent.await?;
                stream.write_all(b"the end").await?;
                stream.close().await?;
                std::io::Result::Ok(sent as usize)
            });
            // It is under way when the peer has got something.
            let first = wharf::spawn_blocking(|| {
                let (mut peer, mut first) = (peer, vec![0; 10_000]);
                peer.read_exact(&mut first).map(|()| (peer, first))
            });
            let (peer, mut received) = first.await.unwrap().unwrap();
            stop.send(()).await.unwrap();
            let reader = read_all(peer);
            let sent = sending.await.unwrap().unwrap();
            received.extend(reader.join().unwrap());
            assert!((10_000..LONG).contains(&sent), "{sent}");
            assert_eq!(received.len(), sent + 7, "worker {worker}");
            assert!(received[..sent] == bytes[..sent]);
            assert!(received.ends_with(b"the end"));
        }
    });
}

#[test]
fn sending_that_is_stopped_before_it_began_has_sent_nothing() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let file = file_of(&dir, &pattern(1000)).await;
        let (mut stream, peer) = plain_pair().await;
        let now = std::future::ready(());
        assert_eq!(
            stream.send_file_until(&file, 0, 1000, now).await.unwrap(),
            0
        );
        // One that waits in the queue behind something that the peer does not take.
        let (one, mut other) = stream.into_split();
        // Dropped after it has begun, it is sent in the background.
        assert!(poll_once(other.write_owned(vec![1; LONG])).await.is_none());
        let (stop, stopped) = bounded::<()>(1);
        let stopped = async { stopped.recv().await.unwrap() };
        let sending = other.send_file_until(&file, 0, 1000, stopped);
        let (sent, stop) = futures_lite::future::zip(sending, stop.send(())).await;
        assert_eq!((sent.unwrap(), stop), (0, Ok(())));
        let reader = read_all(peer);
        other.shutdown().await.unwrap();
        assert_eq!(reader.join().unwrap().len(), LONG);
        drop(one);
    });
}

#[test]
fn dropped_sending_leaves_a_part_and_the_order() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(LONG);
        let file = file_of(&dir, &bytes).await;
        for millis in [0, 1, 3] {
            let (mut stream, peer) = plain_pair().await;
            let sending = stream.send_file(&file, 0, LONG as u64);
            assert!(
                timeout(Duration::from_millis(millis), sending)
                    .await
                    .is_err()
            );
            let reader = read_all(peer);
            stream.write_all(b"the end").await.unwrap();
            stream.close().await.unwrap();
            let received = reader.join().unwrap();
            let part = received.strip_suffix(b"the end").expect("in order");
            assert!(part.len() < LONG && *part == bytes[..part.len()]);
        }
    });
}

#[test]
fn stream_or_runtime_that_is_dropped_while_a_file_is_sent_ends_it() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let file = file_of(&dir, &pattern(LONG)).await;
        let (mut stream, peer) = plain_pair().await;
        assert!(
            poll_once(stream.send_file(&file, 0, LONG as u64))
                .await
                .is_none()
        );
        drop((stream, file));
        let received = wharf::spawn_blocking(|| read_all(peer).join().unwrap());
        assert!(received.await.unwrap().len() < LONG);
    });
    for backend in crate::backends() {
        let builder = wharf::Runtime::builder().backend(backend);
        let runtime = builder.linger(Duration::from_millis(20)).build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let peer = runtime.block_on(async {
            let file = file_of(&dir, &pattern(LONG)).await;
            let (mut stream, peer) = plain_pair().await;
            wharf::spawn(async move { stream.send_file(&file, 0, LONG as u64).await });
            sleep(Duration::from_millis(1)).await;
            peer
        });
        drop(runtime);
        assert!(read_all(peer).join().unwrap().len() < LONG, "{backend}");
    }
}

#[test]
fn extreme_arguments_are_errors() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let file = file_of(&dir, b"short").await;
        let (mut stream, _peer) = plain_pair().await;
        for offset in [u64::MAX, i64::MAX as u64 + 1] {
            let error = stream.send_file(&file, offset, 1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        let all = stream.send_file_until(&file, 0, u64::MAX, pending()).await;
        assert_eq!(all.unwrap(), 5);
        // Whether the last offset there can be is one, systems do not agree on.
        let last = stream.send_file(&file, i64::MAX as u64, u64::MAX).await;
        let error = last.err().map(|error| error.kind());
        assert!(
            matches!(error, None | Some(ErrorKind::InvalidInput)),
            "{error:?}"
        );
        assert_eq!(stream.send_file(&file, 1, 3).await.unwrap(), 3);
    });
}
