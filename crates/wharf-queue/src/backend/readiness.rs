//! Completions out of readiness: the emulation that epoll and kqueue share.
//!
//! Owns, for each handle, what is known of its readiness and the operations that wait for it. It
//! asks a `Selector` for events and makes the calls itself (`sys::call`); results go to the ledger.
//!
//! An operation is tried first and parks only if it would have to wait:
//!
//! ```text
//!             1 would wait                3 an event on the handle
//!   TRIED ------------------> PARKED ------------------------------> TRIED
//!     | 2 result                | 4 cancel
//!     v                         v
//!   completed                 completed as cancelled: nothing was taken from the handle
//! ```
//!
//! Events are edges: one says that something has changed since the last. So a direction is taken
//! to be ready until a call says otherwise, and a call is spared while it is known not to be. After
//! a short receive on a stream the rest has been taken, and the next byte makes a new edge
//! (epoll(7), question 9); but not if the peer's end came before: that edge has been had. Nor if the
//! receive stopped short of what was there: at urgent bytes (tcp(7)), or, on a Unix socket, at bytes
//! that a descriptor came with.

mod attempt;
mod cached;
mod parking;

use std::io;

use self::attempt::Tried;
use self::parking::{Direction, HandleState};
use super::{Backend, Config, Sleep};
use crate::bufpool::PoolCore;
use crate::handle::{HandleKind, grow_by_a_quarter};
use crate::ledger::Ledger;
use crate::notify::Wake;
use crate::op::{Op, OpKind, Support, Target};
use crate::slot::{NONE, Slot, Token};
use crate::stats::count;
use crate::sys::{self, RawError, RawHandle, native};
use crate::time::Moment;

/// An event of a selector: the key that the descriptor was added with, and what changed.
pub(crate) use crate::sys::Event;

/// What the emulation asks of a system's readiness queue.
pub(crate) trait Selector {
    /// Whether `Event::closed` is set for urgent bytes, before which a receive stops short. Without
    /// that, a short receive does not mean that there is no more.
    const TELLS_URGENT_BYTES: bool;

    /// Adds a handle, edge-triggered in both directions.
    fn add(&mut self, raw: RawHandle, key: u64) -> Result<(), RawError>;
    fn remove(&mut self, raw: RawHandle);
    /// Adds a process, of which one event tells that it has exited.
    fn add_child(&mut self, raw: RawHandle, key: u64) -> Result<(), RawError>;
    fn remove_child(&mut self, raw: RawHandle, key: u64);
    /// Appends what happened. Its own events (wakes, the armed deadline) it keeps to itself.
    fn wait(&mut self, sleep: Sleep, events: &mut Vec<Event>) -> io::Result<()>;
    fn waker(&mut self) -> io::Result<Box<dyn Wake>>;
    /// A descriptor that is readable when `wait` would find something, at `deadline` at the latest.
    fn arm(&mut self, deadline: Option<Moment>) -> io::Result<RawHandle>;
}

/// Keys of children have this bit; those of handles have an epoch below it.
const CHILD: u64 = 1 << 63;
/// How many turns may pass without a look at the selector while results are ready.
const TURNS_WITHOUT_LOOK: u32 = 32;

/// Where a parked slot waits, as noted in its `backend_word`: a direction on a handle (in
/// `parked_at` of the slot's other word, the handle's index).
const PARKED_READ: u32 = 1;
const PARKED_WRITE: u32 = 2;
const PARKED_WATCH: u32 = 3;
/// A connect that has been begun.
const CONNECTING: u32 = 1 << 8;
/// Where it waits is the second handle of the operation.
const AT_SECOND: u32 = 1 << 9;
const PARKED_MASK: u32 = 0xff;

pub(crate) struct Emulation<S> {
    selector: S,
    handles: Vec<HandleState>,
    /// Handles with something to do in the next turn.
    due: Vec<u32>,
    children: Vec<Option<(RawHandle, Token)>>,
    events: Vec<Event>,
    turns_without_look: u32,
}

