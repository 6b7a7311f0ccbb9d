//! Accepts: each connection is delivered once.

use std::io;
use std::net::{SocketAddr, TcpListener as PlainListener, TcpStream as Plain};

use wharf::net::TcpListener;

use super::{Items, Kind};
use crate::handles::{After, BoxFuture, Scene};

struct Accepting {
    listener: TcpListener,
    twin: PlainListener,
    address: SocketAddr,
    /// Clients by their addresses.
    items: Items<SocketAddr>,
    clients: Vec<Plain>,
}

impl Accepting {
    fn scene() -> Box<dyn Scene> {
        let listener = PlainListener::bind("127.0.0.1:0").expect("loopback");
        let twin = listener.try_clone().expect("a duplicate");
        Box::new(Accepting {
            address: listener.local_addr().expect("bound"),
            listener: TcpListener::from_std(listener).expect("a socket"),
            twin,
            items: Items::new(),
            clients: Vec::new(),
        })
    }
}

impl Scene for Accepting {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let (stream, peer) = self.listener.accept().await?;
            assert_eq!(stream.peer_addr(), peer);
            self.items.get(&peer);
            self.clients
                .retain(|client| client.local_addr().ok() != Some(peer));
            Ok(())
        })
    }

    fn bring(&mut self) {
        let client = Plain::connect(self.address).expect("listens");
        self.items.bring(client.local_addr().expect("connected"));
        self.clients.push(client);
    }

    fn is_outstanding(&self) -> bool {
        !self.items.outstanding.is_empty()
    }

    fn close(self: Box<Self>) -> After {
        let (twin, address) = (self.twin, self.address);
        drop(self.listener);
        Box::new(move || {
            let client = Plain::connect(address).expect("the other one listens");
            twin.set_nonblocking(false).expect("a socket");
            let (_, peer) = twin.accept().expect("nobody took it");
            assert_eq!(Some(peer), client.local_addr().ok());
        })
    }
}

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "tcp_accept",
    make: || Box::pin(async { Accepting::scene() }),
}];
