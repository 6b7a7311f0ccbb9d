//! `AsyncFd`: waiting for the readiness of something that wharf does not know.
//!
//! Owns a second handle of it for the queue; the thing itself stays the user's. Readiness is asked
//! for anew each time, so there is nothing to clear and no edge to miss.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use wharf_queue::op;
use wharf_queue::{AsHandle, Handle, HandleKind};

use crate::carried::Carried;
use crate::engine::{self, Local};
use crate::runtime::worker;

pub use wharf_queue::op::{Interest, Readiness};

/// Something with a descriptor that can be waited for: a socket of another library, an inotify, timer
/// or event descriptor, a device.
///
/// It is set to non-blocking mode. Its calls are the user's to make, when it is ready; what they do
/// when a future is dropped is theirs. Waiting itself loses nothing. On another worker than the one
/// that made this, that worker waits.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use std::io::{Read, Write};
/// use wharf::io::{AsyncFd, Interest};
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let mut peer = std::net::TcpStream::connect(listener.local_addr()?)?;
/// # let (stream, _) = listener.accept()?;
/// let stream = AsyncFd::new(stream)?; // a `std::net::TcpStream`
/// peer.write_all(b"hello")?;
/// let mut buf = [0; 16];
/// let count = stream.try_io(Interest::Readable, |mut stream| stream.read(&mut buf)).await?;
/// assert_eq!(&buf[..count], b"hello");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct AsyncFd<T> {
    /// Dropped first: the second handle is not to outlive the thing for long.
    handle: Second,
    reading: Option<Carried<op::Poll>>,
    writing: Option<Carried<op::Poll>>,
    inner: T,
}

impl<T> Unpin for AsyncFd<T> {}

/// The handle for the queue. When it is dropped, what still waits on it is cancelled: a future that
/// was forgotten would else keep the thing open.
struct Second(Local<Handle>);

impl Drop for Second {
    fn drop(&mut self) {
        self.0
            .end(|worker, handle| engine::close_in_background(worker, handle.clone()));
    }
}

impl<T: AsHandle> AsyncFd<T> {
    /// Makes it known to the current worker.
    ///
    /// # Errors
    /// `InvalidInput` for a file or a directory, which is always ready; that of the system, such as
    /// that no descriptor is left for the second handle.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn new(inner: T) -> io::Result<AsyncFd<T>> {
        let worker = worker::expect_current();
        let handle = worker.queue.attach_duplicate(&inner)?;
        if handle.kind() == HandleKind::File {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a file is always ready, and cannot be waited for",
            ));
        }
        Ok(AsyncFd {
            handle: Second(Local::new(handle)),
            reading: None,
            writing: None,
            inner,
        })
    }
}

impl<T> AsyncFd<T> {
    /// The thing itself.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The thing itself. It must stay the same one: what is waited for does not change with it.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Gives the thing back. It stays in non-blocking mode.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// Waits until it is ready, and tells for what. If it is so already, that is told at once. An
    /// error or a hang-up counts as readiness for both.
    ///
    /// # Errors
    /// That of the system; `NotConnected` if the runtime has ended.
    pub async fn ready(&self, interest: Interest) -> io::Result<Readiness> {
        let started = self.start(interest)?;
        started.await?.into_result()
    }

    fn start(&self, interest: Interest) -> io::Result<Carried<op::Poll>> {
        self.handle
            .0
            .start(move |handle: &Handle| op::Poll::new(handle, interest))
    }

    /// Waits until a read would not wait: there are data, a connection, the end, or an error.
    ///
    /// # Errors
    /// As [`ready`](AsyncFd::ready).
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::Readable).await.map(drop)
    }

    /// Waits until a write would not wait: there is room, or an error.
    ///
    /// # Errors
    /// As [`ready`](AsyncFd::ready).
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::Writable).await.map(drop)
    }

    /// Calls `call`, and again each time that it is ready, until it says something else than
    /// `WouldBlock`. If the future is dropped, `call` is not called any more.
    ///
    /// # Errors
    /// Those of `call`, and as [`ready`](AsyncFd::ready).
    pub async fn try_io<R>(
        &self,
        interest: Interest,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            match call(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
            self.ready(interest).await?;
        }
    }

    /// As [`readable`](AsyncFd::readable), for traits that are written on top: to be called when a
    /// read said `WouldBlock`. The last task that called it is woken.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reading.is_none() {
            self.reading = Some(self.start(Interest::Readable)?);
        }
        poll_side(&mut self.reading, cx)
    }

    /// As [`writable`](AsyncFd::writable), for traits that are written on top: to be called when a
    /// write said `WouldBlock`. The last task that called it is woken.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing.is_none() {
            self.writing = Some(self.start(Interest::Writable)?);
        }
        poll_side(&mut self.writing, cx)
    }
}

fn poll_side(side: &mut Option<Carried<op::Poll>>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let Some(polling) = side else {
        return Poll::Pending;
    };
    let answer = ready!(Pin::new(polling).poll(cx));
    *side = None;
    Poll::Ready(answer?.into_result().map(drop))
}

impl<T: fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncFd").field(&self.inner).finish()
    }
}
