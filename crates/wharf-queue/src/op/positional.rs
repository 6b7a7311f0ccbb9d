//! Reads and writes: of files at an offset, and of streams that are not sockets.

use super::stream::{set_filled, set_filled_vectored};
use super::{Done, Op, OpKind, Operation, Refusal};
use crate::buf::{IoBuf, IoBufMut, IoVec, IoVecMut, RawBuf, RawBufMut};
use crate::completion::BufResult;
use crate::handle::Handle;
use crate::queue::Queue;
use crate::slot::Slot;
use crate::sys;

macro_rules! positional {
    (
        $(#[$doc:meta])* $name:ident<$param:ident: $bound:ident>, $kind:ident,
        $(offset: $offset:ident,)? |$this:ident, $slot:ident| $lower:expr, $filled:expr
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<$param> {
            handle: Handle,
            buf: $param,
            $($offset: u64,)?
        }

        impl<$param: $bound> $name<$param> {
            /// The operation on `handle` with `buf`, and where it has one, at `offset` in bytes.
            pub fn new(handle: &Handle, buf: $param $(, $offset: u64)?) -> $name<$param> {
                $name { handle: handle.clone(), buf $(, $offset)? }
            }

            /// Takes what was lent back from an operation that was not submitted, or was refused.
            pub fn into_buf(self) -> $param {
                self.buf
            }
        }

        #[expect(private_interfaces, reason = "the hidden methods seal the trait")]
        impl<$param: $bound> Operation for $name<$param> {
            type Output = BufResult<usize, $param>;
            const KIND: OpKind = OpKind::$kind;

            fn handles(&self) -> [Option<&Handle>; 2] {
                [Some(&self.handle), None]
            }

            $(fn check(&self, _: &Queue) -> Result<(), Refusal> {
                // The system's offsets are signed; the value that means "here" is also excluded.
                match i64::try_from(self.$offset) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(Refusal::Invalid("the offset is above the system's limit")),
                }
            })?

            fn lower(&mut self, $slot: &Slot) -> Result<Op, sys::RawError> {
                let $this = self;
                Ok($lower)
            }

            fn finish(mut self, done: Done<'_>) -> Self::Output {
                $filled(&mut self.buf, done.filled());
                (done.outcome(), self.buf)
            }
        }
    };
}

fn nothing_filled<B>(_: &mut B, _: usize) {}

positional!(
    /// Reads a file at an offset.
    ///
    /// Gives `BufResult<usize, B>`; 0 past the end of the file. The file's own position does not
    /// change. A length above 2,147,479,552 bytes gives a short count.
    ///
    /// Source: `IORING_OP_READ` on io_uring; elsewhere pread(2) on the pool, unless the read is no
    /// longer than 256 KiB and preadv2(2) with `RWF_NOWAIT` finds all of it in the page cache.
    ReadAt<B: IoBufMut>, ReadAt, offset: offset,
    |this, _slot| Op::Read {
        fd: this.handle.target(),
        buf: RawBufMut::new(this.buf.as_uninit()),
        offset: this.offset,
    },
    set_filled
);

positional!(
    /// Writes to a file at an offset.
    ///
    /// Gives `BufResult<usize, B>`; the count may be short, on a full disk for example.
    ///
    /// Source: pwrite(2).
    WriteAt<B: IoBuf>, WriteAt, offset: offset,
    |this, _slot| Op::Write {
        fd: this.handle.target(),
        buf: RawBuf::new(this.buf.as_bytes()),
        offset: this.offset,
    },
    nothing_filled
);

positional!(
    /// Reads from a pipe, a terminal or another stream that is not a socket, or from a file at its
    /// own position.
    ///
    /// Gives `BufResult<usize, B>`; 0 at the end. Two reads in flight on one stream are carried out
    /// in no particular order.
    ///
    /// Source: read(2).
    Read<B: IoBufMut>, Read,
    |this, _slot| Op::Read {
        fd: this.handle.target(),
        buf: RawBufMut::new(this.buf.as_uninit()),
        offset: Op::CURRENT,
    },
    set_filled
);

positional!(
    /// Writes to a pipe, a terminal or another stream that is not a socket, or to a file at its own
    /// position.
    ///
    /// Gives `BufResult<usize, B>`. Writing to a pipe without a reader is
    /// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe), never a signal, even in a program that does
    /// not ignore `SIGPIPE` as Rust programs do.
    ///
    /// Source: write(2).
    Write<B: IoBuf>, Write,
    |this, _slot| Op::Write {
        fd: this.handle.target(),
        buf: RawBuf::new(this.buf.as_bytes()),
        offset: Op::CURRENT,
    },
    nothing_filled
);

positional!(
    /// Reads a file at an offset into several buffers, in order.
    ///
    /// Gives `BufResult<usize, V>`. At most 1,024 buffers are used; more give a short count.
    ///
    /// Source: preadv(2).
    ReadVectoredAt<V: IoVecMut>, ReadVectoredAt, offset: offset,
    |this, slot| {
        let scratch = slot.scratch();
        sys::Scratch::set_regions(scratch, |add| {
            this.buf.for_each_mut(&mut |region| add(RawBufMut::new(region)));
        });
        let fd = this.handle.target();
        Op::ReadVectored { fd, scratch: scratch.as_ptr(), offset: this.offset }
    },
    set_filled_vectored
);

positional!(
    /// Writes several buffers to a file at an offset, in order.
    ///
    /// Gives `BufResult<usize, V>`. At most 1,024 buffers are used; more give a short count.
    ///
    /// Source: pwritev(2).
    WriteVectoredAt<V: IoVec>, WriteVectoredAt, offset: offset,
    |this, slot| {
        let scratch = slot.scratch();
        sys::Scratch::set_bytes(scratch, |add| {
            this.buf.for_each(&mut |bytes| add(RawBuf::new(bytes)));
        });
        let fd = this.handle.target();
        Op::WriteVectored { fd, scratch: scratch.as_ptr(), offset: this.offset }
    },
    nothing_filled
);
