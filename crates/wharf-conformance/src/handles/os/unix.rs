//! Unix sockets, pipes, foreign descriptors, and what a child writes.

use std::io::{self, Read as _, Write};
use std::net::TcpStream as Plain;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram as PlainDatagram, UnixStream as PlainStream};
use std::process::{Command, Stdio};

use wharf::fs::File;
use wharf::io::{AsyncFd, Interest};
use wharf::net::{UnixDatagram, UnixListener, UnixStream};
use wharf::process::ChildStdout;

use crate::fixture::pipe::pipe;
use crate::handles::kinds::datagram::{
    Receive, Receiving, receive, recv, recv_datagram, recv_from,
};
use crate::handles::kinds::stream::{
    Reading, borrowed, owned, peek, pooled, read, read_vectored, tcp,
};
use crate::handles::kinds::{Bytes, Items, Kind, Read, Twin};
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

/// Reads from another handle of a pipe, which is in non-blocking mode: what is read was written
/// before.
fn pipe_twin(reader: &OwnedFd) -> Twin {
    let mut twin = std::fs::File::from(reader.try_clone().expect("a duplicate"));
    Box::new(move |bytes| twin.read_exact(bytes).expect("nobody took it"))
}

fn piped(read: Read<File>) -> Box<dyn Scene> {
    let (reader, writer) = pipe();
    let twin = pipe_twin(&reader);
    Box::new(Reading {
        stream: File::from_std(std::fs::File::from(reader)).expect("a pipe"),
        read,
        peer: Box::new(std::fs::File::from(writer)),
        twin,
        bytes: Bytes::default(),
    })
}

/// The input of a child that passes on what it reads, and the child.
struct Cat {
    child: std::process::Child,
}

impl Write for Cat {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.child.stdin.as_mut().expect("piped").write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        // It ends with its input; its output may be closed already.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn child(read: Read<ChildStdout>) -> Box<dyn Scene> {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("cat");
    let stdout = child.stdout.take().expect("piped");
    let mut twin = std::fs::File::from(OwnedFd::from(stdout).try_clone().expect("a duplicate"));
    let stdout = OwnedFd::from(twin.try_clone().expect("a duplicate"));
    Box::new(Reading {
        stream: ChildStdout::from(std::process::ChildStdout::from(stdout)),
        read,
        peer: Box::new(Cat { child }),
        twin: Box::new(move |mut bytes| {
            // The child takes its time, and the pipe is in non-blocking mode.
            while !bytes.is_empty() {
                match twin.read(bytes) {
                    Ok(0) => panic!("somebody took it"),
                    Ok(count) => bytes = &mut bytes[count..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::yield_now();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }),
        bytes: Bytes::default(),
    })
}

fn foreign(plain: Plain) -> AsyncFd<Plain> {
    AsyncFd::new(plain).expect("a socket")
}

/// Waits for readiness, and then reads.
const READABLE: Read<AsyncFd<Plain>> = |fd, _| {
    Box::pin(async move {
        let mut buf = vec![0; 20];
        loop {
            fd.readable().await?;
            match fd.get_ref().read(&mut buf) {
                Ok(count) => {
                    buf.truncate(count);
                    return Ok(buf);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    })
};

const TRY_IO: Read<AsyncFd<Plain>> = |fd, _| {
    Box::pin(async move {
        let mut buf = vec![0; 20];
        let read = fd.try_io(Interest::Readable, |mut plain| plain.read(&mut buf));
        let count = read.await?;
        buf.truncate(count);
        Ok(buf)
    })
};

const POLL_READABLE: Read<AsyncFd<Plain>> = |fd, _| {
    Box::pin(async move {
        let mut buf = vec![0; 20];
        loop {
            match fd.get_ref().read(&mut buf) {
                Ok(count) => {
                    buf.truncate(count);
                    return Ok(buf);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            std::future::poll_fn(|cx| fd.poll_readable(cx)).await?;
        }
    })
};

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
    Kind {
        name: "async_fd_readable",
        make: || Box::pin(async { tcp(foreign, READABLE) }),
    },
    Kind {
        name: "async_fd_try_io",
        make: || Box::pin(async { tcp(foreign, TRY_IO) }),
    },
    Kind {
        name: "async_fd_poll_readable",
        make: || Box::pin(async { tcp(foreign, POLL_READABLE) }),
    },
];
