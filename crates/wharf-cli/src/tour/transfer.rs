//! The transfer: a file through TCP connections and back, with as much in flight as can be.
//!
//! The file is read in chunks, several at a time. Chunk `n` goes over connection `n % CONNECTIONS`,
//! so that there is a send and a receive in flight on each of them; the receiver takes the chunks
//! from the connections in turn. Where a read says that the file ends, it ends, whatever its length
//! was said to be. Both ends hash what they see in the file's order.
//!
//! At most `BUFFERS` chunks are between the file and the sockets, and a connection whose turn has
//! not come is not received from without limit, so that memory stays bounded.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wharf_queue::{Completion, Handle, IoBuf, OpKind, Outcome, Prepare, Queue, Slice, op};

use super::record::{Lane, Recorder, bytes};
use crate::context;

/// Connections that the file is sent over.
pub(crate) const CONNECTIONS: usize = 3;
/// Reads in flight at a time.
const READS: usize = 4;
/// Chunks that are being read, wait to be sent, or are being sent.
const BUFFERS: usize = 10;
/// Received pieces that may wait for their turn on one connection.
const WAITING: usize = 2;
/// If nothing at all completes for this long, something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One connection, seen from both of its ends.
pub(crate) struct Connection {
    pub(crate) sender: Handle,
    pub(crate) receiver: Handle,
    outgoing: VecDeque<Vec<u8>>,
    sending: bool,
    shut: bool,
    incoming: VecDeque<Vec<u8>>,
    receiving: bool,
    ended: bool,
}

impl Connection {
    pub(crate) fn new(sender: Handle, receiver: Handle) -> Connection {
        Connection {
            sender,
            receiver,
            outgoing: VecDeque::new(),
            sending: false,
            shut: false,
            incoming: VecDeque::new(),
            receiving: false,
            ended: false,
        }
    }
}

/// What both ends have seen.
pub(crate) struct Digests {
    pub(crate) sent: String,
    pub(crate) received: String,
    pub(crate) sent_len: u64,
    pub(crate) received_len: u64,
}

/// The first thing that was read and the first that was received, to be shown.
#[derive(Default)]
pub(crate) struct Firsts {
    pub(crate) read: Option<String>,
    pub(crate) received: Option<String>,
}

