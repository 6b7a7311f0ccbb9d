//! Receives that repeat, and looks that take nothing: they try, and wait for readiness in between.

use super::Iocp;
use super::end::End;
use super::request::Role;
use super::start::Call;
use crate::bufpool::PoolCore;
use crate::completion::Ready;
use crate::ledger::Ledger;
use crate::op::{Op, Target};
use crate::slot::Slot;
use crate::stats::count;
use crate::sys::{self, RawError, socket};

/// How many items one operation brings in one turn, so that others have theirs.
const TURN: usize = 32;

/// What came of a try.
enum Tried {
    /// It rests.
    Rests,
    /// It has ended.
    Ended(End),
    /// There is nothing to receive.
    Wait,
    /// It used up its turn.
    Again,
}

impl Iocp {
    /// Takes what there is, and waits for more.
    pub(super) fn receive_more(&mut self, ledger: &Ledger, record: &Slot) {
        let (fd, tried) = match *record.op() {
            Op::Recv { fd, buf, .. } => {
                count(&ledger.counters.system_calls);
                let looked = socket::peek(fd.raw, buf);
                (fd, Self::looked(looked))
            }
            Op::RecvMessage { fd, scratch, .. } => {
                count(&ledger.counters.system_calls);
                let looked = socket::peek_message(fd.raw, scratch);
                (fd, Self::looked(looked))
            }
            Op::RecvMulti { fd, pool } => {
                let pool = ledger.pool(pool);
                (fd, Self::receive_items(ledger, record, fd, &pool, false))
            }
            Op::RecvFromMulti { fd, pool } => {
                let pool = ledger.pool(pool);
                (fd, Self::receive_items(ledger, record, fd, &pool, true))
            }
            _ => unreachable!("{:?} does not receive", record.op()),
        };
        match tried {
            Tried::Rests => {}
            Tried::Ended(end) => self.received(ledger, record, end),
            Tried::Wait => self.await_more(ledger, record, fd),
            Tried::Again => self.again.push_back(record.token()),
        }
    }

    fn looked(looked: Result<usize, RawError>) -> Tried {
        match looked {
            Err(error) if socket::would_block(error) => Tried::Wait,
            Err(error) => Tried::Ended(End::Failed(error)),
            Ok(len) => Tried::Ended(End::Done(len as u32)),
        }
    }

    fn receive_items(
        ledger: &Ledger,
        record: &Slot,
        fd: Target,
        pool: &PoolCore,
        records: bool,
    ) -> Tried {
        let slot = record.index();
        for _ in 0..TURN {
            let received = pool.receive(|region| {
                count(&ledger.counters.system_calls);
                if records {
                    socket::receive_record(fd.raw, region)
                } else {
                    socket::receive_now(fd.raw, region)
                }
            });
            match received {
                None => {
                    ledger.starve(slot, pool);
                    return Tried::Rests;
                }
                Some(Err(error)) if socket::would_block(error) => return Tried::Wait,
                Some(Err(error)) => return Tried::Ended(End::Failed(error)),
                Some(Ok((0, _))) => return Tried::Ended(End::Done(0)),
                Some(Ok((len, piece))) => ledger.item(slot, len as i64, Ready::BUFFER, piece),
            }
        }
        Tried::Again
    }

    /// Begins to wait until there is something to receive. Nothing is taken by that.
    fn await_more(&mut self, ledger: &Ledger, record: &Slot, fd: Target) {
        if let Op::RecvMulti { .. } = *record.op() {
            let what = Call {
                raw: fd.raw,
                role: Role::Readiness,
                offset: 0,
                skips: self.skips(ledger, fd),
            };
            return self.begin(ledger, record, &what, |_, request| {
                socket::await_bytes(fd.raw, request.overlapped())
            });
        }
        self.ask_driver(ledger, record, fd, sys::POLL_READ, Role::Readiness);
    }

    /// There is something, or the wait was ended.
    pub(super) fn readiness_ended(&mut self, ledger: &Ledger, record: &Slot, end: End) {
        match end {
            _ if Iocp::is_to_end(record) => ledger.complete_cancelled(record.index()),
            // At once, in this turn: it comes again in the next, or an endless stream of bytes would
            // keep the loop here.
            End::Done(_) | End::Partial(_) => self.receive_more(ledger, record),
            end => self.received(ledger, record, end),
        }
    }
}
