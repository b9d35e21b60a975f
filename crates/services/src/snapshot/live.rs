//! Where the memory of the cut lies now.
//!
//! A running program moves mappings (`mremap`) and drops them (`munmap`). The core keeps the
//! addresses of the cut; reading and letting go needs the addresses of now.

use std::collections::BTreeMap;

use faultless_pages::{Bytes, Va, VaRange};

/// A piece of memory with its address at the cut and its address now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where it lay at the cut, and lies in the core.
    pub(super) cut: VaRange,
    /// Where it lies now.
    pub(super) live: Va,
}

impl Place {
    /// Returns where the piece lies now.
    pub(super) fn live_range(self) -> VaRange {
        VaRange::of(self.live, self.cut.len())
    }

    /// Returns the part of the piece that lies in `live` now.
    pub(super) fn part_in(self, live: VaRange) -> Option<Place> {
        let live = self.live_range().intersect(live)?;
        let cut = VaRange::of(self.cut.start().add(live.start().since(self.live)), live.len());
        Some(Place { cut, live: live.start() })
    }

    /// Returns the part of the piece that lay in `cut` at the cut.
    pub(super) fn part_of(self, cut: VaRange) -> Option<Place> {
        let cut = self.cut.intersect(cut)?;
        Some(Place { cut, live: self.live.add(cut.start().since(self.cut.start())) })
    }
}

/// The correspondence between the two.
///
/// # Invariants
/// - Both maps hold the same places, one keyed by where they lie now, one by where they lay.
/// - No two places share an address of either kind.
#[derive(Debug, Default)]
pub(super) struct LiveMap {
    by_live: BTreeMap<Va, Place>,
    by_cut: BTreeMap<Va, Place>,
}

impl LiveMap {
    /// Starts with every range where it lay at the cut.
    pub(super) fn new(ranges: impl IntoIterator<Item = VaRange>) -> LiveMap {
        let mut map = LiveMap::default();
        for range in ranges {
            map.insert(Place { cut: range, live: range.start() });
        }
        map
    }

    fn insert(&mut self, place: Place) {
        if !place.cut.is_empty() {
            self.by_live.insert(place.live, place);
            self.by_cut.insert(place.cut.start(), place);
        }
    }

    /// Returns the places that lie in `live` now, clipped to it.
    pub(super) fn at(&self, live: VaRange) -> Vec<Place> {
        let before = self.by_live.range(..live.start()).next_back();
        let inside = self.by_live.range(live.start()..live.end());
        before.into_iter().chain(inside).filter_map(|(_, place)| place.part_in(live)).collect()
    }

    /// Returns where the memory that lay in `cut` lies now; what is gone is left out.
    pub(super) fn of(&self, cut: VaRange) -> Vec<Place> {
        let before = self.by_cut.range(..cut.start()).next_back();
        let inside = self.by_cut.range(cut.start()..cut.end());
        before.into_iter().chain(inside).filter_map(|(_, place)| place.part_of(cut)).collect()
    }

    /// Forgets what lies in `live` now, and returns it.
    pub(super) fn take(&mut self, live: VaRange) -> Vec<Place> {
        let taken = self.at(live);
        for piece in &taken {
            let (_, &whole) =
                self.by_live.range(..=piece.live).next_back().expect("the piece is in the map");
            self.by_live.remove(&whole.live);
            self.by_cut.remove(&whole.cut.start());
            let head = VaRange::new(whole.cut.start(), piece.cut.start());
            let tail = VaRange::new(piece.cut.end(), whole.cut.end());
            self.insert(Place { cut: head, live: whole.live });
            self.insert(Place { cut: tail, live: piece.live.add(piece.cut.len()) });
        }
        taken
    }

    /// Follows a move of `[from, from + len)` to `to` and returns what the move overwrote.
    pub(super) fn relocate(&mut self, from: Va, to: Va, len: Bytes) -> Vec<Place> {
        let moved = self.take(VaRange::of(from, len));
        let overwritten = self.take(VaRange::of(to, len));
        for place in moved {
            self.insert(Place { cut: place.cut, live: to.add(place.live.since(from)) });
        }
        overwritten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(Va(start), Va(end))
    }

    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *state >> 33
    }

    /// The map as one optional cut address a live address.
    fn check(map: &LiveMap, model: &[Option<u64>], seed: u64) {
        let top = model.len() as u64;
        let mut seen = vec![None; model.len()];
        for place in map.at(range(0, top)) {
            for offset in 0..place.cut.len().0 {
                let live = usize::try_from(place.live.0 + offset).unwrap();
                seen[live] = Some(place.cut.start().0 + offset);
            }
        }
        assert_eq!(seen, model, "seed {seed}");
        for (live, cut) in model.iter().enumerate() {
            let Some(cut) = *cut else { continue };
            let places = map.of(range(cut, cut + 1));
            assert_eq!(places.len(), 1, "seed {seed}");
            assert_eq!(places[0].live.0, live as u64, "seed {seed}");
        }
    }

    #[test]
    fn agrees_with_one_entry_an_address_over_random_moves_and_unmaps() {
        for seed in 0..200 {
            let mut state = seed;
            let mut map = LiveMap::new([range(4, 20), range(24, 40)]);
            let mut model: Vec<Option<u64>> = (0..64)
                .map(|a| ((4..20).contains(&a) || (24..40).contains(&a)).then_some(a))
                .collect();
            for _ in 0..40 {
                let len = next(&mut state) % 12;
                let from = next(&mut state) % (64 - len);
                let to = next(&mut state) % (64 - len);
                let index = |a: u64| usize::try_from(a).unwrap();
                if next(&mut state) & 1 == 0 {
                    map.take(range(from, from + len));
                    model[index(from)..index(from + len)].fill(None);
                } else if from.abs_diff(to) >= len {
                    // The kernel refuses overlapping moves.
                    map.relocate(Va(from), Va(to), Bytes(len));
                    for offset in 0..len {
                        model[index(to + offset)] = model[index(from + offset)].take();
                    }
                }
                check(&map, &model, seed);
            }
        }
    }
}