impl<S: Selector> Emulation<S> {
    pub(crate) fn new(selector: S, _config: Config) -> Emulation<S> {
        Emulation {
            selector,
            handles: Vec::new(),
            due: Vec::new(),
            children: Vec::new(),
            events: Vec::new(),
            turns_without_look: 0,
        }
    }

    #[inline]
    fn state(&mut self, index: u32) -> &mut HandleState {
        if index as usize >= self.handles.len() {
            self.make_room(index);
        }
        &mut self.handles[index as usize]
    }

    #[cold]
    fn make_room(&mut self, index: u32) {
        grow_by_a_quarter(&mut self.handles);
        self.handles.resize(index as usize + 1, HandleState::new(0));
    }

    #[inline]
    fn make_due(&mut self, index: u32) {
        let state = self.state(index);
        if !state.due {
            state.due = true;
            self.due.push(index);
        }
    }

    /// Tries an operation, or lets it wait behind those that came before it.
    #[inline]
    fn begin(&mut self, ledger: &Ledger, record: &Slot, fd: Target, direction: Direction) {
        let state = self.state(fd.index);
        if state.list(direction).first != NONE || !*state.ready(direction) {
            self.park(ledger, record, fd, direction);
        } else {
            let tried = self.attempt(ledger, record);
            self.settle(ledger, record, fd, tried);
        }
    }

    /// Puts an operation where its try says that it belongs. It is on no list before.
    #[inline]
    fn settle(&mut self, ledger: &Ledger, record: &Slot, fd: Target, tried: Tried) {
        match tried {
            Tried::Reported => {}
            Tried::Park(direction) => {
                let at = place_of(record.op(), fd, direction);
                *self.state(at.index).ready(direction) = false;
                self.park(ledger, record, at, direction);
            }
            Tried::Again(direction) => {
                self.park(ledger, record, fd, direction);
                self.make_due(fd.index);
            }
            Tried::Watch => {
                if self.register(ledger, record, fd) {
                    record.backend_word.set(PARKED_WATCH);
                    self.state(fd.index).watchers.push_back(ledger, record);
                }
            }
        }
    }

    fn park(&mut self, ledger: &Ledger, record: &Slot, fd: Target, direction: Direction) {
        if !self.register(ledger, record, fd) {
            return;
        }
        let parked = match direction {
            Direction::Read => PARKED_READ,
            Direction::Write => PARKED_WRITE,
        };
        let second = match *record.op() {
            Op::Splice { to, .. } if to.index == fd.index => AT_SECOND,
            _ => 0,
        };
        let kept = record.backend_word.get() & CONNECTING;
        record.backend_word.set(kept | parked | second);
        self.state(fd.index)
            .list(direction)
            .push_back(ledger, record);
    }

    /// Adds a handle to the selector on first need. If that fails, the operation ends with the
    /// system's error.
    #[inline]
    fn register(&mut self, ledger: &Ledger, record: &Slot, fd: Target) -> bool {
        self.state(fd.index).registered || self.add(ledger, record, fd)
    }

    #[cold]
    fn add(&mut self, ledger: &Ledger, record: &Slot, fd: Target) -> bool {
        let epoch = self.state(fd.index).epoch;
        let key = u64::from(epoch & 0x7fff_ffff) << 32 | u64::from(fd.index);
        count(&ledger.counters.system_calls);
        match self.selector.add(fd.raw, key) {
            Ok(()) => {
                self.state(fd.index).registered = true;
                if ledger.handles.kind(fd.index) == HandleKind::Stream {
                    count(&ledger.counters.system_calls);
                    self.state(fd.index).stream =
                        S::TELLS_URGENT_BYTES && sys::call::is_internet(fd.raw);
                }
                true
            }
            Err(error) => {
                ledger.complete(record.index(), -i64::from(error));
                false
            }
        }
    }

