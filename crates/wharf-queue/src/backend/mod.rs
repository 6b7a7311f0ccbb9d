//! The seam between the queue and the systems it runs on, and the choice among them.
//!
//! Owns `trait Backend`, what each must provide, and `Imp`, which holds the chosen one. A backend
//! owns its kernel object (ring, epoll set, port) and nothing else: operations, custody and results
//! are the ledger's.

#[cfg(unix)]
mod cached_open;
#[cfg(target_os = "linux")]
mod epoll;
#[cfg(windows)]
mod iocp;
#[cfg(any(target_os = "macos", target_os = "freebsd", wharf_kqueue))]
mod kqueue;
#[cfg(unix)]
mod readiness;
#[cfg(target_os = "linux")]
mod uring;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::bufpool::PoolCore;
use crate::ledger::Ledger;
use crate::notify::Wake;
use crate::op::{OpKind, Support, Target};
use crate::slot::{Slot, Token};
use crate::sys;
use crate::time::Moment;

/// A kind of backend, to be asked for by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BackendKind {
    /// Linux, io_uring(7).
    IoUring,
    /// Linux, epoll(7), with readiness turned into completions.
    Epoll,
    /// macOS and FreeBSD, kqueue(2), with readiness turned into completions.
    Kqueue,
    /// Windows, I/O completion ports.
    Iocp,
}

impl BackendKind {
    /// Every kind that this build contains, the preferred one first.
    pub const ALL: &'static [BackendKind] = &[
        #[cfg(target_os = "linux")]
        BackendKind::IoUring,
        #[cfg(target_os = "linux")]
        BackendKind::Epoll,
        #[cfg(any(target_os = "macos", target_os = "freebsd", wharf_kqueue))]
        BackendKind::Kqueue,
        #[cfg(windows)]
        BackendKind::Iocp,
    ];

    /// The name that `WHARF_BACKEND` and the builder know it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::IoUring => "io_uring",
            BackendKind::Epoll => "epoll",
            BackendKind::Kqueue => "kqueue",
            BackendKind::Iocp => "iocp",
        }
    }

    /// What is said of a backend of another system.
    fn report_absent(self) -> BackendReport {
        BackendReport {
            kind: self,
            available: false,
            reason: self.absence(),
            features: BTreeMap::new(),
        }
    }

    fn absence(self) -> String {
        format!("{self} is not to be had: it is another system's")
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<BackendKind> {
        BackendKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = BackendKind::ALL.iter().map(|kind| kind.name()).collect();
                let message = format!(
                    "unknown backend '{name}': choose auto, {}",
                    names.join(", ")
                );
                io::Error::new(io::ErrorKind::InvalidInput, message)
            })
    }
}

/// What one backend can do on this machine, as [`probe`] found it.
#[derive(Clone, Debug)]
pub struct BackendReport {
    /// Which backend.
    pub kind: BackendKind,
    /// Whether a queue can be made on it here and now.
    pub available: bool,
    /// Why not; or, in a few words, on what it stands.
    pub reason: String,
    /// Each feature that wharf uses when it is there, and whether it is.
    pub features: BTreeMap<&'static str, bool>,
}

/// Looks at every backend of this build, by building the real kernel objects, not by the kernel's
/// version. It is safe where a system call is forbidden by a filter that kills: a child process
/// tries first.
#[must_use]
pub fn probe() -> Vec<BackendReport> {
    BackendKind::ALL
        .iter()
        .map(|&kind| match kind {
            #[cfg(target_os = "linux")]
            BackendKind::IoUring => uring::probe(),
            #[cfg(target_os = "linux")]
            BackendKind::Epoll => epoll::probe(),
            #[cfg(any(target_os = "macos", target_os = "freebsd", wharf_kqueue))]
            BackendKind::Kqueue => kqueue::probe(),
            #[cfg(windows)]
            BackendKind::Iocp => iocp::probe(),
            absent => absent.report_absent(),
        })
        .collect()
}

/// What a backend is built with.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every system has rings")]
pub(crate) struct Config {
    /// Entries of the submission ring; a tuning knob, not a limit.
    pub(crate) ring_entries: u32,
}

