//! The buffer pool behind multishot receives: `BufPool` and the pieces it hands out, `PoolBuf`.
//!
//! Owns the memory, the count of pieces that are out, and the way a buffer goes back. It does not
//! decide when a receive rests or goes on; the queue does, by what this file tells it.
//!
//! ```text
//!              fill                        all pieces dropped
//!   AVAILABLE ------> FILLING -> RETIRED ----------------------> AVAILABLE
//!   (with the kernel,  | ^ more room: the next piece begins
//!    or on the list)   +-+ where the last one ended
//! ```
//!
//! A buffer of an *incremental* pool is filled piece by piece, so that a few large buffers serve
//! many small messages; the others are retired by their first fill. On io_uring this is a provided
//! buffer ring, with `IOU_PBUF_RING_INC` where the kernel has it (io_uring_register(2)).
//!
//! A `PoolBuf` may be dropped on any thread. All but the return queue belongs to the thread that
//! made the pool; others only push the buffer's number there.

#![expect(unsafe_code)]
// UNSAFETY: pieces point into memory that the kernel fills and that is shared out by number.

use std::alloc::{self, Layout};
use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use concurrent_queue::ConcurrentQueue;

use crate::completion::{BufferRef, Ready};
use crate::notify::Shared;
use crate::queue::Queue;
use crate::slot::Token;
use crate::sys;

/// What a pool is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PoolKind {
    Stream,
    Datagrams,
}

/// Where a backend takes buffers back, if it is not the pool's own list.
pub(crate) trait Supply {
    /// Gives a whole buffer to the kernel.
    fn supply(&mut self, id: u16, address: *mut u8, len: u32);
}

/// Builds a [`BufPool`]; made by [`Queue::buf_pool`](crate::Queue::buf_pool).
#[derive(Debug)]
#[must_use]
pub struct BufPoolBuilder<'q> {
    queue: &'q Queue,
    buffers: u16,
    size: u32,
    kind: PoolKind,
    incremental: bool,
}

impl<'q> BufPoolBuilder<'q> {
    pub(crate) fn new(queue: &'q Queue) -> BufPoolBuilder<'q> {
        let (kind, incremental) = (PoolKind::Stream, false);
        BufPoolBuilder {
            queue,
            buffers: 256,
            size: 16 * 1024,
            kind,
            incremental,
        }
    }

    /// How many buffers: 1 to 32,768; raised to a power of two. 256 if not set.
    pub fn buffers(mut self, buffers: u16) -> Self {
        self.buffers = buffers;
        self
    }

    /// The size of each buffer in bytes: 1 to 1 GiB. 16 KiB if not set. A message longer than a
    /// buffer arrives in several pieces, a datagram is truncated.
    pub fn size(mut self, bytes: u32) -> Self {
        self.size = bytes;
        self
    }

    /// Makes a pool for [`op::RecvFromMulti`](crate::op::RecvFromMulti): each buffer holds one
    /// datagram of up to `size` bytes, and its address.
    pub fn datagrams(mut self) -> Self {
        self.kind = PoolKind::Datagrams;
        self
    }

    /// Fills each buffer piece by piece, for few large buffers (such as 32 of 512 KiB) and many
    /// small messages. A buffer is free again when all its pieces have been dropped, so one piece
    /// that is kept holds the whole buffer. On io_uring this needs Linux 6.12; on an older kernel
    /// the pool falls back to one piece a buffer, which is the same but for the memory it takes.
    pub fn incremental(mut self) -> Self {
        self.incremental = true;
        self
    }

    /// Makes the pool.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a size out of range; the system's error if
    /// the kernel refuses the buffers, `OutOfMemory` for a small memlock limit for example.
    pub fn build(self) -> io::Result<BufPool> {
        let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if self.buffers == 0 || self.buffers > 1 << 15 {
            return invalid("a pool has 1 to 32,768 buffers");
        }
        if self.size == 0 || self.size > 1 << 30 {
            return invalid("a pool's buffers have 1 byte to 1 GiB");
        }
        if self.kind == PoolKind::Datagrams && self.incremental {
            return invalid("a datagram needs a buffer of its own: the pool cannot be incremental");
        }
        let header = match self.kind {
            PoolKind::Stream => 0,
            PoolKind::Datagrams => sys::datagram::HEADER_LEN,
        };
        let count = self.buffers.next_power_of_two();
        let Some(memory) = Memory::new(count, self.size as usize + header) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let shared = self.queue.shared();
        self.queue
            .register_pool(PoolCore::new(memory, self.kind, self.incremental, shared))
    }
}

/// The pool's one allocation.
struct Memory {
    base: NonNull<u8>,
    layout: Layout,
    stride: usize,
    count: u16,
}

impl Memory {
    fn new(count: u16, stride: usize) -> Option<Memory> {
        let size = stride.checked_mul(usize::from(count))?;
        let layout = Layout::from_size_align(size, 4096).ok()?;
        // SAFETY: neither the count nor the stride is zero.
        let base = NonNull::new(unsafe { alloc::alloc_zeroed(layout) })?;
        Some(Memory {
            base,
            layout,
            stride,
            count,
        })
    }

