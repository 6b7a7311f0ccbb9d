//! Pipes, and what a child writes.

use std::fs::File as PlainFile;
use std::io::{self, Write};
use std::process::Child;

use wharf::fs::File;
use wharf::process::ChildStdout;

use super::stream::{Reading, borrowed, owned, pooled, read};
use super::{Bytes, Kind, Read, Twin, until};
use crate::fixture::child::copier;
use crate::fixture::host::raw_of;
use crate::fixture::pipe::{duplicate_file, pipe, read_now};
use crate::handles::Scene;

/// Reads from another handle of a pipe, whose calls do not wait.
fn twin(pipe: PlainFile) -> Twin {
    Box::new(move |bytes| {
        let mut count = 0;
        until("somebody took it", || {
            count += read_now(&pipe, &mut bytes[count..]).unwrap_or(0);
            count == bytes.len()
        });
    })
}

fn piped(read: Read<File>) -> Box<dyn Scene> {
    let (reader, writer) = pipe();
    let reader = PlainFile::from(reader);
    let twin = twin(reader.try_clone().expect("a duplicate"));
    Box::new(Reading {
        stream: File::from_std(reader).expect("a pipe"),
        read,
        peer: Box::new(PlainFile::from(writer)),
        twin,
        bytes: Bytes::default(),
    })
}

/// The input of a child that passes on what it reads, and the child.
struct Copier(Child);

impl Write for Copier {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.stdin.as_mut().expect("piped").write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        // It ends with its input; its output may be closed already.
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

fn child(read: Read<ChildStdout>) -> Box<dyn Scene> {
    let mut child = copier();
    let stdout = child.stdout.take().expect("piped");
    let twin = twin(duplicate_file(raw_of(&stdout)));
    Box::new(Reading {
        stream: ChildStdout::from(stdout),
        read,
        peer: Box::new(Copier(child)),
        twin,
        bytes: Bytes::default(),
    })
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "pipe_read",
        make: || Box::pin(async { piped(read!(|file| borrowed!(file, 30))) }),
    },
    Kind {
        name: "pipe_read_owned",
        make: || Box::pin(async { piped(read!(|file| owned!(file))) }),
    },
    Kind {
        name: "pipe_recv",
        make: || Box::pin(async { piped(read!(|file| pooled!(file))) }),
    },
    Kind {
        name: "child_stdout_read",
        make: || Box::pin(async { child(read!(|pipe| borrowed!(pipe, 30))) }),
    },
];
