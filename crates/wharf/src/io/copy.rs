//! Copying from one stream to another.
//!
//! Owns the loop. What is received is written from where it lies, so that there is one copy, into
//! the outgoing buffer, and no buffer between the two.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::AsyncWrite;

use super::{PoolBuf, RecvPooled};

/// Copies everything from `reader` to `writer` until the reader ends, and flushes the writer. Gives
/// the number of bytes.
///
/// Dropping the future loses nothing: what was received and not yet written is put back, to be read
/// again, and the streams are not closed.
///
/// # Errors
/// The first of either stream.
pub async fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: RecvPooled + Unpin,
    W: AsyncWrite + Unpin,
{
    copy_up_to(reader, writer, u64::MAX).await
}

/// As [`copy`], until `len` bytes are copied.
pub(super) async fn copy_up_to<R, W>(reader: &mut R, writer: &mut W, len: u64) -> io::Result<u64>
where
    R: RecvPooled + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut copying = Copying {
        reader,
        direction: Direction::new(false, len),
    };
    poll_fn(|cx| copying.direction.poll(cx, copying.reader, writer)).await
}

/// A copy one way. When it is dropped, what it has received and not written goes back.
struct Copying<'a, R: RecvPooled + Unpin> {
    reader: &'a mut R,
    direction: Direction,
}

impl<R: RecvPooled + Unpin> Drop for Copying<'_, R> {
    fn drop(&mut self) {
        self.direction.put_back(self.reader);
    }
}

/// Copies both ways at once until both directions have ended; the end of one is passed on by closing
/// the sending direction of the other. Gives the bytes from `a` to `b` and from `b` to `a`.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::net::{TcpListener, TcpStream};
/// # let target = TcpListener::bind("127.0.0.1:0").await?;
/// # let proxy = TcpListener::bind("127.0.0.1:0").await?;
/// # let (at, target_addr) = (proxy.local_addr(), target.local_addr());
/// # let client = wharf::spawn(async move {
/// #     let mut client = TcpStream::connect(at).await?;
/// #     client.write_all(b"ping").await?;
/// #     client.shutdown().await?;
/// #     let mut buf = [0; 8];
/// #     client.read(&mut buf).await
/// # });
/// # let server = wharf::spawn(async move {
/// #     let (mut stream, _) = target.accept().await?;
/// #     while let Some(piece) = stream.recv().await? { stream.send(piece).await?; }
/// #     stream.shutdown().await
/// # });
/// let (mut client_side, _) = proxy.accept().await?;
/// let mut server_side = TcpStream::connect(target_addr).await?;
/// let (to, from) = wharf::io::copy_bidirectional(&mut client_side, &mut server_side).await?;
/// assert_eq!((to, from), (4, 4));
/// # assert_eq!(client.await.unwrap()?, 4);
/// # server.await.unwrap()?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// Dropping the future loses nothing: what was received and not yet written is put back, to be read
/// again. A direction that has ended stays so.
///
/// # Errors
/// The first of either stream.
pub async fn copy_bidirectional<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: RecvPooled + AsyncWrite + Unpin,
    B: RecvPooled + AsyncWrite + Unpin,
{
    let mut both = Both {
        a,
        b,
        there: Direction::new(true, u64::MAX),
        back: Direction::new(true, u64::MAX),
    };
    let (mut a_to_b, mut b_to_a) = (None, None);
    poll_fn(|cx| {
        let both = &mut both;
        if a_to_b.is_none() {
            if let Poll::Ready(copied) = both.there.poll(cx, both.a, both.b) {
                a_to_b = Some(copied?);
            }
        }
        if b_to_a.is_none() {
            if let Poll::Ready(copied) = both.back.poll(cx, both.b, both.a) {
                b_to_a = Some(copied?);
            }
        }
        match (a_to_b, b_to_a) {
            (Some(a_to_b), Some(b_to_a)) => Poll::Ready(Ok((a_to_b, b_to_a))),
            _ => Poll::Pending,
        }
    })
    .await
}

/// A copy both ways; see [`Copying`].
struct Both<'a, A: RecvPooled + Unpin, B: RecvPooled + Unpin> {
    a: &'a mut A,
    b: &'a mut B,
    there: Direction,
    back: Direction,
}

impl<A: RecvPooled + Unpin, B: RecvPooled + Unpin> Drop for Both<'_, A, B> {
    fn drop(&mut self) {
        self.there.put_back(self.a);
        self.back.put_back(self.b);
    }
}

/// One direction of a copy.
struct Direction {
    piece: Option<PoolBuf>,
    copied: u64,
    /// How many bytes more are wanted.
    left: u64,
    has_ended: bool,
    needs_flush: bool,
    /// The writer is closed at the end.
    closes: bool,
}

impl Direction {
    fn new(closes: bool, left: u64) -> Direction {
        Direction {
            piece: None,
            copied: 0,
            left,
            has_ended: false,
            needs_flush: false,
            closes,
        }
    }

    fn put_back<R: RecvPooled + Unpin>(&mut self, reader: &mut R) {
        if let Some(piece) = self.piece.take() {
            Pin::new(reader).put_back(piece);
        }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<u64>>
    where
        R: RecvPooled + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (mut reader, mut writer) = (Pin::new(reader), Pin::new(writer));
        while !self.has_ended && self.left > 0 {
            if let Some(piece) = &mut self.piece {
                let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
                let wanted = &piece[..piece.len().min(wanted)];
                let count = ready!(writer.as_mut().poll_write(cx, wanted))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                piece.advance(count);
                self.copied += count as u64;
                self.left -= count as u64;
                self.needs_flush = true;
                if piece.is_empty() {
                    self.piece = None;
                }
                continue;
            }
            match reader.as_mut().poll_recv(cx)? {
                Poll::Ready(Some(piece)) => self.piece = Some(piece),
                Poll::Ready(None) => self.has_ended = true,
                Poll::Pending => {
                    // While there is nothing to read, nothing may be left behind.
                    if self.needs_flush && writer.as_mut().poll_flush(cx)?.is_ready() {
                        self.needs_flush = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        if self.closes {
            ready!(writer.poll_close(cx))?;
        } else {
            ready!(writer.poll_flush(cx))?;
        }
        Poll::Ready(Ok(self.copied))
    }
}
