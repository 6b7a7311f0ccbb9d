//! A ring of provided buffers: memory that the kernel picks from when a multishot receive has data.
//!
//! It owns the shared ring, the memory behind it and the count of who still uses each buffer. It does not
//! own any operation. Two kinds:
//!
//! ```text
//! classic      one completion takes a whole buffer         [####............] [##..............]
//! incremental  completions take slices of one buffer       [####|##|######|#..................]
//!              until it is full (Linux 6.12)                 ^ a send each; the buffer goes back
//!                                                              when it is full and all are sent
//! ```
//!
//! The memory is never freed: a server that owns a ring ends with its process, and closing a ring is no
//! barrier against writes of operations in flight.
// UNSAFETY: the ring is memory that the kernel reads and the buffers are memory that it writes.
#![expect(unsafe_code)]

use std::alloc::{self, Layout};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The flag `IOU_PBUF_RING_INC` of io_uring_register_buf_ring(3).
const INCREMENTAL: u16 = 2;

/// What one completion takes of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// The whole of it.
    Classic,
    /// As many bytes as were received.
    Incremental,
}

/// The size of a ring of buffers.
#[derive(Clone, Copy, Debug)]
pub struct BufferShape {
    /// What one completion takes.
    pub kind: BufferKind,
    /// How many buffers; a power of two, at most 32768.
    pub count: u16,
    /// The bytes of each.
    pub bytes: u32,
}

/// Bytes that a completion brought: a slice of one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// The number of the buffer.
    pub buffer: u16,
    /// The first byte inside the buffer.
    pub start: u32,
    /// The number of bytes.
    pub len: u32,
}

/// Who uses a buffer, and how far it is filled; the second is used by incremental buffers alone.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    users: u32,
    filled: u32,
    /// The kernel will put nothing more into it.
    retired: bool,
}

/// The ring, its memory and its bookkeeping.
#[derive(Debug)]
pub struct BufferRing {
    shape: BufferShape,
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    states: Vec<State>,
    tail: u16,
    published: u16,
    /// Buffers that the kernel has, as far as the completions seen so far tell.
    available: u16,
}

impl BufferRing {
    /// Allocates the buffers, registers them as `group`, and hands all of them to the kernel.
    ///
    /// # Errors
    /// `InvalidInput` when the kernel does not know the kind or the shape; `OutOfMemory`.
    pub fn register(submitter: &Submitter<'_>, group: u16, shape: BufferShape) -> io::Result<Self> {
        let page = 4096;
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let ring_bytes = usize::from(shape.count) * size_of::<BufRingEntry>();
        let ring_layout = Layout::from_size_align(ring_bytes, page).map_err(invalid)?;
        let memory_bytes = usize::from(shape.count) * shape.bytes as usize;
        let memory_layout = Layout::from_size_align(memory_bytes, page).map_err(invalid)?;
        if ring_bytes == 0 || memory_bytes == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the layout is not empty.
        let entries = unsafe { alloc::alloc_zeroed(ring_layout) };
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc::alloc_zeroed(memory_layout) };
        let entries =
            NonNull::new(entries.cast::<BufRingEntry>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = NonNull::new(memory).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = if shape.kind == BufferKind::Incremental {
            INCREMENTAL
        } else {
            0
        };
        // SAFETY: the ring is page aligned, has `count` entries and is never freed.
        unsafe {
            submitter.register_buf_ring_with_flags(
                entries.as_ptr().addr() as u64,
                shape.count,
                group,
                flags,
            )
        }?;
        let states = vec![State::default(); usize::from(shape.count)];
        let (tail, published, available) = (0, 0, 0);
        let mut ring = Self {
            shape,
            entries,
            memory,
            states,
            tail,
            published,
            available,
        };
        for buffer in 0..shape.count {
            ring.give(buffer);
        }
        ring.publish();
        Ok(ring)
    }

    /// Takes what a completion brought out of the kernel's hands. `more` says that the kernel goes on with
    /// the same buffer (`IORING_CQE_F_BUF_MORE`).
    pub fn take(&mut self, buffer: u16, len: u32, more: bool) -> Chunk {
        let state = &mut self.states[usize::from(buffer)];
        let start = state.filled;
        state.users += 1;
        if self.shape.kind == BufferKind::Incremental {
            state.filled += len;
        }
        if !more {
            state.retired = true;
            self.available -= 1;
        }
        Chunk { buffer, start, len }
    }

    /// Ends the use of a chunk; the buffer goes back to the kernel with its last user.
    pub fn release(&mut self, buffer: u16) {
        let state = &mut self.states[usize::from(buffer)];
        state.users -= 1;
        if state.users == 0 && state.retired {
            self.give(buffer);
        }
    }

    /// Writes the entry of a buffer behind the tail; the kernel sees it after [`BufferRing::publish`].
    fn give(&mut self, buffer: u16) {
        self.states[usize::from(buffer)] = State::default();
        let index = usize::from(self.tail & (self.shape.count - 1));
        let address = self.address(buffer, 0).addr() as u64;
        // SAFETY: the index is inside the ring.
        let slot = unsafe { self.entries.add(index) };
        // SAFETY: the kernel reads this entry only once the tail has passed it, and the setters below leave
        // the field alone that is the tail in the first entry. Nothing else refers to the entry now.
        let entry = unsafe { &mut *slot.as_ptr() };
        entry.set_addr(address);
        entry.set_len(self.shape.bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.available += 1;
    }

    /// Shows the kernel every buffer that was released since the last call, with one store.
    pub fn publish(&mut self) {
        if self.tail == self.published {
            return;
        }
        // SAFETY: the pointer is the first entry of the ring.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the field is aligned and lives as long as the ring; only this thread and the kernel use it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    /// Whether the kernel has a buffer to receive into.
    #[must_use]
    pub fn has_available(&self) -> bool {
        self.available > 0
    }

    /// The address of a byte of a buffer. The byte after the last one has an address, too.
    #[must_use]
    pub fn address(&self, buffer: u16, offset: u32) -> *mut u8 {
        debug_assert!(buffer < self.shape.count && offset <= self.shape.bytes);
        let position = usize::from(buffer) * self.shape.bytes as usize + offset as usize;
        // SAFETY: the position is inside the memory, or one past its end.
        unsafe { self.memory.add(position) }.as_ptr()
    }
}
