//! Datagrams: each is delivered once and whole.

use std::io;
use std::net::UdpSocket as Plain;

use wharf::net::UdpSocket;

use super::{Items, Kind};
use crate::handles::{After, BoxFuture, Scene};

/// A receive, as a future in a box, of a datagram's bytes.
pub(in crate::handles) type Receive<S> = for<'a> fn(&'a S) -> BoxFuture<'a, io::Result<Vec<u8>>>;

/// Sends a datagram to the socket.
pub(in crate::handles) type Sender = Box<dyn FnMut(&[u8]) + Send>;

/// Receives a datagram from another handle of the same socket; it waits for that.
pub(in crate::handles) type Twin = Box<dyn FnOnce(&mut [u8]) -> usize + Send>;

/// A socket that receives datagrams, and its peer.
pub(in crate::handles) struct Receiving<S> {
    pub(in crate::handles) socket: S,
    pub(in crate::handles) receive: Receive<S>,
    pub(in crate::handles) send: Sender,
    pub(in crate::handles) twin: Twin,
    pub(in crate::handles) items: Items<Vec<u8>>,
    pub(in crate::handles) next: u32,
}

impl<S: Send + Sync + 'static> Scene for Receiving<S> {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let bytes = (self.receive)(&self.socket).await?;
            self.items.get(&bytes);
            Ok(())
        })
    }

    fn bring(&mut self) {
        // Of different lengths, the number first.
        let mut bytes = self.next.to_le_bytes().to_vec();
        bytes.resize(4 + self.next as usize % 40, 0);
        self.next += 1;
        (self.send)(&bytes);
        self.items.bring(bytes);
    }

    fn is_outstanding(&self) -> bool {
        !self.items.outstanding.is_empty()
    }

    fn close(self: Box<Self>) -> After {
        let (mut send, twin) = (self.send, self.twin);
        drop(self.socket);
        Box::new(move || {
            send(b"later");
            let mut bytes = [0; 16];
            let count = twin(&mut bytes);
            assert_eq!(&bytes[..count], b"later", "a closed handle took something");
        })
    }
}

fn udp(receive: Receive<UdpSocket>) -> Box<dyn Scene> {
    let socket = Plain::bind("127.0.0.1:0").expect("loopback");
    let twin = socket.try_clone().expect("a duplicate");
    let peer = Plain::bind("127.0.0.1:0").expect("loopback");
    peer.connect(socket.local_addr().expect("bound"))
        .expect("bound");
    Box::new(Receiving {
        socket: UdpSocket::from_std(socket).expect("a socket"),
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

/// Receives into a borrowed buffer, without the sender.
macro_rules! recv {
    ($socket:expr) => {{
        let mut buf = vec![0; 100];
        let count = $socket.recv(&mut buf).await?;
        buf.truncate(count);
        buf
    }};
}

/// Receives into a borrowed buffer, with the sender.
macro_rules! recv_from {
    ($socket:expr) => {{
        let mut buf = vec![0; 100];
        let (count, _) = $socket.recv_from(&mut buf).await?;
        buf.truncate(count);
        buf
    }};
}

/// Takes a datagram as it came.
macro_rules! recv_datagram {
    ($socket:expr) => {{
        let datagram = $socket.recv_datagram().await?;
        assert!(!datagram.truncated);
        datagram.data.to_vec()
    }};
}

/// A receive as a future in a box.
macro_rules! receive {
    (|$socket:ident| $bytes:expr) => {
        |$socket| Box::pin(async move { Ok($bytes) })
    };
}

#[allow(unused_imports, reason = "not every system has kinds of its own")]
pub(in crate::handles) use {receive, recv, recv_datagram, recv_from};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "udp_recv",
        make: || Box::pin(async { udp(receive!(|socket| recv!(socket))) }),
    },
    Kind {
        name: "udp_recv_from",
        make: || Box::pin(async { udp(receive!(|socket| recv_from!(socket))) }),
    },
    Kind {
        name: "udp_recv_datagram",
        make: || Box::pin(async { udp(receive!(|socket| recv_datagram!(socket))) }),
    },
];
