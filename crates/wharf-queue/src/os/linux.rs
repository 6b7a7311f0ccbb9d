//! Linux: ring operations that wharf does not know.

#![expect(unsafe_code)]
// UNSAFETY: the extension point hands an entry to the kernel that wharf cannot check.

use std::fmt;

pub use crate::sys::RawEntry;
pub use io_uring;

use crate::completion::Outcome;
use crate::handle::Handle;
use crate::op::{Done, Op, OpKind, Operation};
use crate::slot::Slot;
use crate::sys;

/// An entry of the submission ring that wharf does not know, with everything that it lends: the
/// same custody as for any other operation.
///
/// Gives `(Outcome<RawResult>, P)`. Only the io_uring backend takes it; on others it is refused
/// with [`SubmitError::Unsupported`](crate::SubmitError::Unsupported).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use wharf_queue::os::linux::{RawOp, io_uring::opcode};
/// use wharf_queue::{BackendKind, Queue};
/// # let Ok(queue) = Queue::builder().backend(BackendKind::IoUring).build() else { return Ok(()) };
/// // SAFETY: a NOP lends nothing.
/// let op = unsafe { RawOp::new((), |_| opcode::Nop::new().build()) };
/// let token = queue.submit(op)?;
/// let completion = queue.wait(None)?.next().unwrap();
/// let (outcome, ()) = completion.take(token).unwrap();
/// assert_eq!(outcome.into_result()?.value, 0);
/// # Ok(()) }
/// ```
pub struct RawOp<P, F> {
    payload: P,
    prepare: Option<F>,
    handle: Option<Handle>,
    entry: Option<RawEntry>,
}

/// What the kernel answered to a [`RawOp`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RawResult {
    /// The result, not negative.
    pub value: u32,
}

impl<P, F> RawOp<P, F>
where
    P: 'static,
    F: FnOnce(&mut P) -> io_uring::squeue::Entry + 'static,
{
    /// Makes an operation whose entry `prepare` builds when the payload is at its final address.
    /// wharf sets the entry's user_data.
    ///
    /// # Safety
    /// The entry reads and writes only memory inside the payload, or owned by it, or that lives
    /// until the final completion in some other way; it yields exactly one completion; and a
    /// descriptor in it stays open until then ([`RawOp::on`] keeps a handle open).
    pub unsafe fn new(payload: P, prepare: F) -> RawOp<P, F> {
        RawOp {
            payload,
            prepare: Some(prepare),
            handle: None,
            entry: None,
        }
    }

    /// Keeps `handle` open until the final completion, and lets a close of it cancel this.
    #[must_use]
    pub fn on(mut self, handle: &Handle) -> RawOp<P, F> {
        self.handle = Some(handle.clone());
        self
    }
}

impl<P, F> fmt::Debug for RawOp<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawOp")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

#[expect(private_interfaces, reason = "the hidden methods seal the trait")]
impl<P, F> Operation for RawOp<P, F>
where
    P: 'static,
    F: FnOnce(&mut P) -> io_uring::squeue::Entry + 'static,
{
    type Output = (Outcome<RawResult>, P);
    const KIND: OpKind = OpKind::Raw;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [self.handle.as_ref(), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let prepare = self.prepare.take().expect("an operation is lowered once");
        let entry = self.entry.insert(RawEntry(prepare(&mut self.payload)));
        Ok(Op::Raw { entry })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        (
            done.outcome().map(|value| RawResult {
                value: value as u32,
            }),
            self.payload,
        )
    }
}