    fn buffer(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count);
        // SAFETY: within the allocation, as the number was checked.
        unsafe { self.base.add(usize::from(id) * self.stride) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { alloc::dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// The state of one buffer.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Pieces that users hold.
    pieces: u32,
    /// How much of it has been filled.
    filled: u32,
    retired: bool,
}

/// What only the owner's thread touches.
struct Local {
    entries: Vec<Entry>,
    /// Buffers for the emulation, the one in use last; unused while there is a supply. What came
    /// back last is used first, because it is the likeliest to be in the processor's caches.
    free: Vec<u16>,
    supply: Option<Box<dyn Supply>>,
    available: u32,
    incremental: bool,
    /// Receives that found the pool empty, in that order.
    starved: VecDeque<Token>,
}

impl Local {
    fn filled(&mut self, id: u16, len: usize, more: bool) -> BufferRef {
        let entry = &mut self.entries[usize::from(id)];
        let offset = entry.filled;
        entry.filled += len as u32;
        entry.pieces += 1;
        if !more && !entry.retired {
            entry.retired = true;
            self.available -= 1;
        }
        BufferRef { offset, id }
    }
}

/// The pool itself, shared by its users, its pieces and the queue.
pub(crate) struct PoolCore {
    memory: Memory,
    kind: PoolKind,
    owner: u64,
    /// Set while a receive rests for want of a buffer.
    hungry: AtomicBool,
    returns: ConcurrentQueue<u16>,
    /// Set after a push to `returns`, cleared before it is emptied: a look at it is a plain load,
    /// where a look at the queue costs a fence.
    returned: AtomicBool,
    /// To wake the owner when a buffer comes back that a receive rests for.
    shared: Arc<Shared>,
    local: UnsafeCell<Local>,
}

// SAFETY: `local` is only touched by the owner's thread (`PoolCore::local` checks); the memory is
// shared out by number, each piece to one holder; the rest is atomic.
unsafe impl Send for PoolCore {}
// SAFETY: as above.
unsafe impl Sync for PoolCore {}

fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static ID: Cell<u64> = const { Cell::new(0) });
    ID.with(|id| {
        if id.get() == 0 {
            id.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        id.get()
    })
}

impl PoolCore {
    fn new(memory: Memory, kind: PoolKind, incremental: bool, shared: Arc<Shared>) -> PoolCore {
        let count = memory.count;
        let local = Local {
            entries: vec![Entry::default(); usize::from(count)],
            free: (0..count).rev().collect(),
            supply: None,
            available: u32::from(count),
            incremental,
            starved: VecDeque::new(),
        };
        PoolCore {
            memory,
            kind,
            owner: this_thread(),
            hungry: AtomicBool::new(false),
            returns: ConcurrentQueue::unbounded(),
            returned: AtomicBool::new(false),
            shared,
            local: UnsafeCell::new(local),
        }
    }

    /// Runs `f` on what belongs to the owner's thread. `f` must not come back here.
    fn local<R>(&self, f: impl FnOnce(&mut Local) -> R) -> R {
        assert_eq!(
            self.owner,
            this_thread(),
            "a pool's state belongs to its queue's thread"
        );
        // SAFETY: on the owner's thread, and not reentrant: no closure in this file calls out to
        // code that holds the pool, `Supply` included.
        f(unsafe { &mut *self.local.get() })
    }

