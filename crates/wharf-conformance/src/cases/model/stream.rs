//! A connection of the model: what was sent each way, and what may have arrived.
//!
//! The bytes of a stream are a pattern, so that each says where in the stream it belongs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use wharf_queue::{Handle, Queue, Token};

use crate::PATIENCE;
use crate::peer::pair;

/// The byte at a place of a stream.
fn pattern(place: u64) -> u8 {
    (place % 251) as u8
}

/// So many bytes of the pattern.
pub(super) fn bytes_from(place: u64, len: usize) -> Vec<u8> {
    (place..place + len as u64).map(pattern).collect()
}

/// What has gone in one direction.
#[derive(Debug)]
pub(super) struct Flow {
    /// Bytes that went in at one end.
    pub(super) sent: u64,
    /// Bytes that came out at the other.
    pub(super) arrived: u64,
    /// Nothing was discarded on the way, so that every byte is accounted for.
    pub(super) is_whole: bool,
}

impl Flow {
    const NEW: Flow = Flow {
        sent: 0,
        arrived: 0,
        is_whole: true,
    };

    fn arrives(&mut self, bytes: &[u8]) {
        if self.is_whole {
            let expected = bytes_from(self.arrived, bytes.len());
            assert!(
                bytes == expected,
                "other bytes than those at {}",
                self.arrived
            );
        }
        self.arrived += bytes.len() as u64;
    }
}

pub(super) struct Stream {
    /// Until it is closed or dropped.
    pub(super) handle: Option<Handle>,
    /// Until it is dropped, which may reset the connection.
    pub(super) peer: Option<TcpStream>,
    pub(super) incoming: Flow,
    pub(super) outgoing: Flow,
    /// At most one of each is in flight: several are carried out in no particular order.
    pub(super) receiving: Option<Token>,
    pub(super) sending: Option<Token>,
    /// The peer sends no more.
    pub(super) peer_has_ended: bool,
}

impl Stream {
    pub(super) fn new(queue: &Queue) -> Stream {
        let (handle, peer) = pair(queue);
        peer.set_nonblocking(true).expect("a socket");
        Stream {
            handle: Some(handle),
            peer: Some(peer),
            incoming: Flow::NEW,
            outgoing: Flow::NEW,
            receiving: None,
            sending: None,
            peer_has_ended: false,
        }
    }

    /// Whether nothing can go wrong with the connection: its peer is there.
    pub(super) fn is_sound(&self) -> bool {
        self.peer.is_some()
    }

    /// The peer sends up to `len` bytes.
    pub(super) fn peer_writes(&mut self, len: usize) {
        let Some(peer) = self.peer.as_mut().filter(|_| !self.peer_has_ended) else {
            return;
        };
        let bytes = bytes_from(self.incoming.sent, len);
        match peer.write(&bytes) {
            Ok(count) => self.incoming.sent += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The stream was closed here, with bytes in it that nobody had read.
            Err(error) => assert!(self.handle.is_none(), "{error}"),
        }
    }

    /// The peer takes up to `len` bytes of what was sent to it. Returns whether there may be more.
    pub(super) fn peer_reads(&mut self, len: usize) -> bool {
        let Some(peer) = self.peer.as_mut() else {
            return false;
        };
        let mut bytes = vec![0; len];
        match peer.read(&mut bytes) {
            Ok(0) => {
                assert!(self.handle.is_none(), "an end that nobody made");
                false
            }
            Ok(count) => {
                self.outgoing.arrives(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => {
                assert!(self.handle.is_none(), "{error}");
                false
            }
        }
    }

    pub(super) fn peer_ends(&mut self) {
        if let Some(peer) = &self.peer {
            // It fails when the connection was reset from here.
            drop(peer.shutdown(Shutdown::Write));
            self.peer_has_ended = true;
        }
    }

    /// Bytes have come out of the queue.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        self.incoming.arrives(bytes);
        assert!(
            self.incoming.arrived <= self.incoming.sent,
            "nobody sent these"
        );
    }

    /// A receive says that this is the end.
    pub(super) fn ended(&self) {
        assert!(self.peer_has_ended || self.peer.is_none(), "it is no end");
        if self.incoming.is_whole && self.is_sound() {
            assert_eq!(self.incoming.arrived, self.incoming.sent, "before its end");
        }
    }

    /// An operation has failed, for which there must be a reason.
    pub(super) fn failed(&self, error: &std::io::Error) {
        let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(
            expected.contains(&error.kind()) && !self.is_sound(),
            "{error}"
        );
    }

    /// The peer reads all that was sent to it.
    pub(super) fn peer_drains(&mut self) {
        let began = Instant::now();
        while self.outgoing.is_whole && self.outgoing.arrived < self.outgoing.sent {
            assert!(began.elapsed() < PATIENCE, "what was sent does not arrive");
            if !self.peer_reads(1 << 16) {
                std::thread::yield_now();
            }
        }
        while self.peer_reads(1 << 16) {}
        if self.outgoing.is_whole {
            assert_eq!(
                self.outgoing.arrived, self.outgoing.sent,
                "more than was sent"
            );
        }
    }
}
