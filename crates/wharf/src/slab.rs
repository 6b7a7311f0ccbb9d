//! A table of values with keys that go stale.
//!
//! Owns the numbering: a key carries a generation, so that one whose value is gone never reaches
//! the value that took its place (race R11). It knows nothing of what it holds.

/// Names a value of a [`Slab`] for as long as the value is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// How many bits of a number [`Key::to_bits`] takes.
    pub(crate) const BITS: u32 = 56;
    const GENERATION_BITS: u32 = Key::BITS - 32;

    /// The key as a number of [`Key::BITS`] bits.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_bits(bits: u64) -> Key {
        Key {
            index: bits as u32,
            generation: (bits >> 32) as u32 & ((1 << Key::GENERATION_BITS) - 1),
        }
    }
}

enum Entry<T> {
    Full(T),
    /// The next free entry, or `NONE`.
    Free(u32),
}

const NONE: u32 = u32::MAX;

pub(crate) struct Slab<T> {
    entries: Vec<(u32, Entry<T>)>,
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Slab<T> {
        Slab {
            entries: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if self.free == NONE {
            if self.entries.len() == self.entries.capacity() {
                // Doubling, as a vector does, would leave up to half of a large table unused.
                self.entries.reserve_exact(self.entries.len() / 4 + 16);
            }
            self.entries.push((0, Entry::Full(value)));
            let index = self.entries.len() as u32 - 1;
            return Key {
                index,
                generation: 0,
            };
        }
        let index = self.free;
        let (generation, entry) = &mut self.entries[index as usize];
        if let Entry::Free(next) = *entry {
            self.free = next;
        }
        *entry = Entry::Full(value);
        Key {
            index,
            generation: *generation,
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some((generation, Entry::Full(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.index as usize) {
            Some((generation, Entry::Full(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (generation, entry) = &mut self.entries[key.index as usize];
        *generation = (*generation + 1) & ((1 << Key::GENERATION_BITS) - 1);
        let removed = std::mem::replace(entry, Entry::Free(self.free));
        self.free = key.index;
        self.len -= 1;
        match removed {
            Entry::Full(value) => Some(value),
            Entry::Free(_) => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let keys = self.entries.iter().enumerate();
        keys.filter_map(|(index, (generation, entry))| match entry {
            Entry::Full(value) => {
                let (index, generation) = (index as u32, *generation);
                Some((Key { index, generation }, value))
            }
            Entry::Free(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_removed_value_is_stale() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!((slab.len(), slab.iter().count()), (1, 1));
    }

    #[test]
    fn key_survives_the_way_through_its_bits() {
        let mut slab = Slab::new();
        for _ in 0..300 {
            let key = slab.insert(());
            assert_eq!(Key::from_bits(key.to_bits()), key);
            assert!(key.to_bits() < 1 << Key::BITS);
            slab.remove(key);
        }
    }
}
