//! The io_uring backend.
//!
//! Owns the ring and what waits for room in it. Entries are made in `prep`, what comes of them is read
//! in `completions`, cancels are in `cancel`, buffer rings in `bufring`, and `probe` finds out whether
//! there is a ring at all. It holds no operation: an entry's user_data is the token of a slot, index
//! and generation.
//!
//! An operation takes one entry, or several one after the other: a send that must send all, a
//! receive that is armed again, an operation that came back with `EAGAIN` and waits for readiness.
//! What it has done by then is in its slot (`transferred`).
//!
//! Sources: io_uring_setup(2), io_uring_enter(2), io_uring_register(2), io_uring_cancelation(7).

#![expect(unsafe_code)]
// UNSAFETY: entries are pushed whose pointers lead into slots; custody keeps those in place.

mod bufring;
mod cancel;
mod completions;
mod direct;
mod embed;
mod prep;
mod probe;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::squeue::{self, Flags};
use io_uring::{IoUring, opcode, types};

use self::bufring::BufRing;
use self::cancel::Missed;
use self::direct::is_spliced_here;
use self::embed::Embedding;
pub(super) use self::probe::probe;
use super::{Backend, Config, Sleep, cached_open};
use crate::bufpool::PoolCore;
use crate::ledger::Ledger;
use crate::notify::Wake;
use crate::op::{Op, OpKind, Support, Target};
use crate::slot::{Slot, Token};
use crate::stats::count;
use crate::sys::ring::{self, RingFd};
use crate::sys::{self, RawError, RawHandle, native};
use crate::time::Moment;

/// user_data of the poll on the event counter, and of the timer that `arm` sets.
const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const TIMER_REMOVED: u64 = u64::MAX - 2;
/// Added to the token of an operation: the answer to its cancel. Indices do not reach this bit.
const CANCEL: u64 = 1 << 31;

/// In a slot's `backend_word`: it has an entry in the ring.
const IN_RING: u32 = 1;
/// The entry is a poll that precedes the operation's own.
const POLLING: u32 = 2;
/// How many turns may pass without entering the kernel while results are ready.
const TURNS_WITHOUT_LOOK: u32 = 32;

pub(crate) struct Uring {
    ring: IoUring,
    fd: RingFd,
    /// The flags of an enter that sleeps.
    wait_flags: u32,
    probe: io_uring::Probe,
    deferred: bool,
    /// Operations that found no room in the ring, in order.
    backlog: VecDeque<u32>,
    /// Other entries that found no room: cancels, the wake poll.
    urgent: VecDeque<squeue::Entry>,
    wake: Option<Arc<OwnedFd>>,
    wake_armed: bool,
    /// Whether the pool of this index has a buffer ring.
    groups: Vec<bool>,
    turns_without_look: u32,
    embedding: Embedding,
    missed: Missed,
}

/// The entry that a user made.
fn raw_entry(entry: *const sys::RawEntry) -> squeue::Entry {
    // SAFETY: the operation keeps its entry in its slot.
    unsafe { (*entry).0.clone() }
}

