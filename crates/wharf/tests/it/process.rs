//! Child processes: their pipes, the wait for their end, and that no zombie is left.

use std::io::ErrorKind;
use std::time::Duration;

use futures_lite::future::zip;
use wharf::process::{Child, Command, Stdio};
use wharf::task::yield_now;

use crate::child::{HEADING, child, own_words, silent, skip_heading, sleeper};
use crate::fs::poll_once;
use crate::{backends, host, on_each_backend};

/// Waits until the system has forgotten a process: it has ended and is no zombie.
async fn gone(process: u32) {
    while host::is_there(process) {
        wharf::time::sleep(Duration::from_millis(1)).await;
    }
}

fn id_of(child: &Child) -> u32 {
    child.id().expect("it was not waited for")
}

#[test]
fn futures_and_handles_are_send() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    on_each_backend(1, async || {
        is_send(is_send(silent("exit 0")).status()).await.unwrap();
        is_send(child("exit 0").output()).await.unwrap();
        let mut child = is_send(silent("copy").stdin(Stdio::piped()).spawn().unwrap());
        let mut stdin = is_send(child.stdin.take().unwrap());
        is_send(stdin.write_all(b"")).await.unwrap();
        drop(stdin);
        is_send(child.wait()).await.unwrap();
        is_send(child.kill()).await.unwrap();
        is_send(child.wait_with_output()).await.unwrap();
    });
}

#[test]
fn output_and_status_are_those_of_the_child() {
    on_each_backend(1, async || {
        let dir = tempfile::tempdir().unwrap();
        let mut command = child("report 7");
        command.env("WORD", "hello").current_dir(dir.path());
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(own_words(&output.stdout)).into_owned();
        let (place, word) = said.trim_end().split_once('\n').expect("two lines");
        assert_eq!(word, "hello");
        let place = std::fs::canonicalize(place).expect("it is there");
        assert_eq!(place, dir.path().canonicalize().unwrap());
        assert_eq!(output.stderr, b"oops\n");
        assert_eq!(output.status.code(), Some(7));
        let status = silent("exit 3").status().await.unwrap();
        assert_eq!(status.code(), Some(3));
        let missing = Command::new("/no/such/program").spawn().unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let missing = Command::new("/no/such/program").output().await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    });
}

#[test]
#[cfg_attr(windows, ignore = "whether a file may be run is no permission here")]
fn file_that_may_not_be_run_is_refused() {
    on_each_backend(1, async || {
        let file = tempfile::NamedTempFile::new().unwrap();
        let denied = Command::new(file.path()).status().await.unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    });
}

#[test]
fn megabytes_go_through_a_child_both_ways_at_once() {
    on_each_backend(1, async || {
        let mut command = child("copy");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let writing = async {
            stdin.write_all(&data).await.unwrap();
            stdin.close().await.unwrap();
        };
        let ((), output) = zip(writing, child.wait_with_output()).await;
        let output = output.unwrap();
        assert!(output.status.success());
        assert!(own_words(&output.stdout) == data);
    });
}

#[test]
fn pipe_may_be_closed_by_its_trait_and_is_closed_when_it_is_dropped() {
    on_each_backend(1, async || {
        for drops in [false, true] {
            let mut command = child("copy done");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(b"before the end, ").await.unwrap();
            if drops {
                drop(stdin);
            } else {
                use futures_lite::AsyncWriteExt;
                AsyncWriteExt::close(&mut stdin).await.unwrap();
                let closed = stdin.write(b"x").await.unwrap_err();
                assert_eq!(closed.kind(), ErrorKind::BrokenPipe);
            }
            let output = child.wait_with_output().await.unwrap();
            assert_eq!(own_words(&output.stdout), b"before the end, done");
        }
    });
}

