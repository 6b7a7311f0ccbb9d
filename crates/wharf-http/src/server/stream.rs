//! A connection's stream as hyper sees it: with an account of its waits, and an orderly end.
//!
//! Owns finding out which version of HTTP a client speaks, sending the parts of files that stand
//! among what is written, and lingering at the end. It knows nothing of requests.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use wharf::net::TcpStream;

use super::exchange::Connection;
use super::parts::{FilePart, Parts, is_stand_in};

/// What a client that speaks HTTP/2 without being asked sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is thrown away at most of what a client goes on sending after its last answer.
const LINGER_BYTES: usize = 1 << 20;

/// The two that this server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    Http1,
    Http2,
}

pub(crate) struct Stream {
    /// The connection; `None` while a part of a file is being sent, which has it then.
    inner: Option<TcpStream>,
    sending: Option<Sending>,
    /// What became of the part that was sent last, if nobody has asked for it yet.
    sent: Option<io::Result<u64>>,
    /// hyper was told to wait with reading while a part was being sent.
    read_waits: bool,
    parts: Rc<Parts>,
    /// What was read to find out the version.
    prefix: Bytes,
    connection: Arc<Connection>,
    end: End,
}

/// ```text
/// Open --poll_shutdown--> Lingering --end of file, error, enough--> Closed
///   \---- nothing is left unread ------------------------------------^
/// ```
enum End {
    Open,
    Lingering { discarded: usize },
    Closed,
}

/// The sending of a part: it has the connection, and gives it back.
type Sending = Pin<Box<dyn Future<Output = (TcpStream, io::Result<u64>)>>>;

impl Stream {
    pub(crate) fn new(inner: TcpStream, connection: Arc<Connection>) -> Stream {
        Stream {
            inner: Some(inner),
            sending: None,
            sent: None,
            read_waits: false,
            parts: Rc::default(),
            prefix: Bytes::new(),
            connection,
            end: End::Open,
        }
    }

    /// Reads until the version is certain: up to the first byte that differs from the preface.
    pub(crate) async fn version(&mut self) -> io::Result<Version> {
        let mut start = [0; PREFACE.len()];
        let mut filled_len = 0;
        while filled_len < start.len() && PREFACE.starts_with(&start[..filled_len]) {
            let mut buf = ReadBuf::new(&mut start[filled_len..]);
            poll_fn(|cx| Pin::new(&mut *self).poll_read(cx, buf.unfilled())).await?;
            let read_len = buf.filled().len();
            if read_len == 0 {
                break;
            }
            filled_len += read_len;
        }
        self.prefix = Bytes::copy_from_slice(&start[..filled_len]);
        if start == *PREFACE {
            self.connection.patience.is_http2();
            return Ok(Version::Http2);
        }
        Ok(Version::Http1)
    }

    /// Where the parts of files are noted that this stream sends by itself. Only for hyper's HTTP/1,
    /// which hands over what it writes as it was given.
    pub(crate) fn parts(&self) -> Option<Rc<Parts>> {
        self.is_write_vectored().then(|| Rc::clone(&self.parts))
    }

    /// The connection, when no part of a file has it.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TcpStream>>> {
        if let Some(sending) = &mut self.sending {
            let (inner, sent) = ready!(sending.as_mut().poll(cx));
            self.sending = None;
            self.inner = Some(inner);
            self.sent = Some(sent);
            if std::mem::take(&mut self.read_waits) {
                // This may be the last that is written for now, and the next is to be read.
                cx.waker().wake_by_ref();
            }
        }
        // It is away with a future only, or with one that has panicked.
        let inner = self.inner.as_mut().ok_or(io::ErrorKind::BrokenPipe);
        Poll::Ready(Ok(Pin::new(inner?)))
    }

    /// Has the first part sent; hyper is told that many bytes of what stands for it are written.
    fn poll_part(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_inner(cx))?;
            if let Some(sent) = self.sent.take() {
                return Poll::Ready(match sent? {
                    // The file has become shorter, and there is nothing to put in its place.
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    sent => {
                        self.parts.sent(sent);
                        Ok(sent as usize)
                    }
                });
            }
            let (Some(part), Some(mut inner)) = (self.parts.first(len), self.inner.take()) else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            self.sending = Some(Box::pin(async move {
                let FilePart { file, range } = part;
                let sent = file.file.send(range, &mut inner).await;
                (inner, sent)
            }));
        }
    }

    fn account<R>(&self, poll: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match &poll {
            Poll::Pending => self.connection.write_waits(),
            Poll::Ready(_) => self.connection.write_moves(),
        }
        poll
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let len = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..len]);
            self.prefix.advance(len);
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        // What is being sent is driven by who writes, and has to stay on its waker.
        if this.sending.is_some() {
            this.read_waits = true;
            return Poll::Pending;
        }
        let inner = ready!(this.poll_inner(cx))?;
        ready!(inner.poll_read(cx, buf))?;
        this.connection.was_read();
        Poll::Ready(Ok(()))
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.as_ref().is_none_or(Write::is_write_vectored)
    }

    /// Writes what is in memory, up to the first bytes that stand for a file's, or these.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let first = bufs.iter().position(|buf| !buf.is_empty()).unwrap_or(0);
        let bufs = &bufs[first..];
        let in_memory = bufs.iter().position(|buf| is_stand_in(buf));
        let poll = match (in_memory, bufs.first()) {
            (Some(0), Some(part)) => this.poll_part(cx, part.len()),
            (in_memory, _) => match this.poll_inner(cx) {
                Poll::Ready(Ok(inner)) => {
                    inner.poll_write_vectored(cx, &bufs[..in_memory.unwrap_or(bufs.len())])
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            },
        };
        this.account(poll)
    }

    /// What is written leaves at the end of this turn, whether it is waited for or not, and so it is
    /// not: that would wake this task once more for each answer. A client that does not take it is
    /// noticed by the next write for which there is no room, or when it asks for nothing any more.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.sending.is_none() {
            return Poll::Ready(Ok(()));
        }
        let poll = this.poll_inner(cx).map(|inner| inner.map(drop));
        this.account(poll)
    }

    /// Ends our side. Where the client has not been heard out (a refused body, a head that is no
    /// head), what it still sends is read and thrown away for a while: closing over unread bytes
    /// would reset the connection, and the answer would be lost with it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let End::Open = this.end {
            let poll = match this.poll_inner(cx) {
                Poll::Ready(Ok(inner)) => inner.poll_shutdown(cx),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
            ready!(this.account(poll))?;
            this.end = match this.connection.has_unread() {
                true => End::Lingering { discarded: 0 },
                false => End::Closed,
            };
        }
        let End::Lingering { discarded } = &mut this.end else {
            return Poll::Ready(Ok(()));
        };
        this.connection.lingers();
        let mut space = [0; 4096];
        while *discarded < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut space);
            // An error says as much as an end here.
            let Some(inner) = &mut this.inner else {
                break;
            };
            let read = ready!(Pin::new(inner).poll_read(cx, buf.unfilled()));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            *discarded += buf.filled().len();
        }
        this.end = End::Closed;
        Poll::Ready(Ok(()))
    }
}
