//! Sets of addresses kept as disjoint, sorted, merged ranges.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::{Bytes, Va, VaRange};

/// A set of addresses.
///
/// # Invariants
/// - The ranges are non-empty, disjoint, and no two touch (touching ranges are merged).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RangeSet {
    /// start → end
    ranges: BTreeMap<Va, Va>,
}

impl RangeSet {
    /// Makes an empty set.
    #[must_use]
    pub const fn new() -> RangeSet {
        RangeSet { ranges: BTreeMap::new() }
    }

    /// Adds every address of `range`.
    pub fn insert(&mut self, range: VaRange) {
        if range.is_empty() {
            return;
        }
        let mut start = range.start();
        let mut end = range.end();
        // Absorb every neighbour that overlaps or touches, from the right end leftwards.
        while let Some((&s, &e)) = self.ranges.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.ranges.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.ranges.insert(start, end);
    }

    /// Takes every address of `range` out and returns the pieces that were in.
    pub fn remove(&mut self, range: VaRange) -> Vec<VaRange> {
        let inside = self.within(range).collect::<Vec<_>>();
        for piece in &inside {
            let (&start, &end) =
                self.ranges.range(..=piece.start()).next_back().expect("the piece is in the set");
            self.ranges.remove(&start);
            if start < piece.start() {
                self.ranges.insert(start, piece.start());
            }
            if piece.end() < end {
                self.ranges.insert(piece.end(), end);
            }
        }
        inside
    }

    /// Says whether `address` is in the set.
    #[must_use]
    pub fn contains(&self, address: Va) -> bool {
        self.ranges.range(..=address).next_back().is_some_and(|(_, &end)| address < end)
    }

    /// Says whether every address of `range` is in the set.
    #[must_use]
    pub fn covers(&self, range: VaRange) -> bool {
        range.is_empty()
            || self
                .ranges
                .range(..=range.start())
                .next_back()
                .is_some_and(|(_, &end)| range.end() <= end)
    }

    /// Returns the parts of `range` that are in the set, in order.
    pub fn within(&self, range: VaRange) -> impl Iterator<Item = VaRange> + '_ {
        let first = self.ranges.range(..=range.start()).next_back().map(|(&s, _)| s);
        self.ranges
            .range(first.unwrap_or(range.start())..)
            .take_while(move |&(&start, _)| start < range.end())
            .filter_map(move |(&start, &end)| VaRange::new(start, end).intersect(range))
    }

    /// Returns the parts of `range` that are not in the set, in order.
    pub fn gaps(&self, range: VaRange) -> impl Iterator<Item = VaRange> + '_ {
        let mut next = range.start();
        let mut inside = self.within(range);
        core::iter::from_fn(move || {
            loop {
                let start = next;
                match inside.next() {
                    Some(piece) => {
                        next = piece.end();
                        if start < piece.start() {
                            return Some(VaRange::new(start, piece.start()));
                        }
                    }
                    None if start < range.end() => {
                        next = range.end();
                        return Some(VaRange::new(start, range.end()));
                    }
                    None => return None,
                }
            }
        })
    }

    /// Returns the ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = VaRange> + '_ {
        self.ranges.iter().map(|(&start, &end)| VaRange::new(start, end))
    }

    /// Returns the total length.
    #[must_use]
    pub fn len(&self) -> Bytes {
        Bytes(self.iter().map(|range| range.len().0).sum())
    }

    /// Says whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromIterator<VaRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = VaRange>>(ranges: I) -> RangeSet {
        let mut set = RangeSet::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(Va(start), Va(end))
    }

    fn index(address: Va) -> usize {
        usize::try_from(address.0).unwrap()
    }

    /// A small deterministic generator: tests must not depend on the machine.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *state >> 33
    }

    #[test]
    fn agrees_with_one_flag_an_address_over_random_edits() {
        for seed in 0..50 {
            let mut state = seed;
            let mut set = RangeSet::new();
            let mut flags = [false; 64];
            for _ in 0..200 {
                let a = next(&mut state) % 65;
                let b = next(&mut state) % 65;
                let edit = range(a.min(b), a.max(b));
                let add = next(&mut state) & 1 == 0;
                if add {
                    set.insert(edit);
                } else {
                    let taken: u64 = set.remove(edit).iter().map(|r| r.len().0).sum();
                    let held = flags[index(edit.start())..index(edit.end())]
                        .iter()
                        .filter(|&&f| f)
                        .count();
                    assert_eq!(taken, held as u64, "seed {seed}");
                }
                flags[index(edit.start())..index(edit.end())].fill(add);
                for (address, &held) in flags.iter().enumerate() {
                    assert_eq!(set.contains(Va(address as u64)), held, "seed {seed}");
                }
                assert_eq!(set.len().0, flags.iter().filter(|&&f| f).count() as u64);
                let gaps: u64 = set.gaps(range(0, 64)).map(|gap| gap.len().0).sum();
                assert_eq!(gaps, 64 - set.len().0, "seed {seed}");
                let merged: Vec<_> = set.iter().collect();
                assert!(merged.windows(2).all(|w| w[0].end() < w[1].start()), "seed {seed}");
            }
        }
    }

    #[test]
    fn covers_needs_every_address() {
        let set: RangeSet = [range(0, 4), range(4, 8), range(10, 12)].into_iter().collect();
        assert!(set.covers(range(1, 8)));
        assert!(!set.covers(range(1, 9)));
        assert!(!set.covers(range(8, 10)));
        assert!(set.covers(range(9, 9)));
    }
}
