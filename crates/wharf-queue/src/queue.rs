//! `Queue`, the facade: checks, routing, waiting, deadlines, chains, teardown.
//!
//! Owns the order in which things happen in a turn. It makes no system call, reads no clock and
//! knows no system: the backend does; and it holds no operation: the ledger does.
//!
//! **Borrowing.** The backend and the ledger's lists stand in `RefCell`s. User code (a buffer that is
//! looked at in `place`, that is filled or dropped in `finish`) runs when none of them is borrowed,
//! so it may come back to the queue.

mod builder;
mod chain;
mod core;

pub use builder::Builder;
pub use chain::Chain;
pub(crate) use core::Core;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, BackendKind};
use crate::bufpool::{BufPool, BufPoolBuilder, PoolCore};
use crate::completion::{Completions, Ready};
use crate::error::SubmitError;
use crate::handle::{Handle, HandleKind, SocketOption};
use crate::ledger::{Followup, Ledger};
use crate::notify::{Notifier, Shared};
use crate::op::{
    Deadline, Done, Op, OpKind, Operation, Prepare, Refusal, Submission, Support, Target,
};
use crate::slot::{CancelReason, Slot, State, Token};
use crate::stats::{Stats, count};
use crate::sys::{self, Address};
use crate::time::Moment;

/// A completion event queue: what you own, submit to, and wait on.
///
/// A queue belongs to the thread that made it; a [`Notifier`] reaches it from others. Dropping it
/// cancels everything in flight, waits for the kernel to let go, and frees; see
/// [`Builder::teardown_timeout`] for a kernel that does not.
///
/// The crate's documentation shows the five steps.
pub struct Queue {
    core: Rc<Core>,
    /// The ring may only be entered by the thread that made it.
    not_send: PhantomData<*const ()>,
}

impl Queue {
    /// Makes a queue on the best backend that is to be had; `WHARF_BACKEND` may name another.
    ///
    /// # Errors
    /// If no backend can be made, or the one that `WHARF_BACKEND` names; the message says why.
    pub fn new() -> io::Result<Queue> {
        Queue::builder().build()
    }

