//! An allocator that counts, for benches that report allocations per operation or memory per connection.
//!
//! ```
//! use wharf_bench::counting::{CountingAllocator, allocations, live_bytes};
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator;
//!
//! let before = (allocations(), live_bytes());
//! let boxed = Box::new(1_u64);
//! assert_eq!((allocations(), live_bytes()), (before.0 + 1, before.1 + 8));
//! drop(boxed);
//! assert_eq!(live_bytes(), before.1);
//! ```
// UNSAFETY: implementing `GlobalAlloc` is unsafe; each method passes its arguments on unchanged.
#![expect(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted. A reallocation counts as an allocation, a deallocation does not count.
#[derive(Clone, Copy, Debug)]
pub struct CountingAllocator;

/// How many allocations all threads of the process have made; it stays 0 where [`CountingAllocator`] is not
/// the global allocator.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// How many bytes the process has allocated and not freed, as they were asked for: what the allocator adds
/// to each block is not in it, nor is memory that did not come from the allocator.
#[must_use]
pub fn live_bytes() -> u64 {
    // In this order, what another thread does meanwhile makes the difference too large, never negative.
    let freed = FREED.load(Ordering::Acquire);
    ALLOCATED.load(Ordering::Acquire).saturating_sub(freed)
}

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    ALLOCATED.fetch_add(bytes as u64, Ordering::Release);
}

fn count_freed(bytes: usize) {
    FREED.fetch_add(bytes as u64, Ordering::Release);
}

// SAFETY: every method keeps the contract because the system's allocator does.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        count_freed(layout.size());
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.realloc(old, layout, new_size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        count_freed(layout.size());
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.dealloc(old, layout) }
    }
}
