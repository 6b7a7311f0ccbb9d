//! Every kind of operation that waits for something outside, made to wait, and what must hold when
//! it is ended before its time: nothing later is taken, and what it says it moved was moved.
//!
//! Owns the set-up and the check. How the operation is ended is the business of those who use it.

use std::any::Any;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::time::Duration;

use wharf_queue::{Completion, Handle, OpKind, Operation, Outcome, Prepare, Queue, Token, op};

use crate::fixture;
use crate::peer::{Dir, full_listener, pair};

/// How an operation ended, without its types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    Completed,
    Cancelled(usize),
    TimedOut(usize),
}

impl Ended {
    pub(super) fn of<T>(outcome: &Outcome<T>) -> Ended {
        match outcome {
            Outcome::Completed(_) => Ended::Completed,
            Outcome::Cancelled { transferred } => Ended::Cancelled(*transferred),
            Outcome::TimedOut { transferred } => Ended::TimedOut(*transferred),
        }
    }

    fn transferred(self) -> usize {
        match self {
            Ended::Cancelled(count) | Ended::TimedOut(count) => count,
            Ended::Completed => panic!("nothing came that would complete it"),
        }
    }
}

/// An operation in flight that nothing will complete.
pub(super) struct Waiting {
    pub(super) token: Token,
    /// What it is on; the second one of two as well.
    pub(super) handles: Vec<Handle>,
    /// Takes the completion apart.
    pub(super) end: Box<dyn FnOnce(Completion<'_>) -> Ended>,
    /// Checks that nothing was lost, given how many bytes it moved. The handles may be closed.
    pub(super) check: Box<dyn FnOnce(usize)>,
}

/// Submits with a time-out, or without.
fn go<P: Prepare>(queue: &Queue, op: P, timeout: Option<Duration>) -> Token<P::Op> {
    let submission = op.prepare();
    let submission = match timeout {
        Some(timeout) => submission.timeout(timeout),
        None => submission,
    };
    queue.submit(submission).expect("room")
}

fn waiting<O: Operation>(
    token: Token<O>,
    handle: Handle,
    ended: impl Fn(&O::Output) -> Ended + 'static,
    check: impl FnOnce(usize) + 'static,
) -> Waiting {
    let end = move |completion: Completion<'_>| {
        assert!(!completion.more());
        ended(&completion.take(token).expect("its completion"))
    };
    Waiting {
        token: token.erase(),
        handles: vec![handle],
        end: Box::new(end),
        check: Box::new(check),
    }
}

fn with_buffer<T, B>(output: &(Outcome<T>, B)) -> Ended {
    Ended::of(&output.0)
}

/// A stream whose data is awaited: what comes later is all there for another reader.
fn receiving(kind: OpKind, queue: &Queue, timeout: Option<Duration>) -> Waiting {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let mut peer = std::net::TcpStream::connect(address).expect("listens");
    let (stream, _) = listener.accept().expect("connected");
    let mut other = stream.try_clone().expect("a duplicate");
    let socket = queue.attach(stream).expect("a socket");
    let check = move |transferred| {
        assert_eq!(transferred, 0);
        peer.write_all(b"later").expect("connected");
        let mut bytes = [0; 5];
        other.set_nonblocking(false).expect("a socket");
        other.read_exact(&mut bytes).expect("nobody took it");
        assert_eq!(&bytes, b"later");
    };
    match kind {
        OpKind::Recv => {
            let token = go(queue, op::Recv::new(&socket, vec![0; 64]), timeout);
            waiting(token, socket, with_buffer, check)
        }
        OpKind::RecvVectored => {
            let bufs = [vec![0; 4], vec![0; 4]];
            let token = go(queue, op::RecvVectored::new(&socket, bufs), timeout);
            waiting(token, socket, with_buffer, check)
        }
        OpKind::RecvMulti => {
            let pool = queue.buf_pool().buffers(2).size(64).build();
            let pool = pool.expect("a pool");
            let token = go(queue, op::RecvMulti::new(&socket, &pool), timeout);
            waiting(token, socket, Ended::of, check)
        }
        OpKind::Poll => {
            let poll = op::Poll::new(&socket, op::Interest::Readable);
            let token = go(queue, poll, timeout);
            waiting(token, socket, Ended::of, check)
        }
        _ => {
            let token = go(queue, fixture::raw::poll(&socket), timeout);
            waiting(token, socket, with_buffer, check)
        }
    }
}

/// A socket for datagrams that awaits one.
fn receiving_datagrams(kind: OpKind, queue: &Queue, timeout: Option<Duration>) -> Waiting {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let other = socket.try_clone().expect("a duplicate");
    let address = socket.local_addr().expect("bound");
    let socket = queue.attach(socket).expect("a socket");
    let check = move |transferred| {
        assert_eq!(transferred, 0);
        let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        peer.send_to(b"later", address).expect("sent");
        other.set_nonblocking(false).expect("a socket");
        let mut bytes = [0; 16];
        assert_eq!(other.recv(&mut bytes).expect("nobody took it"), 5);
    };
    if kind == OpKind::RecvFrom {
        let token = go(queue, op::RecvFrom::new(&socket, vec![0; 64]), timeout);
        return waiting(token, socket, with_buffer, check);
    }
    let pool = queue.buf_pool().buffers(2).size(64).datagrams().build();
    let pool = pool.expect("a pool");
    let token = go(queue, op::RecvFromMulti::new(&socket, &pool), timeout);
    waiting(token, socket, Ended::of, check)
}

