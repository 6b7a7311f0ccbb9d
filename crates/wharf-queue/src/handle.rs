//! Attached handles: counted references to a socket or file that the queue may operate on.
//!
//! Owns the table of handles, the list of operations in flight on each, and when a descriptor is
//! given back to the system (contract C5). It does not know what the operations are.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::op::Target;
use crate::queue::Core;
use crate::slot::{NONE, Slot, Slots};
use crate::sys::{self, Address};
use crate::time::Moment;

/// What kind of thing a handle is, as far as operations differ by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HandleKind {
    /// A connected or listening socket whose bytes are a stream.
    Stream,
    /// A socket whose messages have boundaries.
    Datagram,
    /// A regular file, a directory or a block device: always ready, may block.
    File,
    /// A pipe, a terminal or another thing with readiness that is not a socket.
    Pipe,
}

/// An option of a socket, with its value; see [`Handle::set_option`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SocketOption {
    /// Small writes are sent at once (`TCP_NODELAY`).
    NoDelay(bool),
    /// A port can be bound while connections of an earlier listener linger (`SO_REUSEADDR`).
    ReuseAddress(bool),
    /// Several sockets can be bound to one port, and share what arrives (`SO_REUSEPORT`;
    /// `SO_REUSEPORT_LB` on FreeBSD). On macOS one of them gets all of it.
    ReusePort(bool),
    /// A quiet connection is probed, so that a peer that is gone is noticed (`SO_KEEPALIVE`).
    KeepAlive(bool),
    /// Datagrams may be sent to broadcast addresses (`SO_BROADCAST`).
    Broadcast(bool),
    /// An IPv6 socket does not take IPv4 as well (`IPV6_V6ONLY`).
    OnlyV6(bool),
    /// Bytes that the system keeps for receiving (`SO_RCVBUF`); Linux doubles the number.
    ReceiveBuffer(u32),
    /// Bytes that the system keeps for sending (`SO_SNDBUF`); Linux doubles the number.
    SendBuffer(u32),
    /// How many hops a packet of IPv4 may take (`IP_TTL`).
    Ttl(u32),
    /// How many hops a packet of IPv6 may take (`IPV6_UNICAST_HOPS`).
    HopsV6(u32),
    /// How long a connection is quiet before it is probed (`TCP_KEEPIDLE`), in whole seconds, rounded
    /// up; see [`KeepAlive`](SocketOption::KeepAlive).
    KeepAliveIdle(Duration),
    /// The time between two probes that are not answered (`TCP_KEEPINTVL`), in whole seconds, rounded
    /// up.
    KeepAliveInterval(Duration),
    /// How many probes are not answered before the connection counts as gone (`TCP_KEEPCNT`).
    KeepAliveProbes(u32),
    /// Joins a group: datagrams that are sent to it arrive from now on (`IP_ADD_MEMBERSHIP`).
    JoinV4(MulticastV4),
    /// Leaves a group (`IP_DROP_MEMBERSHIP`).
    LeaveV4(MulticastV4),
    /// Joins a group of IPv6 (`IPV6_ADD_MEMBERSHIP`).
    JoinV6(MulticastV6),
    /// Leaves a group of IPv6 (`IPV6_DROP_MEMBERSHIP`).
    LeaveV6(MulticastV6),
    /// How many hops a datagram to a group may take (`IP_MULTICAST_TTL`): 1 keeps it in the local
    /// network.
    MulticastTtlV4(u32),
    /// The same for IPv6 (`IPV6_MULTICAST_HOPS`).
    MulticastHopsV6(u32),
    /// Whether what is sent to a group also arrives on this machine (`IP_MULTICAST_LOOP`).
    MulticastLoopV4(bool),
    /// The same for IPv6 (`IPV6_MULTICAST_LOOP`).
    MulticastLoopV6(bool),
    /// The interface, by its address, on which datagrams to a group leave (`IP_MULTICAST_IF`).
    MulticastInterfaceV4(Ipv4Addr),
    /// The interface, by its number, on which datagrams to a group leave (`IPV6_MULTICAST_IF`).
    MulticastInterfaceV6(u32),
    /// What a close does with bytes that are not sent (`SO_LINGER`): `None` sends them in the
    /// background; zero resets the connection.
    Linger(Option<Duration>),
}

/// A group of IPv4, on one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MulticastV4 {
    /// The address of the group.
    pub group: Ipv4Addr,
    /// The address of the interface; unspecified for the system's choice.
    pub interface: Ipv4Addr,
}

/// A group of IPv6, on one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MulticastV6 {
    /// The address of the group.
    pub group: Ipv6Addr,
    /// The number of the interface; 0 for the system's choice.
    pub interface: u32,
}

