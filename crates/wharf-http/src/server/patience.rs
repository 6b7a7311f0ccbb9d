//! How long a connection may keep the server waiting.
//!
//! Owns the account of who is waiting for whom on one connection, and when that has lasted too
//! long. It reads no clock and arms no timer: it is told the time, and it says the next moment at
//! which somebody ought to look.
//!
//! Whoever is slow is the client in each of these cases:
//!
//! - nothing has been asked: `idle`, from the end of the last exchange;
//! - the head of a request has begun and not ended (HTTP/1): `head`, from its first byte, so that
//!   a byte now and then does not help;
//! - a handler waits for more of a request's body: `body`, from the last piece;
//! - a write waits for the client to take what was sent: `write`, from the last byte that went;
//! - a response has more to give and nobody takes it, as when a client of HTTP/2 opens no window:
//!   `write`, from the last piece.
//!
//! A handler that computes, or a body that is itself waiting for its source, is not slow here.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Limits;

/// Which wait lasted too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    Idle,
    Head,
    Body,
    Write,
    /// For the client to end its side after its last answer: no fault of anybody.
    Linger,
}

/// The account. Times are milliseconds of one clock, plus one; zero stands for "is not waiting".
///
/// The fields are atomic because request bodies are `Send` and take part; everything happens on
/// one thread nearly always, and none of the fields guards another.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    in_flight: AtomicU32,
    is_http2: AtomicBool,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    body_since: AtomicU64,
    write_since: AtomicU64,
    /// Responses whose body has begun and not ended.
    open: AtomicU32,
    /// Those of them that wait for their own source.
    starved: AtomicU32,
    moved_at: AtomicU64,
    linger_since: AtomicU64,
}

/// A wait that has begun since somebody looked.
const UNSEEN: u64 = u64::MAX;

fn stamp(now_ms: u64) -> u64 {
    now_ms.saturating_add(1).min(UNSEEN - 1)
}

/// Starts a wait that is not under way already.
fn start(since: &AtomicU64, now_ms: u64) {
    if since.load(Relaxed) == 0 {
        since.store(stamp(now_ms), Relaxed);
    }
}

fn end(since: &AtomicU64) {
    since.store(0, Relaxed);
}

impl Patience {
    /// For a connection that was accepted now.
    pub(crate) fn new(now_ms: u64) -> Patience {
        let patience = Patience::default();
        patience.idle_since.store(stamp(now_ms), Relaxed);
        patience
    }

    /// Bytes came from the client.
    pub(crate) fn was_read(&self, now_ms: u64) {
        if self.in_flight.load(Relaxed) == 0 {
            start(&self.head_since, now_ms);
        }
    }

    /// The connection turned out to speak HTTP/2.
    pub(crate) fn is_http2(&self) {
        self.is_http2.store(true, Relaxed);
    }

    /// The head of a request is whole.
    pub(crate) fn exchange_began(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        end(&self.head_since);
    }

    /// An exchange is over, whichever way.
    pub(crate) fn exchange_ended(&self, now_ms: u64) {
        if self.in_flight.fetch_sub(1, Relaxed) == 1 {
            self.idle_since.store(stamp(now_ms), Relaxed);
        }
        end(&self.body_since);
    }

