//! The IOCP backend: operations as overlapped calls, their ends as packets of one completion port.
//!
//! Owns the port and what is known of each handle; `request` holds the calls in flight, `start`
//! begins operations and `end` gives them their results, `receive` and `accept` are about those that
//! bring items. It holds no operation: a request has the token of a slot.
//!
//! ```text
//!            1 in flight                    2 packet
//!   BEGUN --------------------> REQUEST -------------------> ended: result, or the next call
//!     | 3 ended at once, and the handle skips packets          ^   of the same operation
//!     +--------------------------------------------------------+
//!     | 4 refused: no packet comes
//!     +-----> ended with the error
//! ```
//!
//! A call that ends at once sends a packet all the same, unless its handle is set to skip those:
//! streams and files are, if the system can be relied on (`skips`). A datagram that is longer than
//! its buffer is a failure at once *and* a packet; the packet is what counts.
//!
//! A cancel only asks (`CancelIoEx`). Whatever the packet says then is the truth: a result, or that
//! it was cancelled, with the bytes that had been moved. Buffers and requests stay in custody until
//! the packet has been taken out.
//!
//! Receives that repeat hold no buffer while nothing is there: they wait with a receive of nothing
//! (streams) or by asking the driver (datagrams), and then take without waiting what has come.
//!
//! Sources: I/O completion ports, WSARecv, AcceptEx, ConnectEx, CancelIoEx,
//! SetFileCompletionNotificationModes (Microsoft).

mod accept;
mod end;
mod probe;
mod receive;
mod request;
mod start;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::probe::probe;
use self::request::Requests;
use super::{Backend, Config, Sleep};
use crate::bufpool::PoolCore;
use crate::handle::HandleKind;
use crate::ledger::Ledger;
use crate::notify::Wake;
use crate::op::{Op, OpKind, Support, Target};
use crate::slot::{CancelReason, NONE, Slot, State, Token};
use crate::stats::count;
use crate::sys::afd::Afd;
use crate::sys::control::{self, Home};
use crate::sys::port::{self, Batch, Key, Packet, Port};
use crate::sys::process::Wait;
use crate::sys::socket::{self, Extensions};
use crate::sys::timer::PostTimer;
use crate::sys::{self, RawError, RawHandle};
use crate::time::Moment;

/// How many turns may pass without a look at the port while results are ready.
const TURNS_WITHOUT_LOOK: u32 = 32;

/// How long a wait takes at most while the packet of a call is missing that is said to have ended.
const NOT_FOUND_TIME: Duration = Duration::from_millis(1);

/// What is known of a handle.
#[derive(Default)]
struct HandleState {
    /// It is a socket that belongs to the port.
    prepared: bool,
    /// The family of a listener's addresses; 0 while nobody has asked.
    family: i32,
    /// A file's own position: files that are opened for overlapped calls have none in the system.
    position: u64,
    /// Reads and writes at the file's own position, one after the other; the first is under way.
    line: VecDeque<u32>,
    /// This side has ended its direction.
    shut: bool,
    /// This side has ended the other's: what waits for bytes is at the end.
    deaf: bool,
    /// A poll has found a reset, which the system may not tell again.
    reset: bool,
}

/// A child whose exit is waited for.
struct ChildWait {
    number: usize,
    token: Token,
    /// Ends the wait when it is dropped.
    _wait: Wait,
}

pub(crate) struct Iocp {
    port: Arc<Port>,
    batch: Batch,
    requests: Requests,
    handles: Vec<HandleState>,
    /// The calls that are asked for by name, by family.
    extensions: Vec<(i32, Extensions)>,
    /// Streams send no packet for what ends well at once.
    skip_streams: bool,
    afd: Option<Afd>,
    children: Vec<ChildWait>,
    next_child: usize,
    /// Operations that have used up their turn and go on in the next.
    again: VecDeque<Token>,
    /// An accept that repeats is making its calls.
    filling: bool,
    /// Operations with calls that the system did not find when they were cancelled.
    unheard: Vec<Token>,
    turns_without_look: u32,
    timer: Option<PostTimer>,
}

/// Wakes the port. It lives as long as any notifier, so that a late wake goes to no stranger.
struct PortWake(Arc<Port>);

