//! The areas of an address space: finding, splitting, merging, finding room.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use crate::id::AreaId;
use crate::process::area::Area;

/// The end of the address space of a process.
pub(crate) const TASK_END: Va = Va(0x7fff_ffff_f000);
/// The lowest address mapped without asking for it.
const LOWEST: Va = Va(0x1_0000);

/// Areas by address, disjoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Areas {
    map: BTreeMap<Va, Area>,
}

impl Areas {
    /// The area that holds an address.
    pub(crate) fn find(&self, at: Va) -> Option<&Area> {
        let (_, area) = self.map.range(..=at).next_back()?;
        area.range.contains(at).then_some(area)
    }

    pub(crate) fn find_mut(&mut self, at: Va) -> Option<&mut Area> {
        let (_, area) = self.map.range_mut(..=at).next_back()?;
        area.range.contains(at).then_some(area)
    }

    /// The areas that share an address with a range, in order, whole.
    pub(crate) fn within(&self, range: VaRange) -> impl Iterator<Item = &Area> {
        let first = self.map.range(..=range.start()).next_back().map(|(start, _)| *start);
        self.map
            .range(first.unwrap_or(range.start())..range.end().max(range.start()))
            .map(|(_, area)| area)
            .filter(move |area| area.range.intersect(range).is_some())
    }

    /// The first area that shares an address with a range.
    pub(crate) fn first_within(&self, range: VaRange) -> Option<&Area> {
        let behind = || Some(self.map.range(range.start()..range.end()).next()?.1);
        self.find(range.start()).or_else(behind)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Area> {
        self.map.values()
    }

    /// Adds an area where there is none.
    pub(crate) fn insert(&mut self, area: Area) {
        debug_assert!(self.within(area.range).next().is_none(), "areas overlap");
        self.map.insert(area.range.start(), area);
    }

    /// Cuts the area that holds `at`, if it does not begin there; the second part gets a new
    /// identity and is returned.
    pub(crate) fn split(&mut self, at: Va, new: AreaId) -> Option<Area> {
        let area = *self.find(at)?;
        if area.range.start() == at {
            return None;
        }
        let first = area.part(VaRange::new(area.range.start(), at));
        let second = Area { id: new, ..area.part(VaRange::new(at, area.range.end())) };
        self.map.insert(first.range.start(), first);
        self.map.insert(at, second);
        Some(second)
    }

    /// Takes out the areas of a range, which must not cut any.
    pub(crate) fn take(&mut self, range: VaRange) -> Vec<Area> {
        let starts: Vec<Va> = self.within(range).map(|area| area.range.start()).collect();
        starts.iter().filter_map(|start| self.map.remove(start)).collect()
    }

    /// Changes the areas of a range, which must not cut any.
    pub(crate) fn change(&mut self, range: VaRange, mut change: impl FnMut(&mut Area)) {
        for (_, area) in self.map.range_mut(range.start()..range.end()) {
            change(area);
        }
    }

    /// Makes one area of neighbours that are alike, from the one before a range to the one after;
    /// returns those that went.
    pub(crate) fn merge(&mut self, range: VaRange) -> Vec<Area> {
        let before = self.map.range(..range.start()).next_back().map(|(start, _)| *start);
        let starts: Vec<Va> = self
            .map
            .range(before.unwrap_or(range.start())..=range.end())
            .map(|(s, _)| *s)
            .collect();
        let mut gone = Vec::new();
        let mut current: Option<Area> = None;
        for start in starts {
            let next = self.map[&start];
            if let Some(area) = current.as_mut()
                && area.continues_in(&next)
            {
                self.map.remove(&start);
                area.range = VaRange::new(area.range.start(), next.range.end());
                if area.root.is_none() {
                    (area.root, area.inherited) = (next.root, next.inherited);
                }
                self.map.insert(area.range.start(), *area);
                gone.push(next);
                continue;
            }
            current = Some(next);
        }
        gone
    }

    /// Finds room, as high as possible.
    pub(crate) fn gap(&self, len: Bytes, align: PageSize) -> Option<Va> {
        let mut ceiling = TASK_END;
        for area in self.map.values().rev() {
            if let Some(start) = fit(area.range.end(), ceiling, len, align) {
                return Some(start);
            }
            ceiling = area.range.start();
        }
        fit(LOWEST, ceiling, len, align)
    }
}

/// The highest aligned place for `len` bytes in `[floor, ceiling)`.
fn fit(floor: Va, ceiling: Va, len: Bytes, align: PageSize) -> Option<Va> {
    let start = Va(ceiling.0.checked_sub(len.0)?).align_down(align);
    (start >= floor).then_some(start)
}