/// The process at the other end of a Unix socket; see [`Handle::peer_credentials`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The number of its user.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// Its own number, where the system tells it: on Linux.
    pub pid: Option<u32>,
}

/// A socket or file that is attached to a queue. Clones are references to the same one.
///
/// An operation in flight holds a reference too, so that a descriptor is never closed, nor its
/// number used again, under an operation. The descriptor is closed when the last reference is
/// dropped; to end its operations and close it now, submit [`op::Close`](crate::op::Close).
pub struct Handle {
    inner: Rc<Inner>,
}

struct Inner {
    core: Weak<Core>,
    raw: sys::RawHandle,
    index: u32,
    kind: HandleKind,
    /// Only calls that block can be made on it.
    blocking: bool,
    /// False once the descriptor has been given back, or given away.
    open: Cell<bool>,
}

impl Handle {
    pub(crate) fn new(
        core: &Rc<Core>,
        raw: sys::RawHandle,
        index: u32,
        kind: HandleKind,
        blocking: bool,
    ) -> Handle {
        let inner = Inner {
            core: Rc::downgrade(core),
            raw,
            index,
            kind,
            blocking,
            open: Cell::new(true),
        };
        Handle {
            inner: Rc::new(inner),
        }
    }

    #[inline]
    pub(crate) fn target(&self) -> Target {
        Target {
            raw: self.inner.raw,
            index: self.inner.index,
        }
    }

    #[inline]
    pub(crate) fn belongs_to(&self, core: &Rc<Core>) -> bool {
        std::ptr::eq(self.inner.core.as_ptr(), Rc::as_ptr(core))
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.inner.open.get()
    }

    pub(crate) fn mark_closed(&self) {
        self.inner.open.set(false);
    }

    pub(crate) fn is_unique(&self) -> bool {
        Rc::strong_count(&self.inner) == 1
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.inner.kind == HandleKind::Stream
    }

    /// Whether operations on it have to go to the pool, because the system has no other calls for it.
    pub(crate) fn is_blocking(&self) -> bool {
        self.inner.blocking
    }

    /// What kind of thing it is.
    #[must_use]
    pub fn kind(&self) -> HandleKind {
        self.inner.kind
    }

    /// The system's own handle, for calls that wharf does not make. It stays open at least as long
    /// as this reference lives and no [`op::Close`](crate::op::Close) is submitted. Reading or
    /// writing through it competes with the operations in flight.
    #[must_use]
    pub fn raw(&self) -> sys::RawHandle {
        self.inner.raw
    }

    fn control<R>(&self, f: impl FnOnce(&Core, Target) -> io::Result<R>) -> io::Result<R> {
        match self.inner.core.upgrade() {
            Some(core) if self.is_open() && !core.is_closing(self.inner.index) => {
                f(&core, self.target())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the handle is closed",
            )),
        }
    }

    /// Whether a part of a file is in memory by now, so that reading or sending it will hardly wait for
    /// the device. It is false where the system does not tell, and for what is no file.
    ///
    /// Source: preadv2(2) with `RWF_NOWAIT` for its ends, and cachestat(2) for what lies between them, on
    /// Linux; that tells since 6.5, and only of files that this process may write, and else the ends
    /// decide. It is false on other systems.
    #[must_use]
    pub fn is_cached(&self, offset: u64, len: u64) -> bool {
        let control = sys::Control::Cached(offset, len);
        self.control(|core, fd| core.control(fd, control)?.into_flag())
            .unwrap_or(false)
    }

    /// Reads a part of a file that is in memory, at once. `None` if not all of it is there, the file
    /// ends before, or nobody knows whether it goes past the page cache: this queue must have opened
    /// it. `None`, too, where the system does not tell.
    ///
    /// It copies on the thread of the queue, which does nothing else meanwhile: for what is short.
    /// [`op::ReadAt`](crate::op::ReadAt) gets all the rest.
    ///
    /// Source: preadv2(2) with `RWF_NOWAIT` on Linux; it is `None` elsewhere.
    #[must_use]
    pub fn read_cached(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let control = sys::Control::ReadCached(offset, len);
        let read = self.control(|core, fd| {
            if core.is_direct(fd.index) != Some(false) {
                return Ok(None);
            }
            core.control(fd, control)?.into_bytes()
        });
        read.ok().flatten()
    }

    /// The address that a socket is bound to.
    ///
    /// # Errors
    /// That of the system (getsockname(2)); `NotConnected` if the handle or its queue is closed.
    pub fn local_addr(&self) -> io::Result<Address> {
        self.control(|core, fd| core.control(fd, sys::Control::LocalAddress)?.into_address())
    }

    /// The address that a socket is connected to.
    ///
    /// # Errors
    /// That of the system (getpeername(2)): `NotConnected` if it is not connected any more.
    pub fn peer_addr(&self) -> io::Result<Address> {
        self.control(|core, fd| core.control(fd, sys::Control::PeerAddress)?.into_address())
    }

    /// Who is at the other end of a connected Unix socket: who it was when they connected, or when the
    /// pair was made. The system says so, and the peer cannot pretend.
    ///
    /// Source: `SO_PEERCRED` on Linux, getpeereid(3) on macOS and FreeBSD.
    ///
    /// # Errors
    /// That of the system, for a socket that is none or not connected; `Unsupported` on Windows.
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        let control = sys::Control::PeerCredentials;
        self.control(|core, fd| core.control(fd, control)?.into_credentials())
    }

    /// Sets an option of a socket.
    ///
    /// # Errors
    /// That of the system (setsockopt(2)): `InvalidInput` or an error of its own for an option that
    /// the socket does not have; `NotConnected` if the handle or its queue is closed.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        let control = sys::Control::SetOption(option);
        self.control(|core, fd| core.control(fd, control).map(drop))
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// That of the system (tcp(7)).
    pub fn set_nodelay(&self, yes: bool) -> io::Result<()> {
        self.control(|core, fd| {
            core.control(fd, sys::Control::SetOption(SocketOption::NoDelay(yes)))
                .map(drop)
        })
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        Handle {
            inner: self.inner.clone(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({:?} {:?})", self.inner.kind, self.inner.raw)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.release(self.index, self.raw, self.open.get());
        } else if self.open.get() {
            sys::close(self.raw);
        }
    }
}

