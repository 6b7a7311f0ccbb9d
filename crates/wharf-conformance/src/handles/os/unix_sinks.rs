//! Unix sockets, as what is written to.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram as PlainDatagram, UnixStream as PlainStream};

use socket2::SockRef;
use wharf::net::{UnixDatagram, UnixStream};

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
];