/// How long a backend may sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    /// Look, and return.
    Not,
    /// Until something happens or the duration has passed, rounded up.
    For(Duration),
    /// Until something happens.
    Forever,
}

/// What a backend provides. All methods are called by the queue's own thread.
///
/// An operation is given by its slot; its data is `slot.op`. The backend reports through the ledger
/// (`complete`, `item`, `complete_cancelled`, `starve`, `delay`), at any time from within one of
/// these methods, exactly one final report for each operation that was submitted to it.
pub(crate) trait Backend {
    /// How the backend does an operation. The queue asks this before it submits: what it answers
    /// `Pool` to goes to the pool, `Unsupported` is refused.
    fn support(&self, kind: OpKind) -> Support;

    /// Takes over an operation, whose slot is IN_FLIGHT. Never blocks, never fails: a ring that is
    /// full is the backend's to deal with, in order; an error is the operation's result.
    fn submit(&mut self, ledger: &Ledger, record: &Slot);

    /// Completes an operation that is the pool's if that takes no waiting at all, and else returns
    /// false and has done nothing.
    fn answer_at_once(&mut self, ledger: &Ledger, record: &Slot) -> bool;

    /// Takes over a whole chain if the system can link it natively with the meaning that the
    /// contract gives it (C11); else returns false and has done nothing.
    fn submit_chain(&mut self, ledger: &Ledger, chain: &[Token]) -> bool;

    /// Asks for the early end of an operation that was submitted and is not completed. The reason
    /// is in the slot. Never lost; the operation's own report is the truth.
    fn cancel(&mut self, ledger: &Ledger, slot: u32);

    /// Hands over what is submitted, sleeps until something can be reported, and reports it.
    /// Interrupted calls are retried inside or reported as "nothing happened".
    fn wait(&mut self, ledger: &Ledger, sleep: Sleep) -> io::Result<()>;

    /// What wakes `wait` from another thread. Asked for once.
    fn waker(&mut self) -> io::Result<Box<dyn Wake>>;

    /// The handle will be closed, or given away, by somebody else than `Op::Close`.
    fn forget(&mut self, ledger: &Ledger, target: Target);

    /// The handle, which was forgotten, is given away: another queue may have it next.
    fn detach(&mut self, raw: sys::RawHandle);

    /// Prepares a buffer pool for multishot receives. `index` is its place in the ledger.
    fn register_pool(&mut self, ledger: &Ledger, pool: &PoolCore, index: u32) -> io::Result<()>;

    /// Lets go of a buffer pool on which nothing is in flight.
    fn unregister_pool(&mut self, ledger: &Ledger, pool: &PoolCore, index: u32);

    /// A call that does not wait: addresses, options, binding, new sockets.
    fn control(&mut self, target: Option<Target>, control: sys::Control) -> io::Result<sys::Reply>;

    /// Closes a handle that no operation uses, at once.
    fn close(&mut self, raw: sys::RawHandle);

    fn now(&self) -> Moment;

    /// A random number; the simulator's come from its seed.
    fn random(&mut self) -> u64;

    /// A descriptor that is readable while `wait(Sleep::Not)` would report something; and makes it
    /// readable at `deadline` too. For embedding in a foreign loop.
    fn arm(&mut self, ledger: &Ledger, deadline: Option<Moment>) -> io::Result<sys::RawHandle>;
}

/// The chosen backend.
pub(crate) enum Imp {
    #[cfg(target_os = "linux")]
    IoUring(Box<uring::Uring>),
    #[cfg(target_os = "linux")]
    Epoll(Box<epoll::Epoll>),
    #[cfg(any(target_os = "macos", target_os = "freebsd", wharf_kqueue))]
    Kqueue(Box<kqueue::KqueueBackend>),
    #[cfg(windows)]
    Iocp(Box<iocp::Iocp>),
}