/// Makes the ring with the most that the kernel takes; older ones take less.
fn build(entries: u32) -> io::Result<(IoUring, bool)> {
    let mut refused = None;
    for level in 0..4 {
        let mut builder = IoUring::builder();
        builder
            .setup_clamp()
            .setup_cqsize(entries.saturating_mul(4).max(1024));
        if level < 3 {
            builder.setup_submit_all().setup_coop_taskrun();
        }
        if level < 2 {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        if level < 1 {
            // Entries are taken in the order of the ring, without a table of their places.
            builder.setup_no_sqarray();
        }
        match builder.build(entries) {
            Ok(ring) => return Ok((ring, level < 2)),
            // Only an argument that the kernel does not know is a reason to ask for less.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

impl Uring {
    pub(super) fn new(config: Config) -> io::Result<Uring> {
        probe::allowed()?;
        let mut entries = config.ring_entries.next_power_of_two();
        let (ring, deferred) = loop {
            match build(entries) {
                Ok(made) => break made,
                // A small limit of locked memory may allow a smaller ring.
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && entries > 8 => {
                    entries /= 4;
                }
                Err(error) => return Err(probe::explain(&error)),
            }
        };
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "io_uring is not to be had: this kernel's lacks EXT_ARG or NODROP; \
                 Linux 5.15 or newer has them",
            ));
        }
        // A filter may let a ring be made and forbid its use.
        let probe = probe::opcodes(&ring).map_err(|error| probe::explain(&error))?;
        ring.submitter()
            .submit()
            .map_err(|error| probe::explain(&error))?;
        let no_iowait = match ring.params().is_feature_no_iowait() {
            true => ring::NO_IOWAIT,
            false => 0,
        };
        Ok(Uring {
            fd: RingFd::register(ring.as_raw_fd()),
            wait_flags: ring::GET_EVENTS | no_iowait,
            ring,
            probe,
            deferred,
            backlog: VecDeque::new(),
            urgent: VecDeque::new(),
            wake: None,
            wake_armed: false,
            groups: Vec::new(),
            turns_without_look: 0,
            embedding: Embedding::new(),
            missed: Missed::default(),
        })
    }

    fn features(&self) -> BTreeMap<&'static str, bool> {
        let parameters = self.ring.params();
        let mut features = BTreeMap::from([
            ("defer_taskrun", self.deferred),
            ("ext_arg", parameters.is_feature_ext_arg()),
            ("fast_poll", parameters.is_feature_fast_poll()),
            ("no_iowait", parameters.is_feature_no_iowait()),
            ("nodrop", parameters.is_feature_nodrop()),
            ("registered_ring_fd", self.fd.is_registered()),
            ("cqe_skip", parameters.is_feature_skip_cqe_on_success()),
        ]);
        features.extend(probe::opcode_features(&self.probe));
        for (name, incremental) in [("buf_ring", false), ("incremental_buffers", true)] {
            let ring = BufRing::register(&self.ring.submitter(), 1, 0, incremental);
            if ring.is_ok() {
                let gone = self.ring.submitter().unregister_buf_ring(0);
                debug_assert!(gone.is_ok());
            }
            features.insert(name, ring.is_ok());
        }
        features
    }

    fn has(&self, code: u8) -> bool {
        self.probe.is_supported(code)
    }

    /// Pushes an entry if there is room, after the kernel has been given what is there.
    #[inline]
    fn push(&mut self, ledger: &Ledger, entry: &squeue::Entry) -> bool {
        self.try_push(entry) || {
            self.make_room(ledger);
            self.try_push(entry)
        }
    }

    #[inline]
    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what the entry's pointers lead to is in custody until its completion.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    #[inline(always)]
    fn try_push_prepared(&mut self, record: &Slot) -> bool {
        let bits = record.token().to_bits();
        let mut ring = self.ring.submission();
        prep::entry(record, |entry| {
            // SAFETY: what the entry's pointers lead to is in custody until its completion.
            unsafe { ring.push(&entry.user_data(bits)) }.is_ok()
        })
    }

    /// The ring is full: the kernel takes what is there.
    #[cold]
    fn make_room(&mut self, ledger: &Ledger) {
        count(&ledger.counters.ring_overflows);
        // An error shows in the next wait.
        let _ = self.enter(ledger, Sleep::Not, false);
    }

    /// Pushes the entry of an operation, behind those that wait for room.
    #[inline(never)]
    fn push_operation(&mut self, ledger: &Ledger, record: &Slot) {
        if !self.backlog.is_empty() || !self.try_push_operation(ledger, record) {
            self.backlog.push_back(record.index());
        }
    }

    #[inline(always)]
    fn try_push_operation(&mut self, ledger: &Ledger, record: &Slot) -> bool {
        let pushed = self.try_push_prepared(record) || self.make_room_and_push(ledger, record);
        if pushed {
            self.entered_ring(record, 0);
        }
        pushed
    }

    #[cold]
    #[inline(never)]
    fn make_room_and_push(&mut self, ledger: &Ledger, record: &Slot) -> bool {
        self.make_room(ledger);
        self.try_push_prepared(record)
    }

    #[inline]
    fn entered_ring(&mut self, record: &Slot, more: u32) {
        let word = record.backend_word.get();
        record.backend_word.set(word | IN_RING | more);
    }

    /// Pushes an entry that belongs to no operation, before anything that waits.
    fn push_urgent(&mut self, ledger: &Ledger, entry: squeue::Entry) {
        if !self.urgent.is_empty() || !self.push(ledger, &entry) {
            self.urgent.push_back(entry);
        }
    }

    /// Gives room to what has waited for it.
    fn flush_waiting(&mut self, ledger: &Ledger) {
        while let Some(entry) = self.urgent.pop_front() {
            if !self.push(ledger, &entry) {
                self.urgent.push_front(entry);
                return;
            }
        }
        while let Some(slot) = self.backlog.pop_front() {
            if !self.try_push_operation(ledger, ledger.slots.get(slot)) {
                self.backlog.push_front(slot);
                return;
            }
        }
    }

    /// Enters the kernel: hands over what is in the ring, and sleeps if told to. Errors of the kind
    /// "not now" are none: time is up, a signal came, the completion ring must be emptied first. Any
    /// other means that the ring cannot be used any more: a filter that was installed since.
    fn enter(&mut self, ledger: &Ledger, sleep: Sleep, events: bool) -> Result<(), RawError> {
        count(&ledger.counters.system_calls);
        let submit = self.ring_len();
        let waiting = self.wait_flags;
        let result = match sleep {
            Sleep::Not if events => self.fd.enter(submit, 0, ring::GET_EVENTS, None),
            Sleep::Not => self.fd.enter(submit, 0, 0, None),
            Sleep::For(duration) => self.fd.enter(submit, 1, waiting, Some(duration)),
            Sleep::Forever => self.fd.enter(submit, 1, waiting, None),
        };
        match result {
            Ok(_) | Err(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn ring_len(&mut self) -> u32 {
        self.ring.submission().len() as u32
    }

    /// Starts a multishot receive, if its pool has a buffer.
    #[inline(never)]
    fn receive_from_pool(&mut self, ledger: &Ledger, record: &Slot, pool: u32) {
        debug_assert!(self.has_group(pool));
        let pool = ledger.pool(pool);
        if pool.has_buffers() {
            self.push_operation(ledger, record);
        } else {
            ledger.starve(record.index(), &pool);
        }
    }

    /// Multishot receives without a buffer ring are refused at registration, so each pool has one.
    fn has_group(&self, pool: u32) -> bool {
        self.groups.get(pool as usize).copied().unwrap_or(false)
    }

    fn arm_wake(&mut self, ledger: &Ledger) {
        if self.wake_armed {
            return;
        }
        let Some(wake) = &self.wake else { return };
        // Edge-triggered, so that the counter need not be read: each write is a new edge.
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        let entry = opcode::PollAdd::new(types::Fd(wake.as_raw_fd()), events)
            .multi(true)
            .build();
        self.wake_armed = true;
        self.push_urgent(ledger, entry.user_data(WAKE));
    }
}

/// Whether the kernel's links mean for this operation what a chain means.
///
/// They do not for what waits for somebody outside: a cancel does not find an entry whose turn has
/// not come (io_uring_cancelation(7) looks at what is being carried out), so that whoever cancels,
/// closes or sets a deadline behind an operation that waits would wait with it.
fn links_natively(op: &Op) -> bool {
    match *op {
        Op::Nop | Op::Shutdown { .. } | Op::Sync { .. } => true,
        Op::Read { offset, .. } | Op::Write { offset, .. } => offset != Op::CURRENT,
        _ => false,
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.fd.unregister();
    }
}

/// The counter lives as long as any notifier, so that a late wake writes to no stranger.
struct EventFd(Arc<OwnedFd>);

impl Wake for EventFd {
    fn wake(&self) {
        native::signal_event(self.0.as_raw_fd());
    }
}

impl Backend for Uring {
    fn support(&self, kind: OpKind) -> Support {
        let native_or_pool = |code| {
            if self.has(code) {
                Support::Native
            } else {
                Support::Pool
            }
        };
        match kind {
            OpKind::Timer | OpKind::SendFile => Support::Emulated,
            OpKind::ReadDir | OpKind::CopyFile | OpKind::Resolve | OpKind::Blocking => {
                Support::Pool
            }
            OpKind::Truncate => native_or_pool(opcode::Ftruncate::CODE),
            OpKind::Socket => native_or_pool(opcode::Socket::CODE),
            OpKind::Rename => native_or_pool(opcode::RenameAt::CODE),
            OpKind::Remove => native_or_pool(opcode::UnlinkAt::CODE),
            OpKind::CreateDir => native_or_pool(opcode::MkDirAt::CODE),
            OpKind::HardLink => native_or_pool(opcode::LinkAt::CODE),
            OpKind::SymbolicLink => native_or_pool(opcode::SymlinkAt::CODE),
            OpKind::Nop
            | OpKind::Read
            | OpKind::Write
            | OpKind::ReadAt
            | OpKind::WriteAt
            | OpKind::ReadVectoredAt
            | OpKind::WriteVectoredAt
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
            | OpKind::Shutdown
            | OpKind::Close
            | OpKind::Open
            | OpKind::Stat
            | OpKind::Allocate
            | OpKind::Sync
            | OpKind::Splice
            | OpKind::Poll
            | OpKind::ChildExit
            | OpKind::Raw => Support::Native,
        }
    }

    #[inline]
    fn submit(&mut self, ledger: &Ledger, record: &Slot) {
        match *record.op() {
            Op::SendFile { .. } => self.send_file(ledger, record),
            ref op @ Op::Splice { .. } if is_spliced_here(ledger, op) => {
                self.splice(ledger, record)
            }
            Op::OpenBeneath { dir, path, how } => {
                if !cached_open::open(ledger, record, dir, path, how) {
                    self.push_operation(ledger, record);
                }
            }
            Op::RecvMulti { pool, .. } | Op::RecvFromMulti { pool, .. } => {
                self.receive_from_pool(ledger, record, pool);
            }
            _ => self.push_operation(ledger, record),
        }
    }

    fn answer_at_once(&mut self, _: &Ledger, _: &Slot) -> bool {
        // What the caches know, the kernel answers within the submission.
        false
    }

    fn submit_chain(&mut self, ledger: &Ledger, chain: &[Token]) -> bool {
        let links = |(position, token): (usize, &Token)| {
            let record = ledger.slots.get(token.index() as u32);
            links_natively(record.op()) && (position == 0 || !record.has_deadline())
        };
        if !chain.iter().enumerate().all(links) || !self.backlog.is_empty() {
            return false;
        }
        let room = |uring: &mut Uring| {
            let ring = uring.ring.submission();
            ring.capacity() - ring.len() >= chain.len()
        };
        if !room(self) {
            let _ = self.enter(ledger, Sleep::Not, false);
            if !room(self) {
                return false;
            }
        }
        for (position, token) in chain.iter().enumerate() {
            let record = ledger.slots.get(token.index() as u32);
            let bits = token.to_bits();
            let last = position + 1 == chain.len();
            let flags = if last { Flags::empty() } else { Flags::IO_LINK };
            let entry = prep::entry(record, |entry| entry.user_data(bits).flags(flags));
            let pushed = self.push(ledger, &entry);
            debug_assert!(pushed, "room was made above");
            self.entered_ring(record, 0);
        }
        true
    }

    fn cancel(&mut self, ledger: &Ledger, slot: u32) {
        if let Some(position) = self.backlog.iter().position(|&other| other == slot) {
            self.backlog.remove(position);
            return ledger.complete_cancelled(slot);
        }
        self.push_cancel(ledger, ledger.slots.token(slot).to_bits());
    }

    fn wait(&mut self, ledger: &Ledger, sleep: Sleep) -> io::Result<()> {
        self.arm_wake(ledger);
        self.flush_waiting(ledger);
        let sleep = self.repeat_cancels(ledger, sleep);
        let ready = !ledger.ready.borrow().is_empty() || !self.ring.completion().is_empty();
        let sleep = if ready { Sleep::Not } else { sleep };
        self.turns_without_look += 1;
        let look = !ready || self.turns_without_look >= TURNS_WITHOUT_LOOK;
        if look || self.ring_len() > 0 {
            self.turns_without_look = 0;
            let entered = self.enter(ledger, sleep, true);
            entered.map_err(sys::error_from_raw)?;
        }
        self.reap(ledger);
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Box<dyn Wake>> {
        let event =
            native::event_fd().map_err(|error| probe::explain(&sys::error_from_raw(error)))?;
        let event = Arc::new(event);
        self.wake = Some(event.clone());
        Ok(Box::new(EventFd(event)))
    }

    fn forget(&mut self, _: &Ledger, _: Target) {}

    fn detach(&mut self, _: RawHandle) {}

    fn register_pool(&mut self, _: &Ledger, pool: &PoolCore, index: u32) -> io::Result<()> {
        let group = u16::try_from(index).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let (submitter, count) = (self.ring.submitter(), pool.count());
        let mut ring = BufRing::register(&submitter, count, group, pool.is_incremental());
        if ring.is_err() && pool.is_incremental() {
            pool.give_up_incremental();
            ring = BufRing::register(&submitter, count, group, false);
        }
        pool.set_supply(Box::new(ring?));
        let index = index as usize;
        self.groups.resize(self.groups.len().max(index + 1), false);
        self.groups[index] = true;
        Ok(())
    }

    fn unregister_pool(&mut self, _: &Ledger, pool: &PoolCore, index: u32) {
        let gone = self.ring.submitter().unregister_buf_ring(index as u16);
        debug_assert!(gone.is_ok(), "the group was registered: {gone:?}");
        self.groups[index as usize] = false;
        pool.drop_supply();
    }

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

    fn arm(&mut self, ledger: &Ledger, deadline: Option<Moment>) -> io::Result<RawHandle> {
        let next = [deadline, self.next_cancel()].into_iter().flatten().min();
        self.arm_embedding(ledger, next)
    }
}
