//! In-flight slots: where an operation and everything it lent lives until its final completion.
//!
//! Owns custody: the typed operation with its buffers and handles, at an address that does not
//! change, and the state of the operation. It does not know what any operation means, and makes
//! no decision about cancels or deadlines; `ledger` does.
//!
//! ```text
//!        0 alloc        1 place      2 start            3 complete           4 free
//!   FREE -----> PLACING -----> HELD -----> IN_FLIGHT -----------> DONE -----------> FREE
//!                                |  3 complete (never started)     | 5 keep   4 free ^
//!                                +-------------------------------->+-------> KEPT ---+
//! ```
//!
//! 0 `Slots::alloc`. While a slot is PLACING the code of a user's buffer runs, which may do to the
//!   queue whatever it likes: nobody ends the operation before it lies in its slot, a cancel that
//!   comes meanwhile is noted.
//! 1 `Slots::place`, called by `Queue::submit` and `Chain::then`.
//! 2 `Core::start`: the backend, the pool or the timer heap has it now.
//! 3 `Ledger::complete`, called by whoever carried the operation out.
//! 4 `Slots::free`, by `Queue::finish`, which has moved the payload out. It raises the generation,
//!   so that every token, key or user_data of the old operation is stale (race R11).
//! 5 `Completion::keep`.
//!
//! **Custody.** From 2 to 3 the kernel or a pool thread may read and write what the payload lent.
//! Nobody forms a reference to the payload in that time, except a shared one to a multishot
//! operation, which lends nothing that lies in its payload.

#![expect(unsafe_code)]
// UNSAFETY: typed payloads are stored without their type, at stable addresses, and the kernel is
// given pointers into them.

use std::alloc::{self, Layout};
use std::any::TypeId;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::completion::Ready;
use crate::op::{Op, OpKind, Operation};
use crate::queue::Queue;
use crate::sys;
use crate::timer::{NOT_IN_HEAP, Positions};

/// No slot: the end of a list, the absence of a link.
pub(crate) const NONE: u32 = u32::MAX;

/// Names one submission. A token is stale once its operation's final completion has been taken;
/// a stale token never reaches another operation, because it carries a generation.
///
/// `Token<O>` knows the operation's type and so that of its result; `Token` alone does not. Both
/// are copied freely, and convert with [`Token::erase`].
pub struct Token<O = ()> {
    /// The index below, the generation above.
    bits: u64,
    operation: PhantomData<fn() -> O>,
}

impl Token {
    /// The token of completions that were posted and belong to no operation.
    pub const POSTED: Token = Token::new(NONE, 0);
}

impl<O> Token<O> {
    pub(crate) const fn new(index: u32, generation: u32) -> Token<O> {
        Token::from_bits((generation as u64) << 32 | index as u64)
    }

    /// The token without the operation's type.
    #[must_use]
    pub fn erase(self) -> Token {
        Token::from_bits(self.bits)
    }

    /// A small number that no other operation in flight has: an index for a table of one's own. It
    /// is given to a new operation when this one's result has been taken.
    #[must_use]
    pub fn index(self) -> usize {
        self.bits as u32 as usize
    }

    /// The token as one number, for a kernel's user_data.
    pub(crate) const fn to_bits(self) -> u64 {
        self.bits
    }

    pub(crate) const fn from_bits(bits: u64) -> Token<O> {
        Token {
            bits,
            operation: PhantomData,
        }
    }

    fn generation(self) -> u32 {
        (self.bits >> 32) as u32
    }
}

impl<O> Clone for Token<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Token<O> {}

impl<O> PartialEq for Token<O> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl<O> Eq for Token<O> {}

impl<O> std::hash::Hash for Token<O> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}

impl<O> fmt::Debug for Token<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}#{})", self.index(), self.generation())
    }
}

/// Where an operation stands; see the drawing above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Free,
    Placing,
    Held,
    InFlight,
    Done,
    Kept,
}

/// Why an operation is asked to end before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CancelReason {
    None,
    Request,
    Deadline,
}

/// What can be done with a payload whose type is forgotten.
struct VTable {
    type_id: fn() -> TypeId,
    discard: fn(&Queue, &crate::completion::Ready),
    drop_in_place: unsafe fn(*mut u8),
}

