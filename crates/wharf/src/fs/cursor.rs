//! Reading and writing on, from where the file's cursor is.
//!
//! Owns the cursor, which is ours and not the system's: every read and write of a file names its
//! offset, so that a read that is dropped or read ahead moves nothing. What has no offsets (a named
//! pipe, a terminal) is read and written as a stream, and cannot be sought in.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use wharf_queue::{IoBuf, IoBufMut, op};

use super::File;
use crate::carried::Carried;
use crate::io::chunk::Place;
use crate::io::conduit::Conduit;
use crate::io::incoming::Incoming;
use crate::io::traits::{ReadSide, WriteSide, impl_read_side, impl_write_side};
use crate::io::{BufResult, PoolBuf};

/// The largest offset that a file can have.
const LAST: u64 = i64::MAX as u64;

#[derive(Debug)]
pub(super) struct Cursor {
    position: u64,
    appends: bool,
    /// It is behind what was appended, wherever that is.
    is_at_end: bool,
    incoming: Incoming,
    measuring: Option<Carried<op::Stat>>,
}

impl Cursor {
    pub(super) fn new(appends: bool) -> Cursor {
        Cursor {
            position: 0,
            appends,
            is_at_end: false,
            incoming: Incoming::default(),
            measuring: None,
        }
    }

    pub(super) fn appends(&self) -> bool {
        self.appends
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn set_position(&mut self, position: u64) {
        self.position = position;
        self.is_at_end = false;
    }

    /// Whether bytes have been read that nobody has taken, or are being read.
    pub(super) fn holds_bytes(&self) -> bool {
        !self.incoming.is_empty()
    }

    pub(super) fn discard(&mut self) {
        self.incoming.discard();
    }

    fn poll_len(&mut self, cx: &mut Context<'_>, conduit: &Conduit) -> Poll<io::Result<u64>> {
        ready!(conduit.poll_settled(cx));
        let measuring = match &mut self.measuring {
            Some(measuring) => measuring,
            none => none.insert(conduit.handle().start(op::Stat::handle)?),
        };
        let answer = ready!(Pin::new(measuring).poll(cx));
        self.measuring = None;
        Poll::Ready(Ok(answer?.into_result()?.len))
    }

    /// Finds out where the cursor is, if it is at the end.
    fn poll_find_end(&mut self, cx: &mut Context<'_>, conduit: &Conduit) -> Poll<io::Result<()>> {
        if self.is_at_end {
            let len = ready!(self.poll_len(cx, conduit))?;
            self.set_position(len);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) async fn find_end(&mut self, conduit: &Conduit) -> io::Result<()> {
        poll_fn(|cx| self.poll_find_end(cx, conduit)).await
    }

    /// Where the next read is from, when it may begin.
    fn poll_place(&mut self, cx: &mut Context<'_>, conduit: &Conduit) -> Poll<io::Result<Place>> {
        if !conduit.is_file() {
            return Poll::Ready(Ok(Place::Next));
        }
        ready!(conduit.poll_settled(cx));
        ready!(self.poll_find_end(cx, conduit))?;
        Poll::Ready(Ok(Place::At(self.position)))
    }

    fn poll_seek(
        &mut self,
        cx: &mut Context<'_>,
        conduit: &Conduit,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        if !conduit.is_file() {
            return Poll::Ready(Err(io::ErrorKind::NotSeekable.into()));
        }
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => {
                ready!(self.poll_find_end(cx, conduit))?;
                self.position.checked_add_signed(by)
            }
            SeekFrom::End(by) => ready!(self.poll_len(cx, conduit))?.checked_add_signed(by),
        };
        let Some(position) = position.filter(|position| *position <= LAST) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        };
        self.incoming.discard();
        self.set_position(position);
        Poll::Ready(Ok(position))
    }
}

