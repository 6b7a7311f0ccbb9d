//! The memory of stacks, on Windows.
//!
//! ```text
//!   base        -> +--------------------+  TEB.StackBase
//!                  | used by the fiber  |  committed
//!                  |         |          |
//!                  |         v          |  TEB.StackLimit
//!                  | soft guard         |  committed, PAGE_GUARD: an access moves it down
//!                  | guarantee          |  the same: room for those who handle an overflow
//!   lowest ~       | reserved           |
//!   dealloc. + 1   +--------------------+
//!   deallocation   | hard guard         |  one page that is never committed
//!                  | more guard pages   |  reserved
//!   limit       -> +--------------------+
//! ```
//!
//! The system grows a stack, one page at a time, when its soft guard is touched, and raises
//! `EXCEPTION_STACK_OVERFLOW` when that would reach the hard guard ("Thread Stack Size" and
//! `SetThreadStackGuarantee` in the documentation of Win32). It finds the limits in the thread's
//! environment block, which the switch keeps in step.

#![expect(unsafe_code)]
// UNSAFETY: VirtualAlloc, VirtualQuery and SetThreadStackGuarantee have no safe interface, and what is
// allocated as a stack is the promise of an unsafe trait.

mod overflow;

use std::ffi::c_void;
use std::io;
use std::mem::{self, MaybeUninit};
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};

use corosensei::stack::{MIN_STACK_SIZE, Stack, StackPointer, StackTebFields};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, MEMORY_BASIC_INFORMATION, PAGE_GUARD, PAGE_READWRITE,
    VirtualAlloc, VirtualFree, VirtualQuery,
};
use windows_sys::Win32::System::Threading::SetThreadStackGuarantee;

use super::Shape;
pub(crate) use overflow::report_overflows;

/// That of every processor that Windows runs on.
const PAGE: usize = 4096;

/// The system keeps two pages as the soft guard of a 64-bit stack, one of a 32-bit one.
const SOFT_GUARD: usize = PAGE * (usize::BITS / 32) as usize;

pub(crate) fn page_size() -> usize {
    PAGE
}

/// The bytes that this thread leaves to those who handle an overflow, at least a page.
fn guarantee() -> usize {
    let mut bytes = 0;
    // SAFETY: a value of zero only asks.
    let asked = unsafe { SetThreadStackGuarantee(&mut bytes) };
    let bytes = if asked == 0 { 0 } else { bytes as usize };
    bytes.max(PAGE).next_multiple_of(PAGE)
}

/// The memory of one stack, with its guard pages.
pub(crate) struct StackMemory {
    limit: NonNull<c_void>,
    shape: Shape,
    /// What the system and the handlers of an overflow need, between guard and size.
    extra: usize,
    /// The lowest committed address above the soft guard: it moves as the stack grows.
    committed: usize,
    guarantee: usize,
}

// SAFETY: it owns its memory, and is tied to no thread.
unsafe impl Send for StackMemory {}

impl StackMemory {
    /// # Errors
    /// That of the system.
    pub(crate) fn new(shape: Shape) -> io::Result<StackMemory> {
        let guarantee = guarantee();
        let extra = SOFT_GUARD + guarantee;
        let len = shape.guard + extra + shape.size;
        // SAFETY: it reserves new addresses, where the system likes.
        let address = unsafe { VirtualAlloc(ptr::null(), len, MEM_RESERVE, PAGE_READWRITE) };
        let limit = NonNull::new(address).ok_or_else(io::Error::last_os_error)?;
        let committed = limit.addr().get() + len - MIN_STACK_SIZE.next_multiple_of(PAGE);
        // From here on it is freed if something fails.
        let memory = StackMemory {
            limit,
            shape,
            extra,
            committed,
            guarantee,
        };
        let base = memory.base().get();
        memory.commit(committed, base - committed, PAGE_READWRITE)?;
        memory.commit(committed - extra, extra, PAGE_READWRITE | PAGE_GUARD)?;
        Ok(memory)
    }

    fn commit(&self, from: usize, len: usize, access: u32) -> io::Result<()> {
        let from = self.limit.as_ptr().with_addr(from);
        // SAFETY: the addresses are this value's own, and nothing lies there yet.
        let committed = unsafe { VirtualAlloc(from, len, MEM_COMMIT, access) };
        match committed.is_null() {
            false => Ok(()),
            true => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The lowest address that a fiber may use, above its guard pages.
    pub(crate) fn lowest(&self) -> usize {
        self.limit.addr().get() + self.shape.guard + self.extra
    }
}

impl Drop for StackMemory {
    fn drop(&mut self) {
        // SAFETY: the addresses are this value's own, and nothing runs there any more. If it failed,
        // they would stay taken.
        let _freed = unsafe { VirtualFree(self.limit.as_ptr(), 0, MEM_RELEASE) };
    }
}

// SAFETY: the memory is reserved for as long as the value lives, is larger than the least size by
// `Shape`, ends at a page boundary, and guard pages lie at its limit, the lowest never committed.
unsafe impl Stack for StackMemory {
    #[inline]
    fn base(&self) -> StackPointer {
        let len = self.shape.guard + self.extra + self.shape.size;
        self.limit.addr().saturating_add(len)
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        let limit: NonZeroUsize = self.limit.addr();
        limit
    }

    #[inline]
    fn teb_fields(&self) -> StackTebFields {
        StackTebFields {
            StackBase: self.base().get(),
            StackLimit: self.committed,
            DeallocationStack: self.limit.addr().get() + self.shape.guard - PAGE,
            GuaranteedStackBytes: self.guarantee,
        }
    }

    #[inline]
    fn update_teb_fields(&mut self, stack_limit: usize, guaranteed_stack_bytes: usize) {
        self.committed = stack_limit;
        self.guarantee = guaranteed_stack_bytes;
    }
}

/// How many bytes lie between the lowest page of the stack `from..to` that was touched, and its end.
/// Those are the pages that the system has committed and are no guard any more.
pub(crate) fn touched(from: usize, to: usize) -> Option<usize> {
    let mut at = from;
    while at < to {
        let mut region = MaybeUninit::<MEMORY_BASIC_INFORMATION>::uninit();
        let size = mem::size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: it writes to `region`, which has this size; the memory itself is only asked about.
        let written =
            unsafe { VirtualQuery(ptr::with_exposed_provenance(at), region.as_mut_ptr(), size) };
        if written < size {
            return None;
        }
        // SAFETY: the call has written all of it.
        let region = unsafe { region.assume_init() };
        if region.State == MEM_COMMIT && region.Protect & PAGE_GUARD == 0 {
            return Some(to - at);
        }
        at = region.BaseAddress.addr() + region.RegionSize;
    }
    None
}
