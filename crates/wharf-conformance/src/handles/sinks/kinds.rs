//! What can be written to on every system: TCP streams and their halves, UDP, files.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, UdpSocket as PlainUdp};
use std::sync::mpsc;

use socket2::SockRef;
use wharf::fs::File;
use wharf::net::{TcpStream, UdpSocket, tcp};

use super::{Flush, Pair, Style, Write, pair, pipe};
use crate::handles::kinds::stream::plain_pair;
use crate::handles::os;
use crate::peer::Dir;

/// A kind of sink.
#[derive(Clone, Copy)]
pub(in crate::handles) struct Kind {
    pub(in crate::handles) name: &'static str,
    /// Makes one on the current worker.
    pub(in crate::handles) make: fn() -> Pair,
}

/// One after the other.
pub(super) fn all() -> Vec<Kind> {
    [KINDS, pipe::KINDS, os::sinks()].concat()
}

/// Both ends of a stream hold little, so that a write soon waits.
pub(in crate::handles) const LITTLE: usize = 64 * 1024;

/// A write as a future in a box.
macro_rules! write {
    (|$handle:ident, $bytes:ident| $count:expr) => {
        |$handle, $bytes| Box::pin(async move { $count })
    };
}

/// The flush of a handle, as a future in a box.
macro_rules! flush {
    (|$handle:ident| $target:expr) => {
        |$handle| Box::pin(async move { $target.flush().await })
    };
}

/// Writes from two buffers.
macro_rules! write_vectored {
    ($handle:expr, $bytes:expr) => {{
        let (first, second) = $bytes.split_at($bytes.len() / 3);
        let bufs = [first, second].map(std::io::IoSlice::new);
        $handle.write_vectored(&bufs).await
    }};
}

/// Hands a received piece over.
macro_rules! send_piece {
    ($handle:expr, $bytes:expr) => {{
        let count = $bytes.len();
        $handle.send($bytes.into()).await.map(|()| count)
    }};
}

#[allow(unused_imports, reason = "not every system has kinds of its own")]
pub(in crate::handles) use {flush, send_piece, write, write_vectored};

fn tcp<S: Send + 'static>(
    wrap: fn(TcpStream) -> S,
    style: Style,
    write: Write<S>,
    flush: Flush<S>,
) -> Pair {
    let (plain, peer) = plain_pair();
    SockRef::from(&plain)
        .set_send_buffer_size(LITTLE)
        .expect("a socket");
    SockRef::from(&peer)
        .set_recv_buffer_size(LITTLE)
        .expect("a socket");
    let stream = TcpStream::from_std(plain).expect("a socket");
    pair(wrap(stream), style, write, flush, peer)
}

/// The write half; the other one is kept with it, so that the stream stays open.
type Half = (tcp::OwnedReadHalf, tcp::OwnedWriteHalf);

fn whole(style: Style, write: Write<TcpStream>) -> Pair {
    tcp(|stream| stream, style, write, flush!(|stream| stream))
}

fn half(style: Style, write: Write<Half>) -> Pair {
    tcp(TcpStream::into_split, style, write, flush!(|half| half.1))
}

/// Reads one datagram at a time; an empty one is the end.
pub(in crate::handles) struct Datagrams<F> {
    receive: F,
    has_ended: bool,
}

impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Datagrams<F> {
    pub(in crate::handles) fn new(receive: F) -> Datagrams<F> {
        Datagrams {
            receive,
            has_ended: false,
        }
    }
}

impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for Datagrams<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.has_ended {
            return Ok(0);
        }
        let count = (self.receive)(buf)?;
        self.has_ended = count == 0;
        Ok(count)
    }

    /// As the library's own would, but with room for a whole datagram each time.
    fn read_to_end(&mut self, all: &mut Vec<u8>) -> io::Result<usize> {
        let before = all.len();
        let mut buf = [0; 4096];
        loop {
            match self.read(&mut buf)? {
                0 => return Ok(all.len() - before),
                count => all.extend_from_slice(&buf[..count]),
            }
        }
    }
}

/// A socket, and where it sends to.
type Udp = (UdpSocket, SocketAddr);

fn udp(write: Write<Udp>, connects: bool) -> Pair {
    let peer = PlainUdp::bind("127.0.0.1:0").expect("loopback");
    let address = peer.local_addr().expect("bound");
    let plain = PlainUdp::bind("127.0.0.1:0").expect("loopback");
    if connects {
        plain.connect(address).expect("bound");
    }
    let ending = plain.try_clone().expect("a duplicate");
    let socket = UdpSocket::from_std(plain).expect("a socket");
    let reader = Datagrams::new(move |buf: &mut [u8]| peer.recv(buf));
    let style = Style::Datagrams { in_order: false };
    let flush: Flush<Udp> = flush!(|socket| socket.0);
    let (sink, mut peer) = pair((socket, address), style, write, flush, reader);
    // The system drops what nobody has room for.
    peer.read_freely();
    peer.end = Box::new(move || {
        ending.set_nonblocking(false).expect("a socket");
        match connects {
            true => ending.send(&[]).expect("sent"),
            false => ending.send_to(&[], address).expect("sent"),
        };
    });
    (sink, peer)
}

/// A file that is read when nobody writes any more, and removed then.
struct Written {
    dir: Dir,
    closed: mpsc::Receiver<()>,
}

impl Read for Written {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        // What is there so far is about to change.
        Ok(0)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.closed.recv().expect("the peer says so");
        std::fs::File::open(self.dir.0.join("written"))?.read_to_end(buf)
    }
}