#[test]
fn write_to_a_child_that_does_not_read_is_a_broken_pipe() {
    on_each_backend(1, async || {
        let mut child = silent("exit 0").stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        assert!(child.wait().await.unwrap().success());
        // A process that another test is starting just now may hold the other end for a moment.
        let error = loop {
            stdin.write_all(b"anybody?").await.unwrap();
            match stdin.flush().await {
                Ok(()) => wharf::time::sleep(Duration::from_millis(1)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn dropped_wait_loses_nothing() {
    const ROUNDS: usize = if cfg!(unix) { 50 } else { 15 };
    on_each_backend(2, async || {
        let mut command = silent("line 5");
        command.stdin(Stdio::piped());
        for round in 0..ROUNDS {
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            assert!(poll_once(child.wait()).await.is_none());
            assert_eq!(child.try_wait().unwrap(), None);
            stdin.write_all(b"go\n").await.unwrap();
            for _ in 0..round % 5 {
                let _early = poll_once(child.wait()).await;
                yield_now().await;
            }
            if round % 7 == 0 {
                let there =
                    wharf::spawn_on(
                        1,
                        move || async move { (child.wait().await.unwrap(), child) },
                    );
                let (status, back) = there.await.unwrap();
                assert_eq!(status.code(), Some(5));
                child = back;
            }
            assert_eq!(child.wait().await.unwrap().code(), Some(5));
            assert_eq!(child.wait().await.unwrap().code(), Some(5));
            assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(5));
            assert_eq!(child.id(), None);
        }
    });
}

#[test]
fn child_is_killed_while_it_is_waited_for() {
    on_each_backend(1, async || {
        let mut child = sleeper().spawn().unwrap();
        assert!(poll_once(child.wait()).await.is_none());
        child.start_kill().unwrap();
        assert!(!child.wait().await.unwrap().success());
        child.kill().await.unwrap();
        let mut child = sleeper().spawn().unwrap();
        child.kill().await.unwrap();
        assert!(!child.try_wait().unwrap().unwrap().success());
    });
}

#[test]
fn dropped_child_leaves_no_zombie() {
    on_each_backend(2, async || {
        // One that goes on, one that is killed, one that has ended, one on another worker.
        let mut goes_on = silent("line 0").stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = goes_on.stdin.take().unwrap();
        let id = id_of(&goes_on);
        assert!(poll_once(goes_on.wait()).await.is_none());
        drop(goes_on);
        yield_now().await;
        assert!(host::is_there(id));
        stdin.write_all(b"go\n").await.unwrap();
        gone(id).await;

        let killed = sleeper().kill_on_drop(true).spawn().unwrap();
        let id = id_of(&killed);
        drop(killed);
        gone(id).await;

        let ended = silent("exit 0").spawn().unwrap();
        let id = id_of(&ended);
        drop(ended);
        gone(id).await;

        let moved = sleeper().kill_on_drop(true).spawn().unwrap();
        let id = id_of(&moved);
        drop(wharf::spawn_on(1, move || async move { drop(moved) }));
        gone(id).await;

        let mut command = sleeper();
        command.kill_on_drop(true);
        let _early = poll_once(command.status()).await;
    });
}

#[test]
fn child_that_outlives_its_runtime_leaves_no_zombie() {
    for backend in backends() {
        let runtime = wharf::Runtime::builder().backend(backend).build().unwrap();
        let (ids, mut stdins, kept) = runtime.block_on(async {
            let mut ids = Vec::new();
            let mut stdins = Vec::new();
            for _ in 0..10 {
                let mut child = silent("line 0").stdin(Stdio::piped()).spawn().unwrap();
                stdins.push(child.stdin.take().unwrap());
                ids.push(id_of(&child));
                drop(wharf::spawn(async move { child.wait().await }));
            }
            yield_now().await;
            let killed = sleeper().kill_on_drop(true).spawn().unwrap();
            ids.push(id_of(&killed));
            drop(wharf::spawn(async move {
                std::future::pending::<()>().await;
                drop(killed);
            }));
            let mut kept = silent("line 9");
            let mut kept = kept.stdin(Stdio::piped()).spawn().unwrap();
            let stdin = kept.stdin.take();
            assert!(poll_once(kept.wait()).await.is_none());
            kept.stdin = stdin;
            (ids, stdins, kept)
        });
        drop(runtime);
        assert!(
            !host::runs(ids[10]),
            "the end of the runtime waits for one that is killed"
        );
        let runtime = wharf::Runtime::builder().backend(backend).build().unwrap();
        runtime.block_on(async {
            for stdin in &mut stdins {
                stdin.write_all(b"go\n").await.unwrap();
                stdin.flush().await.unwrap();
            }
            for id in ids {
                gone(id).await;
            }
            // One whose wait was in flight is waited for anew.
            let mut kept = kept;
            let status = match kept.wait().await {
                Ok(status) => status,
                Err(_) => kept.wait().await.unwrap(),
            };
            assert_eq!(status.code(), Some(9), "its input was closed");
        });
    }
}

#[test]
fn many_processes_are_spawned_and_awaited() {
    // What is many depends on what a process costs.
    const ROUNDS: usize = if cfg!(unix) { 10 } else { 1 };
    const AT_ONCE: usize = if cfg!(unix) { 100 } else { 30 };
    on_each_backend(1, async || {
        for _ in 0..ROUNDS {
            let tasks: Vec<_> = (0..AT_ONCE)
                .map(|n| {
                    let mut command = silent(if n % 3 == 0 { "exit 1" } else { "exit 0" });
                    wharf::spawn(async move { (n, command.status().await.unwrap()) })
                })
                .collect();
            for task in tasks {
                let (n, status) = task.await.unwrap();
                assert_eq!(status.success(), n % 3 != 0);
            }
        }
    });
}

#[test]
fn dropped_read_of_a_childs_output_leaves_its_bytes_to_the_next() {
    on_each_backend(1, async || {
        let mut command = child("copy");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        skip_heading(&mut stdout).await;
        for round in 0..300u32 {
            let mut buf = [0; 4];
            assert!(poll_once(stdout.read(&mut buf)).await.is_none());
            stdin.write_all(&round.to_ne_bytes()).await.unwrap();
            let mut got = 0;
            for _ in 0..round % 4 {
                // Each of these is dropped as soon as it waits.
                if let Some(read) = poll_once(stdout.read(&mut buf[got..=got])).await {
                    got += read.unwrap();
                }
                yield_now().await;
            }
            stdout.read_exact(&mut buf[got..]).await.unwrap();
            assert_eq!(u32::from_ne_bytes(buf), round);
        }
        drop(stdin);
        assert_eq!(stdout.read(&mut [0; 1]).await.unwrap(), 0);
        child.wait().await.unwrap();
    });
}

#[test]
fn unused_pipe_is_passed_on_to_another_child() {
    on_each_backend(1, async || {
        let mut first = child("say one\ntwo\n")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let between = first.stdout.take().unwrap().into_stdio().unwrap();
        let mut second = child("copy");
        let output = second.stdin(between).output().await.unwrap();
        assert_eq!(own_words(&output.stdout), [HEADING, b"one\ntwo\n"].concat());
        assert!(first.wait().await.unwrap().success());
        let mut used = silent("copy").stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = used.stdin.take().unwrap();
        stdin.write_all(b"x").await.unwrap();
        let stdin = stdin.into_stdio().unwrap_err();
        drop(stdin);
        used.wait().await.unwrap();
    });
}

#[test]
fn child_and_its_pipes_work_on_another_worker() {
    on_each_backend(2, async || {
        let mut command = child("copy");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        skip_heading(&mut stdout).await;
        let mut buf = [0; 5];
        stdin.write_all(b"first").await.unwrap();
        stdout.read_exact(&mut buf).await.unwrap();
        assert!(poll_once(stdout.read(&mut buf)).await.is_none());
        assert!(poll_once(child.wait()).await.is_none());
        let there = wharf::spawn_on(1, move || async move {
            stdin.write_all(b"again").await.unwrap();
            stdout.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"again");
            stdin.close().await.unwrap();
            assert_eq!(stdout.read(&mut buf).await.unwrap(), 0);
            child.wait().await.unwrap()
        });
        assert!(there.await.unwrap().success());
    });
}