    /// Takes a parked operation off its list.
    fn unpark(&mut self, ledger: &Ledger, record: &Slot) {
        let word = record.backend_word.get();
        record.backend_word.set(word & CONNECTING);
        let index = match *record.op() {
            Op::Splice { to, .. } if word & AT_SECOND != 0 => to.index,
            _ => record.handle.get(),
        };
        match word & PARKED_MASK {
            PARKED_READ => self.state(index).readers.remove(ledger, record),
            PARKED_WRITE => self.state(index).writers.remove(ledger, record),
            PARKED_WATCH => self.state(index).watchers.remove(ledger, record),
            _ => {}
        }
    }

    /// Lets those that wait on a handle try again.
    fn service(&mut self, ledger: &Ledger, index: u32) {
        self.state(index).due = false;
        self.service_direction(ledger, index, Direction::Read);
        self.service_direction(ledger, index, Direction::Write);
        let mut slot = self.state(index).watchers.first;
        while slot != NONE {
            let record = ledger.slots.get(slot);
            slot = record.list_next.get();
            if !matches!(self.attempt(ledger, record), Tried::Watch) {
                self.state(index).watchers.remove(ledger, record);
            }
        }
    }

    /// Tries those that wait for a direction, the first one first. It stays on the list meanwhile,
    /// and so in its place if it has to wait on: a send that was sent in part is not overtaken.
    #[inline]
    fn service_direction(&mut self, ledger: &Ledger, index: u32, direction: Direction) {
        loop {
            let state = self.state(index);
            let first = state.list(direction).first;
            if first == NONE || !*state.ready(direction) {
                return;
            }
            let record = ledger.slots.get(first);
            let fd = Target {
                index,
                ..handle_of(record.op(), index)
            };
            let tried = self.attempt(ledger, record);
            if let Tried::Park(wanted) = tried {
                if wanted == direction && place_of(record.op(), fd, wanted).index == index {
                    *self.state(index).ready(direction) = false;
                    return;
                }
            }
            self.state(index).list(direction).remove(ledger, record);
            let word = &record.backend_word;
            word.set(word.get() & CONNECTING);
            let again = matches!(tried, Tried::Again(_));
            self.settle(ledger, record, fd, tried);
            if again {
                return;
            }
        }
    }

    fn watch_child(&mut self, ledger: &Ledger, slot: u32, pidfd: RawHandle) {
        let index = self
            .children
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.children.push(None);
                self.children.len() - 1
            });
        count(&ledger.counters.system_calls);
        match self.selector.add_child(pidfd, CHILD | index as u64) {
            Ok(()) => self.children[index] = Some((pidfd, ledger.slots.token(slot))),
            Err(error) => ledger.complete(slot, -i64::from(error)),
        }
    }

    fn take_child(&mut self, index: usize) -> Option<Token> {
        let (pidfd, token) = self.children.get_mut(index)?.take()?;
        self.selector.remove_child(pidfd, CHILD | index as u64);
        Some(token)
    }

    fn take_events(&mut self, ledger: &Ledger) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            if event.key & CHILD != 0 {
                if let Some(token) = self.take_child((event.key & !CHILD) as usize) {
                    ledger.complete(token.index() as u32, 0);
                }
                continue;
            }
            let (index, epoch) = (event.key as u32, (event.key >> 32) as u32);
            let state = self.state(index);
            if state.epoch & 0x7fff_ffff != epoch {
                continue;
            }
            state.readable |= event.readable;
            state.writable |= event.writable;
            state.closed |= event.closed;
            self.make_due(index);
        }
        // The allocation is kept.
        self.events = events;
    }
}

/// The handle that a direction of an operation is about: a splice waits for either of its two.
#[inline]
fn place_of(op: &Op, fd: Target, direction: Direction) -> Target {
    match (op, direction) {
        (Op::Splice { from, .. }, Direction::Read) => *from,
        (Op::Splice { to, .. }, Direction::Write) => *to,
        _ => fd,
    }
}

