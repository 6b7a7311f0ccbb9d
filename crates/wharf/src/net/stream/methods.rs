//! The methods and traits of every stream type, written once.
//!
//! Each type names the expression by which it reaches its [`StreamRef`](super::StreamRef); everything
//! else is the same for TCP, Unix and their halves.

/// What can be read from.
macro_rules! impl_read {
    ($type:ty, |$this:ident| $stream:expr) => {
        impl $type {
            /// Reads some bytes into `buf` and returns how many; 0 at the end of the stream, or for
            /// an empty `buf`.
            ///
            /// Dropping the future loses nothing: what has come waits for the next read.
            ///
            /// # Errors
            /// `ConnectionReset` if the peer reset the connection, behind the bytes that came
            /// before; `NotConnected` if the runtime has ended.
            pub fn read(&mut self, buf: &mut [u8]) -> impl Future<Output = std::io::Result<usize>> {
                let $this = &*self;
                std::future::poll_fn(move |cx| $stream.poll_read(cx, buf))
            }

            /// Reads until `buf` is full.
            ///
            /// Dropping the future loses what was read into `buf` before: that has been given.
            ///
            /// # Errors
            /// `UnexpectedEof` if the stream ends before; else as [`read`](Self::read).
            pub async fn read_exact(&mut self, buf: &mut [u8]) -> std::io::Result<()> {
                let mut filled = 0;
                while filled < buf.len() {
                    match self.read(&mut buf[filled..]).await? {
                        0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                        count => filled += count,
                    }
                }
                Ok(())
            }

            /// Reads into several buffers, in order; else as [`read`](Self::read).
            ///
            /// # Errors
            /// As [`read`](Self::read).
            pub async fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                let $this = &*self;
                std::future::poll_fn(|cx| $stream.poll_read_vectored(cx, bufs)).await
            }

            /// Waits for bytes and copies the first of them without taking them: the next read
            /// gives them again. 0 at the end of the stream.
            ///
            /// # Errors
            /// As [`read`](Self::read).
            pub async fn peek(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                let $this = &*self;
                std::future::poll_fn(|cx| $stream.poll_peek(cx, buf)).await
            }

            /// Ends the receiving direction. A read that waits, and every later one, gives what has come
            /// so far, and then the end of the stream. The peer may go on sending; whether it is told
            /// depends on the system: on Linux a Unix socket's peer is, a TCP peer is not.
            ///
            /// # Errors
            /// `NotConnected` if the runtime has ended.
            pub fn shutdown_read(&self) -> std::io::Result<()> {
                let $this = self;
                $stream.shutdown_read()
            }

            /// Reads into a buffer that is handed in and comes back, with its length set. For a
            /// `Vec`, the room is its capacity.
            ///
            /// Dropping the future drops the buffer, and loses nothing that has come.
            ///
            /// # Errors
            /// As [`read`](Self::read); the buffer comes back in any case.
            pub async fn read_owned<B: wharf_queue::IoBufMut + Send>(
                &mut self,
                buf: B,
            ) -> $crate::io::BufResult<usize, B> {
                let $this = &*self;
                $stream.read_owned(buf).await
            }

            /// Takes the next bytes as they came, without copying them; `None` at the end of the
            /// stream. See [`PoolBuf`](crate::io::PoolBuf) for how long to keep it.
            ///
            /// Dropping the future loses nothing.
            ///
            /// # Errors
            /// As [`read`](Self::read).
            pub fn recv(
                &mut self,
            ) -> impl Future<Output = std::io::Result<Option<$crate::io::PoolBuf>>> {
                let $this = &*self;
                std::future::poll_fn(move |cx| $stream.poll_recv(cx))
            }
        }

        impl $crate::io::RecvPooled for $type {
            fn poll_recv(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<Option<$crate::io::PoolBuf>>> {
                let $this = &*self;
                $stream.poll_recv(cx)
            }

            fn put_back(self: std::pin::Pin<&mut Self>, piece: $crate::io::PoolBuf) {
                let $this = &*self;
                $stream.put_back(piece);
            }
        }

        impl futures_io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                $stream.poll_read(cx, buf)
            }

            fn poll_read_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                $stream.poll_read_vectored(cx, bufs)
            }
        }

        #[cfg(feature = "tokio")]
        impl tokio::io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                if buf.remaining() == 0 {
                    return std::task::Poll::Ready(Ok(()));
                }
                let polled = $stream.poll_consume(cx, |bytes| {
                    let count = bytes.len().min(buf.remaining());
                    buf.put_slice(&bytes[..count]);
                    count
                });
                polled.map_ok(|_| ())
            }
        }

        #[cfg(feature = "hyper")]
        impl hyper::rt::Read for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                mut buf: hyper::rt::ReadBufCursor<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                if buf.remaining() == 0 {
                    return std::task::Poll::Ready(Ok(()));
                }
                let polled = $stream.poll_consume(cx, |bytes| {
                    let count = bytes.len().min(buf.remaining());
                    buf.put_slice(&bytes[..count]);
                    count
                });
                polled.map_ok(|_| ())
            }
        }
    };
}