    /// Whether nothing is being answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.load(Relaxed) == 0
    }

    /// Whether the client has begun a request that was never handed to the service.
    pub(crate) fn has_partial_head(&self) -> bool {
        self.is_idle() && self.head_since.load(Relaxed) != 0
    }

    /// A handler waits for its request's body, from the next [`look`](Patience::look) on: it may
    /// do so anywhere, where no clock is. Whether it has only begun to.
    pub(crate) fn body_waits(&self) -> bool {
        let begun = self
            .body_since
            .compare_exchange(0, UNSEEN, Relaxed, Relaxed);
        begun.is_ok()
    }

    /// Notes the time for those who could not.
    pub(crate) fn look(&self, now_ms: u64) {
        let now = stamp(now_ms);
        // Nothing else is done if it was seen already, or is over.
        let _ = self
            .body_since
            .compare_exchange(UNSEEN, now, Relaxed, Relaxed);
    }

    /// A piece of it came, or its end.
    pub(crate) fn body_moves(&self) {
        end(&self.body_since);
    }

    /// A write or a flush cannot go on.
    pub(crate) fn write_waits(&self, now_ms: u64) {
        start(&self.write_since, now_ms);
    }

    /// It went on.
    pub(crate) fn write_moves(&self, now_ms: u64) {
        end(&self.write_since);
        // With HTTP/2 frames of other kinds are written too, and prove nothing.
        if !self.is_http2.load(Relaxed) {
            self.moved_at.store(stamp(now_ms), Relaxed);
        }
    }

    /// A response has a body.
    pub(crate) fn response_opens(&self, now_ms: u64) {
        self.open.fetch_add(1, Relaxed);
        self.moved_at.store(stamp(now_ms), Relaxed);
    }

    /// A piece of a response was taken.
    pub(crate) fn response_moves(&self, now_ms: u64) {
        self.moved_at.store(stamp(now_ms), Relaxed);
    }

    /// A response waits for its own source, or does so no longer.
    pub(crate) fn response_starves(&self, is_starved: bool) {
        if is_starved {
            self.starved.fetch_add(1, Relaxed);
        } else {
            self.starved.fetch_sub(1, Relaxed);
        }
    }

    /// A response's body has been given whole, or dropped.
    pub(crate) fn response_closes(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// Our side has ended, and the client's has not.
    pub(crate) fn lingers(&self, now_ms: u64) {
        start(&self.linger_since, now_ms);
    }

    /// When the first of the present waits has lasted too long, and which it is.
    pub(crate) fn deadline_ms(&self, limits: &Limits) -> Option<(u64, Wait)> {
        let until = |since: u64, limit: Duration, wait: Wait| {
            let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            (since > 0 && since != UNSEEN).then(|| ((since - 1).saturating_add(limit_ms), wait))
        };
        let head_since = match self.is_http2.load(Relaxed) {
            true => 0,
            false => self.head_since.load(Relaxed),
        };
        let quiet = match self.in_flight.load(Relaxed) {
            0 if head_since > 0 => until(head_since, limits.head, Wait::Head),
            0 => until(self.idle_since.load(Relaxed), limits.idle, Wait::Idle),
            _ => None,
        };
        let is_stalled = self.open.load(Relaxed) > self.starved.load(Relaxed);
        let moved_at = if is_stalled {
            self.moved_at.load(Relaxed)
        } else {
            0
        };
        [
            quiet,
            until(self.body_since.load(Relaxed), limits.body, Wait::Body),
            until(self.write_since.load(Relaxed), limits.write, Wait::Write),
            until(moved_at, limits.write, Wait::Write),
            until(self.linger_since.load(Relaxed), limits.linger, Wait::Linger),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at_ms, _)| *at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{Patience, Wait};
    use crate::server::Limits;
    use std::time::Duration;

    fn limits() -> Limits {
        Limits {
            idle: Duration::from_millis(1000),
            head: Duration::from_millis(100),
            body: Duration::from_millis(200),
            write: Duration::from_millis(300),
            linger: Duration::from_millis(50),
            ..Limits::default()
        }
    }

    fn deadline(patience: &Patience) -> Option<(u64, Wait)> {
        patience.deadline_ms(&limits())
    }

    #[test]
    fn new_connection_is_idle_from_its_first_moment() {
        assert_eq!(deadline(&Patience::new(0)), Some((1000, Wait::Idle)));
        assert_eq!(
            deadline(&Patience::new(u64::MAX)),
            Some((u64::MAX, Wait::Idle))
        );
    }

    #[test]
    fn head_is_timed_from_its_first_byte() {
        let patience = Patience::new(0);
        patience.was_read(500);
        patience.was_read(590);
        assert_eq!(deadline(&patience), Some((600, Wait::Head)));
        assert!(patience.has_partial_head());
        patience.exchange_began();
        assert_eq!(deadline(&patience), None);
        assert!(!patience.has_partial_head());
    }

    #[test]
    fn end_of_the_last_exchange_starts_the_idle_time() {
        let patience = Patience::new(0);
        patience.was_read(1);
        patience.exchange_began();
        patience.exchange_began();
        patience.was_read(2);
        patience.exchange_ended(10);
        assert_eq!(deadline(&patience), None);
        patience.exchange_ended(20);
        assert_eq!(deadline(&patience), Some((1020, Wait::Idle)));
    }

    #[test]
    fn body_is_timed_from_piece_to_piece() {
        let patience = Patience::new(0);
        patience.exchange_began();
        assert!(patience.body_waits());
        assert_eq!(deadline(&patience), None);
        patience.look(10);
        assert!(!patience.body_waits());
        patience.look(50);
        assert_eq!(deadline(&patience), Some((210, Wait::Body)));
        patience.body_moves();
        patience.body_waits();
        patience.look(60);
        assert_eq!(deadline(&patience), Some((260, Wait::Body)));
        patience.exchange_ended(70);
        assert_eq!(deadline(&patience), Some((1070, Wait::Idle)));
    }

    #[test]
    fn write_is_timed_from_its_last_progress() {
        let patience = Patience::new(0);
        patience.exchange_began();
        patience.write_waits(10);
        assert_eq!(deadline(&patience), Some((310, Wait::Write)));
        patience.write_moves(20);
        assert_eq!(deadline(&patience), None);
        patience.exchange_ended(30);
        patience.write_waits(40);
        assert_eq!(deadline(&patience), Some((340, Wait::Write)));
    }

    #[test]
    fn response_that_nobody_takes_is_timed() {
        let patience = Patience::new(0);
        patience.exchange_began();
        patience.response_opens(10);
        assert_eq!(deadline(&patience), Some((310, Wait::Write)));
        patience.write_moves(50);
        assert_eq!(deadline(&patience), Some((350, Wait::Write)));
        patience.is_http2();
        patience.write_moves(90);
        assert_eq!(deadline(&patience), Some((350, Wait::Write)));
        patience.response_moves(95);
        assert_eq!(deadline(&patience), Some((395, Wait::Write)));
        patience.response_closes();
        assert_eq!(deadline(&patience), None);
    }

    #[test]
    fn response_that_waits_for_its_source_is_not_timed() {
        let patience = Patience::new(0);
        patience.exchange_began();
        patience.response_opens(10);
        patience.response_starves(true);
        assert_eq!(deadline(&patience), None);
        patience.response_opens(20);
        assert_eq!(deadline(&patience), Some((320, Wait::Write)));
        patience.response_starves(false);
        assert_eq!(deadline(&patience), Some((320, Wait::Write)));
    }

    #[test]
    fn frames_between_the_requests_of_http2_are_no_head() {
        let patience = Patience::new(0);
        patience.is_http2();
        patience.was_read(10);
        assert_eq!(deadline(&patience), Some((1000, Wait::Idle)));
    }

    #[test]
    fn lingering_is_short() {
        let patience = Patience::new(0);
        patience.lingers(10);
        patience.lingers(40);
        assert_eq!(deadline(&patience), Some((60, Wait::Linger)));
    }

    #[test]
    fn limitless_waits_never_end() {
        let limits = Limits {
            idle: Duration::MAX,
            ..Limits::default()
        };
        let patience = Patience::new(5);
        assert_eq!(patience.deadline_ms(&limits), Some((u64::MAX, Wait::Idle)));
    }
}