impl ReadSide for File {
    fn poll_read_side(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let (cursor, conduit) = (&mut self.cursor, &*self.conduit);
        let place = ready!(cursor.poll_place(cx, conduit))?;
        let count = ready!(cursor.incoming.poll_read(cx, conduit, place, buf))?;
        cursor.position = cursor.position.saturating_add(count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_recv_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<PoolBuf>>> {
        let (cursor, conduit) = (&mut self.cursor, &*self.conduit);
        let place = ready!(cursor.poll_place(cx, conduit))?;
        let piece = ready!(cursor.incoming.poll_recv(cx, conduit, place))?;
        let count = piece.as_ref().map_or(0, |piece| piece.len());
        cursor.position = cursor.position.saturating_add(count as u64);
        Poll::Ready(Ok(piece))
    }

    fn put_back_side(&mut self, piece: PoolBuf) {
        let cursor = &mut self.cursor;
        cursor.position = cursor.position.saturating_sub(piece.len() as u64);
        if self.conduit.is_file() {
            // It is there to be read again.
            cursor.incoming.discard();
        } else {
            cursor.incoming.put_back(piece);
        }
    }
}

impl WriteSide for File {
    fn poll_write_side(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (cursor, conduit) = (&mut self.cursor, &self.conduit);
        let place = match conduit.is_file() && !cursor.appends {
            true => Place::At(cursor.position),
            false => Place::Next,
        };
        let count = ready!(conduit.poll_write(cx, bufs, place))?;
        if conduit.is_file() {
            // What was read ahead may have been written over.
            cursor.incoming.discard();
            cursor.position = cursor.position.saturating_add(count as u64);
            cursor.is_at_end = cursor.appends;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conduit.poll_flush(cx)
    }

    fn poll_close_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The file stays open until it is dropped: there may be more to read.
        self.conduit.poll_flush(cx)
    }
}

impl_read_side!(File);
impl_write_side!(File);

impl File {
    /// Moves the cursor, and returns where it is then, in bytes from the beginning. It may be moved
    /// beyond the end.
    ///
    /// # Errors
    /// `InvalidInput` for a place before the beginning, or above the system's limit; `NotSeekable`
    /// for a pipe, a terminal and the like.
    pub async fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        poll_fn(|cx| self.cursor.poll_seek(cx, &self.conduit, to)).await
    }

    /// Where the cursor is, in bytes from the beginning.
    ///
    /// # Errors
    /// As [`seek`](File::seek).
    pub async fn stream_position(&mut self) -> io::Result<u64> {
        self.seek(SeekFrom::Current(0)).await
    }

    /// Moves the cursor to the beginning.
    ///
    /// # Errors
    /// As [`seek`](File::seek).
    pub async fn rewind(&mut self) -> io::Result<()> {
        self.seek(SeekFrom::Start(0)).await.map(drop)
    }

    /// Reads at the cursor into a buffer that is lent and comes back, with its length set. For a
    /// `Vec`, the room is its capacity.
    ///
    /// Dropping the future drops the buffer, and leaves the cursor where it is.
    ///
    /// # Errors
    /// As [`read`](File::read); the buffer comes back in any case.
    pub async fn read_owned<B: IoBufMut + Send>(&mut self, mut buf: B) -> BufResult<usize, B> {
        if buf.as_uninit().is_empty() {
            return (Ok(0), buf);
        }
        let (cursor, conduit) = (&mut self.cursor, &*self.conduit);
        let place = match poll_fn(|cx| cursor.poll_place(cx, conduit)).await {
            Ok(place) => place,
            Err(error) => return (Err(error), buf),
        };
        let Place::At(position) = place else {
            // A stream's bytes must not go with the buffer when this is dropped.
            return match self.recv_into(&mut buf).await {
                Ok(count) => (Ok(count), buf),
                Err(error) => (Err(error), buf),
            };
        };
        self.cursor.discard();
        let (result, buf) = self.read_at_owned(buf, position).await;
        if let Ok(count) = result {
            self.cursor.position = position.saturating_add(count as u64);
        }
        (result, buf)
    }

    async fn recv_into<B: IoBufMut>(&mut self, buf: &mut B) -> io::Result<usize> {
        let mut bytes = vec![0; buf.as_uninit().len().min(64 * 1024)];
        let count = self.read(&mut bytes).await?;
        Ok(buf.fill(&bytes[..count]))
    }

    /// Writes all of a buffer at the cursor, without copying it; it comes back. It begins when
    /// everything written before has been handed to the system.
    ///
    /// Dropping the future before it has begun writes nothing. After, the buffer is written whole,
    /// and an error of that is told to the next write, flush or sync.
    ///
    /// # Errors
    /// As [`write`](File::write), and `WriteZero`; the buffer comes back in any case.
    pub async fn write_owned<B: IoBuf + Send>(&mut self, buf: B) -> BufResult<usize, B> {
        if let Err(error) = self.conduit.flush().await {
            return (Err(error), buf);
        }
        let len = buf.as_bytes().len() as u64;
        let place = match self.conduit.is_file() && !self.cursor.appends {
            true => Place::At(self.cursor.position),
            false => Place::Next,
        };
        if self.conduit.is_file() {
            // From here on it will be written, whether or not this is polled to its end.
            self.cursor.discard();
            self.cursor.position = self.cursor.position.saturating_add(len);
            self.cursor.is_at_end = self.cursor.appends;
        }
        self.write_whole(buf, place).await
    }
}

impl futures_io::AsyncSeek for File {
    fn poll_seek(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        let file = self.get_mut();
        file.cursor.poll_seek(cx, &file.conduit, to)
    }
}
