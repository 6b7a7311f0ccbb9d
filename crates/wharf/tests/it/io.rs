//! Buffers and lines over everything, foreign descriptors, the standard streams.

use std::io::{ErrorKind, Read, Write};

use futures_lite::{StreamExt, future};
use wharf::fs::{self, File};
use wharf::io::{
    AsyncBufReadExt, AsyncFd, AsyncWriteExt, BufReader, BufWriter, Interest, copy_buf,
};
use wharf::process::{Child, Command, Stdio};
use wharf::task::yield_now;

use crate::child::{child, skip_heading};
use crate::fs::{dir, poll_once};
use crate::{backends, on_each_backend};

/// Two ends of a stream.
#[cfg(unix)]
fn plain_pair() -> (
    std::os::unix::net::UnixStream,
    std::os::unix::net::UnixStream,
) {
    std::os::unix::net::UnixStream::pair().unwrap()
}

/// Two ends of a stream.
#[cfg(not(unix))]
fn plain_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let here = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (here, listener.accept().unwrap().0)
}

#[test]
fn lines_and_pieces_are_read_from_a_file() {
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        let file = File::create(&path).await.unwrap();
        let mut writer = BufWriter::new(file);
        for n in 0..10_000 {
            writer
                .write_all(format!("line {n}\n").as_bytes())
                .await
                .unwrap();
        }
        writer.write_all(b"last").await.unwrap();
        writer.flush().await.unwrap();
        let file = File::open(&path).await.unwrap();
        let lines: Vec<String> = BufReader::new(file).lines().try_collect().await.unwrap();
        assert_eq!(lines.len(), 10_001);
        assert_eq!(
            (&lines[9_999][..], &lines[10_000][..]),
            ("line 9999", "last")
        );
        let file = File::open(&path).await.unwrap();
        let pieces = BufReader::new(file).split(b' ');
        assert_eq!(pieces.count().await, 10_001);
        let mut reader = BufReader::new(File::open(&path).await.unwrap());
        let mut until = Vec::new();
        assert_eq!(reader.read_until(b'1', &mut until).await.unwrap(), 13);
        assert_eq!(until, b"line 0\nline 1");
    });
}

#[test]
fn dropped_line_is_whole_the_next_time() {
    on_each_backend(1, async || {
        let mut command = child("copy");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        skip_heading(&mut stdout).await;
        let mut lines = BufReader::new(stdout).lines();
        for _ in 0..100 {
            for part in ["one ", "two ", "three\n"] {
                assert!(poll_once(lines.next()).await.is_none());
                stdin.write_all(part.as_bytes()).await.unwrap();
                stdin.flush().await.unwrap();
                yield_now().await;
            }
            assert_eq!(lines.next().await.unwrap().unwrap(), "one two three");
        }
    });
}

#[test]
fn copy_of_a_buffer_leaves_to_the_reader_what_was_not_written() {
    on_each_backend(1, async || {
        let dir = dir();
        let data: Vec<u8> = (0..200_000u32).map(|n| (n % 253) as u8).collect();
        fs::write(dir.path().join("from"), &data).await.unwrap();
        let mut reader = BufReader::new(File::open(dir.path().join("from")).await.unwrap());
        let mut writer = File::create(dir.path().join("to")).await.unwrap();
        for _ in 0..20 {
            if poll_once(copy_buf(&mut reader, &mut writer))
                .await
                .is_some()
            {
                break;
            }
            yield_now().await;
        }
        copy_buf(&mut reader, &mut writer).await.unwrap();
        assert!(fs::read(dir.path().join("to")).await.unwrap() == data);
        let mut room = [0; 4];
        let mut full = futures_lite::io::Cursor::new(&mut room[..]);
        let copied = copy_buf(&mut &b"too much"[..], &mut full).await;
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::WriteZero);
        assert_eq!(&room, b"too ");
    });
}

#[test]
fn foreign_descriptor_is_waited_for_and_stays_its_owners() {
    on_each_backend(2, async || {
        let (here, mut there) = plain_pair();
        let mut here = AsyncFd::new(here).unwrap();
        here.writable().await.unwrap();
        assert!(here.ready(Interest::Both).await.unwrap().is_writable());
        for round in 0..100u8 {
            assert!(poll_once(here.readable()).await.is_none());
            there.write_all(&[round]).unwrap();
            here.readable().await.unwrap();
            // It is ready until it has been read.
            here.readable().await.unwrap();
            let mut buf = [0; 8];
            let read = here.try_io(Interest::Readable, |mut stream| stream.read(&mut buf));
            assert_eq!((read.await.unwrap(), buf[0]), (1, round));
        }
        // Both directions at once, on another worker, and with a wait that began here.
        assert!(
            poll_once(std::future::poll_fn(|cx| here.poll_readable(cx)))
                .await
                .is_none()
        );
        let elsewhere = wharf::spawn_on(1, move || async move {
            let written = here.try_io(Interest::Writable, |mut stream| stream.write(b"x"));
            assert_eq!(written.await.unwrap(), 1);
            std::future::poll_fn(|cx| here.poll_readable(cx))
                .await
                .unwrap();
            here.readable().await.unwrap();
            here
        });
        let mut buf = [0; 1];
        there.read_exact(&mut buf).unwrap();
        there.write_all(b"y").unwrap();
        let here = elsewhere.await.unwrap();
        let stream = here.into_inner();
        assert_eq!((&stream).read(&mut buf).unwrap(), 1);
        // The second descriptor is closed: the peer finds the end.
        drop(stream);
        let ended = wharf::spawn_blocking(move || there.read(&mut [0; 1]).unwrap());
        assert_eq!(ended.await.unwrap(), 0);
    });
}