/// What the queue keeps for one handle.
struct Entry {
    kind: HandleKind,
    /// Whether its reads and writes go past the page cache, if that is known.
    direct: Option<bool>,
    /// Whether what lies below it can be opened by the cache of names alone, if that is known.
    local: Option<bool>,
    /// The first of the operations in flight on it, linked through the slots.
    first: u32,
    in_flight: u32,
    /// The slot of the close that waits until nothing is in flight, or `NONE`.
    closing: u32,
    /// Made on first need and kept: most handles are connections, and never have any.
    rare: Option<Box<Rare>>,
}

/// What the queue keeps for few handles.
#[derive(Default)]
struct Rare {
    /// Operations that have this as their second handle.
    second: Vec<u32>,
    /// Out of descriptors: no accept before this moment, and the last pause.
    accept_after: Option<Moment>,
    accept_pause: Duration,
}

impl Entry {
    fn new(kind: HandleKind) -> Entry {
        Entry {
            kind,
            direct: None,
            local: None,
            first: NONE,
            in_flight: 0,
            closing: NONE,
            rare: None,
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// The table of a queue's handles. An index is reused when its handle is gone.
#[derive(Default)]
pub(crate) struct Handles {
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
}

/// The pauses after running out of descriptors double from the first to the last.
const FIRST_ACCEPT_PAUSE: Duration = Duration::from_millis(5);
const LAST_ACCEPT_PAUSE: Duration = Duration::from_millis(500);

impl Handles {
    pub(crate) fn insert(&self, kind: HandleKind) -> u32 {
        let mut entries = self.entries.borrow_mut();
        if let Some(index) = self.free.borrow_mut().pop() {
            entries[index as usize] = Entry::new(kind);
            return index;
        }
        grow_by_a_quarter(&mut *entries);
        entries.push(Entry::new(kind));
        entries.len() as u32 - 1
    }

    pub(crate) fn remove(&self, index: u32) {
        debug_assert_eq!(self.entries.borrow()[index as usize].in_flight, 0);
        self.free.borrow_mut().push(index);
    }

    pub(crate) fn kind(&self, index: u32) -> HandleKind {
        self.entries.borrow()[index as usize].kind
    }

    /// Whether its reads and writes go past the page cache; `None` if nobody has said so yet.
    #[allow(dead_code, reason = "not every system has a cache to ask")]
    pub(crate) fn is_direct(&self, index: u32) -> Option<bool> {
        self.entries.borrow()[index as usize].direct
    }

    pub(crate) fn set_direct(&self, index: u32, direct: bool) {
        self.entries.borrow_mut()[index as usize].direct = Some(direct);
    }

    /// Whether what lies below it can be opened by the cache of names; `None` if nobody has asked.
    #[allow(dead_code, reason = "not every system has a cache to ask")]
    pub(crate) fn is_local(&self, index: u32) -> Option<bool> {
        self.entries.borrow()[index as usize].local
    }

    #[allow(dead_code, reason = "not every system has a cache to ask")]
    pub(crate) fn set_local(&self, index: u32, local: bool) {
        self.entries.borrow_mut()[index as usize].local = Some(local);
    }

    pub(crate) fn is_closing(&self, index: u32) -> bool {
        self.entries.borrow()[index as usize].closing != NONE
    }

    /// Puts a starting operation on the list of its handle.
    #[inline]
    pub(crate) fn link(&self, slots: &Slots, index: u32, slot: u32) {
        let entry = &mut self.entries.borrow_mut()[index as usize];
        let record = slots.get(slot);
        record.handle.set(index);
        record.handle_previous.set(NONE);
        record.handle_next.set(entry.first);
        if entry.first != NONE {
            slots.get(entry.first).handle_previous.set(slot);
        }
        entry.first = slot;
        entry.in_flight += 1;
    }

    /// Notes an operation that has this as its second handle.
    pub(crate) fn link_second(&self, index: u32, slot: u32) {
        let entry = &mut self.entries.borrow_mut()[index as usize];
        entry.rare().second.push(slot);
        entry.in_flight += 1;
    }

    /// Takes a completed operation off its handle's list. Returns the close that may go on now.
    #[inline]
    pub(crate) fn unlink(&self, slots: &Slots, record: &Slot) -> Option<u32> {
        let index = record.handle.replace(NONE);
        if index == NONE {
            return None;
        }
        let entry = &mut self.entries.borrow_mut()[index as usize];
        let (previous, next) = (record.handle_previous.get(), record.handle_next.get());
        match previous {
            NONE => entry.first = next,
            previous => slots.get(previous).handle_next.set(next),
        }
        if next != NONE {
            slots.get(next).handle_previous.set(previous);
        }
        entry.in_flight -= 1;
        (entry.in_flight == 0 && entry.closing != NONE).then_some(entry.closing)
    }

    pub(crate) fn unlink_second(&self, index: u32, slot: u32) -> Option<u32> {
        let entry = &mut self.entries.borrow_mut()[index as usize];
        let second = &mut entry.rare.as_mut()?.second;
        let position = second.iter().position(|&other| other == slot)?;
        second.swap_remove(position);
        entry.in_flight -= 1;
        (entry.in_flight == 0 && entry.closing != NONE).then_some(entry.closing)
    }

    /// Notes that `slot` closes the handle. Returns whether it may go on at once.
    pub(crate) fn begin_close(&self, index: u32, slot: u32) -> bool {
        let entry = &mut self.entries.borrow_mut()[index as usize];
        entry.closing = slot;
        entry.in_flight == 0
    }

    /// The operations in flight on a handle, in no particular order.
    pub(crate) fn in_flight(&self, slots: &Slots, index: u32, out: &mut Vec<u32>) {
        let entry = &self.entries.borrow()[index as usize];
        let mut slot = entry.first;
        while slot != NONE {
            out.push(slot);
            slot = slots.get(slot).handle_next.get();
        }
        if let Some(rare) = &entry.rare {
            out.extend_from_slice(&rare.second);
        }
    }

    /// How many operations are in flight on a handle.
    pub(crate) fn in_flight_count(&self, index: u32) -> u32 {
        self.entries.borrow()[index as usize].in_flight
    }

    /// Notes that an accept ran out of descriptors. Returns when the next one may be tried.
    pub(crate) fn pause_accept(&self, index: u32, now: Moment) -> Moment {
        let mut entries = self.entries.borrow_mut();
        let rare = entries[index as usize].rare();
        let pause = (rare.accept_pause * 2).clamp(FIRST_ACCEPT_PAUSE, LAST_ACCEPT_PAUSE);
        rare.accept_pause = pause;
        *rare.accept_after.insert(now + pause)
    }

    /// Notes that an accept succeeded: the next shortage begins with the shortest pause.
    pub(crate) fn resume_accept(&self, index: u32) {
        if let Some(rare) = &mut self.entries.borrow_mut()[index as usize].rare {
            rare.accept_pause = Duration::ZERO;
        }
    }

    /// When an accept on this handle may be tried, if there was a shortage: perhaps in the past.
    pub(crate) fn accept_after(&self, index: u32) -> Option<Moment> {
        let entries = self.entries.borrow();
        entries[index as usize].rare.as_ref()?.accept_after
    }
}

/// Makes room for one more in a list that has as many entries as there are connections: doubling it,
/// as a vector does, would leave up to half of it unused.
pub(crate) fn grow_by_a_quarter<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 4 + 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_of_a_handle_takes_few_bytes() {
        assert!(size_of::<Entry>() <= 24, "{}", size_of::<Entry>());
    }

    #[test]
    fn list_of_handles_wastes_a_fifth_at_most() {
        let handles = Handles::default();
        for _ in 0..10_000 {
            handles.insert(HandleKind::Stream);
            let entries = handles.entries.borrow();
            assert!(entries.capacity() <= entries.len() * 5 / 4 + 16);
        }
    }
}
