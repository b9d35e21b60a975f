//! Which page lies where.
//!
//! A region begins as one extent. Unmapping cuts extents, moving takes pieces of them elsewhere;
//! pages keep their numbers.

use std::collections::BTreeMap;

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use super::region::RegionSpec;
use crate::page::{PageIndex, PageRun, RegionId};

/// Pages of a region that lie in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    end: Va,
    region: RegionId,
    first: PageIndex,
    page_size: PageSize,
}

impl Extent {
    fn page(&self, start: Va, at: Va) -> PageIndex {
        self.first.plus(at.since(start).pages(self.page_size))
    }
}

/// All extents, by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    extents: BTreeMap<Va, Extent>,
}

impl Layout {
    pub(super) fn insert(&mut self, region: RegionId, spec: &RegionSpec) {
        let len = Bytes(spec.pages << spec.page_size.shift());
        let (first, page_size) = (PageIndex(0), spec.page_size);
        let extent = Extent { end: spec.start.add(len), region, first, page_size };
        if len > Bytes::ZERO {
            self.extents.insert(spec.start, extent);
        }
    }

    /// The page an address is in.
    pub(super) fn find(&self, at: Va) -> Option<(RegionId, PageIndex)> {
        let (start, extent) = self.extents.range(..=at).next_back()?;
        (at < extent.end).then(|| (extent.region, extent.page(*start, at)))
    }

    /// Where the first pages of a run lie in one piece; `None` if the first is nowhere.
    pub(super) fn place(&self, region: RegionId, run: PageRun) -> Option<VaRange> {
        // Few extents per space: a region that was never moved has one.
        self.extents.iter().filter(|(_, extent)| extent.region == region).find_map(
            |(start, extent)| {
                let count = extent.end.since(*start).pages(extent.page_size);
                let held = PageRun { first: extent.first, count };
                let both = held.intersect(run).filter(|both| both.first == run.first)?;
                let shift = extent.page_size.shift();
                let from = start.add(Bytes((both.first.0 - held.first.0) << shift));
                Some(VaRange::of(from, Bytes(both.count << shift)))
            },
        )
    }

    /// The pages within a range of addresses, with where they lie.
    pub(super) fn within(&self, range: VaRange) -> Vec<(RegionId, PageRun)> {
        let inside = |(start, extent): (&Va, &Extent)| {
            let both = VaRange::new(*start, extent.end).intersect(range)?;
            // A discard of a part of a huge page leaves the page.
            let whole = VaRange::new(
                both.start().align_up(extent.page_size),
                both.end()
                    .align_down(extent.page_size)
                    .max(both.start().align_up(extent.page_size)),
            );
            let first = extent.page(*start, whole.start());
            let count = whole.page_count(extent.page_size);
            (count > 0).then_some((extent.region, PageRun { first, count }))
        };
        self.extents.iter().filter_map(inside).collect()
    }

    /// Every address that is served.
    pub(super) fn ranges(&self) -> Vec<VaRange> {
        self.extents.iter().map(|(start, extent)| VaRange::new(*start, extent.end)).collect()
    }

    /// Takes what lies in a range out.
    pub(super) fn unmap(&mut self, range: VaRange) {
        drop(self.cut(range));
    }

    /// Moves what lies in `[from, from + len)` to `to`.
    pub(super) fn remap(&mut self, from: Va, to: Va, len: Bytes) {
        let moved = self.cut(VaRange::of(from, len));
        // Whatever lay at the new place is gone: the kernel unmapped it before.
        self.unmap(VaRange::of(to, len));
        for (start, extent) in moved {
            let place = |at: Va| to.add(at.since(from));
            self.extents.insert(place(start), Extent { end: place(extent.end), ..extent });
        }
    }

    /// Cuts a range out and returns its pieces.
    fn cut(&mut self, range: VaRange) -> Vec<(Va, Extent)> {
        let touched: Vec<(Va, Extent)> = self
            .extents
            .range(..range.end())
            .filter(|(_, extent)| extent.end > range.start())
            .map(|(start, extent)| (*start, *extent))
            .collect();
        let mut pieces = Vec::new();
        for (start, extent) in touched {
            self.extents.remove(&start);
            let middle = start.max(range.start())..extent.end.min(range.end());
            if start < middle.start {
                self.extents.insert(start, Extent { end: middle.start, ..extent });
            }
            if middle.end < extent.end {
                let first = extent.page(start, middle.end);
                self.extents.insert(middle.end, Extent { first, ..extent });
            }
            let first = extent.page(start, middle.start);
            pieces.push((middle.start, Extent { end: middle.end, first, ..extent }));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn va(page: u64) -> Va {
        Va(page * PAGE)
    }

    fn range(first: u64, end: u64) -> VaRange {
        VaRange::new(va(first), va(end))
    }

    /// Eight pages from page 16 of the address space on.
    fn layout() -> Layout {
        let mut layout = Layout::default();
        layout.insert(RegionId(0), &RegionSpec::new(va(16), 8));
        layout
    }

    #[test]
    fn an_address_is_in_a_page_to_the_last_byte() {
        let layout = layout();
        assert_eq!(layout.find(Va(va(24).0 - 1)), Some((RegionId(0), PageIndex(7))));
        assert_eq!(layout.find(va(24)), None);
        assert_eq!(layout.find(Va(va(16).0 - 1)), None);
    }

    #[test]
    fn pages_keep_their_numbers_where_they_move() {
        let mut layout = layout();
        layout.remap(va(18), va(100), Bytes(2 * PAGE));
        assert_eq!(layout.find(va(101)), Some((RegionId(0), PageIndex(3))));
        assert_eq!(layout.find(va(18)), None);
        assert_eq!(layout.find(va(20)), Some((RegionId(0), PageIndex(4))));
        assert_eq!(layout.place(RegionId(0), PageRun::new(1, 3)), Some(range(17, 18)));
        assert_eq!(layout.place(RegionId(0), PageRun::new(2, 3)), Some(range(100, 102)));
        assert_eq!(layout.place(RegionId(0), PageRun::new(8, 1)), None);
    }

    #[test]
    fn an_unmapped_range_may_be_wider_than_what_is_served() {
        let mut layout = layout();
        layout.unmap(range(0, 18));
        assert_eq!(layout.find(va(17)), None);
        assert_eq!(layout.place(RegionId(0), PageRun::new(0, 1)), None);
        assert_eq!(layout.within(range(0, 99)), [(RegionId(0), PageRun::new(2, 6))]);
        assert_eq!(layout.ranges(), [range(18, 24)]);
    }

    #[test]
    fn moving_over_another_piece_replaces_it() {
        let mut layout = layout();
        layout.remap(va(16), va(20), Bytes(2 * PAGE));
        assert_eq!(layout.find(va(21)), Some((RegionId(0), PageIndex(1))));
        assert_eq!(layout.place(RegionId(0), PageRun::new(4, 1)), None);
    }

    #[test]
    fn a_part_of_a_huge_page_is_no_page() {
        let mut layout = Layout::default();
        let spec = RegionSpec { page_size: PageSize::MIB2, ..RegionSpec::new(Va(4 << 21), 2) };
        layout.insert(RegionId(0), &spec);
        let start = Va((4 << 21) + 4096);
        let part = VaRange::new(start, Va(6 << 21));
        assert_eq!(layout.within(part), [(RegionId(0), PageRun::new(1, 1))]);
    }
}