fn file(appends: bool, style: Style, write: Write<File>) -> Pair {
    let dir = Dir::new();
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).append(appends);
    let file = options.open(dir.0.join("written")).expect("a new file");
    let file = File::from_std(file).expect("a file");
    let (sender, closed) = mpsc::channel();
    let written = Written { dir, closed };
    let (sink, mut peer) = pair(file, style, write, flush!(|file| file), written);
    peer.end = Box::new(move || sender.send(()).expect("the peer waits for it"));
    (sink, peer)
}

/// Lends the buffer.
macro_rules! write_owned {
    ($handle:expr, $bytes:expr) => {{
        let (count, bytes) = $handle.write_owned($bytes).await;
        if let Ok(count) = count {
            assert_eq!(count, bytes.len());
        }
        count
    }};
}

#[allow(unused_imports, reason = "not every system has kinds of its own")]
pub(in crate::handles) use write_owned;

/// Lends the buffer, or has it borrowed, by turns: behind the mark, it says its number.
macro_rules! write_mixed {
    ($handle:expr, $bytes:expr) => {
        match $bytes[1] % 2 {
            0 => $handle.write(&$bytes).await,
            _ => write_owned!($handle, $bytes),
        }
    };
}

#[allow(unused_imports, reason = "not every system has kinds of its own")]
pub(in crate::handles) use write_mixed;

/// A stream that parts of a file are sent to, which are put at the file's end first.
pub(in crate::handles) struct Sending<S> {
    pub(in crate::handles) stream: S,
    plain: std::fs::File,
    file: File,
    /// Removed when nothing is open any more.
    _dir: Dir,
}

impl<S> Sending<S> {
    pub(in crate::handles) fn new(stream: S) -> Sending<S> {
        let dir = Dir::new();
        let path = dir.0.join("sent");
        let plain = std::fs::File::create(&path).expect("a new file");
        let file = std::fs::File::open(&path).expect("there");
        Sending {
            stream,
            plain,
            file: File::from_std(file).expect("a file"),
            _dir: dir,
        }
    }

    /// Puts bytes at the end of the file, and gives it, and the place of them.
    pub(in crate::handles) fn put(&mut self, bytes: &[u8]) -> (&mut S, &File, u64) {
        let place = self.plain.metadata().expect("open").len();
        self.plain.write_all(bytes).expect("written");
        (&mut self.stream, &self.file, place)
    }
}

/// Sends the bytes as a part of a file.
macro_rules! send_file {
    ($sending:expr, $bytes:expr) => {{
        let (stream, file, place) = $sending.put(&$bytes);
        let sent = stream.send_file(file, place, $bytes.len() as u64).await;
        sent.map(|count| count as usize)
    }};
}

#[allow(unused_imports, reason = "not every system has kinds of its own")]
pub(in crate::handles) use send_file;

fn sending(write: Write<Sending<TcpStream>>) -> Pair {
    tcp(
        Sending::new,
        Style::Part,
        write,
        flush!(|sending| sending.stream),
    )
}

const KINDS: &[Kind] = &[
    Kind {
        name: "tcp_write",
        make: || whole(Style::Bytes, write!(|s, bytes| s.write(&bytes).await)),
    },
    Kind {
        name: "tcp_write_vectored",
        make: || whole(Style::Bytes, write!(|s, bytes| write_vectored!(s, bytes))),
    },
    Kind {
        name: "tcp_write_owned",
        make: || whole(Style::Owned, write!(|s, bytes| write_owned!(s, bytes))),
    },
    Kind {
        name: "tcp_send",
        make: || whole(Style::Whole, write!(|s, bytes| send_piece!(s, bytes))),
    },
    Kind {
        name: "tcp_write_mixed",
        make: || whole(Style::Mixed, write!(|s, bytes| write_mixed!(s, bytes))),
    },
    Kind {
        name: "tcp_send_file",
        make: || sending(write!(|s, bytes| send_file!(s, bytes))),
    },
    Kind {
        name: "tcp_half_write",
        make: || half(Style::Bytes, write!(|s, bytes| s.1.write(&bytes).await)),
    },
    Kind {
        name: "tcp_half_write_owned",
        make: || half(Style::Owned, write!(|s, bytes| write_owned!(s.1, bytes))),
    },
    Kind {
        name: "tcp_half_send",
        make: || half(Style::Whole, write!(|s, bytes| send_piece!(s.1, bytes))),
    },
    Kind {
        name: "udp_send",
        make: || udp(write!(|s, bytes| s.0.send(&bytes).await), true),
    },
    Kind {
        name: "udp_send_to",
        make: || udp(write!(|s, bytes| s.0.send_to(&bytes, s.1).await), false),
    },
    Kind {
        name: "file_write",
        make: || {
            file(
                false,
                Style::Bytes,
                write!(|s, bytes| s.write(&bytes).await),
            )
        },
    },
    Kind {
        name: "file_write_owned",
        make: || {
            file(
                false,
                Style::Owned,
                write!(|s, bytes| write_owned!(s, bytes)),
            )
        },
    },
    Kind {
        name: "file_write_mixed",
        make: || {
            file(
                false,
                Style::Mixed,
                write!(|s, bytes| write_mixed!(s, bytes)),
            )
        },
    },
    Kind {
        name: "file_append",
        make: || file(true, Style::Bytes, write!(|s, bytes| s.write(&bytes).await)),
    },
    Kind {
        name: "file_append_owned",
        make: || {
            file(
                true,
                Style::Owned,
                write!(|s, bytes| write_owned!(s, bytes)),
            )
        },
    },
];