struct VTableOf<O>(PhantomData<O>);

impl<O: Operation> VTableOf<O> {
    const VTABLE: VTable = VTable {
        type_id: TypeId::of::<O>,
        discard: |queue, ready| drop(queue.finish::<O>(ready)),
        // SAFETY: called with a pointer to a live `O` that is not used again.
        drop_in_place: |payload| unsafe { payload.cast::<O>().drop_in_place() },
    };
}

/// Payloads up to this size lie in the slot itself; larger ones in a block that the slot keeps.
const INLINE_WORDS: usize = 12;

/// One in-flight record. All fields are cells: nobody ever forms a `&mut Slot`.
///
/// The first cache line is what every operation touches.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// Its own place.
    index: u32,
    generation: Cell<u32>,
    pub(crate) state: Cell<State>,
    pub(crate) kind: Cell<OpKind>,
    /// The kind by which it is routed: a read of a regular file at its own position goes the way of
    /// a positional one.
    pub(crate) route: Cell<OpKind>,
    pub(crate) cancel: Cell<CancelReason>,
    /// Somebody follows in `chain_next`.
    pub(crate) chained: Cell<bool>,
    /// The backend links a chain natively: it starts and breaks it, not the queue.
    pub(crate) native_link: Cell<bool>,
    /// Nobody wants the result any more: it is dropped by its type when it arrives.
    pub(crate) abandoned: Cell<bool>,
    pub(crate) user_data: Cell<u64>,
    vtable: Cell<Option<&'static VTable>>,
    payload: Cell<*mut u8>,
    /// The index of the handle whose list of operations this slot is on, or `NONE`.
    pub(crate) handle: Cell<u32>,
    timer_position: Cell<u32>,
    /// For the backend's own use; zero when the operation starts.
    pub(crate) backend_word: Cell<u32>,
    /// Links for whatever list the backend keeps the slot on; the free list while FREE.
    pub(crate) list_next: Cell<u32>,
    /// Bytes done by the earlier parts of an operation that takes several system calls.
    pub(crate) transferred: Cell<usize>,
    /// What the backend carries out; see `Slot::op`.
    op: UnsafeCell<Op>,
    pub(crate) handle_next: Cell<u32>,
    pub(crate) handle_previous: Cell<u32>,
    pub(crate) list_previous: Cell<u32>,
    /// The slot that goes on when this one has succeeded, if `chained`.
    chain_next: Cell<Token>,
    scratch: UnsafeCell<Option<Box<sys::Scratch>>>,
    spill: Cell<Spill>,
    inline: UnsafeCell<MaybeUninit<[u64; INLINE_WORDS]>>,
}

/// A block for payloads that do not fit inline, kept for the slot's next one.
#[derive(Clone, Copy)]
struct Spill {
    pointer: *mut u8,
    layout: Layout,
}

impl Spill {
    const EMPTY: Spill = Spill {
        pointer: std::ptr::null_mut(),
        layout: Layout::new::<()>(),
    };

    fn release(self) {
        if !self.pointer.is_null() {
            // SAFETY: allocated in `Slot::space_for` with this layout.
            unsafe { alloc::dealloc(self.pointer, self.layout) }
        }
    }
}

