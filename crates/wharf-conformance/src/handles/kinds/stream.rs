//! Streams: every way to read from one, on whole streams and on halves.

use std::io::{self, Read as _, Write};
use std::net::{TcpListener, TcpStream as Plain};

use futures_lite::AsyncReadExt;
use wharf::io::Buffered;
use wharf::net::{TcpStream, tcp};

use super::{Bytes, Kind, Making, Read, Twin};
use crate::handles::{After, BoxFuture, Scene};

/// A stream that is read from, and its peer.
pub(in crate::handles) struct Reading<S> {
    pub(in crate::handles) stream: S,
    pub(in crate::handles) read: Read<S>,
    pub(in crate::handles) peer: Box<dyn Write + Send>,
    /// Reads from another handle of the same stream; it waits for that.
    pub(in crate::handles) twin: Twin,
    pub(in crate::handles) bytes: Bytes,
}

impl<S: Send + 'static> Scene for Reading<S> {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let bytes = (self.read)(&mut self.stream, self.bytes.got).await?;
            self.bytes.get(&bytes)
        })
    }

    fn bring(&mut self) {
        let bytes = self.bytes.bring();
        self.peer.write_all(&bytes).expect("the stream is open");
    }

    fn is_outstanding(&self) -> bool {
        self.bytes.is_outstanding()
    }

    fn close(self: Box<Self>) -> After {
        let (mut peer, twin) = (self.peer, self.twin);
        drop(self.stream);
        Box::new(move || {
            peer.write_all(b"later").expect("the stream is open");
            let mut bytes = [0; 5];
            twin(&mut bytes);
            assert_eq!(&bytes, b"later", "a closed handle took something");
        })
    }
}

/// A connected pair of the standard library's.
pub(in crate::handles) fn plain_pair() -> (Plain, Plain) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let peer = Plain::connect(listener.local_addr().expect("bound")).expect("listens");
    peer.set_nodelay(true).expect("a socket");
    let (stream, _) = listener.accept().expect("connected");
    (stream, peer)
}

/// A stream as `wrap` makes it of a plain one, and its peer.
pub(in crate::handles) fn tcp<S: Send + 'static>(
    wrap: fn(Plain) -> S,
    read: Read<S>,
) -> Box<dyn Scene> {
    let (stream, peer) = plain_pair();
    let mut twin = stream.try_clone().expect("a duplicate");
    Box::new(Reading {
        stream: wrap(stream),
        read,
        peer: Box::new(peer),
        twin: Box::new(move |bytes| {
            twin.set_nonblocking(false).expect("a socket");
            twin.read_exact(bytes).expect("nobody took it");
        }),
        bytes: Bytes::default(),
    })
}

fn whole(plain: Plain) -> TcpStream {
    TcpStream::from_std(plain).expect("a socket")
}

/// The read half; the other one is kept with it, so that the stream stays open.
type Half = (tcp::OwnedReadHalf, tcp::OwnedWriteHalf);

fn half(plain: Plain) -> Half {
    whole(plain).into_split()
}

/// Reads into two buffers.
macro_rules! read_vectored {
    ($stream:expr) => {{
        let (mut first, mut second) = ([0; 3], [0; 40]);
        let mut bufs = [&mut first[..], &mut second[..]].map(std::io::IoSliceMut::new);
        let count = $stream.read_vectored(&mut bufs).await?;
        let mut bytes = [&first[..], &second[..]].concat();
        bytes.truncate(count);
        bytes
    }};
}

/// Looks at what has come before it takes that.
macro_rules! peek {
    ($stream:expr) => {{
        let mut seen = [0; 8];
        let count = $stream.peek(&mut seen).await?;
        let mut bytes = vec![0; count];
        let taken = $stream.read(&mut bytes).await?;
        assert_eq!(bytes[..taken], seen[..taken]);
        bytes.truncate(taken);
        bytes
    }};
}

/// A read as a future in a box.
macro_rules! read {
    (|$stream:ident| $bytes:expr) => {
        |$stream, _| Box::pin(async move { Ok($bytes) })
    };
}

/// Reads into a borrowed buffer.
macro_rules! borrowed {
    ($stream:expr, $len:expr) => {{
        let mut buf = vec![0; $len];
        let count = $stream.read(&mut buf).await?;
        buf.truncate(count);
        buf
    }};
}

/// Reads into a buffer that is handed in.
macro_rules! owned {
    ($stream:expr) => {{
        let (count, buf) = $stream.read_owned(Vec::with_capacity(50)).await;
        assert_eq!(count?, buf.len());
        buf
    }};
}

/// Takes what has come as it is.
macro_rules! pooled {
    ($stream:expr) => {
        $stream
            .recv()
            .await?
            .map_or(Vec::new(), |piece| piece.to_vec())
    };
}

#[allow(unused_imports, reason = "not every system has kinds of its own")]
pub(in crate::handles) use {borrowed, owned, peek, pooled, read, read_vectored};

fn making(scene: impl FnOnce() -> Box<dyn Scene> + 'static) -> Making {
    Box::pin(async move { scene() })
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "tcp_read",
        make: || making(|| tcp(whole, read!(|stream| borrowed!(stream, 30)))),
    },
    Kind {
        name: "tcp_read_vectored",
        make: || making(|| tcp(whole, read!(|stream| read_vectored!(stream)))),
    },
    Kind {
        name: "tcp_peek",
        make: || making(|| tcp(whole, read!(|stream| peek!(stream)))),
    },
    Kind {
        name: "tcp_read_owned",
        make: || making(|| tcp(whole, read!(|stream| owned!(stream)))),
    },
    Kind {
        name: "tcp_recv",
        make: || making(|| tcp(whole, read!(|stream| pooled!(stream)))),
    },
    Kind {
        name: "tcp_half_read",
        make: || making(|| tcp::<Half>(half, read!(|stream| borrowed!(stream.0, 1)))),
    },
    Kind {
        name: "tcp_half_read_owned",
        make: || making(|| tcp::<Half>(half, read!(|stream| owned!(stream.0)))),
    },
    Kind {
        name: "tcp_half_recv",
        make: || making(|| tcp::<Half>(half, read!(|stream| pooled!(stream.0)))),
    },
    Kind {
        name: "tcp_split_read",
        make: || making(|| tcp(whole, read!(|stream| borrowed!(stream.split().0, 7)))),
    },
    Kind {
        name: "tcp_buffered_read",
        make: || {
            let wrap = |plain| Buffered::new(whole(plain));
            making(move || tcp(wrap, read!(|stream| borrowed!(stream, 11))))
        },
    },
];
