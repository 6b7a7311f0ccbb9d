//! Connecting: one address after the other, each with a head start before the next (RFC 8305).
//!
//! Owns the order and the race. A socket that loses the race, or whose future is dropped, is closed:
//! it lives in a [`Local`], never in the future.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use wharf_queue::{Address, Handle, op};

use super::stream::StreamRef;
use crate::engine::{self, Local, OpFuture};
use crate::runtime::worker;
use crate::time::{Sleep, sleep};

/// How long an address has before the next one is tried as well (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// A connection that is being made.
pub(super) struct Connecting {
    socket: Option<Local<Handle>>,
    operation: OpFuture<op::Connect>,
}

impl Connecting {
    pub(super) fn start(address: Address) -> io::Result<Connecting> {
        let worker = worker::expect_current();
        let socket = worker.queue.socket(&op::Socket::stream_for(&address))?;
        Connecting::with_socket(socket, address)
    }

    /// Connects a socket that was made and set up before.
    pub(super) fn with_socket(socket: Handle, address: Address) -> io::Result<Connecting> {
        let operation = engine::submit(op::Connect::new(&socket, address))?;
        Ok(Connecting {
            socket: Some(Local::new(socket)),
            operation,
        })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<StreamRef>> {
        let Poll::Ready(outcome) = Pin::new(&mut self.operation).poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(outcome.into_result().map(|()| {
            let local = self.socket.take().expect("a connection is made once");
            let socket = local.get().expect("it lives on this worker");
            StreamRef::new(&worker::expect_current(), (*socket).clone())
        }))
    }
}

/// Connects to the first of the addresses that answers. Each is tried when the one before it has
/// failed, or has had its head start.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<StreamRef> {
    let mut race = Race {
        waiting: interleave(addresses).into_iter(),
        running: Vec::new(),
        head_start: None,
        error: None,
    };
    poll_fn(|cx| race.poll(cx)).await
}

/// The families by turns, beginning with that of the first address (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let count = addresses.len();
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(count);
    while order.len() < count {
        order.extend(first.next());
        order.extend(second.next());
    }
    order
}

struct Race {
    waiting: std::vec::IntoIter<SocketAddr>,
    running: Vec<Connecting>,
    head_start: Option<Sleep>,
    /// The first error, which is most often about the address that matters most.
    error: Option<io::Error>,
}

impl Race {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<StreamRef>> {
        loop {
            if let Poll::Ready(stream) = self.poll_running(cx) {
                return Poll::Ready(Ok(stream));
            }
            let is_over = match &mut self.head_start {
                Some(sleep) => Pin::new(sleep).poll(cx).is_ready(),
                None => true,
            };
            if !is_over && !self.running.is_empty() {
                return Poll::Pending;
            }
            let Some(address) = self.waiting.next() else {
                if self.running.is_empty() {
                    let error = self.error.take();
                    return Poll::Ready(Err(error.unwrap_or_else(|| {
                        io::Error::new(io::ErrorKind::InvalidInput, "there is no address")
                    })));
                }
                self.head_start = None;
                return Poll::Pending;
            };
            match Connecting::start(address.into()) {
                Ok(connecting) => self.running.push(connecting),
                Err(error) => drop(self.error.get_or_insert(error)),
            }
            self.head_start = (self.waiting.len() > 0).then(|| sleep(HEAD_START));
        }
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<StreamRef> {
        let mut at = 0;
        while at < self.running.len() {
            match self.running[at].poll(cx) {
                Poll::Ready(Ok(stream)) => return Poll::Ready(stream),
                Poll::Ready(Err(error)) => {
                    self.error.get_or_insert(error);
                    drop(self.running.remove(at));
                }
                Poll::Pending => at += 1,
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_tried_by_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (a, b, c) = (parse("[::1]:1"), parse("[::2]:1"), parse("[::3]:1"));
        let (x, y) = (parse("1.1.1.1:1"), parse("2.2.2.2:1"));
        assert_eq!(interleave(vec![a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(interleave(vec![x, a]), [x, a]);
    }
}