/// More than the buffers of a loopback connection hold.
const MUCH: usize = 16 << 20;

/// A stream that does not take it all: the peer gets exactly what was said to be sent.
fn sending(kind: OpKind, queue: &Queue, timeout: Option<Duration>) -> Waiting {
    let (socket, mut peer) = pair(queue);
    let waiting = match kind {
        OpKind::Send => {
            let send = op::Send::new(&socket, vec![3; MUCH]).all();
            let token = go(queue, send, timeout);
            waiting(token, socket, with_buffer, drop)
        }
        OpKind::SendVectored => {
            let bufs: Vec<_> = (0..16).map(|_| vec![3; MUCH / 16]).collect();
            let token = go(queue, op::SendVectored::new(&socket, bufs).all(), timeout);
            waiting(token, socket, with_buffer, drop)
        }
        _ => {
            let dir = Dir::new();
            std::fs::write(dir.0.join("much"), vec![3; MUCH]).expect("written");
            let file = std::fs::File::open(dir.0.join("much")).expect("there");
            let file = queue.attach(file).expect("a file");
            let token = go(queue, op::SendFile::new(&socket, &file, 0, MUCH), timeout);
            let mut waiting = waiting(token, socket, Ended::of, drop);
            waiting.handles.push(file);
            waiting
        }
    };
    let other = duplicate(&waiting.handles[0]);
    let check = move |transferred| {
        other.shutdown(Shutdown::Write).expect("connected");
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).expect("an orderly end");
        assert_eq!(bytes.len(), transferred);
    };
    Waiting {
        check: Box::new(check),
        ..waiting
    }
}

/// A second descriptor of an attached stream, which outlives it.
fn duplicate(handle: &Handle) -> std::net::TcpStream {
    fixture::pipe::duplicate_stream(handle.raw())
}

/// A socket for datagrams whose peer takes no more; `None` where such a send never waits.
fn sending_datagrams(queue: &Queue, timeout: Option<Duration>) -> Option<Waiting> {
    let (socket, address, peer) = fixture::local::full_peer()?;
    let socket = queue.attach(socket).expect("a socket");
    let send = op::SendTo::new(&socket, b"late".to_vec(), address);
    let token = go(queue, send, timeout);
    Some(waiting(token, socket, with_buffer, move |transferred| {
        assert_eq!(transferred, 0);
        peer.holds_what_came_before();
    }))
}

/// A listener without a client: the next client is there for another accept.
fn accepting(kind: OpKind, queue: &Queue, timeout: Option<Duration>) -> Waiting {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let other = listener.try_clone().expect("a duplicate");
    let address = listener.local_addr().expect("bound");
    let listener = queue.attach(listener).expect("a socket");
    let check = move |_| {
        let _client = std::net::TcpStream::connect(address).expect("listens");
        other.set_nonblocking(false).expect("a socket");
        other.accept().expect("nobody took it");
    };
    if kind == OpKind::Accept {
        let token = go(queue, op::Accept::new(&listener), timeout);
        return waiting(token, listener, Ended::of, check);
    }
    let token = go(queue, op::AcceptMulti::new(&listener), timeout);
    waiting(token, listener, Ended::of, check)
}

fn connecting(queue: &Queue, timeout: Option<Duration>) -> Waiting {
    let (listener, address, clients) = full_listener();
    let address: wharf_queue::Address = address.into();
    let socket = queue.socket(&op::Socket::stream_for(&address));
    let socket = socket.expect("a socket");
    let token = go(queue, op::Connect::new(&socket, address), timeout);
    waiting(token, socket, Ended::of, move |_| {
        drop((listener, clients));
    })
}

/// A pipe without data, or one that is full.
fn piping(kind: OpKind, queue: &Queue, timeout: Option<Duration>) -> Waiting {
    let (reader, writer) = fixture::pipe::pipe();
    if kind == OpKind::Read {
        let mut other = std::fs::File::from(reader.try_clone().expect("a duplicate"));
        let mut writer = std::fs::File::from(writer);
        let reader = queue.attach(reader).expect("a pipe");
        let token = go(queue, op::Read::new(&reader, vec![0; 16]), timeout);
        return waiting(token, reader, with_buffer, move |transferred| {
            assert_eq!(transferred, 0);
            writer.write_all(b"later").expect("open");
            let mut bytes = [0; 5];
            other.read_exact(&mut bytes).expect("nobody took it");
        });
    }
    let other = writer.try_clone().expect("a duplicate");
    let writer = queue.attach(writer).expect("a pipe");
    let other = std::fs::File::from(other);
    let written = fixture::pipe::fill(&other);
    let token = go(queue, op::Write::new(&writer, vec![2; 4096]), timeout);
    waiting(token, writer, with_buffer, move |transferred| {
        assert_eq!(transferred, 0);
        drop(other);
        let mut bytes = Vec::new();
        let mut reader = std::fs::File::from(reader);
        // The descriptor that is attached may be open still; what is there is read, and no more.
        bytes.resize(written, 0);
        reader.read_exact(&mut bytes).expect("there");
        assert!(bytes.iter().all(|&byte| byte == 1));
    })
}