impl Slot {
    fn new(index: u32) -> Slot {
        Slot {
            index,
            generation: Cell::new(1),
            state: Cell::new(State::Free),
            kind: Cell::new(OpKind::Nop),
            route: Cell::new(OpKind::Nop),
            cancel: Cell::new(CancelReason::None),
            user_data: Cell::new(0),
            vtable: Cell::new(None),
            payload: Cell::new(std::ptr::null_mut()),
            handle: Cell::new(NONE),
            timer_position: Cell::new(NOT_IN_HEAP),
            backend_word: Cell::new(0),
            list_next: Cell::new(NONE),
            transferred: Cell::new(0),
            chained: Cell::new(false),
            native_link: Cell::new(false),
            abandoned: Cell::new(false),
            op: UnsafeCell::new(Op::Nop),
            handle_next: Cell::new(NONE),
            handle_previous: Cell::new(NONE),
            list_previous: Cell::new(NONE),
            chain_next: Cell::new(Token::POSTED),
            scratch: UnsafeCell::new(None),
            spill: Cell::new(Spill::EMPTY),
            inline: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Whether it is in the deadline heap.
    #[inline]
    pub(crate) fn has_deadline(&self) -> bool {
        self.timer_position.get() != NOT_IN_HEAP
    }

    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    #[inline]
    pub(crate) fn token(&self) -> Token {
        Token::new(self.index, self.generation.get())
    }

    /// Memory for a payload: inline, or a block that is reused while it is large enough, so that
    /// the steady state allocates nothing.
    #[inline]
    fn space_for(&self, layout: Layout) -> *mut u8 {
        if layout.size() <= INLINE_WORDS * 8 && layout.align() <= 8 {
            return self.inline.get().cast();
        }
        let spill = self.spill.get();
        if spill.layout.size() >= layout.size() && spill.layout.align() >= layout.align() {
            return spill.pointer;
        }
        spill.release();
        self.spill.set(Spill::EMPTY);
        // SAFETY: the size is not zero: zero-sized payloads of small alignment are inline, and
        // there is no operation of size zero with a greater alignment.
        let pointer = unsafe { alloc::alloc(layout) };
        if pointer.is_null() {
            alloc::handle_alloc_error(layout);
        }
        self.spill.set(Spill { pointer, layout });
        pointer
    }

    /// What the backend carries out; valid from HELD to DONE.
    ///
    /// It is a reference, because most of those who look need to see the variant only. Nobody
    /// keeps it: it is written where a slot is placed and where a result is kept, and there no
    /// backend is at work.
    #[inline]
    pub(crate) fn op(&self) -> &Op {
        // SAFETY: `place` and `keep` write it, neither of which is called while somebody looks.
        unsafe { &*self.op.get() }
    }

    fn set_op(&self, op: Op) {
        // SAFETY: called by `place` and `keep` only; see `op`. The old value needs no drop.
        unsafe { self.op.get().write(op) };
    }

    /// Lets `next` go on when this has succeeded.
    pub(crate) fn chain(&self, next: Token) {
        self.chain_next.set(next);
        self.chained.set(true);
    }

    /// The slot that goes on after this one, once.
    #[inline]
    pub(crate) fn take_chained(&self) -> Option<Token> {
        self.chained.replace(false).then(|| self.chain_next.get())
    }

    /// Forgets the payload's type and gives what would take its result and drop it.
    pub(crate) fn discard_fn(&self) -> fn(&Queue, &crate::completion::Ready) {
        self.vtable
            .get()
            .expect("a slot that is not free has a payload")
            .discard
    }

    #[inline]
    pub(crate) fn holds<O: Operation>(&self) -> bool {
        // The same table is the same type; another copy of it may be, and its type tells.
        self.vtable.get().is_some_and(|vtable| {
            std::ptr::eq(vtable, &VTableOf::<O>::VTABLE) || (vtable.type_id)() == TypeId::of::<O>()
        })
    }

    /// Looks at the payload of a multishot operation in flight; `None` if it is not an `O`.
    pub(crate) fn with_payload<O: Operation, R>(&self, f: impl FnOnce(&O) -> R) -> Option<R> {
        // SAFETY: the type is checked; a multishot operation lends nothing inside its payload.
        self.holds::<O>()
            .then(|| f(unsafe { &*self.payload.get().cast::<O>() }))
    }

    /// Moves the payload out of a slot that is DONE or KEPT, or HELD and never started; `None` if
    /// it is not an `O`.
    #[inline]
    pub(crate) fn take_payload<O: Operation>(&self) -> Option<O> {
        if !self.holds::<O>() {
            return None;
        }
        self.vtable.set(None);
        // SAFETY: the type was checked, and clearing the vtable makes this the only time.
        Some(unsafe { self.payload.get().cast::<O>().read() })
    }

    /// The record for message headers and addresses, which the kernel may use while the operation
    /// is in flight. Made on first use and kept for the slot's later operations.
    pub(crate) fn scratch(&self) -> NonNull<sys::Scratch> {
        // SAFETY: no reference into the cell outlives this function; the box's contents are only
        // used through the pointer.
        let scratch = unsafe { &mut *self.scratch.get() };
        NonNull::from(scratch.get_or_insert_with(Default::default).as_mut())
    }
}

const CHUNK: usize = 64;

/// All slots of a queue. They lie in chunks that never move and are freed with the queue.
pub(crate) struct Slots {
    chunks: UnsafeCell<Vec<NonNull<[Slot; CHUNK]>>>,
    free: Cell<u32>,
    live: Cell<u32>,
}

impl Slots {
    pub(crate) fn new() -> Slots {
        Slots {
            chunks: UnsafeCell::new(Vec::new()),
            free: Cell::new(NONE),
            live: Cell::new(0),
        }
    }

    /// How many slots are not FREE.
    pub(crate) fn live(&self) -> usize {
        self.live.get() as usize
    }

    fn chunks(&self) -> &Vec<NonNull<[Slot; CHUNK]>> {
        // SAFETY: `grow` is the only one to change the vector; it is not reentrant and no reference
        // from here lives across it.
        unsafe { &*self.chunks.get() }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &Slot {
        let chunk = self.chunks()[index as usize / CHUNK];
        // SAFETY: chunks live until the queue drops and are only used through shared references.
        let chunk = unsafe { chunk.as_ref() };
        &chunk[index as usize % CHUNK]
    }

    /// The slot that a token names, unless the token is stale.
    #[inline]
    pub(crate) fn lookup(&self, token: Token) -> Option<&Slot> {
        if token.index() >= self.chunks().len() * CHUNK {
            return None;
        }
        let slot = self.get(token.index() as u32);
        (slot.generation.get() == token.generation() && slot.state.get() != State::Free)
            .then_some(slot)
    }

    #[inline]
    pub(crate) fn token(&self, index: u32) -> Token {
        self.get(index).token()
    }

    /// Every slot that is not free, with its index. For teardown and diagnosis, not for hot paths.
    pub(crate) fn iter_live(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..(self.chunks().len() * CHUNK) as u32)
            .map(|index| (index, self.get(index)))
            .filter(|(_, slot)| slot.state.get() != State::Free)
    }

    #[inline]
    pub(crate) fn alloc(&self) -> &Slot {
        if self.free.get() == NONE {
            self.grow();
        }
        let index = self.free.get();
        let slot = self.get(index);
        self.free.set(slot.list_next.get());
        self.live.set(self.live.get() + 1);
        // What is not set here was put back when the last operation completed.
        slot.state.set(State::Placing);
        slot.cancel.set(CancelReason::None);
        slot.list_next.set(NONE);
        slot.backend_word.set(0);
        slot.transferred.set(0);
        slot.native_link.set(false);
        slot.abandoned.set(false);
        slot
    }

    #[cold]
    fn grow(&self) {
        let first = (self.chunks().len() * CHUNK) as u32;
        let chunk = Box::new(std::array::from_fn(|at| Slot::new(first + at as u32)));
        let chunk = NonNull::from(Box::leak(chunk));
        // SAFETY: see `chunks`.
        let chunks = unsafe { &mut *self.chunks.get() };
        chunks.push(chunk);
        for index in (first..first + CHUNK as u32).rev() {
            self.get(index).list_next.set(self.free.get());
            self.free.set(index);
        }
    }

    /// Moves a typed operation into a fresh slot and lets `prepare` point the kernel at its parts.
    #[inline]
    pub(crate) fn place<O: Operation>(
        &self,
        slot: &Slot,
        op: O,
        prepare: impl FnOnce(&mut O, &Slot) -> Op,
    ) {
        debug_assert!(slot.vtable.get().is_none());
        let payload = slot.space_for(Layout::new::<O>()).cast::<O>();
        // SAFETY: the space has the layout of `O`, and nothing lives in it: the slot is fresh.
        unsafe { payload.write(op) };
        slot.payload.set(payload.cast());
        slot.vtable.set(Some(&VTableOf::<O>::VTABLE));
        // SAFETY: written above; pointers that `prepare` takes stay valid, as the payload is not
        // referred to again before the final completion.
        let payload = unsafe { &mut *payload };
        slot.set_op(prepare(payload, slot));
        slot.state.set(State::Held);
    }

    /// Puts the result of a DONE operation into its slot, until it is asked for.
    pub(crate) fn keep(&self, index: u32, ready: Ready) {
        let slot = self.get(index);
        debug_assert_eq!(slot.state.get(), State::Done);
        slot.state.set(State::Kept);
        slot.set_op(Op::Kept { ready });
    }

    /// Ends a slot whose payload has been taken.
    #[inline]
    fn free(&self, slot: &Slot) {
        debug_assert!(slot.vtable.get().is_none());
        slot.generation.set(slot.generation.get().wrapping_add(1));
        slot.state.set(State::Free);
        slot.list_next.set(self.free.get());
        self.free.set(slot.index);
        self.live.set(self.live.get() - 1);
    }

    /// Ends a slot whose payload has been taken, when the returned guard is dropped.
    #[inline]
    pub(crate) fn end<'a>(&'a self, slot: &'a Slot) -> impl Drop + 'a {
        struct Ended<'a>(&'a Slots, &'a Slot);
        impl Drop for Ended<'_> {
            #[inline]
            fn drop(&mut self) {
                self.0.free(self.1);
            }
        }
        Ended(self, slot)
    }

    /// Drops the payload of a slot, which nothing is in flight for, by its type, and ends the slot.
    #[cold]
    pub(crate) fn retire(&self, index: u32) {
        let slot = self.get(index);
        let _ended = self.end(slot);
        if let Some(vtable) = slot.vtable.take() {
            // SAFETY: a slot with a vtable has a payload of that type; the kernel has no part in it,
            // as the caller says, and clearing the vtable makes this the only time.
            unsafe { (vtable.drop_in_place)(slot.payload.get()) };
        }
    }

    /// Leaks every slot: for a teardown past its deadline, when the kernel may still write.
    pub(crate) fn leak(&self) {
        // SAFETY: see `chunks`.
        let chunks = unsafe { &mut *self.chunks.get() };
        std::mem::take(chunks);
        self.free.set(NONE);
    }
}

impl Positions for Slots {
    fn position(&self, slot: u32) -> u32 {
        self.get(slot).timer_position.get()
    }