impl Wake for PortWake {
    fn wake(&self) {
        // It fails only while the system has no memory for a packet; the owner sleeps meanwhile, so
        // it is tried again.
        for _ in 0..1000 {
            if self.0.post(Key::Wake, 0) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl Iocp {
    pub(super) fn new(_config: Config) -> io::Result<Iocp> {
        socket::startup().map_err(|error| probe::explain("WSAStartup", error))?;
        let port = Port::new().map_err(|error| probe::explain("CreateIoCompletionPort", error))?;
        Ok(Iocp {
            port: Arc::new(port),
            batch: Batch::new(),
            requests: Requests::default(),
            handles: Vec::new(),
            extensions: Vec::new(),
            skip_streams: control::streams_are_kernel_objects(),
            afd: None,
            children: Vec::new(),
            next_child: 0,
            again: VecDeque::new(),
            filling: false,
            unheard: Vec::new(),
            turns_without_look: 0,
            timer: None,
        })
    }

    fn can_poll(&self) -> bool {
        Afd::open(&self.port).is_ok()
    }

    fn home(&self) -> Home<'_> {
        Home {
            port: &self.port,
            skip_streams: self.skip_streams,
        }
    }

    fn state(&mut self, index: u32) -> &mut HandleState {
        let index = index as usize;
        if index >= self.handles.len() {
            self.handles.resize_with(index + 1, HandleState::default);
        }
        &mut self.handles[index]
    }

    /// Whether a call on this handle that ends well at once sends no packet.
    fn skips(&self, ledger: &Ledger, fd: Target) -> bool {
        match ledger.handles.kind(fd.index) {
            HandleKind::Stream => self.skip_streams,
            HandleKind::File => true,
            HandleKind::Datagram | HandleKind::Pipe => false,
        }
    }

    /// The driver that tells readiness, opened at the first need.
    fn open_afd(&mut self) -> Result<(), RawError> {
        if self.afd.is_none() {
            self.afd = Some(Afd::open(&self.port)?);
        }
        Ok(())
    }

    /// The calls by name for a family, asked for at the first need.
    fn extensions(&mut self, family: i32, raw: RawHandle) -> Result<Extensions, RawError> {
        if let Some((_, known)) = self.extensions.iter().find(|(other, _)| *other == family) {
            return Ok(*known);
        }
        let extensions = Extensions::of(raw)?;
        self.extensions.push((family, extensions));
        Ok(extensions)
    }

    /// Puts a call on the list of its operation.
    fn link(&self, record: &Slot, index: u32) {
        let first = record.backend_word.get();
        self.requests.get(index).next.set(first.wrapping_sub(1));
        record.backend_word.set(index + 1);
    }

    /// Takes a call off the list of its operation.
    fn unlink(&self, record: &Slot, index: u32) {
        let next = self.requests.get(index).next.get();
        let first = record.backend_word.get().wrapping_sub(1);
        if first == index {
            return record.backend_word.set(next.wrapping_add(1));
        }
        let mut at = first;
        while at != NONE {
            let request = self.requests.get(at);
            if request.next.get() == index {
                return request.next.set(next);
            }
            at = request.next.get();
        }
    }

    /// Asks for the early end of every call of an operation.
    fn cancel_calls(&mut self, ledger: &Ledger, record: &Slot) {
        let mut index = record.backend_word.get().wrapping_sub(1);
        let mut all_heard = true;
        while index != NONE {
            let request = self.requests.get(index);
            count(&ledger.counters.system_calls);
            all_heard &= port::cancel(request.raw.get(), request.overlapped());
            index = request.next.get();
        }
        if !all_heard {
            self.unheard.push(record.token());
        }
    }

    /// Cancels again what the system did not find, if its packet has not come meanwhile.
    fn cancel_unheard(&mut self, ledger: &Ledger) {
        for token in std::mem::take(&mut self.unheard) {
            let record = ledger.slots.lookup(token);
            let in_flight = |record: &&Slot| record.state.get() == State::InFlight;
            if let Some(record) = record.filter(in_flight) {
                self.cancel_calls(ledger, record);
            }
        }
    }

    /// Takes in one packet.
    fn take_packet(&mut self, ledger: &Ledger, packet: Packet) {
        match packet.key {
            Some(Key::Operation) => {
                if let Some(index) = self.requests.find(packet.value) {
                    self.call_ended(ledger, index, packet.status, packet.bytes);
                }
            }
            Some(Key::Wait) => {
                let number = packet.value;
                let found = self
                    .children
                    .iter()
                    .position(|child| child.number == number);
                if let Some(place) = found {
                    let child = self.children.swap_remove(place);
                    ledger.complete(child.token.index() as u32, 0);
                }
            }
            Some(Key::Wake) | None => {}
        }
    }

    /// Lets those go on that have used up their turn before.
    fn go_on(&mut self, ledger: &Ledger) {
        for _ in 0..self.again.len() {
            let Some(token) = self.again.pop_front() else {
                return;
            };
            let record = ledger.slots.lookup(token);
            let Some(record) = record.filter(|record| record.state.get() == State::InFlight) else {
                continue;
            };
            match *record.op() {
                Op::AcceptMulti { fd } => self.accept_more(ledger, record, fd),
                _ => self.receive_more(ledger, record),
            }
        }
    }

    fn watch_child(&mut self, ledger: &Ledger, record: &Slot, process: RawHandle) {
        let number = self.next_child;
        self.next_child = number.wrapping_add(1);
        count(&ledger.counters.system_calls);
        match Wait::register(process, &self.port, number) {
            Ok(wait) => self.children.push(ChildWait {
                number,
                token: record.token(),
                _wait: wait,
            }),
            Err(error) => ledger.complete(record.index(), -i64::from(error)),
        }
    }

    /// Takes an operation out of the line at a file's own position, if it stands there and has not
    /// begun.
    fn leave_line(&mut self, record: &Slot) -> bool {
        let (Op::Read { fd, .. } | Op::Write { fd, .. }) = *record.op() else {
            return false;
        };
        let slot = record.index();
        let line = &mut self.state(fd.index).line;
        let place = line.iter().skip(1).position(|&other| other == slot);
        if let Some(place) = place {
            line.remove(place + 1);
        }
        place.is_some()
    }
}

impl Backend for Iocp {
    fn support(&self, kind: OpKind) -> Support {
        match kind {
            OpKind::Read
            | OpKind::Write
            | OpKind::ReadAt
            | OpKind::WriteAt
            | OpKind::Recv
            | OpKind::Send
            | OpKind::RecvVectored
            | OpKind::SendVectored
            | OpKind::RecvFrom
            | OpKind::SendTo
            | OpKind::Accept
            | OpKind::Connect
            | OpKind::SendFile
            | OpKind::Poll
            | OpKind::ChildExit
            | OpKind::Raw => Support::Native,
            OpKind::Nop
            | OpKind::ReadVectoredAt
            | OpKind::WriteVectoredAt
            | OpKind::RecvMulti
            | OpKind::RecvFromMulti
            | OpKind::AcceptMulti
            | OpKind::Socket
            | OpKind::Shutdown
            | OpKind::Close
            | OpKind::Timer => Support::Emulated,
            OpKind::Open
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
            OpKind::Splice => {
                Support::Unsupported("Windows has no call that moves bytes through a pipe")
            }
        }
    }

    fn submit(&mut self, ledger: &Ledger, record: &Slot) {
        self.start(ledger, record);
    }

    fn answer_at_once(&mut self, _: &Ledger, _: &Slot) -> bool {
        // Files are read by the system, and the rest of the pool's work always waits.
        false
    }

    fn submit_chain(&mut self, _: &Ledger, _: &[Token]) -> bool {
        false
    }

    fn cancel(&mut self, ledger: &Ledger, slot: u32) {
        let record = ledger.slots.get(slot);
        if let Op::ChildExit { .. } = *record.op() {
            let token = record.token();
            self.children.retain(|child| child.token != token);
            return ledger.complete_cancelled(slot);
        }
        if record.backend_word.get() == 0 {
            // No call of it is in flight: it waits for its turn.
            self.leave_line(record);
            return ledger.complete_cancelled(slot);
        }
        self.cancel_calls(ledger, record);
    }

    fn wait(&mut self, ledger: &Ledger, sleep: Sleep) -> io::Result<()> {
        let results_wait = !ledger.ready.borrow().is_empty();
        let busy = !self.again.is_empty();
        self.turns_without_look += 1;
        if !(results_wait || busy) || self.turns_without_look >= TURNS_WITHOUT_LOOK {
            self.turns_without_look = 0;
            let timeout = match sleep {
                _ if results_wait || busy => Some(Duration::ZERO),
                Sleep::Not => Some(Duration::ZERO),
                // Their packets are there, so that this does not sleep; or they are cancelled again.
                Sleep::For(duration) if !self.unheard.is_empty() => {
                    Some(duration.min(NOT_FOUND_TIME))
                }
                Sleep::Forever if !self.unheard.is_empty() => Some(NOT_FOUND_TIME),
                Sleep::For(duration) => Some(duration),
                Sleep::Forever => None,
            };
            count(&ledger.counters.system_calls);
            self.port
                .wait(timeout, &mut self.batch)
                .map_err(sys::error_from_raw)?;
            for at in 0..self.batch.len() {
                let packet = self.batch.packet(at);
                self.take_packet(ledger, packet);
            }
        }
        if !self.unheard.is_empty() {
            self.cancel_unheard(ledger);
        }
        self.go_on(ledger);
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Box<dyn Wake>> {
        Ok(Box::new(PortWake(self.port.clone())))
    }

    fn forget(&mut self, _: &Ledger, target: Target) {
        *self.state(target.index) = HandleState::default();
    }

    fn detach(&mut self, raw: RawHandle) {
        control::dissociate(raw);
    }

    fn register_pool(&mut self, _: &Ledger, _: &PoolCore, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn unregister_pool(&mut self, _: &Ledger, _: &PoolCore, _: u32) {}

    fn control(&mut self, target: Option<Target>, control: sys::Control) -> io::Result<sys::Reply> {
        let raw = target.map_or(RawHandle::NONE, |target| target.raw);
        sys::control::perform(self.home(), raw, control)
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

    /// A port is signalled while a packet is in it.
    fn arm(&mut self, _: &Ledger, deadline: Option<Moment>) -> io::Result<RawHandle> {
        let now = self.now();
        match deadline {
            _ if !self.again.is_empty() => {
                self.port.post(Key::Wake, 0);
            }
            Some(deadline) if deadline <= now => {
                self.port.post(Key::Wake, 0);
            }
            Some(deadline) => {
                if self.timer.is_none() {
                    let timer = PostTimer::new(&self.port).map_err(sys::error_from_raw)?;
                    self.timer = Some(timer);
                }
                if let Some(timer) = &self.timer {
                    timer.set(Some(deadline.saturating_duration_since(now)));
                }
            }
            None => {
                if let Some(timer) = &self.timer {
                    timer.set(None);
                }
            }
        }
        Ok(self.port.raw())
    }
}