macro_rules! dispatch {
    ($([$($borrow:tt)+] $self:ident.$name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl Backend for Imp {
            $(
                #[inline(always)]
                fn $name($($borrow)+ $self $(, $argument: $type)*) $(-> $result)? {
                    match $self {
                        #[cfg(target_os = "linux")]
                        Imp::IoUring(backend) => backend.$name($($argument),*),
                        #[cfg(target_os = "linux")]
                        Imp::Epoll(backend) => backend.$name($($argument),*),
                        #[cfg(any(target_os = "macos", target_os = "freebsd", wharf_kqueue))]
                        Imp::Kqueue(backend) => backend.$name($($argument),*),
                        #[cfg(windows)]
                        Imp::Iocp(backend) => backend.$name($($argument),*),
                    }
                }
            )*
        }
    };
}

dispatch! {
    [&] self.support(kind: OpKind) -> Support;
    [&mut] self.submit(ledger: &Ledger, record: &Slot);
    [&mut] self.answer_at_once(ledger: &Ledger, record: &Slot) -> bool;
    [&mut] self.submit_chain(ledger: &Ledger, chain: &[Token]) -> bool;
    [&mut] self.cancel(ledger: &Ledger, slot: u32);
    [&mut] self.wait(ledger: &Ledger, sleep: Sleep) -> io::Result<()>;
    [&mut] self.waker() -> io::Result<Box<dyn Wake>>;
    [&mut] self.forget(ledger: &Ledger, target: Target);
    [&mut] self.detach(raw: sys::RawHandle);
    [&mut] self.register_pool(ledger: &Ledger, pool: &PoolCore, index: u32) -> io::Result<()>;
    [&mut] self.unregister_pool(ledger: &Ledger, pool: &PoolCore, index: u32);
    [&mut] self.control(target: Option<Target>, control: sys::Control) -> io::Result<sys::Reply>;
    [&mut] self.close(raw: sys::RawHandle);
    [&] self.now() -> Moment;
    [&mut] self.random() -> u64;
    [&mut] self.arm(ledger: &Ledger, deadline: Option<Moment>) -> io::Result<sys::RawHandle>;
}

impl Imp {
    /// Makes the backend that is asked for by name, or fails with the reason.
    pub(crate) fn by_name(kind: BackendKind, config: Config) -> io::Result<Imp> {
        match kind {
            #[cfg(target_os = "linux")]
            BackendKind::IoUring => {
                uring::Uring::new(config).map(|uring| Imp::IoUring(Box::new(uring)))
            }
            #[cfg(target_os = "linux")]
            BackendKind::Epoll => {
                epoll::Epoll::open(config).map(|epoll| Imp::Epoll(Box::new(epoll)))
            }
            #[cfg(any(target_os = "macos", target_os = "freebsd", wharf_kqueue))]
            BackendKind::Kqueue => {
                kqueue::KqueueBackend::open(config).map(|kqueue| Imp::Kqueue(Box::new(kqueue)))
            }
            #[cfg(windows)]
            BackendKind::Iocp => iocp::Iocp::new(config).map(|iocp| Imp::Iocp(Box::new(iocp))),
            absent => Err(io::Error::new(io::ErrorKind::Unsupported, absent.absence())),
        }
    }

    /// Makes the best backend that is to be had, and says why it is that one.
    pub(crate) fn automatic(config: Config) -> io::Result<(Imp, String)> {
        let mut refused = Vec::new();
        for &kind in BackendKind::ALL {
            match Imp::by_name(kind, config) {
                Ok(imp) if refused.is_empty() => {
                    return Ok((
                        imp,
                        format!("{kind} is the preferred backend and works here"),
                    ));
                }
                Ok(imp) => return Ok((imp, refused.join("; "))),
                Err(error) => refused.push(error.to_string()),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            refused.join("; "),
        ))
    }

    pub(crate) fn kind(&self) -> BackendKind {
        match self {
            #[cfg(target_os = "linux")]
            Imp::IoUring(_) => BackendKind::IoUring,
            #[cfg(target_os = "linux")]
            Imp::Epoll(_) => BackendKind::Epoll,
            #[cfg(any(target_os = "macos", target_os = "freebsd", wharf_kqueue))]
            Imp::Kqueue(_) => BackendKind::Kqueue,
            #[cfg(windows)]
            Imp::Iocp(_) => BackendKind::Iocp,
        }
    }
}
