//! The other side: plain sockets of the standard library, and where tests keep their files.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use wharf_queue::{Handle, Queue};

use crate::fixture::host::IS_LOOPBACK_WIDE;

pub(crate) use crate::fixture::host::descriptors;

/// A connected pair: attached to the queue, and the peer's.
pub(crate) fn pair(queue: &Queue) -> (Handle, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
    let (stream, _) = listener.accept().expect("connected");
    (queue.attach(stream).expect("a socket"), peer)
}

/// Reads what has come of a send, up to a mebibyte, and looks at the queue meanwhile: how much of it
/// the system takes at once is the system's affair.
pub(crate) fn read_what_came(queue: &Queue, peer: &mut TcpStream) -> usize {
    let mut bytes = vec![0; 1 << 20];
    let mut len = 0;
    peer.set_nonblocking(true).expect("a socket");
    loop {
        match peer.read(&mut bytes[len..]) {
            // The end, or the room is filled.
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        crate::look(queue);
    }
    peer.set_nonblocking(false).expect("a socket");
    len
}

/// As [`read_what_came`], when something has come.
pub(crate) fn read_what_comes(queue: &Queue, peer: &mut TcpStream) -> usize {
    let begin = std::time::Instant::now();
    loop {
        let len = read_what_came(queue, peer);
        if len > 0 {
            return len;
        }
        assert!(begin.elapsed() < crate::PATIENCE, "nothing is sent");
        crate::look(queue);
    }
}

/// Any port of an address of this machine that no other test uses, as far as the system has so many
/// addresses: for those who look at a port after they have closed it. At an address that all use,
/// somebody else may be given it at that moment.
pub(crate) fn own_loopback() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if !IS_LOOPBACK_WIDE {
        return (Ipv4Addr::LOCALHOST, 0).into();
    }
    let [_, _, second, third] = std::process::id().to_be_bytes();
    let last = 2 + NEXT.fetch_add(1, Ordering::Relaxed) % 250;
    (Ipv4Addr::new(127, second, third, last as u8), 0).into()
}

/// Clients of a listener, each of which sends its number and waits for `answer`. They come several at
/// a time: on a busy machine, whose threads wait long for their turn, one after the other would take as
/// many turns as there are clients.
pub(crate) struct Clients {
    address: SocketAddr,
    waiting: Vec<TcpStream>,
    answer: fn(TcpStream),
}

impl Clients {
    const AT_ONCE: usize = 16;

    pub(crate) fn new(address: SocketAddr, answer: fn(TcpStream)) -> Clients {
        let waiting = Vec::new();
        Clients {
            address,
            waiting,
            answer,
        }
    }

    /// One more; it returns before the client has its answer, or after that of several.
    pub(crate) fn come(&mut self, number: u32) {
        let mut client = TcpStream::connect(self.address).expect("listens");
        client.write_all(&number.to_le_bytes()).expect("connected");
        self.waiting.push(client);
        if self.waiting.len() == Clients::AT_ONCE {
            self.leave();
        }
    }

    /// Those that wait get their answers.
    pub(crate) fn leave(&mut self) {
        self.waiting.drain(..).for_each(self.answer);
    }

    /// The other side closes first, so that no port is left waiting here.
    pub(crate) fn end_in_order(mut client: TcpStream) {
        assert_eq!(client.read(&mut [0]).expect("an orderly end"), 0);
    }
}

/// Waits until the process has as many descriptors open as it should: a thread of a pool that is
/// ending holds the counter that wakes its queue for a moment longer.
pub(crate) fn census_is(expected: usize) {
    census(|now| now == expected);
}

/// The same for any number that is `right`.
pub(crate) fn census(right: impl Fn(usize) -> bool) {
    let begin = std::time::Instant::now();
    loop {
        let now = descriptors();
        if right(now) {
            return;
        }
        let is_late = begin.elapsed() > crate::PATIENCE;
        assert!(!is_late, "{now} descriptors are open, which is wrong");
        std::thread::yield_now();
    }
}

/// A directory of a test's own, removed with the value.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("wharf-conformance-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Dir(path),
                // A process that was killed, whose number we have been given, has left it behind.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no temporary directory: {error}"),
            }
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left behind is the system's to clean up.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A listener whose queue of connections is full, so that a further connect waits, and the
/// connections that fill it.
pub(crate) fn full_listener() -> (socket2::Socket, std::net::SocketAddr, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&any.into()).expect("loopback");
    listener.listen(0).expect("bound");
    let address = listener.local_addr().expect("bound");
    let address = address.as_socket().expect("internet");
    let mut waiting = Vec::new();
    // Linux lets one more connection in than the backlog says (listen(2)).
    for _ in 0..4 {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        client.set_nonblocking(true).expect("a socket");
        // It is in progress, or connected; either way the listener's queue is fuller.
        drop(client.connect(&address.into()));
        waiting.push(client);
    }
    (listener, address, waiting)
}
