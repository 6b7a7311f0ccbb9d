//! Children, signals, and standard input.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::pin::pin;
use std::process::Stdio;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use wharf::io::{Stdin, StdinLines, stdin};
use wharf::process::{Child, Command};
use wharf::signal::{Signal, SignalKind, signal};

use crate::fixture::pipe::{become_input, pipe};
use crate::fixture::signal::{exists, send_to_process};
use crate::handles::kinds::{Bytes, Kind};
use crate::handles::{After, BoxFuture, Fate, PATIENCE, Scene};

/// Waits on this thread for what others bring about.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// Children that are waited for in the order in which they were started. Each ends when it is told
/// with which status.
struct Children {
    children: VecDeque<(Child, i32)>,
    /// The ways to tell those that were not told.
    untold: VecDeque<(File, i32)>,
    next: i32,
    outstanding: usize,
}

impl Children {
    fn scene() -> Box<dyn Scene> {
        Box::new(Children {
            children: VecDeque::new(),
            untold: VecDeque::new(),
            next: 0,
            outstanding: 0,
        })
    }

    fn start(&mut self) {
        let (reader, writer) = pipe();
        let mut command = Command::new("sh");
        command.args(["-c", "read status; exit $status"]);
        let child = command.stdin(Stdio::from(reader)).spawn().expect("sh");
        let status = self.next % 200;
        self.children.push_back((child, status));
        self.untold.push_back((File::from(writer), status));
        self.next += 1;
    }
}

impl Scene for Children {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        if self.children.is_empty() {
            self.start();
        }
        Box::pin(async {
            let (child, expected) = self.children.front_mut().expect("one was started");
            let status = child.wait().await?;
            assert_eq!(status.code(), Some(*expected));
            self.children.pop_front();
            self.outstanding = self.outstanding.checked_sub(1).expect("one was told");
            Ok(())
        })
    }

    fn bring(&mut self) {
        if self.untold.is_empty() {
            self.start();
        }
        let (mut writer, status) = self.untold.pop_front().expect("one was started");
        writeln!(writer, "{status}").expect("it listens");
        self.outstanding += 1;
    }

    fn is_outstanding(&self) -> bool {
        self.outstanding > 0
    }

    fn rounds(&self, many: usize) -> usize {
        many / 10
    }

    /// A child whose handle is dropped goes on, and is waited for when it ends.
    fn close(self: Box<Self>) -> After {
        let ids: Vec<u32> = self
            .children
            .iter()
            .filter_map(|(child, _)| child.id())
            .collect();
        drop(self.children);
        // Until it has ended, the worker waits for it.
        for (mut writer, status) in self.untold {
            writeln!(writer, "{status}").expect("it goes on, and listens");
        }
        Box::new(move || {
            for id in ids {
                until("a child is not waited for", || !exists(id));
            }
        })
    }
}

/// A listener for a signal that somebody else listens for as well.
struct Signalled {
    signal: Signal,
    twin: Signal,
    is_outstanding: bool,
}

impl Signalled {
    fn scene() -> Box<dyn Scene> {
        let listen = || signal(SignalKind::user_defined1()).expect("it can be caught");
        Box::new(Signalled {
            signal: listen(),
            twin: listen(),
            is_outstanding: false,
        })
    }
}

impl Scene for Signalled {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            self.signal.recv().await.expect("it never ends");
            assert!(self.is_outstanding, "it was not sent");
            self.is_outstanding = false;
            Ok(())
        })
    }

    fn bring(&mut self) {
        // The system may make one of several, so that no second one is sent before the first is got.
        if !self.is_outstanding {
            self.is_outstanding = true;
            send_to_process(SignalKind::user_defined1().as_raw());
        }
    }

    fn is_outstanding(&self) -> bool {
        self.is_outstanding
    }

    fn fate(&self) -> Fate {
        Fate::GoesOn
    }

    fn close(self: Box<Self>) -> After {
        let mut twin = self.twin;
        drop(self.signal);
        Box::new(move || {
            let mut cx = Context::from_waker(Waker::noop());
            // What it has not been asked for so far; then what comes now.
            let _earlier = twin.poll_recv(&mut cx);
            send_to_process(SignalKind::user_defined1().as_raw());
            until("the other listener hears nothing", || {
                twin.poll_recv(&mut cx).is_ready()
            });
        })
    }
}