    pub(crate) fn count(&self) -> u16 {
        self.memory.count
    }

    /// The size of a buffer, with the header of a datagram.
    pub(crate) fn stride(&self) -> u32 {
        self.memory.stride as u32
    }

    pub(crate) fn is_incremental(&self) -> bool {
        self.local(|local| local.incremental)
    }

    /// For a backend that finds the kernel unable: one piece a buffer.
    #[allow(
        dead_code,
        reason = "for backends whose kernel fills buffers by itself"
    )]
    pub(crate) fn give_up_incremental(&self) {
        self.local(|local| local.incremental = false);
    }

    /// From now on buffers go to the kernel: all those on the list, and each that comes back.
    #[allow(
        dead_code,
        reason = "for backends whose kernel fills buffers by itself"
    )]
    pub(crate) fn set_supply(&self, mut supply: Box<dyn Supply>) {
        self.local(|local| {
            for id in local.free.drain(..).rev() {
                supply.supply(id, self.memory.buffer(id).as_ptr(), self.stride());
            }
            local.supply = Some(supply);
        });
    }

    /// The kernel has let go of all buffers: at the queue's end.
    pub(crate) fn drop_supply(&self) {
        self.local(|local| local.supply = None);
    }

    /// Whether a receive may find a buffer.
    #[allow(
        dead_code,
        reason = "for backends whose kernel fills buffers by itself"
    )]
    pub(crate) fn has_buffers(&self) -> bool {
        self.drain_returns();
        self.local(|local| local.available > 0)
    }

    /// How many buffers are not out.
    pub(crate) fn available(&self) -> u32 {
        self.drain_returns();
        self.local(|local| local.available)
    }

    /// Remembers a receive that found no buffer.
    pub(crate) fn starve(&self, token: Token) {
        self.local(|local| local.starved.push_back(token));
        self.hungry.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_starving(&self) -> bool {
        self.hungry.load(Ordering::Relaxed)
    }

    /// The receive that has rested the longest, if there is a buffer for it.
    pub(crate) fn next_to_feed(&self) -> Option<Token> {
        self.drain_returns();
        self.local(|local| {
            if local.available == 0 {
                return None;
            }
            let token = local.starved.pop_front();
            if token.is_none() {
                self.hungry.store(false, Ordering::SeqCst);
            }
            token
        })
    }

    /// Emulation: lets `receive` fill the next room and takes what it says it has filled; nothing if
    /// it fails or says none. `None` if there is no room.
    pub(crate) fn receive<E>(
        &self,
        receive: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Option<Result<(usize, BufferRef), E>> {
        self.drain_returns();
        let (id, filled) = self.local(|local| {
            let id = *local.free.last()?;
            Some((id, local.entries[usize::from(id)].filled as usize))
        })?;
        let room = self.memory.stride - filled;
        // SAFETY: a buffer on the list is not filled to its end.
        let begin = unsafe { self.memory.buffer(id).add(filled) };
        // SAFETY: initialised when the pool was made, and nobody's until it is recorded below.
        let region = unsafe { std::slice::from_raw_parts_mut(begin.as_ptr(), room) };
        match receive(region) {
            Ok(0) => Some(Ok((0, BufferRef::default()))),
            Ok(len) => Some(Ok((len, self.fill(id, len.min(room))))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Emulation: `len` bytes were put into the buffer that is in use.
    fn fill(&self, id: u16, len: usize) -> BufferRef {
        self.local(|local| {
            let filled = local.entries[usize::from(id)].filled as usize + len;
            let more = local.incremental && filled < self.memory.stride;
            if !more {
                let last = local.free.pop();
                debug_assert_eq!(last, Some(id));
            }
            local.filled(id, len, more)
        })
    }

    /// The next `len` bytes of a buffer were filled; `more` if there will be further ones.
    #[allow(
        dead_code,
        reason = "for backends whose kernel fills buffers by itself"
    )]
    pub(crate) fn filled(&self, id: u16, len: usize, more: bool) -> BufferRef {
        assert!(
            id < self.memory.count,
            "the kernel names a buffer of this pool"
        );
        self.local(|local| local.filled(id, len, more))
    }

    fn release(&self, id: u16) {
        if self.owner == this_thread() {
            self.release_here(id);
        } else {
            let pushed = self.returns.push(id);
            debug_assert!(
                pushed.is_ok(),
                "the queue of returns is unbounded and never closed"
            );
            self.returned.store(true, Ordering::SeqCst);
            // Pairs with the store in `starve`: either the owner sees the buffer when it looks
            // after storing, or this sees that it must wake.
            if self.hungry.load(Ordering::SeqCst) {
                self.shared.wake();
            }
        }
    }

    fn release_here(&self, id: u16) {
        self.local(|local| {
            let entry = &mut local.entries[usize::from(id)];
            entry.pieces -= 1;
            if entry.pieces > 0 {
                return;
            }
            match (&mut local.supply, entry.retired) {
                (Some(supply), true) => {
                    *entry = Entry::default();
                    local.available += 1;
                    supply.supply(id, self.memory.buffer(id).as_ptr(), self.stride());
                }
                // The kernel keeps the place in a buffer that it goes on filling.
                (Some(_), false) => {}
                (None, true) => {
                    *entry = Entry::default();
                    local.available += 1;
                    local.free.push(id);
                }
                // Nobody has a piece of the buffer in use: it is begun anew, while it is warm.
                (None, false) => entry.filled = 0,
            }
        });
    }

    #[inline]
    fn drain_returns(&self) {
        if self.returned.load(Ordering::SeqCst) {
            self.drain_returned();
        }
    }

    #[cold]
    fn drain_returned(&self) {
        self.returned.swap(false, Ordering::SeqCst);
        while let Ok(id) = self.returns.pop() {
            self.release_here(id);
        }
    }
}

/// Buffers for multishot receives, made by [`Queue::buf_pool`](crate::Queue::buf_pool).
///
/// Cheap to clone. An empty pool is never an error: receives rest until a buffer comes back.
#[derive(Clone)]
pub struct BufPool {
    core: Arc<PoolCore>,
    index: u32,
    /// Keeps the pool on its thread; the pieces may leave it.
    not_send: PhantomData<*const ()>,
}

impl BufPool {
    pub(crate) fn new(core: Arc<PoolCore>, index: u32) -> BufPool {
        BufPool {
            core,
            index,
            not_send: PhantomData,
        }
    }

    pub(crate) fn core(&self) -> &Arc<PoolCore> {
        &self.core
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn kind(&self) -> PoolKind {
        self.core.kind
    }

    /// How many buffers it has.
    #[must_use]
    pub fn buffers(&self) -> usize {
        usize::from(self.core.memory.count)
    }

    /// How many of them are ready to be filled.
    #[must_use]
    pub fn available(&self) -> usize {
        self.core.available() as usize
    }

    /// Whether buffers are filled piece by piece; see [`BufPoolBuilder::incremental`].
    #[must_use]
    pub fn is_incremental(&self) -> bool {
        self.core.is_incremental()
    }

    /// Makes the piece that a completion names; an empty one if it names none.
    pub(crate) fn item(&self, ready: &Ready, len: usize) -> PoolBuf {
        let piece = ready.has(Ready::BUFFER).then(|| ready.buffer());
        let pointer = match piece {
            // SAFETY: `filled` gave the offset, and the piece ends within the buffer.
            Some(piece) => unsafe { self.core.memory.buffer(piece.id).add(piece.offset as usize) },
            None => NonNull::dangling(),
        };
        let len = if piece.is_some() { len } else { 0 };
        PoolBuf {
            core: self.core.clone(),
            pointer,
            len,
            id: piece.map(|piece| piece.id),
        }
    }
}

impl fmt::Debug for BufPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufPool")
            .field("buffers", &self.buffers())
            .field("size", &self.core.memory.stride)
            .field("available", &self.available())
            .finish()
    }
}

/// A received piece of a pool's memory. It goes back to the pool when it is dropped, on any thread;
/// sent as it is, with [`op::Send`](struct@crate::op::Send), its bytes are never copied.
pub struct PoolBuf {
    core: Arc<PoolCore>,
    pointer: NonNull<u8>,
    len: usize,
    id: Option<u16>,
}

// SAFETY: the piece is this value's alone; the way back is safe from any thread (`release`).
unsafe impl Send for PoolBuf {}
// SAFETY: a shared reference only reads bytes.
unsafe impl Sync for PoolBuf {}

impl PoolBuf {
    /// Keeps only `range` of the bytes.
    pub(crate) fn narrow(mut self, range: Range<usize>) -> PoolBuf {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: within the piece, as was checked.
        self.pointer = unsafe { self.pointer.add(range.start) };
        self.len = range.len();
        self
    }
}

impl Deref for PoolBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the pool's memory was zeroed when it was made, so all of it is initialised; the
        // piece is this value's alone until it is dropped.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }
}

