//! The deadline heap: which slot's time comes next.
//!
//! A 4-ary min-heap of (moment, slot index); each slot remembers its position, so that a deadline
//! that is no longer needed leaves in O(log n). It reads no clock and knows nothing of operations.

use crate::time::Moment;

/// The position of a slot that is not in the heap.
pub(crate) const NOT_IN_HEAP: u32 = u32::MAX;

/// Where the heap notes the position of each entry. Implemented by the slots.
pub(crate) trait Positions {
    fn position(&self, slot: u32) -> u32;
    fn set_position(&self, slot: u32, position: u32);
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: Vec<(Moment, u32)>,
}

const ARITY: usize = 4;

impl Timers {
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.heap.first().map(|&(deadline, _)| deadline)
    }

    pub(crate) fn insert(&mut self, positions: &impl Positions, slot: u32, deadline: Moment) {
        self.heap.push((deadline, slot));
        self.sift_up(positions, self.heap.len() - 1);
    }

    /// Takes a slot's entry out; does nothing if it has none.
    #[inline(never)]
    pub(crate) fn remove(&mut self, positions: &impl Positions, slot: u32) {
        let position = positions.position(slot);
        if position == NOT_IN_HEAP {
            return;
        }
        positions.set_position(slot, NOT_IN_HEAP);
        let position = position as usize;
        let last = self
            .heap
            .pop()
            .expect("a slot with a position is in the heap");
        if position < self.heap.len() {
            self.heap[position] = last;
            self.sift_up(positions, position);
            self.sift_down(positions, positions.position(last.1) as usize);
        }
    }

    /// Takes out the slot whose deadline is the earliest, if that is `now` or before.
    pub(crate) fn pop_expired(&mut self, positions: &impl Positions, now: Moment) -> Option<u32> {
        let &(deadline, slot) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.remove(positions, slot);
        Some(slot)
    }

    fn sift_up(&mut self, positions: &impl Positions, mut at: usize) {
        let entry = self.heap[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.place(positions, at, self.heap[parent]);
            at = parent;
        }
        self.place(positions, at, entry);
    }

    fn sift_down(&mut self, positions: &impl Positions, mut at: usize) {
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
            self.place(positions, at, self.heap[least]);
            at = least;
        }
        self.place(positions, at, entry);
    }

    fn place(&mut self, positions: &impl Positions, at: usize, entry: (Moment, u32)) {
        self.heap[at] = entry;
        positions.set_position(entry.1, at as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Table(RefCell<Vec<u32>>);

    impl Positions for Table {
        fn position(&self, slot: u32) -> u32 {
            self.0.borrow()[slot as usize]
        }
        fn set_position(&self, slot: u32, position: u32) {
            self.0.borrow_mut()[slot as usize] = position;
        }
    }

    #[test]
    fn expired_slots_come_in_order_of_their_deadlines() {
        let table = Table(RefCell::new(vec![NOT_IN_HEAP; 100]));
        let mut timers = Timers::default();
        // A multiplicative step visits every residue once: a fixed, shuffled order.
        for slot in 0..100u32 {
            timers.insert(&table, slot, Moment::from_nanos(u64::from(slot * 37 % 100)));
        }
        for slot in (0..100).step_by(3) {
            timers.remove(&table, slot);
        }
        let mut last = 0;
        let mut seen = 0;
        while let Some(slot) = timers.pop_expired(&table, Moment::from_nanos(1000)) {
            let deadline = u64::from(slot * 37 % 100);
            assert!(deadline >= last && slot % 3 != 0);
            assert_eq!(table.position(slot), NOT_IN_HEAP);
            last = deadline;
            seen += 1;
        }
        assert_eq!(seen, 66);
    }

    #[test]
    fn a_deadline_in_the_future_stays() {
        let table = Table(RefCell::new(vec![NOT_IN_HEAP; 1]));
        let mut timers = Timers::default();
        timers.insert(&table, 0, Moment::from_nanos(10));
        assert_eq!(timers.pop_expired(&table, Moment::from_nanos(9)), None);
        assert_eq!(timers.next_deadline(), Some(Moment::from_nanos(10)));
        timers.remove(&table, 0);
        timers.remove(&table, 0);
        assert_eq!(timers.next_deadline(), None);
    }
}
