//! What the streams have in common: turns, time-outs, and the traits of `std::io`.
//!
//! Owns the order of those who read, and of those who write. Bytes on their way are the runtime's
//! stream's.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wharf::seam::Duplex;
use wharf::sync::lock::Mutex;

use super::patience::Patience;
use crate::lend::{lend, lend_mut};
use crate::switch::with_current;
use crate::wait::Cancelled;

/// The length of a slice in bytes from which on it is lent to the system. What is shorter is copied:
/// that costs less than an operation of its own. It is measured; see "Lent slices" in
/// `docs/performance.md`.
const LEND_FROM: usize = 32 * 1024;

/// Whether it is of the wait, and not of the operation.
fn is_interruption(error: &io::Error) -> bool {
    match error.get_ref() {
        Some(inner) => inner.is::<Cancelled>(),
        // That of the system has a number.
        None => error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none(),
    }
}

/// A stream, and whose turn it is.
struct Shared<S> {
    stream: S,
    reading: Mutex<()>,
    writing: Mutex<()>,
    read_timeout: Patience,
    write_timeout: Patience,
}

pub(super) struct Stream<S> {
    shared: Arc<Shared<S>>,
}

impl<S> Clone for Stream<S> {
    fn clone(&self) -> Stream<S> {
        Stream {
            shared: self.shared.clone(),
        }
    }
}

impl<S: Duplex> Stream<S> {
    pub(super) fn new(stream: S) -> Stream<S> {
        Stream {
            shared: Arc::new(Shared {
                stream,
                reading: Mutex::new(()),
                writing: Mutex::new(()),
                read_timeout: Patience::default(),
                write_timeout: Patience::default(),
            }),
        }
    }

    pub(super) fn get(&self) -> &S {
        &self.shared.stream
    }

    /// The stream itself, if this is its last handle.
    pub(super) fn into_inner(self) -> Result<S, Stream<S>> {
        match Arc::try_unwrap(self.shared) {
            Ok(shared) => Ok(shared.stream),
            Err(shared) => Err(Stream { shared }),
        }
    }

    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let shared = &*self.shared;
        with_current(|control| {
            let lends = buf.len() >= LEND_FROM;
            let Some(control) = control.filter(|control| lends && control.may_wait()) else {
                return shared.read_timeout.wait(async {
                    let _turn = shared.reading.lock().await;
                    poll_fn(|cx| shared.stream.poll_read(cx, buf)).await
                });
            };
            lend_mut(control, buf, |lent| {
                shared.read_timeout.wait(async {
                    let _turn = shared.reading.lock().await;
                    shared.stream.read_lent(lent).await.0
                })
            })
        })
    }

    pub(super) fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let shared = &*self.shared;
        let Some(first) = bufs.iter().find(|buf| !buf.is_empty()) else {
            return Ok(0);
        };
        with_current(|control| {
            let lends = first.len() >= LEND_FROM;
            let Some(control) = control.filter(|control| lends && control.may_wait()) else {
                return shared.write_timeout.wait(async {
                    let _turn = shared.writing.lock().await;
                    poll_fn(|cx| shared.stream.poll_write(cx, bufs)).await
                });
            };
            let has_begun = AtomicBool::new(false);
            let written = lend(control, first, |lent| {
                shared.write_timeout.wait(async {
                    let _turn = shared.writing.lock().await;
                    shared.stream.write_lent(lent, &has_begun).await.0
                })
            });
            match written {
                // It was given up halfway: the stream has a copy of the rest, and sends that.
                Err(error) if has_begun.load(Ordering::Relaxed) && is_interruption(&error) => {
                    Ok(first.len())
                }
                written => written,
            }
        })
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        let shared = &*self.shared;
        shared.write_timeout.wait(async {
            let _turn = shared.writing.lock().await;
            poll_fn(|cx| shared.stream.poll_flush(cx)).await
        })
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let shared = &*self.shared;
        if how != Shutdown::Write {
            shared.stream.shutdown_read()?;
        }
        if how == Shutdown::Read {
            return Ok(());
        }
        shared.write_timeout.wait(async {
            let _turn = shared.writing.lock().await;
            poll_fn(|cx| shared.stream.poll_shutdown(cx)).await
        })
    }

    pub(super) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let shared = &*self.shared;
        shared.read_timeout.wait(async {
            let _turn = shared.reading.lock().await;
            poll_fn(|cx| shared.stream.poll_peek(cx, buf)).await
        })
    }

    pub(super) fn read_timeout(&self) -> Option<Duration> {
        self.shared.read_timeout.get()
    }

    pub(super) fn write_timeout(&self) -> Option<Duration> {
        self.shared.write_timeout.get()
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.read_timeout.set(timeout)
    }

    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.write_timeout.set(timeout)
    }
}