impl DerefMut for PoolBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for PoolBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for PoolBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolBuf({} bytes)", self.len)
    }
}

impl Drop for PoolBuf {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.core.release(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoWake;

    impl crate::notify::Wake for NoWake {
        fn wake(&self) {}
    }

    fn pool(count: u16, stride: usize, incremental: bool) -> Arc<PoolCore> {
        let memory = Memory::new(count, stride).expect("a little memory");
        let shared = Arc::new(Shared::new(Box::new(NoWake)));
        Arc::new(PoolCore::new(memory, PoolKind::Stream, incremental, shared))
    }

    fn receive(pool: &PoolCore, len: usize) -> Option<(usize, BufferRef)> {
        let mut room = 0;
        let received = pool.receive(|region| {
            room = region.len();
            Ok::<_, ()>(len)
        });
        received.map(|received| (room, received.expect("never fails").1))
    }

    #[test]
    fn whole_buffers_are_retired_by_one_fill_and_come_back() {
        let pool = pool(2, 100, false);
        let (room, piece) = receive(&pool, 10).expect("a fresh pool has room");
        assert_eq!((room, piece.offset), (100, 0));
        assert_eq!(pool.available(), 1);
        pool.release_here(piece.id);
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn incremental_buffers_are_filled_to_their_end() {
        let pool = pool(1, 100, true);
        for piece in 0..10 {
            let (room, reference) = receive(&pool, 10).expect("not full yet");
            assert_eq!(room, 100 - piece * 10);
            assert_eq!(
                reference,
                BufferRef {
                    offset: piece as u32 * 10,
                    id: 0
                }
            );
        }
        assert!(receive(&pool, 10).is_none());
        for _ in 0..9 {
            pool.release_here(0);
            assert_eq!(pool.available(), 0);
        }
        pool.release_here(0);
        assert_eq!(receive(&pool, 1).map(|(room, _)| room), Some(100));
    }

    #[test]
    fn buffer_in_use_begins_anew_when_no_piece_of_it_is_left() {
        let pool = pool(2, 100, true);
        let (_, first) = receive(&pool, 10).expect("a fresh pool has room");
        let (room, second) = receive(&pool, 10).expect("not full yet");
        assert_eq!((room, second.offset), (90, 10));
        pool.release_here(first.id);
        assert_eq!(receive(&pool, 10).map(|(room, _)| room), Some(80));
        pool.release_here(second.id);
        pool.release_here(second.id);
        let (room, anew) = receive(&pool, 10).expect("it is free");
        assert_eq!((room, anew.offset, anew.id), (100, 0, first.id));
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn buffer_that_came_back_last_is_used_first() {
        let pool = pool(4, 100, false);
        let (_, first) = receive(&pool, 1).expect("a fresh pool has room");
        let (_, second) = receive(&pool, 1).expect("there are more");
        pool.release_here(first.id);
        pool.release_here(second.id);
        let (_, third) = receive(&pool, 1).expect("two came back");
        assert_eq!(third.id, second.id);
    }

    #[test]
    fn buffer_released_on_another_thread_comes_back() {
        let pool = pool(1, 100, false);
        let (_, piece) = receive(&pool, 1).expect("a fresh pool has room");
        let id = piece.id;
        pool.starve(Token::POSTED);
        assert_eq!(pool.next_to_feed(), None);
        assert!(pool.shared.park());
        let other = pool.clone();
        std::thread::spawn(move || other.release(id))
            .join()
            .expect("the thread does not panic");
        assert!(pool.shared.awake());
        assert_eq!(pool.next_to_feed(), Some(Token::POSTED));
        assert_eq!(pool.next_to_feed(), None);
        assert!(!pool.is_starving());
    }
}