/// From a pipe without data to a stream.
fn splicing(queue: &Queue, timeout: Option<Duration>) -> Waiting {
    let (reader, writer) = fixture::pipe::pipe();
    let mut other = std::fs::File::from(reader.try_clone().expect("a duplicate"));
    let mut writer = std::fs::File::from(writer);
    let reader = queue.attach(reader).expect("a pipe");
    let (socket, peer) = pair(queue);
    let token = go(queue, op::Splice::new(&reader, &socket, 4096), timeout);
    let check = move |transferred| {
        assert_eq!(transferred, 0);
        writer.write_all(b"later").expect("open");
        let mut bytes = [0; 5];
        other.read_exact(&mut bytes).expect("nobody took it");
        drop(peer);
    };
    let mut waiting = waiting(token, reader, Ended::of, check);
    waiting.handles.push(socket);
    waiting
}

fn child(queue: &Queue, timeout: Option<Duration>) -> Waiting {
    let mut child = fixture::child::copier();
    let stdin = child.stdin.take().expect("piped");
    let alive = fixture::host::watch(&child);
    let token = go(queue, op::ChildExit::new(child), timeout);
    let mut waiting = waiting(
        token,
        queue.attach(stdin).expect("a pipe"),
        |output: &(Outcome<std::process::ExitStatus>, std::process::Child)| Ended::of(&output.0),
        move |_| {
            assert!(alive.is_there(), "nobody waited for it");
        },
    );
    // The pipe is what keeps the child; it is not what the operation is on.
    let keeper: Box<dyn Any> = Box::new(waiting.handles.pop());
    let check = waiting.check;
    waiting.check = Box::new(move |count| {
        check(count);
        drop(keeper);
    });
    waiting
}

fn timer(queue: &Queue) -> Waiting {
    let token = go(queue, op::Timer::after(Duration::from_secs(3600)), None);
    let mut waiting = waiting(
        token,
        pair(queue).0,
        |outcome: &Outcome<()>| Ended::of(outcome),
        |_| {},
    );
    waiting.handles.clear();
    waiting
}

/// Makes an operation of this kind wait; `None` for those that wait for nothing outside: they end by
/// themselves.
pub(super) fn make(kind: OpKind, queue: &Queue, timeout: Option<Duration>) -> Option<Waiting> {
    Some(match kind {
        OpKind::Recv | OpKind::RecvVectored | OpKind::RecvMulti | OpKind::Poll => {
            receiving(kind, queue, timeout)
        }
        OpKind::Splice if matches!(queue.support(kind), wharf_queue::Support::Unsupported(_)) => {
            return None;
        }
        OpKind::Raw => {
            if matches!(queue.support(kind), wharf_queue::Support::Unsupported(_)) {
                return None;
            }
            receiving(kind, queue, timeout)
        }
        OpKind::RecvFrom | OpKind::RecvFromMulti => receiving_datagrams(kind, queue, timeout),
        OpKind::Send | OpKind::SendVectored | OpKind::SendFile => sending(kind, queue, timeout),
        OpKind::SendTo => return sending_datagrams(queue, timeout),
        OpKind::Accept | OpKind::AcceptMulti => accepting(kind, queue, timeout),
        OpKind::Connect => connecting(queue, timeout),
        OpKind::Read | OpKind::Write => piping(kind, queue, timeout),
        OpKind::Splice => splicing(queue, timeout),
        OpKind::ChildExit => child(queue, timeout),
        OpKind::Timer => timer(queue),
        OpKind::Nop
        | OpKind::ReadAt
        | OpKind::WriteAt
        | OpKind::ReadVectoredAt
        | OpKind::WriteVectoredAt
        | OpKind::Socket
        | OpKind::Shutdown
        | OpKind::Close
        | OpKind::Open
        | OpKind::Stat
        | OpKind::Rename
        | OpKind::Remove
        | OpKind::CreateDir
        | OpKind::HardLink
        | OpKind::SymbolicLink
        | OpKind::Truncate
        | OpKind::Allocate
        | OpKind::Sync
        | OpKind::ReadDir
        | OpKind::CopyFile
        | OpKind::Resolve
        | OpKind::Blocking => return None,
        other => panic!("{other:?} is new: say here how it waits"),
    })
}

/// How many bytes it moved before it ended.
pub(super) fn moved(ended: Ended) -> usize {
    ended.transferred()
}