    fn set_position(&self, slot: u32, position: u32) {
        self.get(slot).timer_position.set(position);
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for chunk in std::mem::take(self.chunks.get_mut()) {
            // SAFETY: leaked from a box in `grow`; nobody holds a reference any more.
            let chunk = unsafe { Box::from_raw(chunk.as_ptr()) };
            for slot in chunk.iter() {
                if let Some(vtable) = slot.vtable.take() {
                    // SAFETY: a slot with a vtable has a payload of that type. The queue's teardown
                    // has seen to it that no operation is in flight.
                    unsafe { (vtable.drop_in_place)(slot.payload.get()) };
                }
                slot.spill.get().release();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_takes_four_cache_lines() {
        assert_eq!(size_of::<Slot>(), 256);
    }

    #[test]
    fn token_of_a_freed_slot_is_stale() {
        let slots = Slots::new();
        let slot = slots.alloc();
        let token = slot.token();
        assert!(slots.lookup(token).is_some());
        slots.free(slot);
        assert!(slots.lookup(token).is_none());
        assert!(std::ptr::eq(slots.alloc(), slot));
        assert!(slots.lookup(token).is_none());
        assert!(slots.lookup(slot.token()).is_some());
    }

    #[test]
    fn token_survives_the_way_through_user_data() {
        let token: Token = Token::new(7, 0xdead_beef);
        assert_eq!(Token::from_bits(token.to_bits()), token);
        assert_ne!(token, Token::POSTED);
    }

    #[test]
    fn slots_keep_their_addresses_while_more_are_made() {
        let slots = Slots::new();
        let first = slots.alloc();
        let address: *const Slot = first;
        for _ in 0..10 * CHUNK {
            slots.alloc();
        }
        assert_eq!(address, slots.get(first.index()) as *const Slot);
        assert_eq!(slots.live(), 10 * CHUNK + 1);
    }
}