/// What can be written to.
macro_rules! impl_write {
    ($type:ty, |$this:ident| $stream:expr) => {
        impl $type {
            /// Copies bytes of `buf` into the stream's outgoing buffer, as many as there is room
            /// for, and returns how many. They are sent, in order, whatever becomes of this handle.
            /// While the future is pending, nothing has been taken: dropping it has no effect.
            ///
            /// # Errors
            /// Those of this write or an earlier one: `BrokenPipe` or `ConnectionReset` if the peer
            /// is gone; `NotConnected` if the runtime has ended.
            pub fn write(&mut self, buf: &[u8]) -> impl Future<Output = std::io::Result<usize>> {
                let $this = &*self;
                std::future::poll_fn(move |cx| {
                    $stream.poll_write(cx, &[std::io::IoSlice::new(buf)])
                })
            }

            /// Writes all of `buf`. It returns when the last byte is in the outgoing buffer; to wait
            /// until the system has taken it, [`flush`](Self::flush).
            ///
            /// Dropping the future leaves the bytes that were taken before on their way.
            ///
            /// # Errors
            /// As [`write`](Self::write).
            pub fn write_all(&mut self, buf: &[u8]) -> impl Future<Output = std::io::Result<()>> {
                let $this = &*self;
                $stream.write_all(buf)
            }

            /// Writes from several buffers, in order; else as [`write`](Self::write).
            ///
            /// # Errors
            /// As [`write`](Self::write).
            pub async fn write_vectored(
                &mut self,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::io::Result<usize> {
                let $this = &*self;
                std::future::poll_fn(|cx| $stream.poll_write(cx, bufs)).await
            }

            /// Sends a whole buffer, which is handed in and comes back, without copying it.
            ///
            /// Dropping the future before there was room for it sends nothing; after, the buffer is
            /// sent whole and in order, and an error of that is told to the next write, flush or
            /// shutdown.
            ///
            /// # Errors
            /// As [`write`](Self::write); the buffer comes back in any case.
            pub async fn write_owned<B: wharf_queue::IoBuf + Send>(
                &mut self,
                buf: B,
            ) -> $crate::io::BufResult<usize, B> {
                let $this = &*self;
                $stream.write_owned(buf).await
            }

            /// Sends received bytes without copying them. It returns when the stream has taken them;
            /// they are sent in order, whatever becomes of this handle.
            ///
            /// # Errors
            /// As [`write`](Self::write).
            pub fn send(
                &mut self,
                piece: $crate::io::PoolBuf,
            ) -> impl Future<Output = std::io::Result<()>> {
                let $this = &*self;
                let mut piece = Some(piece);
                std::future::poll_fn(move |cx| $stream.poll_send(cx, &mut piece))
            }

            /// Sends `len` bytes of `file` from `offset` on, behind everything that was written, and
            /// returns how many were handed to the system: fewer if the file ends before, or has
            /// become shorter meanwhile. The file's cursor does not move.
            ///
            /// Where the system can do it (`sendfile`, `TransmitFile`) and the file lives on the
            /// stream's worker, the bytes do not pass through the process; elsewhere they are read and
            /// written. So are, but for Windows, parts of which is not known that they are in the page
            /// cache: sending them would have the worker wait for the disk. What is changed in the
            /// file while sent bytes are on their way may reach the peer changed: the system may send
            /// its pages, and not copies of them.
            ///
            /// Dropping the future stops it: a part is sent, in order, the rest is not. To know how
            /// much it was, use [`send_file_until`](Self::send_file_until).
            ///
            /// ```
            /// # let path = std::env::temp_dir().join(format!("wharf-doc-send-{}", std::process::id()));
            /// # wharf::Runtime::new().unwrap().block_on(async {
            /// # wharf::fs::write(&path, "0123456789").await?;
            /// # let listener = wharf::net::TcpListener::bind("127.0.0.1:0").await?;
            /// # let mut stream = wharf::net::TcpStream::connect(listener.local_addr()).await?;
            /// # let (mut peer, _) = listener.accept().await?;
            /// let file = wharf::fs::File::open(&path).await?;
            /// let rest = file.metadata().await?.len() - 4;
            /// assert_eq!(stream.send_file(&file, 4, rest).await?, 6);
            /// # wharf::fs::remove_file(&path).await?;
            /// let mut buf = [0; 6];
            /// peer.read_exact(&mut buf).await?;
            /// assert_eq!(&buf, b"456789");
            /// # std::io::Result::Ok(()) }).unwrap();
            /// ```
            ///
            /// # Errors
            /// As [`write`](Self::write), and those of reading the file; a part may have been sent
            /// then. `InvalidInput` for an offset above the system's limit; `NotSeekable` for what is
            /// no file.
            pub async fn send_file(
                &mut self,
                file: &$crate::fs::File,
                offset: u64,
                len: u64,
            ) -> std::io::Result<u64> {
                let $this = &*self;
                $stream
                    .send_file(file, offset, len, std::future::pending())
                    .await
            }

            /// As [`send_file`](Self::send_file), until `stop` is ready: then it returns the number of
            /// bytes that were sent, which is what the peer gets.
            ///
            /// # Errors
            /// As [`send_file`](Self::send_file).
            pub async fn send_file_until(
                &mut self,
                file: &$crate::fs::File,
                offset: u64,
                len: u64,
                stop: impl Future<Output = ()>,
            ) -> std::io::Result<u64> {
                let $this = &*self;
                $stream.send_file(file, offset, len, stop).await
            }

            /// Waits until everything that was written has been handed to the system. Dropping the
            /// future changes nothing.
            ///
            /// # Errors
            /// As [`write`](Self::write).
            pub async fn flush(&mut self) -> std::io::Result<()> {
                let $this = &*self;
                $stream.flush().await
            }

            /// Ends the sending direction when everything written has been sent: the peer reads to
            /// the end of the stream. Dropping the future leaves that to be done in the background.
            ///
            /// # Errors
            /// As [`write`](Self::write).
            pub async fn shutdown(&mut self) -> std::io::Result<()> {
                let $this = &*self;
                std::future::poll_fn(|cx| $stream.poll_shutdown(cx)).await
            }
        }

        impl futures_io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                $stream.poll_write(cx, &[std::io::IoSlice::new(buf)])
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                $stream.poll_write(cx, bufs)
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                $stream.poll_flush(cx)
            }

            fn poll_close(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                $stream.poll_shutdown(cx)
            }
        }

        #[cfg(feature = "tokio")]
        impl tokio::io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                $stream.poll_write(cx, &[std::io::IoSlice::new(buf)])
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                $stream.poll_write(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                $stream.poll_flush(cx)
            }

            fn poll_shutdown(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                $stream.poll_shutdown(cx)
            }
        }

        #[cfg(feature = "hyper")]
        impl hyper::rt::Write for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                $stream.poll_write(cx, &[std::io::IoSlice::new(buf)])
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                $stream.poll_write(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                $stream.poll_flush(cx)
            }

            fn poll_shutdown(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                $stream.poll_shutdown(cx)
            }
        }
    };
}