#[test]
fn full_descriptor_becomes_writable_when_it_is_emptied() {
    on_each_backend(1, async || {
        let (here, mut there) = plain_pair();
        let mut here = AsyncFd::new(here).unwrap();
        let mut sent = 0;
        while let Ok(count) = here.get_ref().write(&[7; 10_000]) {
            sent += count;
        }
        assert!(poll_once(here.writable()).await.is_none());
        let waiting = std::future::poll_fn(|cx| here.poll_writable(cx));
        let emptying = wharf::spawn_blocking(move || {
            let mut buf = vec![0; sent];
            there.read_exact(&mut buf).unwrap();
            there
        });
        let (ready, there) = future::zip(waiting, emptying).await;
        ready.unwrap();
        drop(there);
        let readiness = here.ready(Interest::Readable).await.unwrap();
        assert!(readiness.is_readable());
    });
}

#[test]
fn file_cannot_be_waited_for() {
    on_each_backend(1, async || {
        let error = AsyncFd::new(tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// Runs in a process of its own, whose standard streams are pipes: see the tests below.
#[test]
fn child_process_that_uses_the_standard_streams() {
    let Some(what) = std::env::var_os("WHARF_TEST_STREAMS") else {
        return;
    };
    let runtime = wharf::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut stdin = wharf::io::stdin();
        let mut stdout = wharf::io::stdout();
        match what.to_str().expect("text") {
            "lines" => {
                let mut line = String::new();
                // These are dropped, and lose nothing.
                for _ in 0..10 {
                    assert!(poll_once(stdin.read_line(&mut line)).await.is_none());
                    yield_now().await;
                }
                stdout.write_all(b"ready\n").await.unwrap();
                stdin.read_line(&mut line).await.unwrap();
                let mut rest = String::new();
                let mut lines = wharf::io::stdin().lines();
                while let Some(line) = lines.next_line().await.unwrap() {
                    rest = rest + &line + "/";
                }
                let text = format!("{line:?} {rest}\n");
                stdout.write_all(text.as_bytes()).await.unwrap();
            }
            "copy" => {
                let copied = wharf::io::copy(&mut stdin, &mut stdout).await.unwrap();
                let mut stderr = wharf::io::stderr();
                stderr
                    .write_all(format!("{copied} bytes").as_bytes())
                    .await
                    .unwrap();
                // Neither is flushed: the end of the runtime does that.
            }
            _ => {
                // Somebody who never writes does not keep this from ending.
                assert!(poll_once(stdin.read(&mut [0; 1])).await.is_none());
            }
        }
    });
    drop(runtime);
    // The test harness has more to say than the test.
    std::process::exit(0);
}

fn with_streams(what: &str) -> Child {
    Command::new(std::env::current_exe().expect("this is one"))
        .args(["--exact", "--nocapture", "--quiet"])
        .arg("io::child_process_that_uses_the_standard_streams")
        .env("WHARF_TEST_STREAMS", what)
        .env("WHARF_BACKEND", wharf::runtime::backend().name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this very program")
}

#[test]
fn standard_input_is_read_in_lines_and_loses_nothing() {
    on_each_backend(1, async || {
        let mut child = with_streams("lines");
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while lines.next().await.unwrap().unwrap() != "ready" {}
        for part in ["fir", "st\nsecond\n", "thi", "rd\r\n\nlast"] {
            stdin.write_all(part.as_bytes()).await.unwrap();
            stdin.flush().await.unwrap();
            yield_now().await;
        }
        stdin.close().await.unwrap();
        let line = lines.next().await.unwrap().unwrap();
        // An empty line is not the end.
        assert_eq!(line, "\"first\\n\" second/third//last/");
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn megabytes_go_through_the_standard_streams() {
    on_each_backend(1, async || {
        let mut child = with_streams("copy");
        let mut stdin = child.stdin.take().unwrap();
        let data = b"0123456789abcdef".repeat(200_000);
        let sent = data.clone();
        let writing = wharf::spawn(async move {
            stdin.write_all(&sent).await.unwrap();
            stdin.close().await.unwrap();
        });
        let output = child.wait_with_output().await.unwrap();
        writing.await.unwrap();
        assert!(output.status.success());
        // The harness says first that it runs a test.
        assert!(output.stdout.ends_with(&data));
        assert_eq!(output.stderr, b"3200000 bytes");
    });
}

#[test]
fn read_of_standard_input_does_not_keep_a_process_from_ending() {
    on_each_backend(1, async || {
        let mut child = with_streams("wait");
        let stdin = child.stdin.take();
        assert!(child.wait().await.unwrap().success());
        drop(stdin);
    });
    assert!(!backends().is_empty());
}