/// The methods and traits of every stream type, written once.
macro_rules! impl_stream {
    ($type:ident, $inner:ty) => {
        impl $type {
            /// Takes over a stream of the runtime's.
            #[must_use]
            pub fn from_wharf(stream: $inner) -> $type {
                $type {
                    stream: $crate::net::stream::Stream::new(stream),
                }
            }

            /// Gives the runtime's stream back.
            ///
            /// # Errors
            /// The stream itself, if it has clones.
            pub fn into_wharf(self) -> Result<$inner, $type> {
                self.stream.into_inner().map_err(|stream| $type { stream })
            }

            /// Another handle to the same stream. The socket is closed when all are gone.
            ///
            /// # Errors
            /// Never: the type is that of the standard library's.
            pub fn try_clone(&self) -> std::io::Result<$type> {
                Ok($type {
                    stream: self.stream.clone(),
                })
            }

            /// Ends one direction or both, for this handle and its clones.
            ///
            /// `Read`: a read that waits, in whichever fiber, and every later one gives what has come so
            /// far, and then the end of the stream. `Write`: it waits until everything written has been
            /// sent; then the peer reads to the end of the stream.
            ///
            /// # Errors
            /// Of the sending direction: that of the system or of an earlier write; a cancel, and then
            /// what was written is still sent.
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                self.stream.shutdown(how)
            }

            /// Waits for bytes and copies the first of them without taking them: the next read gives
            /// them again. 0 at the end of the stream.
            ///
            /// # Errors
            /// As those of a read.
            pub fn peek(&self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.stream.peek(buf)
            }

            /// What was set by [`set_read_timeout`](Self::set_read_timeout).
            ///
            /// # Errors
            /// Never: the type is that of the standard library's.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.stream.read_timeout())
            }

            /// What was set by [`set_write_timeout`](Self::set_write_timeout).
            ///
            /// # Errors
            /// Never: the type is that of the standard library's.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.stream.write_timeout())
            }

            /// Limits how long a read waits; `None` for ever, which is so if it is not set. A read that takes longer
            /// gives `TimedOut`, and has lost nothing.
            ///
            /// # Errors
            /// `InvalidInput` for a time-out of zero.
            pub fn set_read_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.stream.set_read_timeout(timeout)
            }

            /// Limits how long a write or flush waits; else as
            /// [`set_read_timeout`](Self::set_read_timeout).
            ///
            /// # Errors
            /// `InvalidInput` for a time-out of zero.
            pub fn set_write_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.stream.set_write_timeout(timeout)
            }
        }

        impl std::io::Read for &$type {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.stream.read(buf)
            }
        }

        impl std::io::Read for $type {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.stream.read(buf)
            }
        }

        impl std::io::Write for &$type {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.stream.write(&[std::io::IoSlice::new(buf)])
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.stream.write(bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                self.stream.flush()
            }
        }

        impl std::io::Write for $type {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.stream.write(&[std::io::IoSlice::new(buf)])
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.stream.write(bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                self.stream.flush()
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.stream.get().fmt(f)
            }
        }
    };
}

pub(super) use impl_stream;
