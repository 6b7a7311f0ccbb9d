//! The body of an answer: bytes that are there, and parts of a file that are read as they are sent.
//!
//! Owns reading in pieces. hyper asks for the next piece while the last one is on its way, so one
//! read at a time keeps a disk and a socket busy together.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::lookup::SeenFile;
use crate::plan::{Content, Piece};
use crate::server::parts::{FilePart, LONGEST};

/// How much is read at once. More gives no more speed, and is held for each slow client.
const CHUNK_BYTES: u64 = 128 * 1024;

/// What is shorter is cheaper to copy.
const SHORTEST_PART: u64 = 16 * 1024;

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>>>>;

/// The body of an answer of [`Files`](crate::Files).
///
/// Its length is known from the beginning. If the file turns out to be shorter by the time it is
/// read, or cannot be read, the body ends with an error, and the connection with it: the client
/// sees that the answer is not whole.
pub struct FileBody {
    /// What comes first, if it is in memory.
    ready: Option<Bytes>,
    pieces: VecDeque<Piece>,
    file: Option<Rc<SeenFile>>,
    reading: Option<Reading>,
    left_bytes: u64,
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody")
            .field("left_bytes", &self.left_bytes)
            .finish_non_exhaustive()
    }
}

impl FileBody {
    pub(crate) fn new(content: Content, file: Option<Rc<SeenFile>>) -> FileBody {
        let mut ready = None;
        let pieces: VecDeque<Piece> = match content {
            Content::Empty => VecDeque::new(),
            Content::Bytes(bytes) => {
                ready = Some(bytes);
                VecDeque::new()
            }
            Content::File(range) => VecDeque::from([Piece::File(range)]),
            Content::Pieces(pieces) => pieces.into(),
        };
        let ready_bytes = ready.as_ref().map_or(0, Bytes::len) as u64;
        let left_bytes = ready_bytes + pieces.iter().map(len).sum::<u64>();
        FileBody {
            ready,
            pieces,
            file,
            reading: None,
            left_bytes,
        }
    }

    /// Reads the first piece, so that it leaves together with the head, and a file that cannot be
    /// read is found out while there is still a status to say so.
    pub(crate) async fn prime(&mut self) -> io::Result<()> {
        if let Some(reading) = self.next_read() {
            self.ready = Some(reading.await?);
        }
        Ok(())
    }

    /// Begins to read the next part, if what comes next is one.
    fn next_read(&mut self) -> Option<Reading> {
        let Some(Piece::File(range)) = self.pieces.front_mut() else {
            return None;
        };
        let file = Rc::clone(self.file.as_ref()?);
        let part = range.start..range.end.min(range.start.saturating_add(CHUNK_BYTES));
        // What is read may be less, and then the rest is asked for again; see `took`.
        Some(Box::pin(async move { file.file.read(part).await }))
    }

    /// What comes next, if that is a part of a file that can be sent without being read here: not what
    /// was read already.
    pub(crate) fn next_part(&mut self) -> Option<FilePart> {
        if self.ready.is_some() || self.reading.is_some() {
            return None;
        }
        let Some(Piece::File(range)) = self.pieces.front() else {
            return None;
        };
        let file = Rc::clone(self.file.as_ref()?);
        let part = range.start..range.end.min(range.start.saturating_add(LONGEST as u64));
        if part.end - part.start < SHORTEST_PART {
            return None;
        }
        let len = part.end - part.start;
        self.took(len);
        self.left_bytes -= len;
        Some(FilePart { file, range: part })
    }

    /// Takes what was read of the part in front out of what is left to read.
    fn took(&mut self, read_len: u64) {
        if let Some(Piece::File(range)) = self.pieces.front_mut() {
            range.start = range.start.saturating_add(read_len).min(range.end);
            if range.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let bytes = if let Some(bytes) = self.ready.take() {
            self.took(bytes.len() as u64);
            bytes
        } else if let Some(Piece::Bytes(bytes)) = self.pieces.front_mut() {
            let bytes = std::mem::take(bytes);
            self.pieces.pop_front();
            bytes
        } else {
            if self.reading.is_none() {
                self.reading = self.next_read();
            }
            let Some(reading) = &mut self.reading else {
                return Poll::Ready(None);
            };
            let outcome = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match outcome {
                Ok(bytes) => {
                    self.took(bytes.len() as u64);
                    bytes
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        };
        self.left_bytes -= bytes.len() as u64;
        Poll::Ready(Some(Ok(bytes)))
    }
}

fn len(piece: &Piece) -> u64 {
    match piece {
        Piece::Bytes(bytes) => bytes.len() as u64,
        Piece::File(Range { start, end }) => end - start,
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = ready!(self.poll_bytes(cx));
        Poll::Ready(bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}