pub(crate) struct Transfer<'a> {
    queue: &'a Queue,
    recorder: &'a mut Recorder,
    file: Handle,
    name: String,
    chunk_len: usize,
    /// The chunks that are being read, by the number of the read.
    reading: BTreeMap<u64, u64>,
    free_lanes: Vec<usize>,
    next_read: u64,
    /// How many chunks may be read by what is known of the file's length.
    limit: u64,
    /// How many chunks there are, once a read has told.
    end: Option<u64>,
    /// What has been read before its turn.
    read: BTreeMap<u64, Vec<u8>>,
    /// The next chunk to be sent.
    next_send: u64,
    /// Chunks between the file and the sockets.
    buffers: usize,
    spare: Vec<Vec<u8>>,
    connections: Vec<Connection>,
    /// Whose turn it is to be taken from, and how much of the chunk is missing.
    turn: usize,
    missing: usize,
    sent: Sha256,
    received: Sha256,
    sent_len: u64,
    received_len: u64,
    pub(crate) firsts: Firsts,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(
        queue: &'a Queue,
        recorder: &'a mut Recorder,
        (file, name, len): (Handle, String, u64),
        connections: Vec<Connection>,
    ) -> Transfer<'a> {
        let chunk_len = chunk_len(len);
        Transfer {
            queue,
            recorder,
            file,
            name,
            chunk_len,
            reading: BTreeMap::new(),
            free_lanes: (0..READS).rev().collect(),
            next_read: 0,
            limit: len.div_ceil(chunk_len as u64).max(1),
            end: None,
            read: BTreeMap::new(),
            next_send: 0,
            buffers: 0,
            spare: Vec::new(),
            connections,
            turn: 0,
            missing: chunk_len,
            sent: Sha256::new(),
            received: Sha256::new(),
            sent_len: 0,
            received_len: 0,
            firsts: Firsts::default(),
        }
    }

    /// Looks at what has come, and submits whatever can be submitted: step 3.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        self.send_in_order();
        self.receive_in_order();
        while self.may_read() {
            let chunk = self.next_read;
            self.next_read += 1;
            self.buffers += 1;
            let mut buf = self.spare.pop().unwrap_or_default();
            buf.clear();
            buf.reserve_exact(self.chunk_len);
            let lane = self.free_lanes.pop().unwrap_or_default();
            self.submit_read(chunk, buf, lane)?;
        }
        for at in 0..self.connections.len() {
            self.submit_send(at)?;
            self.submit_receive(at)?;
        }
        Ok(())
    }

    fn may_read(&self) -> bool {
        let limit = self.end.unwrap_or(self.limit);
        self.next_read < limit && !self.free_lanes.is_empty() && self.buffers < BUFFERS
    }

    /// Reads the rest of a chunk.
    fn submit_read(&mut self, chunk: u64, buf: Vec<u8>, lane: usize) -> io::Result<()> {
        let (len, from) = (self.chunk_len as u64, buf.len());
        let offset = chunk * len + from as u64;
        let what = format!("read at {offset}");
        let number = self.recorder.submit(self.queue, Lane::Read(lane), what);
        self.reading.insert(number, chunk);
        let read = op::ReadAt::new(&self.file, buf.slice(from..self.chunk_len), offset);
        self.queue.submit(read.user_data(number))?;
        Ok(())
    }

    fn submit_send(&mut self, at: usize) -> io::Result<()> {
        let all_read = self.end.is_some_and(|end| self.next_send >= end);
        let connection = &mut self.connections[at];
        if connection.sending || connection.shut {
            return Ok(());
        }
        if let Some(buf) = connection.outgoing.pop_front() {
            connection.sending = true;
            let what = format!("send {}", bytes(buf.len() as u64));
            let number = self.recorder.submit(self.queue, Lane::Send(at), what);
            let send = op::Send::new(&connection.sender, buf).all();
            self.queue.submit(send.user_data(number))?;
        } else if all_read {
            connection.shut = true;
            let what = "shut down the sending side".to_owned();
            let number = self.recorder.submit(self.queue, Lane::Send(at), what);
            let shutdown = op::Shutdown::new(&connection.sender, Shutdown::Write);
            self.queue.submit(shutdown.user_data(number))?;
        }
        Ok(())
    }

    fn submit_receive(&mut self, at: usize) -> io::Result<()> {
        let connection = &mut self.connections[at];
        if connection.receiving || connection.ended || connection.incoming.len() >= WAITING {
            return Ok(());
        }
        connection.receiving = true;
        let lane = Lane::Receive(at);
        let number = self.recorder.submit(self.queue, lane, "receive".to_owned());
        let mut buf = self.spare.pop().unwrap_or_default();
        buf.clear();
        buf.reserve_exact(self.chunk_len);
        let recv = op::Recv::new(&connection.receiver, buf);
        self.queue.submit(recv.user_data(number))?;
        Ok(())
    }

    /// Blocks until something has completed, and takes what has: steps 4 and 5. Returns how many
    /// completions there were.
    pub(crate) fn wait(&mut self) -> io::Result<usize> {
        let before = self.queue.now();
        let batch = self.queue.wait(PATIENCE)?;
        let now = self.queue.now();
        self.recorder.waited(before, now);
        if batch.is_empty() {
            let message = format!("nothing has completed for {PATIENCE:?}; the tour gives up");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        let mut count = 0;
        for completion in batch {
            count += 1;
            self.take(completion, now)?;
        }
        Ok(count)
    }

    fn take(&mut self, completion: Completion<'_>, now: wharf_queue::Moment) -> io::Result<()> {
        let number = completion.user_data();
        match completion.kind() {
            Some(OpKind::ReadAt) => {
                if let Ok((outcome, buf)) = completion.take_as::<op::ReadAt<Slice<Vec<u8>>>>() {
                    let count = outcome
                        .into_result()
                        .map_err(context(format!("cannot read {}", self.name)))?;
                    let result = format!(": {}", bytes(count as u64));
                    let lane = self.recorder.complete(number, now, &result);
                    let chunk = self.reading.remove(&number);
                    if let (Some(Lane::Read(lane)), Some(chunk)) = (lane, chunk) {
                        self.was_read(chunk, buf.into_inner(), count, lane)?;
                    }
                }
            }
            Some(OpKind::Send) => {
                if let Ok((outcome, buf)) = completion.take_as::<op::Send<Vec<u8>>>() {
                    outcome.into_result().map_err(context("cannot send"))?;
                    self.buffers -= 1;
                    self.give_back(buf);
                    if let Some(Lane::Send(at)) = self.recorder.complete(number, now, "") {
                        self.connections[at].sending = false;
                    }
                }
            }
            Some(OpKind::Recv) => {
                if let Ok((outcome, buf)) = completion.take_as::<op::Recv<Vec<u8>>>() {
                    let count = outcome.into_result().map_err(context("cannot receive"))?;
                    let result = format!(" {}", bytes(count as u64));
                    if let Some(Lane::Receive(at)) = self.recorder.complete(number, now, &result) {
                        self.was_received(at, buf);
                    }
                }
            }
            _ => {
                if let Ok(outcome) = completion.take_as::<op::Shutdown>() {
                    let outcome: Outcome<()> = outcome;
                    outcome.into_result().map_err(context("cannot shut down"))?;
                    self.recorder.complete(number, now, "");
                }
            }
        }
        Ok(())
    }

    fn was_read(&mut self, chunk: u64, buf: Vec<u8>, count: usize, lane: usize) -> io::Result<()> {
        if self.firsts.read.is_none() {
            self.firsts.read = Some(first(&buf));
        }
        if count > 0 && buf.len() < self.chunk_len {
            // A short read; only the next one can tell whether the file ends here.
            return self.submit_read(chunk, buf, lane);
        }
        self.free_lanes.push(lane);
        if buf.len() == self.chunk_len {
            // A file may be longer than it was said to be.
            if chunk + 1 == self.limit {
                self.limit += 1;
            }
        } else {
            let end = chunk + u64::from(!buf.is_empty());
            self.end = Some(self.end.map_or(end, |known| known.min(end)));
        }
        self.read.insert(chunk, buf);
        Ok(())
    }

    /// Hands what has been read to its connection, as far as nothing before it is missing.
    fn send_in_order(&mut self) {
        while let Some(buf) = self.read.remove(&self.next_send) {
            if self.end.is_some_and(|end| self.next_send >= end) {
                self.read.insert(self.next_send, buf);
                break;
            }
            self.sent.update(&buf);
            self.sent_len += buf.len() as u64;
            let at = (self.next_send % self.connections.len() as u64) as usize;
            self.connections[at].outgoing.push_back(buf);
            self.next_send += 1;
        }
        // What lies behind the end is not sent: the file shrank, or was read once too often.
        if let Some(end) = self.end {
            for buf in self.read.split_off(&end).into_values() {
                self.buffers -= 1;
                self.give_back(buf);
            }
        }
    }

    fn was_received(&mut self, at: usize, buf: Vec<u8>) {
        let connection = &mut self.connections[at];
        connection.receiving = false;
        if buf.is_empty() {
            connection.ended = true;
            return;
        }
        if self.firsts.received.is_none() {
            self.firsts.received = Some(first(&buf));
        }
        connection.incoming.push_back(buf);
    }

    /// Hashes what has been received, taking the chunks from the connections in turn.
    fn receive_in_order(&mut self) {
        while let Some(mut piece) = self.connections[self.turn].incoming.pop_front() {
            let here = self.missing.min(piece.len());
            self.received.update(&piece[..here]);
            self.received_len += here as u64;
            self.missing -= here;
            if self.missing == 0 {
                self.missing = self.chunk_len;
                let rest = piece.split_off(here);
                if !rest.is_empty() {
                    self.connections[self.turn].incoming.push_front(rest);
                }
                self.turn = (self.turn + 1) % self.connections.len();
            }
            self.give_back(piece);
        }
    }

    fn give_back(&mut self, buf: Vec<u8>) {
        if self.spare.len() < BUFFERS {
            self.spare.push(buf);
        }
    }

    /// Whether every connection has ended and everything that came has been looked at.
    pub(crate) fn is_over(&self) -> bool {
        let over = |connection: &Connection| connection.ended && !connection.sending;
        self.reading.is_empty() && self.connections.iter().all(over)
    }

    /// The length of a chunk in bytes.
    pub(crate) fn chunk_len(&self) -> usize {
        self.chunk_len
    }

    /// What both ends have seen. What was received on a connection out of turn belongs to no place
    /// in the file: it counts, so that the lengths differ.
    pub(crate) fn finish(self) -> Digests {
        let stray = self
            .connections
            .iter()
            .flat_map(|connection| &connection.incoming);
        let stray: u64 = stray.map(|piece| piece.len() as u64).sum();
        Digests {
            sent: hex(&self.sent.finalize()),
            received: hex(&self.received.finalize()),
            sent_len: self.sent_len,
            received_len: self.received_len + stray,
        }
    }
}

/// The length of a chunk: such that a small file still makes some, and a large one is not made of
/// too many.
fn chunk_len(file_len: u64) -> usize {
    const SMALLEST: u64 = 4 << 10;
    const LARGEST: u64 = 256 << 10;
    let even = (file_len / 32).clamp(SMALLEST, LARGEST);
    even.next_multiple_of(SMALLEST) as usize
}

/// The first bytes of a buffer, to be shown.
fn first(buf: &[u8]) -> String {
    if buf.is_empty() {
        return "nothing: the file is at its end".to_owned();
    }
    let (bytes, mut text) = (&buf[..buf.len().min(12)], String::new());
    for byte in bytes {
        text += &format!("{byte:02x} ");
    }
    let printable = |&byte: &u8| match byte {
        b' '..=b'~' => char::from(byte),
        _ => '.',
    };
    text + " |" + &bytes.iter().map(printable).collect::<String>() + "|"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_len_is_bounded_and_a_multiple_of_a_page() {
        for file_len in [0, 1, 4096, 131_073, 1 << 20, 1 << 33, u64::MAX] {
            let len = chunk_len(file_len);
            assert!(
                (4096..=256 << 10).contains(&len) && len % 4096 == 0,
                "{file_len}: {len}"
            );
        }
    }
}
