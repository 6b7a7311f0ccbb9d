//! The provided-buffer ring: where the kernel takes buffers for multishot receives from.
//!
//! Source: io_uring_register(2), `IORING_REGISTER_PBUF_RING`; io_uring_buf_ring_add(3).

#![expect(unsafe_code)]
// UNSAFETY: the ring is memory that is shared with the kernel.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::buf::AlignedBuf;
use crate::bufpool::Supply;

/// `IOU_PBUF_RING_INC`: buffers are consumed piece by piece (Linux 6.12).
const INCREMENTAL: u16 = 2;

/// A buffer ring, and the tail that only we move.
pub(super) struct BufRing {
    memory: AlignedBuf,
    mask: u16,
    tail: u16,
}

impl BufRing {
    /// Registers a ring for `count` buffers, which is a power of two, as group `group`.
    pub(super) fn register(
        submitter: &Submitter<'_>,
        count: u16,
        group: u16,
        incremental: bool,
    ) -> io::Result<BufRing> {
        let size = size_of::<BufRingEntry>() * usize::from(count);
        let memory = AlignedBuf::new(size, 4096);
        let flags = if incremental { INCREMENTAL } else { 0 };
        let address = memory.as_ptr() as u64;
        // SAFETY: the memory is zeroed, aligned to a page, large enough, and lives as long as the
        // registration: the pool keeps it until the group is unregistered or the ring is closed.
        unsafe { submitter.register_buf_ring_with_flags(address, count, group, flags) }?;
        Ok(BufRing {
            memory,
            mask: count - 1,
            tail: 0,
        })
    }
}

impl Supply for BufRing {
    fn supply(&mut self, id: u16, address: *mut u8, len: u32) {
        let base: *mut BufRingEntry = self.memory.as_mut_ptr().cast();
        // SAFETY: the masked tail is within the ring.
        let entry = unsafe { base.add(usize::from(self.tail & self.mask)) };
        // SAFETY: the kernel reads an entry only after the tail has moved beyond it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address as u64);
        entry.set_len(len);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, as the kernel lays the ring out.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: aligned, and only ever accessed atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Pairs with the kernel's acquire: what was written above is seen first.
        tail.store(self.tail, Ordering::Release);
    }
}
