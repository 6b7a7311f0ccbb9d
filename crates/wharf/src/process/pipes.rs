//! The pipes to a child process, as streams.
//!
//! Owns their attaching: a pipe belongs to no worker until it is first used, so that it can be given
//! to another process as it is, and is used where the user wants it.

use std::io::{self, IoSlice};
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use wharf_queue::OwnedHandle;

use crate::io::PoolBuf;
use crate::io::chunk::Place;
use crate::io::conduit::Conduit;
use crate::io::incoming::Incoming;
use crate::io::traits::{ReadSide, WriteSide, impl_read_side, impl_write_side};
use crate::runtime::worker;

#[derive(Debug)]
enum Pipe {
    Unused(OwnedHandle),
    Attached(Arc<Conduit>),
    Closed,
}

impl Pipe {
    /// Attaches it to the current worker, if it was not used before.
    #[track_caller]
    fn conduit(&mut self) -> io::Result<&Arc<Conduit>> {
        if let Pipe::Unused(_) = self {
            let worker = worker::expect_current();
            if let Pipe::Unused(handle) = std::mem::replace(self, Pipe::Closed) {
                *self = Pipe::Attached(Conduit::new(worker.queue.attach(handle)?));
            }
        }
        match self {
            Pipe::Attached(conduit) => Ok(conduit),
            Pipe::Unused(_) | Pipe::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

macro_rules! pipe {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            pipe: Pipe,
            $($field: $type,)*
        }

        impl From<std::process::$name> for $name {
            fn from(pipe: std::process::$name) -> $name {
                $name {
                    pipe: Pipe::Unused(OwnedHandle::from(pipe)),
                    $($field: Default::default(),)*
                }
            }
        }

        impl $name {
            /// Gives the pipe to another process, as one of its own.
            ///
            /// # Errors
            /// The pipe itself, if it was used: then bytes may be on their way, and it is in
            /// non-blocking mode, which other programs do not expect.
            pub fn into_stdio(self) -> Result<Stdio, $name> {
                match self.pipe {
                    Pipe::Unused(handle) => Ok(Stdio::from(handle)),
                    _ => Err(self),
                }
            }
        }
    };
}

pipe!(
    /// The way to a child's input. Dropping it closes the pipe, behind everything that was written;
    /// the child then finds the end of its input.
    ///
    /// Writing when the child does not read any more is `BrokenPipe`, told by a later write or flush.
    ChildStdin {}
);

pipe!(
    /// What a child writes to its output. It ends when the child, and those to whom it passed it on,
    /// have closed it.
    ChildStdout { incoming: Incoming }
);

pipe!(
    /// What a child writes to its error output; see [`ChildStdout`].
    ChildStderr { incoming: Incoming }
);

impl ChildStdin {
    /// Closes the pipe behind everything that was written: as dropping it does, but telling of
    /// errors. If the future is dropped, that goes on in the background.
    ///
    /// # Errors
    /// Those of the writes.
    pub async fn close(mut self) -> io::Result<()> {
        self.flush().await
    }
}

impl WriteSide for ChildStdin {
    fn poll_write_side(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pipe.conduit()?.poll_write(cx, bufs, Place::Next)
    }

    fn poll_flush_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.pipe {
            Pipe::Attached(conduit) => conduit.poll_flush(cx),
            Pipe::Unused(_) | Pipe::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_close_side(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(self.poll_flush_side(cx));
        self.pipe = Pipe::Closed;
        Poll::Ready(flushed)
    }
}

macro_rules! reads {
    ($($name:ident),*) => {$(
        impl ReadSide for $name {
            fn poll_read_side(
                &mut self,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let conduit = self.pipe.conduit()?;
                self.incoming.poll_read(cx, conduit, Place::Next, buf)
            }

            fn poll_recv_side(
                &mut self,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<Option<PoolBuf>>> {
                let conduit = self.pipe.conduit()?;
                self.incoming.poll_recv(cx, conduit, Place::Next)
            }

            fn put_back_side(&mut self, piece: PoolBuf) {
                self.incoming.put_back(piece);
            }
        }

        impl_read_side!($name);
    )*};
}

reads!(ChildStdout, ChildStderr);
impl_write_side!(ChildStdin);
