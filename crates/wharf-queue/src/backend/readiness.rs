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
//! (epoll(7), question 9); but not if the peer's end came before: that edge has been had.

mod parking;

use std::io;

use self::parking::{Direction, HandleState};
use super::{Backend, Config, Sleep};
use crate::bufpool::PoolCore;
use crate::completion::{BufferRef, Ready};
use crate::handle::HandleKind;
use crate::ledger::Ledger;
use crate::notify::Wake;
use crate::op::{Op, OpKind, Support, Target};
use crate::slot::{NONE, Slot, Token};
use crate::stats::count;
use crate::sys::{self, RawError, RawHandle, call};
use crate::time::Moment;

/// An event of a selector: the key that the descriptor was added with, and what changed.
pub(crate) use crate::sys::selector::Event;

/// What the emulation asks of a system's readiness queue.
pub(crate) trait Selector {
    /// Adds a handle, edge-triggered in both directions.
    fn add(&mut self, raw: RawHandle, key: u64) -> Result<(), RawError>;
    /// Adds what is only ever readable: a process.
    fn add_readable(&mut self, raw: RawHandle, key: u64) -> Result<(), RawError>;
    fn remove(&mut self, raw: RawHandle);
    /// Appends what happened. Its own events (wakes, the armed deadline) it keeps to itself.
    fn wait(&mut self, sleep: Sleep, events: &mut Vec<Event>) -> io::Result<()>;
    fn waker(&mut self) -> io::Result<Box<dyn Wake>>;
    /// A descriptor that is readable when `wait` would find something, at `deadline` at the latest.
    fn arm(&mut self, deadline: Option<Moment>) -> io::Result<RawHandle>;
}

/// Keys of children have this bit; those of handles have an epoch below it.
const CHILD: u64 = 1 << 63;
/// How many items a multishot operation brings in one turn, so that others have theirs.
const TURN: usize = 32;
/// How many turns may pass without a look at the selector while results are ready.
const TURNS_WITHOUT_LOOK: u32 = 32;

