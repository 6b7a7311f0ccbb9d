//! The methods and traits of everything here that reads and writes and is not a socket, once.
//!
//! A type says how it polls, by [`ReadSide`] and [`WriteSide`]; the macros give it the inherent
//! methods, `futures_io`'s traits, and tokio's behind the feature.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use super::PoolBuf;

/// What can be read from.
pub(crate) trait ReadSide {
    fn poll_read_side(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    fn poll_recv_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<PoolBuf>>>;

    /// Puts back what was received last.
    fn put_back_side(&mut self, piece: PoolBuf);
}

/// What can be written to.
pub(crate) trait WriteSide {
    fn poll_write_side(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    fn poll_flush_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    fn poll_close_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

macro_rules! impl_read_side {
    ($type:ty) => {
        impl $type {
            /// Reads some bytes into `buf` and returns how many; 0 at the end, or for an empty
            /// `buf`. At most 262,144 bytes are read at a time.
            ///
            /// Dropping the future loses nothing: what it would have given waits for the next read.
            ///
            /// # Errors
            /// That of the system; `NotConnected` if the runtime has ended.
            pub async fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                use $crate::io::traits::ReadSide;
                std::future::poll_fn(|cx| self.poll_read_side(cx, buf)).await
            }

            /// Reads until `buf` is full.
            ///
            /// Dropping the future loses what was read into `buf` before: that has been given.
            ///
            /// # Errors
            /// `UnexpectedEof` if the end comes before; else as [`read`](Self::read).
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

            /// Reads to the end, appends it to `buf`, and returns how many bytes that were.
            ///
            /// Dropping the future leaves what came before in `buf`.
            ///
            /// # Errors
            /// `OutOfMemory` if there is no room for it; else as [`read`](Self::read).
            pub async fn read_to_end(&mut self, buf: &mut Vec<u8>) -> std::io::Result<usize> {
                let before = buf.len();
                while let Some(piece) = self.recv().await? {
                    buf.try_reserve(piece.len())?;
                    buf.extend_from_slice(&piece);
                    $crate::io::spare::give(piece.into_vec());
                }
                Ok(buf.len() - before)
            }

            /// Reads to the end and appends it, as text, to `text`; returns how many bytes that
            /// were. On an error, or when the future is dropped, `text` is as it was before.
            ///
            /// # Errors
            /// `InvalidData` if it is not UTF-8; else as [`read_to_end`](Self::read_to_end).
            pub async fn read_to_string(&mut self, text: &mut String) -> std::io::Result<usize> {
                let mut bytes = Vec::new();
                self.read_to_end(&mut bytes).await?;
                let more = std::str::from_utf8(&bytes)
                    .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
                text.push_str(more);
                Ok(more.len())
            }

            /// Takes the next bytes, up to 65,536, in memory of their own; `None` at the end.
            ///
            /// Dropping the future loses nothing.
            ///
            /// # Errors
            /// As [`read`](Self::read).
            pub async fn recv(&mut self) -> std::io::Result<Option<$crate::io::PoolBuf>> {
                use $crate::io::traits::ReadSide;
                std::future::poll_fn(|cx| self.poll_recv_side(cx)).await
            }
        }

        impl $crate::io::RecvPooled for $type {
            fn poll_recv(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<Option<$crate::io::PoolBuf>>> {
                $crate::io::traits::ReadSide::poll_recv_side(self.get_mut(), cx)
            }

            fn put_back(self: std::pin::Pin<&mut Self>, piece: $crate::io::PoolBuf) {
                $crate::io::traits::ReadSide::put_back_side(self.get_mut(), piece);
            }
        }

        impl futures_io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $crate::io::traits::ReadSide::poll_read_side(self.get_mut(), cx, buf)
            }
        }

        #[cfg(feature = "tokio")]
        impl tokio::io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let room = buf.initialize_unfilled();
                let side = self.get_mut();
                match $crate::io::traits::ReadSide::poll_read_side(side, cx, room) {
                    std::task::Poll::Ready(Ok(count)) => {
                        buf.advance(count);
                        std::task::Poll::Ready(Ok(()))
                    }
                    std::task::Poll::Ready(Err(error)) => std::task::Poll::Ready(Err(error)),
                    std::task::Poll::Pending => std::task::Poll::Pending,
                }
            }
        }
    };
}

macro_rules! impl_write_side {
    ($type:ty) => {
        impl $type {
            /// Copies bytes of `buf` into the outgoing buffer, as many as there is room for, and
            /// returns how many. They are written, in order, whatever becomes of this handle. While
            /// the future is pending, nothing has been taken: dropping it has no effect.
            ///
            /// To know that they have been written, [`flush`](Self::flush).
            ///
            /// # Errors
            /// Those of this write or an earlier one; `NotConnected` if the runtime has ended.
            pub async fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.write_vectored(&[std::io::IoSlice::new(buf)]).await
            }

            /// Writes from several buffers, in order; else as [`write`](Self::write).
            ///
            /// # Errors
            /// As [`write`](Self::write).
            pub async fn write_vectored(
                &mut self,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::io::Result<usize> {
                use $crate::io::traits::WriteSide;
                std::future::poll_fn(|cx| self.poll_write_side(cx, bufs)).await
            }

            /// Writes all of `buf`. It returns when the last byte is in the outgoing buffer.
            ///
            /// Dropping the future leaves the bytes that were taken before on their way.
            ///
            /// # Errors
            /// As [`write`](Self::write).
            pub async fn write_all(&mut self, mut buf: &[u8]) -> std::io::Result<()> {
                while !buf.is_empty() {
                    let count = self.write(buf).await?;
                    buf = &buf[count..];
                }
                Ok(())
            }

            /// Waits until everything that was written has been handed to the system. Dropping the
            /// future changes nothing.
            ///
            /// # Errors
            /// Those of the writes.
            pub async fn flush(&mut self) -> std::io::Result<()> {
                use $crate::io::traits::WriteSide;
                std::future::poll_fn(|cx| self.poll_flush_side(cx)).await
            }
        }

        impl futures_io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let bufs = [std::io::IoSlice::new(buf)];
                $crate::io::traits::WriteSide::poll_write_side(self.get_mut(), cx, &bufs)
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $crate::io::traits::WriteSide::poll_write_side(self.get_mut(), cx, bufs)
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                $crate::io::traits::WriteSide::poll_flush_side(self.get_mut(), cx)
            }

            fn poll_close(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                $crate::io::traits::WriteSide::poll_close_side(self.get_mut(), cx)
            }
        }

        #[cfg(feature = "tokio")]
        impl tokio::io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let bufs = [std::io::IoSlice::new(buf)];
                $crate::io::traits::WriteSide::poll_write_side(self.get_mut(), cx, &bufs)
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $crate::io::traits::WriteSide::poll_write_side(self.get_mut(), cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                $crate::io::traits::WriteSide::poll_flush_side(self.get_mut(), cx)
            }

            fn poll_shutdown(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                $crate::io::traits::WriteSide::poll_close_side(self.get_mut(), cx)
            }
        }
    };
}

pub(crate) use {impl_read_side, impl_write_side};
