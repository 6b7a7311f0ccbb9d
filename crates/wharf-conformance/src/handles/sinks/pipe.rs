//! Pipes and a child's input, as what is written to.

use std::process::Child;

use wharf::fs::File;
use wharf::process::ChildStdin;

use super::kinds::{Kind, flush, write, write_mixed, write_owned};
use super::{Pair, Style, Write, pair};
use crate::fixture::child::copier;
use crate::fixture::pipe::pipe;

fn piped(style: Style, write: Write<File>) -> Pair {
    let (reader, writer) = pipe();
    let file = File::from_std(std::fs::File::from(writer)).expect("a pipe");
    let reader = std::fs::File::from(reader);
    pair(file, style, write, flush!(|file| file), reader)
}

/// Reads what a child passes on, and waits for it when that is over.
struct Copier(Child);

impl std::io::Read for Copier {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.stdout.as_mut().expect("piped").read(buf)
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.0.wait());
    }
}

fn child(write: Write<ChildStdin>) -> Pair {
    let mut child = copier();
    let stdin = ChildStdin::from(child.stdin.take().expect("piped"));
    pair(
        stdin,
        Style::Bytes,
        write,
        flush!(|stdin| stdin),
        Copier(child),
    )
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "pipe_write",
        make: || piped(Style::Bytes, write!(|s, bytes| s.write(&bytes).await)),
    },
    Kind {
        name: "pipe_write_owned",
        make: || piped(Style::Owned, write!(|s, bytes| write_owned!(s, bytes))),
    },
    Kind {
        name: "pipe_write_mixed",
        make: || piped(Style::Mixed, write!(|s, bytes| write_mixed!(s, bytes))),
    },
    Kind {
        name: "child_stdin_write",
        make: || child(write!(|s, bytes| s.write(&bytes).await)),
    },
];