    /// Makes a queue with options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn from_core(core: Core) -> Queue {
        Queue {
            core: Rc::new(core),
            not_send: PhantomData,
        }
    }

    /// Attaches a socket, a file or a pipe, so that operations can be submitted on it. The queue
    /// owns it from now on, and sets a socket or pipe to non-blocking mode.
    ///
    /// # Errors
    /// That of the system; then the resource is closed.
    pub fn attach(&self, resource: impl Into<sys::OwnedHandle>) -> io::Result<Handle> {
        let owned = resource.into();
        let kind = self.backend_control(None, sys::Control::Attach(sys::raw_of(&owned)))?;
        let (kind, blocking) = kind.into_attached()?;
        Ok(self.adopt(sys::into_raw(owned), kind, blocking))
    }

    /// Attaches what was just opened, and says what it is. A file costs one call: what was found
    /// out on the way from its name to it is still in memory, so asking does not wait.
    pub(crate) fn attach_and_look(
        &self,
        owned: sys::OwnedHandle,
    ) -> io::Result<(Handle, crate::op::Metadata)> {
        let control = sys::Control::Inspect(sys::raw_of(&owned));
        let (metadata, is_file) = self.backend_control(None, control)?.into_inspected()?;
        let handle = match is_file {
            true => self.adopt(sys::into_raw(owned), HandleKind::File, false),
            false => self.attach(owned)?,
        };
        Ok((handle, metadata))
    }

    /// Tells of a file that was opened whether its reads and writes go past the page cache.
    pub(crate) fn note_direct(&self, handle: &Handle, direct: bool) {
        self.core
            .ledger
            .handles
            .set_direct(handle.target().index, direct);
    }

    /// Attaches a duplicate of the handle of something that somebody else owns and goes on using:
    /// to wait for its readiness with [`op::Poll`](crate::op::Poll), above all. Both lead to the same
    /// thing, which is set to non-blocking mode if it is a socket or a pipe.
    ///
    /// # Errors
    /// That of the system.
    pub fn attach_duplicate(&self, resource: &impl sys::AsHandle) -> io::Result<Handle> {
        self.attach(sys::duplicate(resource)?)
    }

    /// A second handle of the system's for what `handle` is for, to be used elsewhere.
    ///
    /// # Errors
    /// That of the system; `NotConnected` if the handle is closed.
    pub fn duplicate(&self, handle: &Handle) -> io::Result<sys::OwnedHandle> {
        if !handle.is_open() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        sys::duplicate(&sys::borrow_raw(handle, handle.raw()))
    }

    /// Makes a socket at once.
    ///
    /// # Errors
    /// That of the system (socket(2)).
    pub fn socket(&self, socket: &crate::op::Socket) -> io::Result<Handle> {
        let reply = self.backend_control(None, sys::Control::Socket(socket.kind()))?;
        Ok(self.adopt(reply.into_raw()?, socket.kind().handle, false))
    }

    /// Makes two Unix sockets that are connected to each other, of the kind of `socket`.
    ///
    /// # Errors
    /// That of the system (socketpair(2)); `Unsupported` for kinds that have no pairs.
    pub fn socket_pair(&self, socket: &crate::op::Socket) -> io::Result<(Handle, Handle)> {
        let kind = socket.kind();
        let reply = self.backend_control(None, sys::Control::Pair(kind))?;
        let [one, other] = reply.into_pair()?;
        let adopt = |raw| self.adopt(raw, kind.handle, false);
        Ok((adopt(one), adopt(other)))
    }

    /// Makes a pipe: what is written to the second handle can be read from the first. It holds about
    /// `capacity` bytes, as far as the system allows that (`F_SETPIPE_SZ` on Linux); elsewhere, and
    /// for 0, what the system chooses.
    ///
    /// # Errors
    /// That of the system (pipe(2)); `Unsupported` on Windows, where a pipe has a name: see
    /// [`os::windows`](crate::os).
    pub fn pipe(&self, capacity: u32) -> io::Result<(Handle, Handle)> {
        let reply = self.backend_control(None, sys::Control::Pipe(capacity))?;
        let [read, write] = reply.into_pair()?;
        let adopt = |raw| self.adopt(raw, HandleKind::Pipe, false);
        Ok((adopt(read), adopt(write)))
    }

    /// Binds a socket to an address.
    ///
    /// # Errors
    /// That of the system (bind(2)).
    pub fn bind(&self, socket: &Handle, address: impl Into<Address>) -> io::Result<()> {
        self.core
            .control(socket.target(), sys::Control::Bind(address.into()))
            .map(drop)
    }

    /// Makes a socket that listens on `address`, with `SO_REUSEADDR` set, so that a port can be
    /// bound again while connections of an earlier listener linger.
    ///
    /// # Errors
    /// That of the system (socket(2), bind(2), listen(2)).
    pub fn listen(&self, address: impl Into<Address>) -> io::Result<Handle> {
        let address = address.into();
        let socket = self.socket(&crate::op::Socket::stream_for(&address))?;
        self.core.control(
            socket.target(),
            sys::Control::SetOption(SocketOption::ReuseAddress(true)),
        )?;
        self.bind(&socket, address)?;
        self.start_listening(&socket, 1024)?;
        Ok(socket)
    }

    /// Lets a socket that is bound take connections; up to `backlog` wait in the system to be
    /// accepted.
    ///
    /// # Errors
    /// That of the system (listen(2)).
    pub fn start_listening(&self, socket: &Handle, backlog: u32) -> io::Result<()> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        self.core
            .control(socket.target(), sys::Control::Listen(backlog))
            .map(drop)
    }

    /// Gives a handle back to the caller, as the system's own.
    ///
    /// # Errors
    /// The handle itself, if operations are in flight on it, it has other clones, it is closed, or
    /// it belongs to another queue.
    pub fn detach(&self, handle: Handle) -> Result<sys::OwnedHandle, Handle> {
        let target = handle.target();
        let mine = handle.belongs_to(&self.core) && handle.is_open() && handle.is_unique();
        if !mine || self.core.ledger.handles.in_flight_count(target.index) > 0 {
            return Err(handle);
        }
        self.core
            .backend
            .borrow_mut()
            .forget(&self.core.ledger, target);
        self.core.backend.borrow_mut().detach(target.raw);
        handle.mark_closed();
        Ok(sys::from_raw(target.raw))
    }

    /// Submits an operation, with everything that it lends, and returns its token.
    ///
    /// The operation belongs to the queue until its final completion. Submitting never blocks and
    /// makes at most the one system call by which an emulating backend tries it; a full ring is
    /// emptied, or the operation waits in the queue for its turn.
    ///
    /// # Errors
    /// [`SubmitError`], with the operation inside. Faults of the system or a peer are no errors
    /// here: they come as the operation's completion.
    pub fn submit<P: Prepare>(&self, operation: P) -> Result<Token<P::Op>, SubmitError<P::Op>> {
        let slot = self.place(operation.prepare())?;
        let token = slot.token();
        if slot.state.get() == State::Held {
            self.core.start(slot);
        }
        self.core.run_followups();
        Ok(Token::from_bits(token.to_bits()))
    }

    /// Begins a chain of operations, each of which starts when the one before it has succeeded.
    pub fn chain(&self) -> Chain<'_> {
        Chain::new(self)
    }

    /// Asks for the early end of an operation.
    ///
    /// This is a request; the operation's own completion tells the truth. Returns false if the
    /// operation has completed already, or the token is stale; then nothing happens.
    pub fn cancel<O>(&self, token: Token<O>) -> bool {
        let token = token.erase();
        let Some(record) = self.core.ledger.slots.lookup(token) else {
            return false;
        };
        let open = matches!(record.state.get(), State::Held | State::InFlight);
        if open {
            self.core
                .cancel(token.index() as u32, CancelReason::Request);
            self.core.run_followups();
        }
        open
    }

    /// Asks for the early end of every operation in flight on a handle. Returns how many there are.
    pub fn cancel_all(&self, handle: &Handle) -> usize {
        if !handle.belongs_to(&self.core) {
            return 0;
        }
        let cancelled = self.core.cancel_all(handle.target().index);
        self.core.run_followups();
        cancelled
    }

    /// Gives an operation up: cancels it if it is in flight, and drops whatever it brings, by its
    /// type, when that arrives. A kept result is dropped at once. A stale token does nothing.
    pub fn discard<O>(&self, token: Token<O>) {
        let token = token.erase();
        let Some(record) = self.core.ledger.slots.lookup(token) else {
            return;
        };
        match record.state.get() {
            State::Kept => {
                let ready = self.kept(token).expect("the slot is KEPT");
                self.discard_ready(&ready);
            }
            State::Held | State::InFlight => {
                record.abandoned.set(true);
                // Items of it may be ready already.
                if record.kind.get().is_multishot() {
                    self.core.ledger.littered.set(true);
                }
                self.cancel(token);
            }
            State::Done => {
                record.abandoned.set(true);
                self.core.ledger.littered.set(true);
            }
            // Nobody has the token yet.
            State::Free | State::Placing => {}
        }
    }

    /// Leaves the result of an operation in the queue, as
    /// [`Completion::keep`](crate::Completion::keep) does, if the operation completed as it was
    /// submitted; then [`wait`](Queue::wait) does not report it. Ask right after
    /// [`submit`](Queue::submit): nothing may have completed since.
    ///
    /// What completes so is what the system answers on this thread: from its caches, where a backend
    /// asks them (all of that on epoll, opens below a directory on io_uring); a splice or a
    /// `SendFile` that need not wait; and on IOCP what is done at once and posts no packet.
    pub fn keep_if_completed<O>(&self, token: Token<O>) -> bool {
        let newest = self
            .core
            .ledger
            .ready
            .borrow_mut()
            .pop_newest(token.erase());
        if let Some(ready) = &newest {
            self.keep(ready);
        }
        newest.is_some()
    }

    /// Takes the result that [`Completion::keep`](crate::Completion::keep) left in the queue;
    /// `None` if the operation is not finished, or its result was not kept.
    pub fn take<O: Operation>(&self, token: Token<O>) -> Option<O::Output> {
        let ready = self.kept(token.erase())?;
        self.finish::<O>(&ready)
    }

    /// Hands over what is submitted and waits for at least one completion, a time-out or a
    /// notification; `None` waits for ever.
    ///
    /// The returned iterator takes completions out of the queue; submitting from within the loop
    /// is fine. The time-out is rounded up to what the system can measure. Interrupted system
    /// calls are retried inside.
    ///
    /// # Errors
    /// Only if the backend itself fails; an operation's error is in its completion.
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> io::Result<Completions<'_>> {
        let until = self.core.until(timeout.into());
        loop {
            self.drop_doomed();
            if let Some(notified) = self.core.turn(until)? {
                let ready = self.core.ledger.ready.borrow().len();
                return Ok(Completions::new(self, ready, notified));
            }
        }
    }

    /// Drops the results that nobody wants. Here nothing is borrowed, so the code of a user's
    /// buffer may run, and even panic: what is not dropped yet stays on the list.
    #[inline]
    fn drop_doomed(&self) {
        if self.core.ledger.littered.get() {
            self.drop_all_doomed();
        }
    }

    #[cold]
    fn drop_all_doomed(&self) {
        let ledger = &self.core.ledger;
        loop {
            // Each time anew: what was dropped may have discarded others.
            ledger.sweep();
            if ledger.doomed.borrow().is_empty() {
                break;
            }
            loop {
                let Some(ready) = ledger.doomed.borrow_mut().pop_front() else {
                    break;
                };
                self.discard_ready(&ready);
            }
        }
        ledger.littered.set(false);
    }

    /// Prepares to be waited for by a foreign loop: hands over what is submitted and returns a
    /// descriptor that becomes readable when [`wait`](Queue::wait) has something to return,
    /// because of an operation, a timer, a deadline or a notifier.
    ///
    /// When it is readable, or at any time, call `wait` with [`Duration::ZERO`], and this again
    /// before the next sleep. The descriptor is the queue's and stays the same. It may be readable
    /// once for something that an earlier `wait` has brought already; then there is nothing.
    ///
    /// # Errors
    /// That of the system.
    pub fn arm(&self) -> io::Result<sys::BorrowedHandle<'_>> {
        loop {
            self.drop_doomed();
            let raw = self.core.arm()?;
            if !self.core.ledger.littered.get() {
                return Ok(sys::borrow_raw(self, raw));
            }
        }
    }

    /// What wakes this queue from other threads, and posts completions to it.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier::new(self.core.shared.clone())
    }

    /// Builds a pool of buffers for multishot receives.
    pub fn buf_pool(&self) -> BufPoolBuilder<'_> {
        BufPoolBuilder::new(self)
    }

    /// The backend that this queue runs on.
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        self.core.backend.borrow().kind()
    }

    /// Why it is that one, in a sentence.
    #[must_use]
    pub fn backend_reason(&self) -> &str {
        &self.core.reason
    }

    /// How this queue does an operation.
    #[must_use]
    pub fn support(&self, kind: OpKind) -> Support {
        self.core.support[kind as usize]
    }

    /// The queue's clock.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.core.backend.borrow().now()
    }

    /// A random number from the backend: on the simulator, from its seed.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.core.backend.borrow_mut().random()
    }

    /// How many operations are in the queue: submitted, and not yet taken.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.core.ledger.slots.live()
    }

    /// What the queue has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    // What follows is for the other files of this crate.

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.core.shared.clone()
    }

    fn backend_control(
        &self,
        target: Option<Target>,
        control: sys::Control,
    ) -> io::Result<sys::Reply> {
        self.core.backend.borrow_mut().control(target, control)
    }

    /// Makes a handle of a descriptor that is the queue's already.
    pub(crate) fn adopt(&self, raw: sys::RawHandle, kind: HandleKind, blocking: bool) -> Handle {
        let index = self.core.ledger.handles.insert(kind);
        Handle::new(&self.core, raw, index, kind, blocking)
    }

    pub(crate) fn owns_pool(&self, pool: &BufPool) -> bool {
        let pools = self.core.ledger.pools.borrow();
        let mine = pools.get(pool.index() as usize).and_then(Option::as_ref);
        mine.is_some_and(|mine| Arc::ptr_eq(mine, pool.core()))
    }

    pub(crate) fn register_pool(&self, pool: PoolCore) -> io::Result<BufPool> {
        let pool = Arc::new(pool);
        let mut pools = self.core.ledger.pools.borrow_mut();
        let index = pools
            .iter()
            .position(Option::is_none)
            .unwrap_or(pools.len());
        drop(pools);
        let index = index as u32;
        self.core
            .backend
            .borrow_mut()
            .register_pool(&self.core.ledger, &pool, index)?;
        pools = self.core.ledger.pools.borrow_mut();
        if pools.len() == index as usize {
            pools.push(None);
        }
        pools[index as usize] = Some(pool.clone());
        Ok(BufPool::new(pool, index))
    }

    /// Checks an operation and puts it into a slot, HELD.
    #[inline]
    fn place<O: Operation>(&self, submission: Submission<O>) -> Result<&Slot, SubmitError<O>> {
        let Submission {
            op,
            user_data,
            deadline,
        } = submission;
        let core = &*self.core;
        if core.ledger.slots.live() >= core.max_in_flight {
            return Err(SubmitError::Full(op));
        }
        if let Err(refusal) = self.check(&op, deadline) {
            return Err(match refusal {
                Refusal::Foreign => SubmitError::Foreign(op),
                Refusal::Closed => SubmitError::Closed(op),
                Refusal::Unsupported(why) => SubmitError::Unsupported(op, why),
                Refusal::Invalid(why) => SubmitError::Invalid(op, why),
            });
        }
        let slots = &core.ledger.slots;
        let slot = slots.alloc();
        let index = slot.index();
        let unplaced = Unplaced(&core.ledger, index);
        slots.place(slot, op, |op, slot| {
            slot.kind.set(O::KIND);
            slot.route.set(route_of(op));
            slot.user_data.set(user_data);
            if O::KIND != OpKind::Close {
                if let [Some(handle), _] = op.handles() {
                    core.ledger
                        .handles
                        .link(slots, handle.target().index, index);
                }
            }
            let lowered = op.lower(slot).unwrap_or_else(|error| Op::Known {
                result: -i64::from(error),
            });
            // Its completion looks for a second handle in what was lowered.
            if let Some(second) = lowered.second() {
                core.ledger.handles.link_second(second.index, index);
            }
            lowered
        });
        std::mem::forget(unplaced);
        match deadline {
            Deadline::None => {}
            Deadline::After(timeout) => core.set_deadline(index, self.now() + timeout),
            Deadline::At(moment) => core.set_deadline(index, moment),
        }
        count(&core.ledger.counters.submitted);
        if slot.cancel.get() != CancelReason::None {
            // The code of its own buffer has asked for its end.
            core.ledger.complete_cancelled(index);
        }
        Ok(slot)
    }

    #[inline]
    fn check<O: Operation>(&self, op: &O, deadline: Deadline) -> Result<(), Refusal> {
        for handle in op.handles().into_iter().flatten() {
            if !handle.belongs_to(&self.core) {
                return Err(Refusal::Foreign);
            }
            if !handle.is_open() || self.core.is_closing(handle.target().index) {
                return Err(Refusal::Closed);
            }
        }
        if let Support::Unsupported(why) = self.core.support[O::KIND as usize] {
            return Err(Refusal::Unsupported(why));
        }
        let has_deadline = !matches!(deadline, Deadline::None);
        match O::KIND {
            OpKind::Timer if has_deadline => Err(Refusal::Invalid(
                "a timer is its own deadline and takes no other",
            )),
            OpKind::Close if has_deadline => Err(Refusal::Invalid(
                "a close cannot be cut short, so it takes no deadline",
            )),
            _ => op.check(self),
        }
    }

    #[inline(always)]
    pub(crate) fn pop_ready(&self) -> Option<Ready> {
        let ledger = &self.core.ledger;
        loop {
            let ready = ledger.ready.borrow_mut().pop()?;
            if ready.has(Ready::MORE) {
                ledger.items_out.set(ledger.items_out.get() + 1);
            }
            if !ledger.littered.get() || !self.is_abandoned(&ready) {
                return Some(ready);
            }
            self.discard_popped(&ready);
        }
    }

    #[cold]
    fn is_abandoned(&self, ready: &Ready) -> bool {
        let slots = &self.core.ledger.slots;
        ready.token != Token::POSTED && slots.get(ready.token.index() as u32).abandoned.get()
    }

    /// Makes the typed result of a ready operation or item; a final one ends its slot. `None`, and
    /// nothing has happened, if the operation is not an `O`.
    #[inline(always)]
    pub(crate) fn finish<O: Operation>(&self, ready: &Ready) -> Option<O::Output> {
        let slots = &self.core.ledger.slots;
        let slot = slots.get(ready.token.index() as u32);
        let done = Done {
            queue: self,
            slot,
            ready,
        };
        if O::KIND.is_multishot() {
            if ready.has(Ready::MORE) {
                return slot.with_payload::<O, _>(|op| op.item(done));
            }
            if self.core.ledger.items_out.get() > 0 {
                // Somebody holds an item of this, or of another: it needs the slot as it is.
                let output = slot.with_payload::<O, _>(|op| op.item(done))?;
                // It may have been KEPT, and is taken once.
                slot.state.set(State::Done);
                self.core.ledger.lingering.borrow_mut().push(slot.index());
                return Some(output);
            }
        }
        let op = slot.take_payload::<O>()?;
        // The slot ends in any case: a buffer's own code may panic.
        let _ended = slots.end(slot);
        Some(op.finish(done))
    }

    /// As `finish`, for what `pop_ready` has handed out.
    #[inline(always)]
    pub(crate) fn finish_popped<O: Operation>(&self, ready: &Ready) -> Option<O::Output> {
        let output = self.finish::<O>(ready);
        if O::KIND.is_multishot() && output.is_some() && ready.has(Ready::MORE) {
            self.core.ledger.item_is_gone();
        }
        output
    }

    /// As `discard_ready`, for what `pop_ready` has handed out.
    pub(crate) fn discard_popped(&self, ready: &Ready) {
        self.discard_ready(ready);
        if ready.has(Ready::MORE) {
            self.core.ledger.item_is_gone();
        }
    }

    fn discard_ready(&self, ready: &Ready) {
        let discard = self
            .core
            .ledger
            .slots
            .get(ready.token.index() as u32)
            .discard_fn();
        discard(self, ready);
    }

    pub(crate) fn keep(&self, ready: &Ready) {
        let slots = &self.core.ledger.slots;
        slots.keep(ready.token.index() as u32, *ready);
    }

    fn kept(&self, token: Token) -> Option<Ready> {
        let slot = self.core.ledger.slots.lookup(token)?;
        match *slot.op() {
            Op::Kept { ready } if slot.state.get() == State::Kept => Some(ready),
            _ => None,
        }
    }
}

