//! Standard input, by pieces and by lines.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use wharf::io::{Stdin, StdinLines, stdin};

use super::{Bytes, Kind, until};
use crate::fixture::pipe::{become_input, pipe};
use crate::handles::{After, BoxFuture, Fate, Scene};

/// A pipe takes the place of standard input, once for the process; this is its other end.
fn input() -> File {
    static WRITER: OnceLock<File> = OnceLock::new();
    let writer = WRITER.get_or_init(|| {
        let (reader, writer) = pipe();
        become_input(reader);
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

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "stdin_read",
        make: || Box::pin(async { Input::scene() }),
    },
    Kind {
        name: "stdin_next_line",
        make: || Box::pin(async { Lines::scene() }),
    },
];
