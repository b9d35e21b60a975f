//! One table of base entries, packed.
//!
//! A bitmap tells which places are taken; the entries lie side by side in the order of their
//! places. So a table costs what it holds, and an entry is found by counting. Used by
//! [`super::page_table`] alone.
//!
//! # Invariants
//! - There are as many entries as bits set; `before[w]` of them belong to words below `w`.

use alloc::vec::Vec;
use core::ops::Range;

use crate::process::entry::Entry;

/// How many base pages a table has places for.
pub(super) const PLACES: usize = 512;
const BITS: usize = 64;
const WORDS: usize = PLACES / BITS;

/// Entries by place, a number below [`PLACES`].
#[derive(Debug, Default)]
pub(super) struct Table {
    taken: [u64; WORDS],
    before: [u16; WORDS],
    entries: Vec<Entry>,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, place: usize) -> Option<Entry> {
        self.is_taken(place).then(|| self.entries[self.rank(place)])
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Entry> {
        if !self.is_taken(place) {
            return None;
        }
        let rank = self.rank(place);
        self.entries.get_mut(rank)
    }

    /// Sets or clears an entry and returns what was there.
    pub(super) fn set(&mut self, place: usize, entry: Option<Entry>) -> Option<Entry> {
        let rank = self.rank(place);
        match (self.is_taken(place), entry) {
            (false, None) => None,
            (true, Some(entry)) => Some(core::mem::replace(&mut self.entries[rank], entry)),
            (true, None) => {
                self.taken[place / BITS] &= !bit(place);
                self.before[place / BITS + 1..].iter_mut().for_each(|count| *count -= 1);
                Some(self.entries.remove(rank))
            }
            (false, Some(entry)) => {
                self.taken[place / BITS] |= bit(place);
                self.before[place / BITS + 1..].iter_mut().for_each(|count| *count += 1);
                self.entries.insert(rank, entry);
                None
            }
        }
    }

    /// The entries of a range of places, in order.
    pub(super) fn within(&self, places: Range<usize>) -> impl Iterator<Item = (usize, Entry)> {
        let mut next = places.start;
        core::iter::from_fn(move || {
            let place = self.next_taken(next).filter(|place| *place < places.end)?;
            next = place + 1;
            Some((place, self.entries[self.rank(place)]))
        })
    }

    fn next_taken(&self, from: usize) -> Option<usize> {
        let mut word = from / BITS;
        let mut bits = self.taken.get(word)? & (u64::MAX << (from % BITS));
        while bits == 0 {
            word += 1;
            bits = *self.taken.get(word)?;
        }
        Some(word * BITS + bits.trailing_zeros() as usize)
    }

    fn is_taken(&self, place: usize) -> bool {
        self.taken[place / BITS] & bit(place) != 0
    }

    /// How many entries lie before a place.
    fn rank(&self, place: usize) -> usize {
        let below = self.taken[place / BITS] & (bit(place) - 1);
        usize::from(self.before[place / BITS]) + below.count_ones() as usize
    }
}

fn bit(place: usize) -> u64 {
    1 << (place % BITS)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::id::SlotId;
    use crate::sched::Random;

    fn entry(number: usize) -> Entry {
        Entry::Swapped { slot: SlotId(number), exclusive: true, uffd_wp: false }
    }

    #[test]
    fn it_does_as_an_ordered_map_does() {
        let mut random = Random::new(1);
        let (mut table, mut map) = (Table::default(), BTreeMap::new());
        // Miri takes a minute for two thousand.
        for number in 0..if cfg!(miri) { 60 } else { 2000 } {
            let place = random.below(PLACES);
            let new = (random.below(3) > 0).then(|| entry(number));
            let old = match new {
                Some(new) => map.insert(place, new),
                None => map.remove(&place),
            };
            assert_eq!(table.set(place, new), old);
            assert_eq!(table.get(place), new);
            assert_eq!(table.is_empty(), map.is_empty());
            let from = random.below(PLACES);
            let to = from + random.below(PLACES + 1 - from);
            let within: Vec<_> = table.within(from..to).collect();
            let expected: Vec<_> = map.range(from..to).map(|(at, entry)| (*at, *entry)).collect();
            assert_eq!(within, expected);
        }
    }
}
