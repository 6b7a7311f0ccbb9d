//! The echo server straight on the queue.
//!
//! One multishot accept; for each connection one multishot receive from a shared pool and at most
//! one send. What is received while a send is under way waits in its order.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use wharf_queue::{
    BackendKind, BufPool, Handle, OpKind, Outcome, PoolBuf, Prepare, Queue, Token, op,
};

use super::Totals;
use crate::{complain, serving};

/// A connection that has this much waiting is not received from until it has drained.
const HOARD: usize = 1 << 20;

struct Connection {
    socket: Handle,
    receive: Option<Token<op::RecvMulti>>,
    /// Pieces that came while one is being sent; empty while none is.
    waiting: VecDeque<PoolBuf>,
    waiting_len: usize,
    sending: bool,
    /// The peer has ended its side, or the connection has failed.
    ended: bool,
}

struct Server<'q> {
    queue: &'q Queue,
    pool: BufPool,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    totals: Totals,
}

pub(super) fn run(backend: Option<BackendKind>, listen: SocketAddr) -> io::Result<Totals> {
    let mut builder = Queue::builder();
    if let Some(backend) = backend {
        builder = builder.backend(backend);
    }
    serve(&builder.build()?, listen)
}

fn serve(queue: &Queue, listen: SocketAddr) -> io::Result<Totals> {
    let listener = serving::listen(queue, listen)?;
    // Few large buffers that are filled piece by piece: small messages share one.
    let pool = queue
        .buf_pool()
        .buffers(64)
        .size(256 * 1024)
        .incremental()
        .build()?;
    serving::stop_on_signal(queue)?;
    queue.submit(op::AcceptMulti::new(&listener))?;
    serving::announce(&mut io::stdout(), listener.local_addr()?)?;
    let (connections, free, totals) = (Vec::new(), Vec::new(), Totals::default());
    let mut server = Server {
        queue,
        pool,
        connections,
        free,
        totals,
    };
    loop {
        let batch = queue.wait(None)?;
        let stop = batch.notified();
        for completion in batch {
            let at = completion.user_data() as usize;
            match completion.kind() {
                Some(OpKind::AcceptMulti) => {
                    if let Ok(outcome) = completion.take_as::<op::AcceptMulti>() {
                        server.accepted(outcome)?;
                    }
                }
                Some(OpKind::RecvMulti) => {
                    let more = completion.more();
                    if let Ok(outcome) = completion.take_as::<op::RecvMulti>() {
                        server.received(at, outcome, more)?;
                    }
                }
                Some(OpKind::Send) => {
                    if let Ok((outcome, _)) = completion.take_as::<op::Send<PoolBuf>>() {
                        server.sent(at, outcome)?;
                    }
                }
                _ => {}
            }
        }
        if stop {
            break;
        }
    }
    server.totals.system_calls = Some(queue.stats().system_calls);
    Ok(server.totals)
}

impl Server<'_> {
    fn accepted(&mut self, outcome: Outcome<Handle>) -> io::Result<()> {
        let socket = match outcome.into_result() {
            Ok(socket) => socket,
            Err(error) => {
                complain(format_args!("accept: {error}"));
                return Ok(());
            }
        };
        // It fails only on what is no TCP socket any more; the receive will tell.
        drop(socket.set_nodelay(true));
        self.totals.connections += 1;
        let at = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.connections[at] = Some(Connection {
            socket,
            receive: None,
            waiting: VecDeque::new(),
            waiting_len: 0,
            sending: false,
            ended: false,
        });
        self.go_on(at)
    }

    #[inline]
    fn received(&mut self, at: usize, outcome: Outcome<PoolBuf>, more: bool) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else {
            return Ok(());
        };
        if !more {
            connection.receive = None;
        }
        match outcome {
            Outcome::Completed(Ok(piece)) if !piece.is_empty() => {
                if !connection.sending {
                    // The usual case: the piece goes out at once, and the receive goes on.
                    send(self.queue, connection, at, piece)?;
                    if more {
                        return Ok(());
                    }
                } else {
                    connection.waiting_len += piece.len();
                    connection.waiting.push_back(piece);
                }
            }
            // It was stopped because too much waits.
            Outcome::Cancelled { .. } => {}
            _ => connection.ended = true,
        }
        self.go_on(at)
    }

    #[inline]
    fn sent(&mut self, at: usize, outcome: Outcome<usize>) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else {
            return Ok(());
        };
        connection.sending = false;
        match outcome.into_result() {
            Ok(len) => {
                self.totals.messages += 1;
                self.totals.bytes += len as u64;
                if connection.waiting.is_empty() && connection.receive.is_some() {
                    return Ok(());
                }
            }
            Err(_) => {
                connection.ended = true;
                connection.waiting.clear();
                connection.waiting_len = 0;
            }
        }
        self.go_on(at)
    }

    /// Starts whatever a connection can do next.
    fn go_on(&mut self, at: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else {
            return Ok(());
        };
        if !connection.sending {
            if let Some(piece) = connection.waiting.pop_front() {
                connection.waiting_len -= piece.len();
                send(self.queue, connection, at, piece)?;
            }
        }
        match connection.receive {
            Some(receive) if connection.waiting_len > HOARD => {
                self.queue.cancel(receive);
            }
            None if !connection.ended && connection.waiting_len <= HOARD / 2 => {
                let receive = op::RecvMulti::new(&connection.socket, &self.pool);
                connection.receive = Some(self.queue.submit(receive.user_data(at as u64))?);
            }
            _ => {}
        }
        let idle = !connection.sending && connection.receive.is_none();
        if connection.ended && idle && connection.waiting.is_empty() {
            if let Some(connection) = self.connections[at].take() {
                self.free.push(at);
                let close = self.queue.submit(op::Close::new(connection.socket))?;
                self.queue.discard(close);
            }
        }
        Ok(())
    }
}

#[inline]
fn send(queue: &Queue, connection: &mut Connection, at: usize, piece: PoolBuf) -> io::Result<()> {
    connection.sending = true;
    let send = op::Send::new(&connection.socket, piece).all();
    queue.submit(send.user_data(at as u64))?;
    Ok(())
}
