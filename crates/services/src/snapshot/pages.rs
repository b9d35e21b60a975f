//! Which pages of the cut are still to be saved.

use faultless_pages::{Bitmap, Bytes, PageSize, RangeSet, Va, VaRange};

/// Consecutive pages that held something at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Their addresses at the cut.
    pub(super) range: VaRange,
    /// Pages of one huge page are saved and let go together: taking one out of a huge page would
    /// split it, and a page of a hugetlb pool cannot be split at all.
    pub(super) grain: PageSize,
}

/// The state of every page of the cut: pending until it is saved or found freed.
///
/// # Invariants
/// - Runs are sorted and disjoint; page `n` of run `r` has bit `first[r] + n`.
/// - A page that is settled stays settled: it is saved or freed at most once.
#[derive(Debug)]
pub(super) struct Pages {
    page: PageSize,
    runs: Vec<Run>,
    first: Vec<usize>,
    settled: Bitmap,
    pending: usize,
    saved: usize,
    freed: RangeSet,
}

impl Pages {
    /// Starts with every page of `runs` pending; runs must be sorted and disjoint.
    pub(super) fn new(page: PageSize, runs: Vec<Run>) -> Pages {
        let mut total = 0;
        let mut first = Vec::with_capacity(runs.len());
        for run in &runs {
            first.push(total);
            total += count(run.range, page);
        }
        assert!(runs.windows(2).all(|pair| pair[0].range.end() <= pair[1].range.start()));
        let settled = Bitmap::new(total);
        Pages { page, runs, first, settled, pending: total, saved: 0, freed: RangeSet::new() }
    }

    /// Returns the size pages are counted in.
    pub(super) fn page_size(&self) -> PageSize {
        self.page
    }

    /// Returns how many pages wait to be saved.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Returns how many pages were saved.
    pub(super) fn saved(&self) -> usize {
        self.saved
    }

    /// Returns what the program freed before it was saved.
    pub(super) fn freed(&self) -> &RangeSet {
        &self.freed
    }

    /// Notes that the pages of `range` are saved.
    pub(super) fn settle_saved(&mut self, range: VaRange) {
        self.saved += self.settle(range);
    }

    /// Notes that the program freed what was pending in `range`.
    pub(super) fn settle_freed(&mut self, range: VaRange) {
        let gone: Vec<VaRange> = self.pending_in(range).collect();
        for piece in gone {
            self.freed.insert(piece);
            self.settle(piece);
        }
    }

    /// Returns the pending page at `address` with pending neighbours, at most `reach` bytes
    /// around it and never less than its grain.
    pub(super) fn around(&self, address: Va, reach: PageSize) -> Option<VaRange> {
        let run = self.run_at(address)?;
        let block =
            VaRange::of(address.align_down(run.grain.max(reach)), run.grain.max(reach).bytes());
        self.pending_in(block.intersect(run.range)?).find(|piece| piece.contains(address))
    }

    /// Returns the first pending piece from `address` on, at most `most` bytes of it.
    ///
    /// Pieces end at multiples of the larger of `most` and the grain, so that huge pages stay
    /// whole.
    pub(super) fn next(&self, address: Va, most: PageSize) -> Option<VaRange> {
        let index = self.runs.partition_point(|run| run.range.end() <= address);
        self.runs[index..].iter().find_map(|run| {
            let rest = VaRange::new(run.range.start().max(address), run.range.end());
            let piece = self.pending_in(rest).next()?;
            let step = run.grain.max(most);
            let end = piece.start().align_down(step).add(step.bytes()).min(piece.end());
            Some(VaRange::new(piece.start(), end))
        })
    }

