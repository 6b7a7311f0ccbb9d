//! The memory of stacks, on Unix.
//!
//! ```text
//!   base  -> +--------------------+
//!            | used by the fiber  |  read and write; a page is given when it is first touched
//!            |         |          |
//!            |         v          |
//!   guard -> +--------------------+
//!            | guard pages        |  an access is a signal: `overflow`
//!   limit -> +--------------------+
//! ```
//!
//! Linux 6.13 and newer mark guard pages in the page table alone. Stacks that lie side by side are then
//! one mapping, and the limit of mappings a process may have (`vm.max_map_count`) is none for fibers.

#![expect(unsafe_code)]
// UNSAFETY: mmap(2), mprotect(2), madvise(2), sysconf(3) and mincore(2) have no safe wrapper among the
// dependencies, and what is mapped as a stack is the promise of an unsafe trait.

mod overflow;

use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use corosensei::stack::valgrind::ValgrindStackRegistration;
use corosensei::stack::{Stack, StackPointer};

use super::Shape;
pub(crate) use overflow::report_overflows;

/// The size of a page in bytes.
pub(crate) fn page_size() -> usize {
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    match SIZE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: it has no preconditions.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let size = usize::try_from(size).unwrap_or(4096);
            SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// Linux 6.7 and newer give such memory page by page and never in huge ones. FreeBSD means something
/// else by it.
#[cfg(target_os = "linux")]
const MAP_STACK: libc::c_int = libc::MAP_STACK;
#[cfg(not(target_os = "linux"))]
const MAP_STACK: libc::c_int = 0;

/// The memory of one stack, with its guard pages.
pub(crate) struct StackMemory {
    limit: NonNull<libc::c_void>,
    /// Asked for at each switch.
    base: StackPointer,
    shape: Shape,
    /// Dropped before the memory is unmapped.
    valgrind: ManuallyDrop<ValgrindStackRegistration>,
}

// SAFETY: it owns its memory, and is tied to no thread.
unsafe impl Send for StackMemory {}

impl StackMemory {
    /// # Errors
    /// That of the system.
    pub(crate) fn new(shape: Shape) -> io::Result<StackMemory> {
        let len = shape.size + shape.guard;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | MAP_STACK;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, where the system likes, changes no memory that there is.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let limit = NonNull::new(address).expect("nothing is mapped at address zero");
        // From here on it is unmapped if something fails.
        let memory = StackMemory {
            limit,
            base: limit.addr().saturating_add(len),
            shape,
            valgrind: ManuallyDrop::new(ValgrindStackRegistration::new(address.cast(), len)),
        };
        memory.guard()?;
        Ok(memory)
    }

    fn guard(&self) -> io::Result<()> {
        let (limit, len) = (self.limit.as_ptr(), self.shape.guard);
        if guard_in_page_table(limit, len) {
            return Ok(());
        }
        // SAFETY: the pages are this value's own, and nothing lies in them yet.
        match unsafe { libc::mprotect(limit, len, libc::PROT_NONE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The lowest address that a fiber may use, above its guard pages.
    pub(crate) fn lowest(&self) -> usize {
        self.limit.addr().get() + self.shape.guard
    }
}

/// Whether the system has made guard pages of this memory by MADV_GUARD_INSTALL, as Linux does from
/// 6.13 on; older kernels, and memory that is locked, refuse it: madvise(2).
#[cfg(target_os = "linux")]
fn guard_in_page_table(from: *mut libc::c_void, len: usize) -> bool {
    /// From the kernel's `uapi/asm-generic/mman-common.h`; the same on every architecture.
    const MADV_GUARD_INSTALL: libc::c_int = 102;
    // SAFETY: the caller owns the pages, and nothing lies in them yet.
    unsafe { libc::madvise(from, len, MADV_GUARD_INSTALL) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn guard_in_page_table(_from: *mut libc::c_void, _len: usize) -> bool {
    false
}

impl Drop for StackMemory {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        unsafe { ManuallyDrop::drop(&mut self.valgrind) };
        let len = self.shape.size + self.shape.guard;
        // SAFETY: the pages are this value's own, and nothing runs on them any more.
        let unmapped = unsafe { libc::munmap(self.limit.as_ptr(), len) };
        if unmapped != 0 {
            // It would leave a hole in a mapping, and the process may have no more mappings. The
            // addresses stay taken, the pages need not.
            // SAFETY: as above.
            unsafe { libc::madvise(self.limit.as_ptr(), len, libc::MADV_DONTNEED) };
        }
    }
}

// SAFETY: the memory is mapped for as long as the value lives, is larger than the least size by
// `Shape`, ends at a page boundary, and guard pages lie at its limit.
unsafe impl Stack for StackMemory {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        let limit: NonZeroUsize = self.limit.addr();
        limit
    }
}

/// How many bytes lie between the lowest page in memory of the stack `from..to` and its end.
pub(crate) fn touched(from: usize, to: usize) -> Option<usize> {
    let page = page_size();
    let mut pages = vec![0; (to - from) / page];
    // SAFETY: the vector has an element for each page; the memory itself is only asked about.
    let result = unsafe {
        libc::mincore(
            ptr::with_exposed_provenance_mut(from),
            to - from,
            pages.as_mut_ptr(),
        )
    };
    if result != 0 {
        return None;
    }
    // The type of the elements differs between the systems.
    let lowest = pages.iter().position(|page| *page & 1 != 0)?;
    Some((pages.len() - lowest) * page)
}