/// What can be spliced.
macro_rules! impl_splice {
    ($type:ty, |$this:ident| $stream:expr) => {
        impl $crate::io::Spliceable for $type {
            fn spliced(&self) -> $crate::io::splice::Spliced<'_> {
                let $this = self;
                $crate::io::splice::Spliced(&$stream)
            }
        }
    };
}

/// The halves of a stream type, borrowed and owned.
macro_rules! impl_halves {
    ($stream:ident) => {
        impl $stream {
            /// Lends the two directions, to be used at the same time.
            pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
                (ReadHalf { stream: self }, WriteHalf { stream: self })
            }

            /// Splits the stream into its two directions. The socket is closed when both are gone;
            /// dropping the write half ends the sending direction.
            #[must_use]
            pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
                let stream = std::sync::Arc::new(self);
                let read = OwnedReadHalf {
                    stream: stream.clone(),
                };
                let write = OwnedWriteHalf {
                    stream,
                    shuts_down: true,
                };
                (read, write)
            }
        }

        impl $crate::seam::Duplex for $stream {
            fn poll_read(
                &self,
                cx: &mut std::task::Context<'_>,
                buf: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.stream.poll_read(cx, buf)
            }

            fn poll_write(
                &self,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.stream.poll_write(cx, bufs)
            }

            fn poll_peek(
                &self,
                cx: &mut std::task::Context<'_>,
                buf: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.stream.poll_peek(cx, buf)
            }

            fn shutdown_read(&self) -> std::io::Result<()> {
                self.stream.shutdown_read()
            }

            async fn read_lent<B: wharf_queue::IoBufMut + Send>(
                &self,
                buf: B,
            ) -> (std::io::Result<usize>, B) {
                self.stream.read_lent(buf).await
            }

            async fn write_lent<B: wharf_queue::IoBuf + Send>(
                &self,
                buf: B,
                has_begun: &std::sync::atomic::AtomicBool,
            ) -> (std::io::Result<usize>, B) {
                self.stream.write_lent(buf, Some(has_begun)).await
            }

            fn poll_flush(
                &self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.stream.poll_flush(cx)
            }

            fn poll_shutdown(
                &self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.stream.poll_shutdown(cx)
            }
        }

        /// The receiving direction of a stream that is lent; from `split`.
        #[derive(Debug)]
        pub struct ReadHalf<'a> {
            stream: &'a $stream,
        }

        /// The sending direction of a stream that is lent; from `split`.
        #[derive(Debug)]
        pub struct WriteHalf<'a> {
            stream: &'a $stream,
        }

        /// The receiving direction of a stream; from `into_split`.
        #[derive(Debug)]
        pub struct OwnedReadHalf {
            stream: std::sync::Arc<$stream>,
        }

        /// The sending direction of a stream; from `into_split`. Dropping it ends that direction
        /// when everything is sent.
        #[derive(Debug)]
        pub struct OwnedWriteHalf {
            stream: std::sync::Arc<$stream>,
            shuts_down: bool,
        }

        impl_read!(ReadHalf<'_>, |this| this.stream.stream);
        impl_read!(OwnedReadHalf, |this| this.stream.stream);
        impl_write!(WriteHalf<'_>, |this| this.stream.stream);
        impl_write!(OwnedWriteHalf, |this| this.stream.stream);
        impl_splice!(ReadHalf<'_>, |this| this.stream.stream);
        impl_splice!(OwnedReadHalf, |this| this.stream.stream);
        impl_splice!(WriteHalf<'_>, |this| this.stream.stream);
        impl_splice!(OwnedWriteHalf, |this| this.stream.stream);

        /// The halves were not of the same stream.
        #[derive(Debug)]
        pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

        impl std::fmt::Display for ReuniteError {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the halves are not of the same stream")
            }
        }

        impl std::error::Error for ReuniteError {}

        impl AsRef<$stream> for OwnedReadHalf {
            fn as_ref(&self) -> &$stream {
                &self.stream
            }
        }

        impl AsRef<$stream> for OwnedWriteHalf {
            fn as_ref(&self) -> &$stream {
                &self.stream
            }
        }

        impl OwnedReadHalf {
            /// Puts the stream together again.
            ///
            /// # Errors
            /// Both halves, if they are of different streams.
            pub fn reunite(self, mut write: OwnedWriteHalf) -> Result<$stream, ReuniteError> {
                if !std::sync::Arc::ptr_eq(&self.stream, &write.stream) {
                    return Err(ReuniteError(self, write));
                }
                write.shuts_down = false;
                drop(write);
                let stream = std::sync::Arc::into_inner(self.stream);
                Ok(stream.expect("there are two halves only"))
            }
        }

        impl OwnedWriteHalf {
            /// Drops this half without ending the sending direction.
            pub fn forget(mut self) {
                self.shuts_down = false;
            }
        }

        impl Drop for OwnedWriteHalf {
            fn drop(&mut self) {
                if self.shuts_down {
                    self.stream.stream.shutdown_in_background();
                }
            }
        }
    };
}

pub(crate) use {impl_halves, impl_read, impl_splice, impl_write};