    /// Returns the pending pieces of `range`, in order; pieces do not span runs.
    pub(super) fn pending_in(&self, range: VaRange) -> impl Iterator<Item = VaRange> + '_ {
        let index = self.runs.partition_point(|run| run.range.end() <= range.start());
        self.runs[index..]
            .iter()
            .zip(&self.first[index..])
            .take_while(move |(run, _)| run.range.start() < range.end())
            .filter_map(move |(run, &first)| Some((*run, first, run.range.intersect(range)?)))
            .flat_map(move |(run, first, inside)| {
                let base =
                    first + count(VaRange::new(run.range.start(), inside.start()), self.page);
                let bits = base..base + count(inside, self.page);
                self.settled.runs(bits, false).map(move |bits| {
                    let at = |bit: usize| inside.start().add(self.bytes(bit - base));
                    VaRange::new(at(bits.start), at(bits.end))
                })
            })
    }

    fn bytes(&self, pages: usize) -> Bytes {
        Bytes((pages as u64) << self.page.shift())
    }

    fn run_at(&self, address: Va) -> Option<&Run> {
        let index = self.runs.partition_point(|run| run.range.end() <= address);
        self.runs.get(index).filter(|run| run.range.contains(address))
    }

    /// Settles what is pending in `range` and returns how many pages that were.
    fn settle(&mut self, range: VaRange) -> usize {
        let mut fresh = 0;
        let index = self.runs.partition_point(|run| run.range.end() <= range.start());
        for (run, first) in self.runs[index..].iter().zip(&self.first[index..]) {
            let Some(inside) = run.range.intersect(range) else { break };
            let base = first + count(VaRange::new(run.range.start(), inside.start()), self.page);
            fresh += self.settled.set(base..base + count(inside, self.page));
        }
        self.pending -= fresh;
        fresh
    }
}

/// Counts the pages of a range as an index.
fn count(range: VaRange, page: PageSize) -> usize {
    usize::try_from(range.page_count(page)).expect("as many pages as fit in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(Va(start * PAGE), Va(end * PAGE))
    }

    fn small(start: u64, end: u64) -> Run {
        Run { range: range(start, end), grain: PageSize::KIB4 }
    }

    #[test]
    fn a_page_is_settled_once() {
        let mut pages = Pages::new(PageSize::KIB4, vec![small(10, 20), small(30, 40)]);
        pages.settle_saved(range(12, 14));
        pages.settle_freed(range(0, 35));
        pages.settle_saved(range(0, 100));
        assert_eq!(pages.pending(), 0);
        assert_eq!(pages.saved(), 2 + 5);
        let freed: Vec<_> = pages.freed().iter().collect();
        assert_eq!(freed, [range(10, 12), range(14, 20), range(30, 35)]);
    }

    #[test]
    fn neighbours_are_taken_along_within_reach_only() {
        let mut pages = Pages::new(PageSize::KIB4, vec![small(3, 40)]);
        let reach = PageSize::new(Bytes(16 * PAGE)).expect("a size");
        assert_eq!(pages.around(Va(5 * PAGE), reach), Some(range(3, 16)));
        pages.settle_saved(range(8, 9));
        assert_eq!(pages.around(Va(5 * PAGE), reach), Some(range(3, 8)));
        assert_eq!(pages.around(Va(8 * PAGE), reach), None);
        assert_eq!(pages.around(Va(50 * PAGE), reach), None);
    }

    #[test]
    fn huge_pages_stay_whole() {
        let huge = Run { range: range(512, 1536), grain: PageSize::MIB2 };
        let pages = Pages::new(PageSize::KIB4, vec![huge]);
        assert_eq!(pages.around(Va(700 * PAGE), PageSize::KIB4), Some(range(512, 1024)));
        assert_eq!(pages.next(Va(0), PageSize::KIB4), Some(range(512, 1024)));
    }

    #[test]
    fn walking_from_piece_to_piece_meets_every_page_once() {
        let mut pages = Pages::new(PageSize::KIB4, vec![small(3, 40), small(41, 100)]);
        let step = PageSize::new(Bytes(16 * PAGE)).expect("a size");
        let mut cursor = Va(0);
        let mut met = 0;
        while let Some(piece) = pages.next(cursor, step) {
            met += piece.page_count(PageSize::KIB4);
            assert!(piece.page_count(PageSize::KIB4) <= 16);
            pages.settle_saved(piece);
            cursor = piece.end();
        }
        assert_eq!(met, 37 + 59);
        assert_eq!(pages.pending(), 0);
    }
}