/// The handle of an operation that has the given index.
#[inline]
fn handle_of(op: &Op, index: u32) -> Target {
    match *op {
        Op::Splice { from, to, .. } => {
            if from.index == index {
                from
            } else {
                to
            }
        }
        Op::SendFile { socket: fd, .. }
        | Op::Read { fd, .. }
        | Op::Write { fd, .. }
        | Op::ReadVectored { fd, .. }
        | Op::WriteVectored { fd, .. }
        | Op::Recv { fd, .. }
        | Op::Send { fd, .. }
        | Op::RecvMessage { fd, .. }
        | Op::SendMessage { fd, .. }
        | Op::RecvMulti { fd, .. }
        | Op::RecvFromMulti { fd, .. }
        | Op::Accept { fd }
        | Op::AcceptMulti { fd }
        | Op::Connect { fd, .. }
        | Op::Poll { fd, .. } => fd,
        _ => unreachable!("{op:?} does not wait on a handle"),
    }
}

impl<S: Selector> Backend for Emulation<S> {
    fn support(&self, kind: OpKind) -> Support {
        match kind {
            OpKind::Nop
            | OpKind::Read
            | OpKind::Write
            | OpKind::Recv
            | OpKind::Send
            | OpKind::RecvVectored
            | OpKind::SendVectored
            | OpKind::RecvFrom
            | OpKind::SendTo
            | OpKind::RecvMulti
            | OpKind::RecvFromMulti
            | OpKind::Accept
            | OpKind::AcceptMulti
            | OpKind::Connect
            | OpKind::Socket
            | OpKind::Shutdown
            | OpKind::Close
            | OpKind::SendFile
            | OpKind::Poll
            | OpKind::Timer
            | OpKind::ChildExit => Support::Emulated,
            OpKind::ReadAt
            | OpKind::WriteAt
            | OpKind::ReadVectoredAt
            | OpKind::WriteVectoredAt
            | OpKind::Open
            | OpKind::Stat
            | OpKind::Rename
            | OpKind::Remove
            | OpKind::CreateDir
            | OpKind::HardLink
            | OpKind::SymbolicLink
            | OpKind::Truncate
            | OpKind::Allocate
            | OpKind::Sync
            | OpKind::ReadDir
            | OpKind::CopyFile
            | OpKind::Resolve
            | OpKind::Blocking => Support::Pool,
            OpKind::Splice => native::SPLICE,
            OpKind::Raw => Support::Unsupported("a raw ring entry needs the io_uring backend"),
        }
    }

    #[inline(never)]
    fn submit(&mut self, ledger: &Ledger, record: &Slot) {
        let slot = record.index();
        // Looked at in place: a copy of what has just been written in small parts would stall.
        let op = record.op();
        match *op {
            Op::Nop => ledger.complete(slot, 0),
            Op::Socket { .. } | Op::Shutdown { .. } => {
                let result = self.call(ledger, op);
                ledger.complete(slot, result);
            }
            Op::Close { fd } => {
                self.forget(ledger, fd);
                let result = self.call(ledger, op);
                ledger.complete(slot, result);
            }
            Op::ChildExit { pidfd } => self.watch_child(ledger, slot, pidfd),
            Op::Poll { fd, .. } => {
                let tried = self.attempt(ledger, record);
                self.settle(ledger, record, fd, tried);
            }
            Op::Recv { fd, .. }
            | Op::RecvMessage { fd, .. }
            | Op::RecvMulti { fd, .. }
            | Op::RecvFromMulti { fd, .. }
            | Op::Accept { fd }
            | Op::AcceptMulti { fd }
            | Op::Read { fd, .. }
            | Op::ReadVectored { fd, .. }
            | Op::Splice { from: fd, .. } => self.begin(ledger, record, fd, Direction::Read),
            Op::Send { fd, .. }
            | Op::SendMessage { fd, .. }
            | Op::SendFile { socket: fd, .. }
            | Op::Connect { fd, .. }
            | Op::Write { fd, .. }
            | Op::WriteVectored { fd, .. } => self.begin(ledger, record, fd, Direction::Write),
            Op::Open { .. }
            | Op::OpenBeneath { .. }
            | Op::Stat { .. }
            | Op::Rename { .. }
            | Op::Remove { .. }
            | Op::CreateDir { .. }
            | Op::HardLink { .. }
            | Op::SymbolicLink { .. }
            | Op::Truncate { .. }
            | Op::Allocate { .. }
            | Op::Sync { .. }
            | Op::ReadDir { .. }
            | Op::CopyFile { .. }
            | Op::Resolve { .. }
            | Op::Blocking { .. } => unreachable!("{op:?} goes to the pool"),
            Op::Timer { .. } | Op::Known { .. } | Op::Kept { .. } => {
                unreachable!("{op:?} is the queue's own")
            }
            Op::Raw { .. } => unreachable!("raw entries are refused"),
        }
    }