/// A pipe takes the place of standard input, once for the process; this is its other end.
fn input() -> File {
    static WRITER: OnceLock<File> = OnceLock::new();
    let writer = WRITER.get_or_init(|| {
        let (reader, writer) = pipe();
        become_input(&reader);
        File::from(writer)
    });
    writer.try_clone().expect("a duplicate")
}

/// Standard input, which goes on in any runtime, and belongs to the process.
struct Input {
    stdin: Stdin,
    peer: File,
    bytes: Bytes,
}

impl Input {
    fn scene() -> Box<dyn Scene> {
        Box::new(Input {
            stdin: stdin(),
            peer: input(),
            bytes: Bytes::default(),
        })
    }
}

impl Scene for Input {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let mut buf = [0; 30];
            let count = self.stdin.read(&mut buf).await?;
            self.bytes.get(&buf[..count])
        })
    }

    fn bring(&mut self) {
        let bytes = self.bytes.bring();
        self.peer.write_all(&bytes).expect("it is open");
    }

    fn is_outstanding(&self) -> bool {
        self.bytes.is_outstanding()
    }

    fn fate(&self) -> Fate {
        Fate::GoesOn
    }

    fn close(self: Box<Self>) -> After {
        // All but this ends here.
        let mut peer = self.peer;
        Box::new(move || {
            peer.write_all(b"later").expect("it is open");
            read_now(b"later");
        })
    }
}

/// The lines of standard input, each with its number.
struct Lines {
    lines: StdinLines,
    peer: File,
    got: u32,
    brought: u32,
}

impl Lines {
    fn scene() -> Box<dyn Scene> {
        Box::new(Lines {
            lines: stdin().lines(),
            peer: input(),
            got: 0,
            brought: 0,
        })
    }
}

impl Scene for Lines {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let line = self.lines.next_line().await?;
            assert_eq!(line, Some(format!("line {}", self.got)));
            self.got += 1;
            Ok(())
        })
    }

    fn bring(&mut self) {
        // In two parts: a line that is not whole is nobody's.
        write!(self.peer, "line ").expect("it is open");
        writeln!(self.peer, "{}", self.brought).expect("it is open");
        self.brought += 1;
    }

    fn is_outstanding(&self) -> bool {
        self.got < self.brought
    }

    fn fate(&self) -> Fate {
        Fate::GoesOn
    }

    fn close(self: Box<Self>) -> After {
        // All but this ends here.
        let mut peer = self.peer;
        Box::new(move || {
            writeln!(peer, "later").expect("it is open");
            read_now(b"later\n");
        })
    }
}

/// Reads what somebody writes to standard input from another handle of it.
fn read_now(expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    let mut result = None;
    {
        let mut stdin = stdin();
        let mut read = pin!(stdin.read_exact(&mut bytes));
        let mut cx = Context::from_waker(Waker::noop());
        until("somebody took it", || {
            if let Poll::Ready(read) = read.as_mut().poll(&mut cx) {
                result = Some(read);
            }
            result.is_some()
        });
    }
    result.expect("it is there").expect("it is open");
    assert_eq!(bytes, expected);
}

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "child_wait",
    make: || Box::pin(async { Children::scene() }),
}];

pub(super) const KINDS_OF_THE_PROCESS: &[Kind] = &[
    Kind {
        name: "signal",
        make: || Box::pin(async { Signalled::scene() }),
    },
    Kind {
        name: "stdin_read",
        make: || Box::pin(async { Input::scene() }),
    },
    Kind {
        name: "stdin_next_line",
        make: || Box::pin(async { Lines::scene() }),
    },
];
