//! Unix sockets, pipes, and a child's input, as what is written to.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram as PlainDatagram, UnixStream as PlainStream};
use std::process::{Child, Command, Stdio};

use socket2::SockRef;
use wharf::fs::File;
use wharf::net::{UnixDatagram, UnixStream};
use wharf::process::ChildStdin;

use crate::fixture::pipe::pipe;
use crate::handles::sinks::kinds::{
    Datagrams, Kind, LITTLE, Sending, flush, send_file, send_piece, write, write_mixed,
    write_owned, write_vectored,
};
use crate::handles::sinks::{Flush, Pair, Style, Write, pair};

fn stream() -> (UnixStream, PlainStream) {
    let (plain, peer) = PlainStream::pair().expect("a pair");
    SockRef::from(&plain)
        .set_send_buffer_size(LITTLE)
        .expect("a socket");
    let stream = UnixStream::from_handle(OwnedFd::from(plain)).expect("a socket");
    (stream, peer)
}

fn unix(style: Style, write: Write<UnixStream>) -> Pair {
    let (stream, peer) = stream();
    pair(stream, style, write, flush!(|stream| stream), peer)
}

fn sending(write: Write<Sending<UnixStream>>) -> Pair {
    let (stream, peer) = stream();
    let flush: Flush<Sending<UnixStream>> = flush!(|sending| sending.stream);
    pair(Sending::new(stream), Style::Part, write, flush, peer)
}

fn piped(style: Style, write: Write<File>) -> Pair {
    let (reader, writer) = pipe();
    let file = File::from_std(std::fs::File::from(writer)).expect("a pipe");
    let reader = std::fs::File::from(reader);
    pair(file, style, write, flush!(|file| file), reader)
}

/// Reads what a child passes on, and waits for it when that is over.
struct Cat(Child);

impl std::io::Read for Cat {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.stdout.as_mut().expect("piped").read(buf)
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.0.wait());
    }
}

fn child(write: Write<ChildStdin>) -> Pair {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("cat");
    let stdin = ChildStdin::from(child.stdin.take().expect("piped"));
    pair(
        stdin,
        Style::Bytes,
        write,
        flush!(|stdin| stdin),
        Cat(child),
    )
}

fn datagram(write: Write<UnixDatagram>) -> Pair {
    let (plain, peer) = PlainDatagram::pair().expect("a pair");
    let ending = plain.try_clone().expect("a duplicate");
    let socket = UnixDatagram::from_handle(OwnedFd::from(plain)).expect("a socket");
    let style = Style::Datagrams { in_order: true };
    let reader = Datagrams::new(move |buf: &mut [u8]| peer.recv(buf));
    let (sink, mut peer) = pair(socket, style, write, flush!(|socket| socket), reader);
    peer.end = Box::new(move || {
        ending.set_nonblocking(false).expect("a socket");
        ending.send(&[]).expect("sent");
    });
    (sink, peer)
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "unix_write",
        make: || unix(Style::Bytes, write!(|s, bytes| s.write(&bytes).await)),
    },
    Kind {
        name: "unix_write_vectored",
        make: || unix(Style::Bytes, write!(|s, bytes| write_vectored!(s, bytes))),
    },
    Kind {
        name: "unix_write_owned",
        make: || unix(Style::Owned, write!(|s, bytes| write_owned!(s, bytes))),
    },
    Kind {
        name: "unix_send",
        make: || unix(Style::Whole, write!(|s, bytes| send_piece!(s, bytes))),
    },
    Kind {
        name: "unix_write_mixed",
        make: || unix(Style::Mixed, write!(|s, bytes| write_mixed!(s, bytes))),
    },
    Kind {
        name: "unix_send_file",
        make: || sending(write!(|s, bytes| send_file!(s, bytes))),
    },
    Kind {
        name: "unix_datagram_send",
        make: || datagram(write!(|s, bytes| s.send(&bytes).await)),
    },
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
