//! What is written at a time: a buffer, or several, as far as they are not written yet.
//!
//! Owns how each of them becomes an operation, and what is left of it after a short one. The loop over
//! that is `write_all`'s.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use wharf_queue::{Handle, IoBuf, IoVec, Outcome, Slice, op};

use crate::engine::{self, OpFuture, Refused};
use crate::runtime::worker::Worker;

/// Where bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// To an offset of a file, in bytes.
    At(u64),
    /// To where the system puts them: the end of a stream, or of a file that is appended to.
    Next,
}

/// What is to be written, and where: a buffer, or several.
pub(crate) trait Chunk: Unpin + Sized + 'static {
    /// What was lent.
    type Buf;
    /// It is being written; gives how far, and the chunk as it was.
    type InFlight: Future<Output = (Outcome<usize>, Self)> + Unpin;

    fn is_empty(&self) -> bool;

    /// Submits it.
    ///
    /// # Errors
    /// That of the queue, with what was lent.
    fn begin(
        self,
        worker: &Rc<Worker>,
        handle: &Handle,
    ) -> Result<Self::InFlight, (io::Error, Self)>;

    /// What is left behind the first `count` bytes.
    fn behind(self, count: usize) -> Self;

    fn into_buf(self) -> Self::Buf;
}

/// One buffer.
pub(crate) struct Single<B: IoBuf> {
    rest: Slice<B>,
    written: usize,
    place: Place,
}

impl<B: IoBuf> Unpin for Single<B> {}

impl<B: IoBuf> Single<B> {
    pub(crate) fn new(buf: B, place: Place) -> Single<B> {
        Single {
            rest: buf.slice(..),
            written: 0,
            place,
        }
    }
}

/// One buffer in flight.
pub(crate) struct SingleInFlight<B: IoBuf> {
    operation: SingleOperation<B>,
    written: usize,
    place: Place,
}

enum SingleOperation<B: IoBuf> {
    At(OpFuture<op::WriteAt<Slice<B>>>),
    Next(OpFuture<op::Write<Slice<B>>>),
}

impl<B: IoBuf> Unpin for SingleInFlight<B> {}

impl<B: IoBuf> Future for SingleInFlight<B> {
    type Output = (Outcome<usize>, Single<B>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (outcome, rest) = match &mut self.operation {
            SingleOperation::At(operation) => ready!(Pin::new(operation).poll(cx)),
            SingleOperation::Next(operation) => ready!(Pin::new(operation).poll(cx)),
        };
        let (written, place) = (self.written, self.place);
        Poll::Ready((
            outcome,
            Single {
                rest,
                written,
                place,
            },
        ))
    }
}

impl<B: IoBuf> Chunk for Single<B> {
    type Buf = B;
    type InFlight = SingleInFlight<B>;

    fn is_empty(&self) -> bool {
        self.rest.as_bytes().is_empty()
    }

    fn begin(
        self,
        worker: &Rc<Worker>,
        handle: &Handle,
    ) -> Result<SingleInFlight<B>, (io::Error, Self)> {
        let Single {
            rest,
            written,
            place,
        } = self;
        let again = |rest| Single {
            rest,
            written,
            place,
        };
        let operation = match place {
            Place::At(offset) => {
                let offset = offset.saturating_add(written as u64);
                engine::submit_to(worker, op::WriteAt::new(handle, rest, offset))
                    .map(SingleOperation::At)
                    .map_err(|Refused { op, error }| (error, again(op.into_buf())))?
            }
            Place::Next => engine::submit_to(worker, op::Write::new(handle, rest))
                .map(SingleOperation::Next)
                .map_err(|Refused { op, error }| (error, again(op.into_buf())))?,
        };
        Ok(SingleInFlight {
            operation,
            written,
            place,
        })
    }

    fn behind(mut self, count: usize) -> Self {
        self.written += count;
        self.rest = self.rest.into_inner().slice(self.written..);
        self
    }

    fn into_buf(self) -> B {
        self.rest.into_inner()
    }
}

/// Several buffers, for an offset of a file.
pub(crate) struct Several<V: IoVec> {
    bufs: V,
    written: usize,
    offset: u64,
}

impl<V: IoVec> Unpin for Several<V> {}

impl<V: IoVec> Several<V> {
    pub(crate) fn new(bufs: V, offset: u64) -> Several<V> {
        Several {
            bufs,
            written: 0,
            offset,
        }
    }
}

impl<V: IoVec> IoVec for Several<V> {
    fn for_each<'a>(&'a self, f: &mut dyn FnMut(&'a [u8])) {
        let mut written = self.written;
        self.bufs.for_each(&mut |bytes: &'a [u8]| {
            let here = written.min(bytes.len());
            written -= here;
            if here < bytes.len() {
                f(&bytes[here..]);
            }
        });
    }
}

/// Several buffers in flight.
pub(crate) struct SeveralInFlight<V: IoVec>(OpFuture<op::WriteVectoredAt<Several<V>>>);

impl<V: IoVec> Future for SeveralInFlight<V> {
    type Output = (Outcome<usize>, Several<V>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<V: IoVec> Chunk for Several<V> {
    type Buf = V;
    type InFlight = SeveralInFlight<V>;

    fn is_empty(&self) -> bool {
        let mut is_empty = true;
        self.for_each(&mut |_| is_empty = false);
        is_empty
    }

    fn begin(
        self,
        worker: &Rc<Worker>,
        handle: &Handle,
    ) -> Result<SeveralInFlight<V>, (io::Error, Self)> {
        let offset = self.offset.saturating_add(self.written as u64);
        engine::submit_to(worker, op::WriteVectoredAt::new(handle, self, offset))
            .map(SeveralInFlight)
            .map_err(|Refused { op, error }| (error, op.into_buf()))
    }

    fn behind(mut self, count: usize) -> Self {
        self.written += count;
        self
    }

    fn into_buf(self) -> V {
        self.bufs
    }
}
