//! The timers of one worker: a heap of deadlines and a table of wakers.
//!
//! Owns the order of the deadlines. It reads no clock. A timer takes 16 bytes in the heap and 32 in
//! the table; setting, moving and cancelling one are O(log n), and none of them allocates in steady
//! state. A 4-ary heap: half as deep as a binary one, and four children share a cache line.

use std::task::Waker;

use wharf_queue::Moment;

use crate::slab::{Key, Slab};

struct Timer {
    /// Where its deadline stands in the heap.
    position: u32,
    waker: Waker,
}

pub(crate) struct Timers {
    heap: Vec<(Moment, Key)>,
    timers: Slab<Timer>,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            heap: Vec::new(),
            timers: Slab::new(),
        }
    }
}

const ARITY: usize = 4;

impl Timers {
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.heap.first().map(|&(deadline, _)| deadline)
    }

    pub(crate) fn insert(&mut self, deadline: Moment, waker: Waker) -> Key {
        let position = self.heap.len();
        let key = self.timers.insert(Timer {
            position: position as u32,
            waker,
        });
        self.heap.push((deadline, key));
        self.sift_up(position);
        key
    }

    /// Replaces the waker. Returns false if the timer has fired.
    pub(crate) fn set_waker(&mut self, key: Key, waker: &Waker) -> bool {
        let timer = self.timers.get_mut(key);
        timer.is_some_and(|timer| {
            timer.waker.clone_from(waker);
            true
        })
    }

    /// Takes a timer out; gives its waker, to be dropped when nothing is borrowed.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Waker> {
        let Timer { position, waker } = self.timers.remove(key)?;
        let position = position as usize;
        let last = self.heap.pop()?;
        if position < self.heap.len() {
            self.heap[position] = last;
            self.sift_up(position);
            let position = self.position(last.1);
            self.sift_down(position);
        }
        Some(waker)
    }

    /// Takes out the earliest timer, if it is due.
    pub(crate) fn pop_expired(&mut self, now: Moment) -> Option<Waker> {
        let &(deadline, key) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.remove(key)
    }

    fn position(&self, key: Key) -> usize {
        self.timers
            .get(key)
            .map_or(0, |timer| timer.position as usize)
    }

    fn sift_up(&mut self, mut at: usize) {
        let entry = self.heap[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.place(at, self.heap[parent]);
            at = parent;
        }
        self.place(at, entry);
    }

    fn sift_down(&mut self, mut at: usize) {
        let entry = self.heap[at];
        loop {
            let first = at * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child].0) else {
                break;
            };
            if self.heap[least].0 >= entry.0 {
                break;
            }
            self.place(at, self.heap[least]);
            at = least;
        }
        self.place(at, entry);
    }

    fn place(&mut self, at: usize, entry: (Moment, Key)) {
        self.heap[at] = entry;
        if let Some(timer) = self.timers.get_mut(entry.1) {
            timer.position = at as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn moment(nanos: u64) -> Moment {
        // The queue's clock begins at zero for this purpose: only differences count.
        Moment::ZERO + Duration::from_nanos(nanos)
    }

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines() {
        let mut timers = Timers::default();
        let mut keys = Vec::new();
        // A multiplicative step visits each residue once: a fixed, shuffled order.
        for number in 0..1000 {
            keys.push(timers.insert(moment(number * 37 % 1000), Waker::noop().clone()));
        }
        for key in keys.iter().step_by(3) {
            assert!(timers.remove(*key).is_some());
            assert!(timers.remove(*key).is_none());
        }
        let mut last = moment(0);
        let mut fired = 0;
        while let Some(next) = timers.next_deadline() {
            assert!(next >= last);
            last = next;
            assert!(timers.pop_expired(next).is_some());
            fired += 1;
        }
        assert_eq!(fired, 666);
        assert!(timers.pop_expired(moment(5000)).is_none());
    }

    #[test]
    fn timer_takes_few_bytes() {
        assert!(size_of::<(Moment, Key)>() <= 16);
        assert!(size_of::<Timer>() <= 24);
    }
}