    fn answer_at_once(&mut self, ledger: &Ledger, record: &Slot) -> bool {
        self.answer_from_cache(ledger, record)
    }

    fn submit_chain(&mut self, _: &Ledger, _: &[Token]) -> bool {
        false
    }

    fn cancel(&mut self, ledger: &Ledger, slot: u32) {
        if let Op::ChildExit { .. } = *ledger.slots.get(slot).op() {
            let token = ledger.slots.token(slot);
            let found = self
                .children
                .iter()
                .position(|child| child.as_ref().is_some_and(|(_, other)| *other == token));
            if let Some(index) = found {
                self.take_child(index);
            }
        } else {
            self.unpark(ledger, ledger.slots.get(slot));
        }
        ledger.complete_cancelled(slot);
    }

    fn wait(&mut self, ledger: &Ledger, sleep: Sleep) -> io::Result<()> {
        let results_wait = !ledger.ready.borrow().is_empty();
        let busy = !self.due.is_empty();
        self.turns_without_look += 1;
        if !(results_wait || busy) || self.turns_without_look >= TURNS_WITHOUT_LOOK {
            self.turns_without_look = 0;
            let sleep = if results_wait || busy {
                Sleep::Not
            } else {
                sleep
            };
            count(&ledger.counters.system_calls);
            self.selector.wait(sleep, &mut self.events)?;
            self.take_events(ledger);
        }
        let mut due = std::mem::take(&mut self.due);
        for index in due.drain(..) {
            self.service(ledger, index);
        }
        // Those that became due meanwhile are for the next turn; the allocation is kept.
        due.append(&mut self.due);
        self.due = due;
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Box<dyn Wake>> {
        self.selector.waker()
    }

    fn forget(&mut self, ledger: &Ledger, target: Target) {
        let state = self.state(target.index);
        let registered = state.registered;
        let due = state.due;
        *state = HandleState {
            due,
            ..HandleState::new(state.epoch.wrapping_add(1))
        };
        if registered {
            // The registration belongs to the open file, which a duplicate keeps open (epoll(7),
            // question 6): it is taken out while the number is still ours.
            count(&ledger.counters.system_calls);
            self.selector.remove(target.raw);
        }
    }

    fn detach(&mut self, _: RawHandle) {}

    fn register_pool(&mut self, _: &Ledger, _: &PoolCore, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn unregister_pool(&mut self, _: &Ledger, _: &PoolCore, _: u32) {}

    fn control(&mut self, target: Option<Target>, control: sys::Control) -> io::Result<sys::Reply> {
        sys::control::perform(target.map_or(-1, |target| target.raw), control)
    }

    fn close(&mut self, raw: RawHandle) {
        sys::close(raw);
    }

    fn now(&self) -> Moment {
        Moment::from_nanos(sys::monotonic_nanos())
    }

    fn random(&mut self) -> u64 {
        sys::random()
    }

    fn arm(&mut self, _: &Ledger, deadline: Option<Moment>) -> io::Result<RawHandle> {
        let busy = !self.due.is_empty();
        let deadline = if busy {
            Some(Moment::from_nanos(0))
        } else {
            deadline
        };
        self.selector.arm(deadline)
    }
}
