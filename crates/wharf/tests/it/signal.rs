//! Signals: many listeners, many runtimes, nothing lost between polls.

use std::future::pending;
use std::io::ErrorKind;
use std::process::Command;

use futures_lite::StreamExt;
use wharf::io::AsyncBufReadExt;
use wharf::process::Stdio;
use wharf::signal::{Signal, SignalKind, ctrl_c, signal};
use wharf::task::yield_now;
use wharf_conformance::program::{press_ctrl_c, set_apart};

use crate::fs::poll_once;
use crate::{backends, on_each_backend};

/// Sends a signal to this process, and returns when it is sent.
async fn send(kind: SignalKind) {
    let sent = wharf::process::Command::new("kill")
        .arg(format!("-{}", kind.as_raw()))
        .arg(std::process::id().to_string())
        .status();
    assert!(sent.await.unwrap().success());
}

#[test]
#[cfg_attr(windows, ignore = "there are no signals for a program's own use here")]
fn signal_is_heard_by_every_listener_also_between_polls() {
    on_each_backend(2, async || {
        let kind = SignalKind::user_defined1();
        let mut early = signal(kind).unwrap();
        let mut polled = signal(kind).unwrap();
        let mut there = signal(kind).unwrap();
        assert!(poll_once(polled.recv()).await.is_none());
        let other = wharf::spawn_on(1, move || async move { there.recv().await });
        send(kind).await;
        assert_eq!(polled.recv().await, Some(()));
        assert_eq!(early.next().await, Some(()));
        assert_eq!(other.await.unwrap(), Some(()));
        // One that is made afterwards hears of the next only.
        let mut late = signal(kind).unwrap();
        assert!(poll_once(late.recv()).await.is_none());
        drop(early);
        send(kind).await;
        assert_eq!(late.recv().await, Some(()));
        assert_eq!(polled.recv().await, Some(()));
    });
}

#[test]
#[cfg_attr(windows, ignore = "there are no signals for a program's own use here")]
fn signals_that_nobody_takes_are_one() {
    on_each_backend(1, async || {
        let kind = SignalKind::window_change();
        let mut listener = signal(kind).unwrap();
        for _ in 0..20 {
            send(kind).await;
        }
        assert_eq!(listener.recv().await, Some(()));
        let mut more = 0;
        while poll_once(listener.recv()).await.is_some() {
            more += 1;
            yield_now().await;
        }
        assert!(more < 20);
        for _ in 0..20 {
            let _early = poll_once(listener.recv()).await;
            send(kind).await;
            assert_eq!(listener.recv().await, Some(()));
        }
    });
}

#[test]
#[cfg_attr(windows, ignore = "there are no signals for a program's own use here")]
fn listener_works_in_whichever_runtime_polls_it() {
    let kind = SignalKind::user_defined2();
    let mut listener: Signal = signal(kind).expect("no runtime is needed");
    for backend in backends() {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let mut listener = signal(kind).unwrap();
                let builder = wharf::Runtime::builder().backend(backend);
                std::thread::spawn(move || {
                    let runtime = builder.build().unwrap();
                    runtime.block_on(listener.recv())
                })
            })
            .collect();
        let runtime = wharf::Runtime::builder().backend(backend).build().unwrap();
        runtime.block_on(async {
            assert!(poll_once(listener.recv()).await.is_none());
            send(kind).await;
            assert_eq!(listener.recv().await, Some(()));
        });
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Some(()));
        }
    }
}

#[test]
fn signal_that_cannot_be_caught_is_refused() {
    // Where there are no signals, none of these means anything.
    let expected = if cfg!(unix) {
        ErrorKind::InvalidInput
    } else {
        ErrorKind::Unsupported
    };
    for number in [-1, 0, 4, 8, 9, 11, 19] {
        let error = signal(SignalKind::from_raw(number)).unwrap_err();
        assert_eq!(error.kind(), expected, "{number}");
    }
    assert!(signal(SignalKind::from_raw(5000)).is_err());
    assert!(signal(SignalKind::from_raw(i32::MAX)).is_err());
}

/// Runs in a process of its own: see the test below.
#[test]
fn child_process_that_waits_for_ctrl_c() {
    if std::env::var_os("WHARF_TEST_CTRL_C").is_none() {
        return;
    }
    let runtime = wharf::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut waiting = std::pin::pin!(ctrl_c());
        assert!(poll_once(waiting.as_mut()).await.is_none());
        drop(wharf::spawn(pending::<()>()));
        println!("waiting");
        waiting.await.unwrap();
        // It does not end the process the second time either.
        let again = ctrl_c();
        println!("again");
        again.await.unwrap();
        println!("good bye");
    });
}

#[test]
fn ctrl_c_is_waited_for_instead_of_ending_the_process() {
    on_each_backend(1, async || {
        let mut command = Command::new(std::env::current_exe().expect("this is one"));
        command
            .args(["--exact", "--nocapture"])
            .arg("signal::child_process_that_waits_for_ctrl_c")
            .env("WHARF_TEST_CTRL_C", "1")
            .env("WHARF_BACKEND", wharf::runtime::backend().name())
            .stdout(Stdio::piped());
        set_apart(&mut command);
        let mut child = wharf::process::Command::from(command).spawn().unwrap();
        let id = child.id().unwrap();
        let mut lines = wharf::io::BufReader::new(child.stdout.take().unwrap()).lines();
        for word in ["waiting", "again"] {
            // On a machine with one processor the test's name stands before it on the line.
            while !lines.next().await.unwrap().unwrap().ends_with(word) {}
            let send = move || press_ctrl_c(id, &["--exact", "child::child_process_of_the_suite"]);
            wharf::spawn_blocking(send).await.unwrap();
        }
        while lines.next().await.unwrap().unwrap() != "good bye" {}
        while lines.next().await.is_some() {}
        assert!(child.wait().await.unwrap().success());
    });
}