/// What came of a try.
enum Tried {
    /// It was reported; the slot is not ours any more.
    Reported,
    /// It waits for a direction to become ready.
    Park(Direction),
    /// It used up its turn and goes on in the next.
    Again(Direction),
    /// It waits for any event on the handle.
    Watch,
}

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

    fn state(&mut self, index: u32) -> &mut HandleState {
        let index = index as usize;
        if index >= self.handles.len() {
            self.handles.resize(index + 1, HandleState::new(0));
        }
        &mut self.handles[index]
    }

    fn make_due(&mut self, index: u32) {
        let state = self.state(index);
        if !state.due {
            state.due = true;
            self.due.push(index);
        }
    }

    /// Makes the one system call of an operation, and counts it.
    fn call(&self, ledger: &Ledger, op: &Op) -> i64 {
        count(&ledger.counters.system_calls);
        call::nonblocking(op)
    }

    /// Tries an operation, or lets it wait behind those that came before it.
    fn begin(&mut self, ledger: &Ledger, slot: u32, fd: Target, direction: Direction) {
        let state = self.state(fd.index);
        if state.list(direction).first != NONE || !*state.ready(direction) {
            self.park(ledger, slot, fd, direction);
        } else {
            let tried = self.attempt(ledger, slot);
            self.settle(ledger, slot, fd, tried);
        }
    }

    /// Puts an operation where its try says that it belongs. It is on no list before.
    fn settle(&mut self, ledger: &Ledger, slot: u32, fd: Target, tried: Tried) {
        match tried {
            Tried::Reported => {}
            Tried::Park(direction) => {
                let at = self.place_of(ledger, slot, fd, direction);
                *self.state(at.index).ready(direction) = false;
                self.park(ledger, slot, at, direction);
            }
            Tried::Again(direction) => {
                self.park(ledger, slot, fd, direction);
                self.make_due(fd.index);
            }
            Tried::Watch => {
                if self.register(ledger, slot, fd) {
                    ledger.slots.get(slot).backend_word.set(PARKED_WATCH);
                    self.state(fd.index).watchers.push(slot);
                }
            }
        }
    }

    /// The handle that a direction of an operation is about: a splice waits for either of its two.
    fn place_of(&self, ledger: &Ledger, slot: u32, fd: Target, direction: Direction) -> Target {
        match (*ledger.slots.get(slot).op(), direction) {
            (Op::Splice { to, .. }, Direction::Write) => to,
            _ => fd,
        }
    }

    fn park(&mut self, ledger: &Ledger, slot: u32, fd: Target, direction: Direction) {
        if !self.register(ledger, slot, fd) {
            return;
        }
        let record = ledger.slots.get(slot);
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
        self.state(fd.index).list(direction).push_back(ledger, slot);
    }

    /// Adds a handle to the selector on first need. If that fails, the operation ends with the
    /// system's error.
    fn register(&mut self, ledger: &Ledger, slot: u32, fd: Target) -> bool {
        let state = self.state(fd.index);
        if state.registered {
            return true;
        }
        let key = u64::from(state.epoch & 0x7fff_ffff) << 32 | u64::from(fd.index);
        count(&ledger.counters.system_calls);
        match self.selector.add(fd.raw, key) {
            Ok(()) => {
                let state = self.state(fd.index);
                state.registered = true;
                state.stream = ledger.handles.kind(fd.index) == HandleKind::Stream;
                true
            }
            Err(error) => {
                ledger.complete(slot, -i64::from(error));
                false
            }
        }
    }

    /// Takes a parked operation off its list.
    fn unpark(&mut self, ledger: &Ledger, slot: u32) {
        let record = ledger.slots.get(slot);
        let word = record.backend_word.get();
        record.backend_word.set(word & CONNECTING);
        let index = match *record.op() {
            Op::Splice { to, .. } if word & AT_SECOND != 0 => to.index,
            _ => record.handle.get(),
        };
        match word & PARKED_MASK {
            PARKED_READ => self.state(index).readers.remove(ledger, slot),
            PARKED_WRITE => self.state(index).writers.remove(ledger, slot),
            PARKED_WATCH => self.state(index).watchers.retain(|&other| other != slot),
            _ => {}
        }
    }

    /// Lets those that wait on a handle try again.
    fn service(&mut self, ledger: &Ledger, index: u32) {
        self.state(index).due = false;
        for direction in [Direction::Read, Direction::Write] {
            loop {
                let state = self.state(index);
                let first = state.list(direction).first;
                if first == NONE || !*state.ready(direction) {
                    break;
                }
                let record = ledger.slots.get(first);
                let fd = Target {
                    index,
                    ..handle_of(record.op(), index)
                };
                self.unpark(ledger, first);
                let tried = self.attempt(ledger, first);
                let again = matches!(tried, Tried::Again(_));
                self.settle(ledger, first, fd, tried);
                if again {
                    break;
                }
            }
        }
        for slot in std::mem::take(&mut self.state(index).watchers) {
            let fd = handle_of(ledger.slots.get(slot).op(), index);
            let tried = self.attempt(ledger, slot);
            self.settle(ledger, slot, fd, tried);
        }
    }

    /// Makes the calls of an operation until it has a result or would have to wait.
    fn attempt(&mut self, ledger: &Ledger, slot: u32) -> Tried {
        let record = ledger.slots.get(slot);
        let op = *record.op();
        match op {
            Op::Recv { fd, buf, .. } => self.receive(ledger, slot, &op, fd, buf.len),
            Op::RecvMessage { .. } | Op::Read { .. } | Op::ReadVectored { .. } => {
                self.once(ledger, slot, &op, Direction::Read)
            }
            Op::Write { .. } | Op::WriteVectored { .. } => {
                self.once(ledger, slot, &op, Direction::Write)
            }
            Op::Send { fd, buf, flags } => self.send(ledger, slot, fd, buf, flags),
            Op::SendMessage { scratch, flags, .. } if flags.all => {
                self.send_message(ledger, slot, &op, scratch)
            }
            Op::SendMessage { .. } => self.once(ledger, slot, &op, Direction::Write),
            Op::SendFile {
                file,
                offset,
                socket,
                len,
            } => self.send_file(ledger, slot, file, offset, socket, len),
            Op::RecvMulti { fd, pool } => self.receive_items(ledger, slot, fd, pool, false),
            Op::RecvFromMulti { fd, pool } => self.receive_items(ledger, slot, fd, pool, true),
            Op::Accept { .. } => self.accept(ledger, slot, &op, false),
            Op::AcceptMulti { .. } => self.accept(ledger, slot, &op, true),
            Op::Connect { fd, .. } => self.connect(ledger, slot, &op, fd),
            Op::Splice { from, .. } => self.splice(ledger, slot, &op, from),
            Op::Poll { .. } => match self.call(ledger, &op) {
                0 => Tried::Watch,
                result => report(ledger, slot, result),
            },
            Op::Nop
            | Op::Socket { .. }
            | Op::Shutdown { .. }
            | Op::Close { .. }
            | Op::Open { .. }
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
            | Op::Blocking { .. }
            | Op::Timer { .. }
            | Op::Known { .. }
            | Op::Kept { .. }
            | Op::ChildExit { .. }
            | Op::Raw { .. } => unreachable!("{op:?} never waits for readiness"),
        }
    }

    fn once(&mut self, ledger: &Ledger, slot: u32, op: &Op, direction: Direction) -> Tried {
        match self.call(ledger, op) {
            result if waits(result) => Tried::Park(direction),
            result => report(ledger, slot, result),
        }
    }

    fn receive(&mut self, ledger: &Ledger, slot: u32, op: &Op, fd: Target, len: usize) -> Tried {
        let result = self.call(ledger, op);
        if waits(result) {
            return Tried::Park(Direction::Read);
        }
        self.note_received(fd, result, len);
        report(ledger, slot, result)
    }

    /// A short receive has emptied a stream. It may also have been a datagram, with others behind
    /// it: so this is for sockets whose bytes are a stream.
    fn note_received(&mut self, fd: Target, result: i64, room: usize) {
        let state = self.state(fd.index);
        let short = result > 0 && result < room as i64;
        if short && state.registered && state.stream && !state.closed {
            state.readable = false;
        }
    }

    fn send(
        &mut self,
        ledger: &Ledger,
        slot: u32,
        fd: Target,
        buf: crate::buf::RawBuf,
        flags: crate::op::MessageFlags,
    ) -> Tried {
        let record = ledger.slots.get(slot);
        loop {
            let sent = record.transferred.get();
            let rest = buf.after(sent);
            let result = self.call(
                ledger,
                &Op::Send {
                    fd,
                    buf: rest,
                    flags,
                },
            );
            if waits(result) {
                return Tried::Park(Direction::Write);
            }
            if result < 0 || !flags.all {
                return report(ledger, slot, result);
            }
            record.transferred.set(sent + result as usize);
            if result as usize == rest.len {
                return report(ledger, slot, buf.len as i64);
            }
        }
    }

    fn send_message(
        &mut self,
        ledger: &Ledger,
        slot: u32,
        op: &Op,
        scratch: *mut sys::Scratch,
    ) -> Tried {
        let record = ledger.slots.get(slot);
        loop {
            let result = self.call(ledger, op);
            if waits(result) {
                return Tried::Park(Direction::Write);
            }
            if result < 0 {
                return report(ledger, slot, result);
            }
            let sent = record.transferred.get() + result as usize;
            record.transferred.set(sent);
            if sys::Scratch::advance(scratch, result as usize) == 0 {
                return report(ledger, slot, sent as i64);
            }
        }
    }

    fn send_file(
        &mut self,
        ledger: &Ledger,
        slot: u32,
        file: Target,
        offset: u64,
        socket: Target,
        len: usize,
    ) -> Tried {
        let record = ledger.slots.get(slot);
        for _ in 0..TURN {
            let sent = record.transferred.get();
            count(&ledger.counters.system_calls);
            match call::send_file(socket.raw, file.raw, offset + sent as u64, len - sent) {
                Err(error) if call::would_block(error) => return Tried::Park(Direction::Write),
                Err(error) => return report(ledger, slot, -i64::from(error)),
                Ok(0) => return report(ledger, slot, sent as i64),
                Ok(more) => record.transferred.set(sent + more),
            }
            if record.transferred.get() == len {
                return report(ledger, slot, len as i64);
            }
        }
        Tried::Again(Direction::Write)
    }

    fn receive_items(
        &mut self,
        ledger: &Ledger,
        slot: u32,
        fd: Target,
        pool: u32,
        records: bool,
    ) -> Tried {
        let pool = ledger.pool(pool);
        for _ in 0..TURN {
            let mut room = 0;
            let received = pool.receive(|region| {
                room = region.len();
                count(&ledger.counters.system_calls);
                match records {
                    true => call::receive_record(fd.raw, region),
                    false => call::receive(fd.raw, region),
                }
            });
            match received {
                None => {
                    ledger.starve(slot, &pool);
                    return Tried::Reported;
                }
                Some(Err(error)) if call::would_block(error) => {
                    return Tried::Park(Direction::Read);
                }
                Some(Err(error)) => return report(ledger, slot, -i64::from(error)),
                Some(Ok((0, _))) => return report(ledger, slot, 0),
                Some(Ok((len, piece))) => {
                    ledger.item(slot, len as i64, Ready::BUFFER, piece);
                    self.note_received(fd, len as i64, room);
                    if !self.state(fd.index).readable {
                        return Tried::Park(Direction::Read);
                    }
                }
            }
        }
        Tried::Again(Direction::Read)
    }

    fn accept(&mut self, ledger: &Ledger, slot: u32, op: &Op, multi: bool) -> Tried {
        for _ in 0..TURN {
            let result = self.call(ledger, op);
            if waits(result) {
                return Tried::Park(Direction::Read);
            }
            let handle = ledger.slots.get(slot).handle.get();
            if result >= 0 {
                ledger.handles.resume_accept(handle);
                if !multi {
                    return report(ledger, slot, result);
                }
                ledger.item(slot, result, 0, BufferRef::default());
                continue;
            }
            let error = -result as RawError;
            if call::is_out_of_descriptors(error) {
                ledger.accept_starved(slot, result, self.now());
                return Tried::Reported;
            }
            if !call::client_left(error) {
                return report(ledger, slot, result);
            }
        }
        Tried::Again(Direction::Read)
    }

    fn connect(&mut self, ledger: &Ledger, slot: u32, op: &Op, fd: Target) -> Tried {
        let record = ledger.slots.get(slot);
        if record.backend_word.get() & CONNECTING == 0 {
            let result = self.call(ledger, op);
            if result < 0 && call::is_in_progress(-result as RawError) {
                record.backend_word.set(CONNECTING);
                return Tried::Park(Direction::Write);
            }
            if waits(result) {
                // A Unix listener's queue is full, and nothing tells when it is not (connect(2)).
                ledger.delay(slot, self.now() + std::time::Duration::from_millis(1));
                return Tried::Reported;
            }
            return report(ledger, slot, result);
        }
        count(&ledger.counters.system_calls);
        match call::poll_now(fd.raw, sys::POLL_WRITE) {
            Ok(0) => return Tried::Park(Direction::Write),
            Ok(_) => {}
            Err(error) => return report(ledger, slot, -i64::from(error)),
        }
        count(&ledger.counters.system_calls);
        match call::connect_result(fd.raw) {
            Ok(()) => report(ledger, slot, 0),
            Err(error) => report(ledger, slot, -i64::from(error)),
        }
    }

    fn splice(&mut self, ledger: &Ledger, slot: u32, op: &Op, from: Target) -> Tried {
        match self.call(ledger, op) {
            result if waits(result) => {
                // The call does not say for which of the two it would wait.
                match call::poll_now(from.raw, sys::POLL_READ) {
                    Ok(0) => Tried::Park(Direction::Read),
                    _ => Tried::Park(Direction::Write),
                }
            }
            result => report(ledger, slot, result),
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
        match self.selector.add_readable(pidfd, CHILD | index as u64) {
            Ok(()) => self.children[index] = Some((pidfd, ledger.slots.token(slot))),
            Err(error) => ledger.complete(slot, -i64::from(error)),
        }
    }

    fn take_child(&mut self, index: usize) -> Option<Token> {
        let (pidfd, token) = self.children.get_mut(index)?.take()?;
        self.selector.remove(pidfd);
        Some(token)
    }

    fn take_events(&mut self, ledger: &Ledger) {
        for event in std::mem::take(&mut self.events).drain(..) {
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
    }
}

/// Whether a result says that the call would have to wait.
fn waits(result: i64) -> bool {
    result < 0 && call::would_block(-result as RawError)
}

fn report(ledger: &Ledger, slot: u32, result: i64) -> Tried {
    ledger.complete(slot, result);
    Tried::Reported
}

/// The handle of an operation that has the given index.
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
            | OpKind::Splice
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
            OpKind::Raw => Support::Unsupported("a raw ring entry needs the io_uring backend"),
        }
    }

    #[inline(never)]
    fn submit(&mut self, ledger: &Ledger, record: &Slot) {
        let (slot, op) = (record.index(), *record.op());
        match op {
            Op::Nop => ledger.complete(slot, 0),
            Op::Socket { .. } | Op::Shutdown { .. } => {
                let result = self.call(ledger, &op);
                ledger.complete(slot, result);
            }
            Op::Close { fd } => {
                self.forget(ledger, fd);
                let result = self.call(ledger, &op);
                ledger.complete(slot, result);
            }
            Op::ChildExit { pidfd } => self.watch_child(ledger, slot, pidfd),
            Op::Poll { fd, .. } => {
                let tried = self.attempt(ledger, slot);
                self.settle(ledger, slot, fd, tried);
            }
            Op::Recv { fd, .. }
            | Op::RecvMessage { fd, .. }
            | Op::RecvMulti { fd, .. }
            | Op::RecvFromMulti { fd, .. }
            | Op::Accept { fd }
            | Op::AcceptMulti { fd }
            | Op::Read { fd, .. }
            | Op::ReadVectored { fd, .. }
            | Op::Splice { from: fd, .. } => self.begin(ledger, slot, fd, Direction::Read),
            Op::Send { fd, .. }
            | Op::SendMessage { fd, .. }
            | Op::SendFile { socket: fd, .. }
            | Op::Connect { fd, .. }
            | Op::Write { fd, .. }
            | Op::WriteVectored { fd, .. } => self.begin(ledger, slot, fd, Direction::Write),
            Op::Open { .. }
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

    fn submit_chain(&mut self, _: &Ledger, _: &[u32]) -> bool {
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
            self.unpark(ledger, slot);
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
