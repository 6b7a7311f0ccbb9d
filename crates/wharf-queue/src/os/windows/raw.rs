//! Overlapped calls that wharf does not know.

#![expect(unsafe_code)]
// UNSAFETY: the extension point hands memory to a call that wharf cannot check.

use std::ffi::c_void;
use std::fmt;
use std::io;

use windows_sys::Win32::System::IO::OVERLAPPED;

use crate::completion::Outcome;
use crate::handle::Handle;
use crate::op::{Done, Op, OpKind, Operation};
use crate::slot::Slot;
use crate::sys::socket::Begun;
use crate::sys::{self, RawEntry, RawHandle};

/// How a call of a [`RawOp`] began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// A packet tells its end: it is in flight, or it has ended and sends one all the same.
    Pending,
    /// It has ended, and no packet comes.
    Done {
        /// What the packet would have told: bytes that were moved.
        value: u32,
    },
}

/// An overlapped call that wharf does not know, with everything that it lends: the same custody as
/// for any other operation.
///
/// Gives `(Outcome<u32>, P)`: the count of bytes that the packet tells, or the call's error.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use wharf_queue::Queue;
/// use wharf_queue::os::windows::{PipeOptions, connect_pipe};
/// let name = format!(r"\\.\pipe\wharf-doc-{}", std::process::id());
/// let queue = Queue::new()?;
/// let server = queue.attach(PipeOptions::new().create(&name)?)?;
/// let connect = queue.submit(connect_pipe(&server))?;
/// let client = std::fs::OpenOptions::new().read(true).write(true).open(&name)?;
/// let completion = queue.wait(None)?.next().unwrap();
/// completion.take(connect).unwrap().0.into_result()?;
/// # drop(client);
/// # Ok(()) }
/// ```
pub struct RawOp<P, F> {
    payload: P,
    call: Option<F>,
    handle: Handle,
    entry: Option<RawEntry>,
}

impl<P, F> RawOp<P, F>
where
    P: 'static,
    F: FnOnce(&mut P, RawHandle, *mut c_void) -> io::Result<Start> + 'static,
{
    /// Makes an operation on `handle`. `call` is run once, when the payload is at its final address;
    /// it is given the payload, the handle, and the `OVERLAPPED` for its call. A cancel ends it by
    /// `CancelIoEx`.
    ///
    /// # Safety
    /// The call reads and writes only memory inside the payload, or owned by it, or that lives
    /// until the final completion in some other way; it is made on the handle with the `OVERLAPPED`
    /// that is given; and exactly one packet comes of it if, and only if, `call` returns
    /// [`Start::Pending`].
    pub unsafe fn new(handle: &Handle, payload: P, call: F) -> RawOp<P, F> {
        RawOp {
            payload,
            call: Some(call),
            handle: handle.clone(),
            entry: None,
        }
    }

    /// Makes the call.
    ///
    /// # Safety
    /// `this` points to such an operation that nobody else uses meanwhile.
    unsafe fn run(this: *mut u8, overlapped: *mut OVERLAPPED) -> Result<Begun, sys::RawError> {
        // SAFETY: the caller's promise.
        let this = unsafe { &mut *this.cast::<RawOp<P, F>>() };
        let call = this.call.take().expect("a call is made once");
        match call(&mut this.payload, this.handle.raw(), overlapped.cast()) {
            Ok(Start::Pending) => Ok(Begun::Pending),
            Ok(Start::Done { value }) => Ok(Begun::Done(value)),
            Err(error) => Err(error.raw_os_error().unwrap_or(sys::UNSUPPORTED)),
        }
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
    F: FnOnce(&mut P, RawHandle, *mut c_void) -> io::Result<Start> + 'static,
{
    type Output = (Outcome<u32>, P);
    const KIND: OpKind = OpKind::Raw;

    fn handles(&self) -> [Option<&Handle>; 2] {
        [Some(&self.handle), None]
    }

    fn lower(&mut self, _: &Slot) -> Result<Op, sys::RawError> {
        let entry = RawEntry {
            raw: self.handle.raw(),
            call: RawOp::<P, F>::run,
            context: (&raw mut *self).cast(),
        };
        Ok(Op::Raw {
            entry: self.entry.insert(entry),
        })
    }

    fn finish(self, done: Done<'_>) -> Self::Output {
        (done.outcome().map(|value| value as u32), self.payload)
    }
}
