//! Unix sockets.

use std::io::{self, Read as _, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram as PlainDatagram, UnixStream as PlainStream};

use wharf::net::{UnixDatagram, UnixListener, UnixStream};

use crate::handles::kinds::datagram::{
    Receive, Receiving, receive, recv, recv_datagram, recv_from,
};
use crate::handles::kinds::stream::{Reading, borrowed, owned, peek, pooled, read, read_vectored};
use crate::handles::kinds::{Bytes, Items, Kind, Read};
use crate::handles::{After, BoxFuture, Scene};
use crate::peer::Dir;

fn unix(read: Read<UnixStream>) -> Box<dyn Scene> {
    let (stream, peer) = PlainStream::pair().expect("a pair");
    let mut twin = stream.try_clone().expect("a duplicate");
    Box::new(Reading {
        stream: UnixStream::from_handle(OwnedFd::from(stream)).expect("a socket"),
        read,
        peer: Box::new(peer),
        twin: Box::new(move |bytes| {
            twin.set_nonblocking(false).expect("a socket");
            twin.read_exact(bytes).expect("nobody took it");
        }),
        bytes: Bytes::default(),
    })
}

fn unix_datagram(receive: Receive<UnixDatagram>) -> Box<dyn Scene> {
    let (socket, peer) = PlainDatagram::pair().expect("a pair");
    let twin = socket.try_clone().expect("a duplicate");
    Box::new(Receiving {
        socket: UnixDatagram::from_handle(OwnedFd::from(socket)).expect("a socket"),
        receive,
        send: Box::new(move |bytes| {
            assert_eq!(peer.send(bytes).expect("sent"), bytes.len());
        }),
        twin: Box::new(move |bytes| {
            twin.set_nonblocking(false).expect("a socket");
            twin.recv(bytes).expect("nobody took it")
        }),
        items: Items::new(),
        next: 0,
    })
}

/// Clients of a Unix socket have no names; each says its number.
struct UnixAccepting {
    listener: UnixListener,
    /// It has not said its number yet.
    accepted: Option<UnixStream>,
    dir: Dir,
    items: Items<u32>,
    next: u32,
}

impl UnixAccepting {
    fn scene() -> Box<dyn Scene> {
        let dir = Dir::new();
        Box::new(UnixAccepting {
            listener: UnixListener::bind(dir.0.join("socket")).expect("a new name"),
            accepted: None,
            dir,
            items: Items::new(),
            next: 0,
        })
    }
}

impl Scene for UnixAccepting {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let stream = match &mut self.accepted {
                Some(stream) => stream,
                none => none.insert(self.listener.accept().await?.0),
            };
            // Written with one call to a Unix socket, so it comes whole.
            let mut number = [0; 4];
            assert_eq!(stream.read(&mut number).await?, 4);
            self.accepted = None;
            self.items.get(&u32::from_le_bytes(number));
            Ok(())
        })
    }

    fn bring(&mut self) {
        let mut client = PlainStream::connect(self.dir.0.join("socket")).expect("listens");
        client
            .write_all(&self.next.to_le_bytes())
            .expect("connected");
        self.items.bring(self.next);
        self.next += 1;
    }

    fn is_outstanding(&self) -> bool {
        !self.items.outstanding.is_empty()
    }

    fn close(self: Box<Self>) -> After {
        let dir = self.dir;
        drop(self.listener);
        Box::new(move || {
            let refused = PlainStream::connect(dir.0.join("socket")).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        })
    }
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "unix_read",
        make: || Box::pin(async { unix(read!(|stream| borrowed!(stream, 30))) }),
    },
    Kind {
        name: "unix_read_vectored",
        make: || Box::pin(async { unix(read!(|stream| read_vectored!(stream))) }),
    },
    Kind {
        name: "unix_peek",
        make: || Box::pin(async { unix(read!(|stream| peek!(stream))) }),
    },
    Kind {
        name: "unix_read_owned",
        make: || Box::pin(async { unix(read!(|stream| owned!(stream))) }),
    },
    Kind {
        name: "unix_recv",
        make: || Box::pin(async { unix(read!(|stream| pooled!(stream))) }),
    },
    Kind {
        name: "unix_accept",
        make: || Box::pin(async { UnixAccepting::scene() }),
    },
    Kind {
        name: "unix_datagram_recv",
        make: || Box::pin(async { unix_datagram(receive!(|socket| recv!(socket))) }),
    },
    Kind {
        name: "unix_datagram_recv_from",
        make: || Box::pin(async { unix_datagram(receive!(|socket| recv_from!(socket))) }),
    },
    Kind {
        name: "unix_datagram_recv_datagram",
        make: || Box::pin(async { unix_datagram(receive!(|socket| recv_datagram!(socket))) }),
    },
];
