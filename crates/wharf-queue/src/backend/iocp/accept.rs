//! Accepts: one, or several calls at a time for an accept that repeats.
//!
//! Each call has a socket of its own, made beforehand, that the connection goes into. A connection
//! that nobody has a call for stays in the listener's queue.

use super::Iocp;
use super::end::End;
use super::request::Role;
use super::start::Call;
use crate::completion::BufferRef;
use crate::ledger::Ledger;
use crate::op::{Op, Target};
use crate::slot::{NONE, Slot, State};
use crate::sys::{self, RawError, RawHandle, call, control, socket};

/// How many calls an accept that repeats has in flight.
const CALLS: usize = 4;
/// How many connections one accept brings in one turn, so that others have theirs.
const TURN: usize = 32;

impl Iocp {
    pub(super) fn accept_one(&mut self, ledger: &Ledger, record: &Slot, fd: Target) {
        if let Err(error) = self.begin_accept(ledger, record, fd) {
            self.accept_failed(ledger, record, error);
        }
    }

    /// Sees to it that an accept that repeats has its calls in flight.
    pub(super) fn accept_more(&mut self, ledger: &Ledger, record: &Slot, fd: Target) {
        self.filling = true;
        // Calls that end at once bring their items here, a limited number in one turn.
        for _ in 0..TURN {
            let is_enough = self.accepts_in_flight(record) >= CALLS;
            if is_enough || record.state.get() != State::InFlight || !Self::goes_on(record) {
                self.filling = false;
                return;
            }
            if let Err(error) = self.begin_accept(ledger, record, fd) {
                self.filling = false;
                return self.accept_failed(ledger, record, error);
            }
        }
        self.filling = false;
        self.again.push_back(record.token());
    }

    /// Neither a cancel nor an error has ended it.
    fn goes_on(record: &Slot) -> bool {
        !Iocp::is_to_end(record) && record.transferred.get() == 0
    }

    fn accepts_in_flight(&self, record: &Slot) -> usize {
        let mut index = record.backend_word.get().wrapping_sub(1);
        let mut count = 0;
        while index != NONE {
            count += 1;
            index = self.requests.get(index).next.get();
        }
        count
    }

    fn begin_accept(&mut self, ledger: &Ledger, record: &Slot, fd: Target) -> Result<(), RawError> {
        let mut family = self.state(fd.index).family;
        if !fd.raw.is_socket() {
            return Err(sys::NOT_A_SOCKET);
        }
        if family == 0 {
            family = control::listener_family(fd.raw)?;
            self.state(fd.index).family = family;
        }
        let extensions = self.extensions(family, fd.raw)?;
        let socket = control::new_socket(family, sys::SOCK_STREAM, 0)?;
        let what = Call {
            raw: fd.raw,
            role: Role::Accept(socket),
            offset: 0,
            skips: self.skips(ledger, fd),
        };
        self.begin(ledger, record, &what, |_, request| {
            extensions.accept(fd.raw, socket, request.room(), request.overlapped())
        });
        Ok(())
    }

    /// A call of an accept has ended.
    pub(super) fn accept_ended(
        &mut self,
        ledger: &Ledger,
        record: &Slot,
        socket: RawHandle,
        end: End,
    ) {
        let (fd, multi) = match *record.op() {
            Op::AcceptMulti { fd } => (fd, true),
            Op::Accept { fd } => (fd, false),
            _ => unreachable!("{:?} accepts nothing", record.op()),
        };
        let accepted = match end {
            End::Done(_) | End::Partial(_) => socket::finish_accept(socket, fd.raw).map(|()| true),
            End::Cancelled(_) => Ok(false),
            End::Failed(error) => Err(error),
        };
        if accepted != Ok(true) {
            sys::close(socket);
        }
        match accepted {
            Ok(true) => {
                ledger.handles.resume_accept(record.handle.get());
                let result = socket.to_result();
                if !multi {
                    return ledger.complete(record.index(), result);
                }
                ledger.item(record.index(), result, 0, BufferRef::default());
                self.after_accept(ledger, record, fd);
            }
            Ok(false) if multi => self.after_accept(ledger, record, fd),
            Ok(false) => Self::cancelled(ledger, record),
            // That client has left again, and the next may be there.
            Err(error) if socket::client_left(error) && !Iocp::is_to_end(record) => {
                self.again_accept(ledger, record, fd, multi);
            }
            Err(error) if socket::client_left(error) => {
                if multi {
                    self.after_accept(ledger, record, fd);
                } else {
                    Self::cancelled(ledger, record);
                }
            }
            Err(error) => self.accept_failed(ledger, record, error),
        }
    }

    fn again_accept(&mut self, ledger: &Ledger, record: &Slot, fd: Target, multi: bool) {
        if multi {
            self.after_accept(ledger, record, fd);
        } else {
            self.accept_one(ledger, record, fd);
        }
    }

    /// A call of an accept that repeats has ended: another takes its place, unless it is to end and
    /// this was the last.
    fn after_accept(&mut self, ledger: &Ledger, record: &Slot, fd: Target) {
        if Self::goes_on(record) {
            // Within `accept_more` its loop makes the next call.
            if !self.filling {
                self.accept_more(ledger, record, fd);
            }
            return;
        }
        if self.accepts_in_flight(record) > 0 {
            return;
        }
        match record.transferred.get() {
            0 => Self::cancelled(ledger, record),
            error => ledger.complete(record.index(), -(error as i64)),
        }
    }

    /// An accept cannot go on. Calls of it that are in flight are ended first.
    fn accept_failed(&mut self, ledger: &Ledger, record: &Slot, error: RawError) {
        if self.accepts_in_flight(record) == 0 {
            if call::is_out_of_descriptors(error) {
                let now = crate::backend::Backend::now(self);
                return ledger.accept_starved(record.index(), -i64::from(error), now);
            }
            return ledger.complete(record.index(), -i64::from(error));
        }
        // A shortage is for the next call to tell, when those in flight have had theirs.
        if call::is_out_of_descriptors(error) {
            return;
        }
        // Accepts move no bytes, so the place for their count holds the error meanwhile.
        record.transferred.set(error as usize);
        self.cancel_calls(ledger, record);
    }
}