/// An operation on its way into its slot. Buffers have code of their own, which may panic when it
/// is asked where they lie; then the slot ends and leaves no trace.
struct Unplaced<'a>(&'a Ledger, u32);

impl Drop for Unplaced<'_> {
    #[cold]
    fn drop(&mut self) {
        let Unplaced(ledger, index) = *self;
        // An operation on two handles has no buffer.
        if let Some(close) = ledger
            .handles
            .unlink(&ledger.slots, ledger.slots.get(index))
        {
            ledger.followups.borrow_mut().push(Followup::Close(close));
        }
        ledger.slots.retire(index);
    }
}

/// The kind by which an operation is routed to the backend or the pool.
fn route_of<O: Operation>(op: &O) -> OpKind {
    let on_file = || op.handles()[0].is_some_and(|handle| handle.kind() == HandleKind::File);
    match O::KIND {
        // The system has nothing but calls that block for it.
        OpKind::Read
        | OpKind::Write
        | OpKind::ReadAt
        | OpKind::WriteAt
        | OpKind::ReadVectoredAt
        | OpKind::WriteVectoredAt
            if op.handles()[0].is_some_and(Handle::is_blocking) =>
        {
            OpKind::Blocking
        }
        OpKind::Read if on_file() => OpKind::ReadAt,
        OpKind::Write if on_file() => OpKind::WriteAt,
        // A pipe or a socket has no place to read from. The system's own calls say so; a ring would
        // read the stream instead, and take from it what belongs to the next reader.
        OpKind::ReadAt | OpKind::WriteAt | OpKind::ReadVectoredAt | OpKind::WriteVectoredAt
            if !on_file() =>
        {
            OpKind::Blocking
        }
        kind => kind,
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let left = self.core.reap_all();
        let panic = self.discard_all();
        if left == 0 {
            for pool in self.core.ledger.pools.borrow().iter().flatten() {
                pool.drop_supply();
            }
        } else {
            // The kernel may still take buffers from the pools and write to them.
            std::mem::forget(self.core.ledger.pools.take());
            self.core.ledger.slots.leak();
            // There is nobody to return this to, and silence would hide a leak.
            eprintln!(
                "wharf: {left} operations did not end within {:?} of the queue's drop; \
                 their memory is leaked",
                self.core.teardown_timeout
            );
        }
        if let Some(panic) = panic {
            if !std::thread::panicking() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Queue {
    /// At the end: drops every result by its type, those that were kept too. A buffer that panics
    /// stops no other; the first panic is returned.
    fn discard_all(&self) -> Option<Box<dyn std::any::Any + Send>> {
        let ledger = &self.core.ledger;
        ledger.sweep();
        let ready = ledger.ready.take();
        let doomed = ledger.doomed.take();
        let kept: Vec<_> = ledger
            .slots
            .iter_live()
            .filter(|(_, slot)| slot.state.get() == State::Kept)
            .filter_map(|(index, _)| self.kept(ledger.slots.token(index)))
            .collect();
        let all = doomed.into_iter().chain(ready.into_entries()).chain(kept);
        let mut first = None;
        for ready in all.filter(|ready| ready.token != Token::POSTED) {
            let discard = AssertUnwindSafe(|| self.discard_ready(&ready));
            if let Err(panic) = std::panic::catch_unwind(discard) {
                first.get_or_insert(panic);
            }
        }
        first
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("backend", &self.backend().name())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}
