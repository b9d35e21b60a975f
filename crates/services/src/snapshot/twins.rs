//! Memory that a process has mapped more than once, as programs with a code cache do.
//!
//! A write through one of the mappings shows in all of them, but meets the protection of that one
//! only. So a page may be let go only when it is saved at every address it lies at ([`Twins`]
//! tells which those are); the saver keeps that order.
//!
//! # Invariants
//! - All addresses are those of the cut: a mapping that moves stays the same memory.

use std::collections::BTreeMap;

use faultless_pages::{Bytes, VaRange};

/// One of several mappings of the same object.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    range: VaRange,
    /// Where in the object it begins.
    offset: Bytes,
}

/// Which shared memory lies at more than one address.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// The mappings of each object that is mapped more than once.
    objects: Vec<Vec<Mapping>>,
}

impl Twins {
    /// Sorts shared mappings, given as (object, offset into it, addresses), by object.
    ///
    /// Two objects taken for one do no harm: pages are saved somewhat earlier than needed.
    pub(super) fn of(mappings: impl IntoIterator<Item = (u64, Bytes, VaRange)>) -> Twins {
        let mut objects: BTreeMap<u64, Vec<Mapping>> = BTreeMap::new();
        for (object, offset, range) in mappings {
            objects.entry(object).or_default().push(Mapping { range, offset });
        }
        Twins { objects: objects.into_values().filter(|mappings| mappings.len() > 1).collect() }
    }

    /// Returns the other addresses of the memory that lay in `cut`.
    pub(super) fn others(&self, cut: VaRange) -> Vec<VaRange> {
        let mut others = Vec::new();
        for mappings in &self.objects {
            for (index, own) in mappings.iter().enumerate() {
                let Some(part) = own.range.intersect(cut) else { continue };
                let rest = mappings.iter().enumerate().filter(|(other, _)| *other != index);
                others.extend(rest.filter_map(|(_, other)| own.seen_in(part, *other)));
            }
        }
        others
    }
}

impl Mapping {
    /// Returns where the part of this mapping lies in another one of the same object.
    fn seen_in(self, part: VaRange, other: Mapping) -> Option<VaRange> {
        let start = self.offset.0 + part.start().since(self.range.start()).0;
        let end = start + part.len().0;
        let (first, last) = (other.offset.0, other.offset.0 + other.range.len().0);
        let (from, to) = (start.max(first), end.min(last));
        (from < to)
            .then(|| VaRange::of(other.range.start().add(Bytes(from - first)), Bytes(to - from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultless_pages::Va;

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(Va(start), Va(end))
    }

    #[test]
    fn a_page_is_found_in_every_other_mapping_that_shows_it() {
        let twins = Twins::of([
            (7, Bytes(0), range(100, 200)),
            (8, Bytes(0), range(300, 400)),
            (7, Bytes(50), range(500, 600)),
            (7, Bytes(180), range(700, 710)),
        ]);
        assert_eq!(twins.others(range(100, 150)), []);
        assert_eq!(twins.others(range(140, 160)), [range(500, 510)]);
        assert_eq!(twins.others(range(500, 600)), [range(150, 200)]);
        assert_eq!(twins.others(range(300, 400)), []);
        assert_eq!(twins.others(range(600, 800)), []);
    }

    #[test]
    fn a_mapping_over_the_same_part_twice_is_its_own_twin_only_elsewhere() {
        let twins = Twins::of([(7, Bytes(0), range(0, 100)), (7, Bytes(0), range(200, 300))]);
        assert_eq!(twins.others(range(10, 20)), [range(210, 220)]);
        assert_eq!(twins.others(range(90, 210)), [range(290, 300), range(0, 10)]);
    }
}
