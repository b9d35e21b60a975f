//! What has been saved so far: which pages, and the checksum of each segment.
//!
//! Shared by both writers. `admit` may be called from several threads: the sums are atomic
//! additions, the page marks sit behind a lock held for a few instructions a run.
//!
//! # Invariants
//! - A page is admitted at most once; its content is in the sum exactly if its mark is set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use faultless_pages::{Bitmap, Bytes, RangeSet, Va, VaRange};

use super::checksum::{is_zero, page_term};
use super::layout::Layout;
use super::record::SegmentSum;
use super::write::WriteError;

/// Pages per bitmap: 128 MiB of 4 KiB pages in 4 KiB of marks, made when first touched, so that
/// a reservation of terabytes costs next to nothing.
const CHUNK_PAGES: usize = 1 << 15;

/// How many pages a call saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// Pages with content.
    pub data_pages: u64,
    /// Pages of zeros, which take no room in the file.
    pub zero_pages: u64,
}

impl std::ops::AddAssign for Saved {
    fn add_assign(&mut self, other: Saved) {
        self.data_pages += other.data_pages;
        self.zero_pages += other.zero_pages;
    }
}

#[derive(Default)]
struct Sum {
    pages: AtomicU64,
    sum: AtomicU64,
}

pub(crate) struct Ledger {
    pub(crate) layout: Layout,
    sums: Vec<Sum>,
    marks: Mutex<Vec<Option<Bitmap>>>,
}

/// The part of a run that lies in one segment.
struct Place {
    segment: usize,
    offset: u64,
    len: usize,
}

impl Ledger {
    pub(crate) fn new(layout: Layout) -> Ledger {
        let pages = layout.data_len().pages(layout.page_size());
        let chunks = Bytes(pages.div_ceil(CHUNK_PAGES as u64)).as_usize();
        Ledger {
            sums: layout.segments().iter().map(|_| Sum::default()).collect(),
            marks: Mutex::new(vec![None; chunks]),
            layout,
        }
    }

    /// Saves whole pages, which may reach over segments that touch: adds them to the sums and
    /// hands stretches of non-zero pages to `emit` as (file offset, bytes), in order.
    pub(crate) fn save<'a>(
        &self,
        address: Va,
        run: &'a [u8],
        mut emit: impl FnMut(u64, &'a [u8]) -> Result<(), WriteError>,
    ) -> Result<Saved, WriteError> {
        let mut saved = Saved::default();
        let mut done = 0;
        loop {
            let at = address.add(Bytes::from(done));
            let place = self.claim(at, run.len() - done)?;
            saved += self.admit(&place, at, &run[done..done + place.len], &mut emit)?;
            done += place.len;
            if done == run.len() {
                return Ok(saved);
            }
        }
    }

    /// Finds the place of the first part of a run and marks its pages saved.
    fn claim(&self, address: Va, len: usize) -> Result<Place, WriteError> {
        let run = VaRange::of(address, Bytes::from(len));
        let outside = || WriteError::OutsideLayout { address, len: run.len() };
        let page_size = self.layout.page_size();
        let segment = self.layout.segment_of(address).ok_or_else(outside)?;
        let dumped = self.layout.segments()[segment].dumped_range(page_size);
        let here = run.intersect(dumped).ok_or_else(outside)?;
        if here.start() != address || !here.is_aligned(page_size) || !run.is_aligned(page_size) {
            return Err(outside());
        }
        let offset = self.layout.offset_of(address).ok_or_else(outside)?.0;
        if self.mark(self.page_index(offset), here.page_count(page_size)) {
            Ok(Place { segment, offset, len: here.len().as_usize() })
        } else {
            Err(WriteError::SavedTwice { address, len: run.len() })
        }
    }

    /// Sums up and emits what lies in one segment.
    fn admit<'a>(
        &self,
        place: &Place,
        address: Va,
        run: &'a [u8],
        emit: &mut impl FnMut(u64, &'a [u8]) -> Result<(), WriteError>,
    ) -> Result<Saved, WriteError> {
        let page_len = self.layout.page_size().bytes().as_usize();
        let mut saved = Saved::default();
        let mut sum = 0u64;
        let mut start = 0;
        for (index, page) in run.chunks_exact(page_len).enumerate() {
            let at = index * page_len;
            if is_zero(page) {
                if start < at {
                    emit(place.offset + start as u64, &run[start..at])?;
                }
                start = at + page_len;
                saved.zero_pages += 1;
            } else {
                sum = sum.wrapping_add(page_term(address.0 + at as u64, page));
                saved.data_pages += 1;
            }
        }
        if start < run.len() {
            emit(place.offset + start as u64, &run[start..])?;
        }
        let total = &self.sums[place.segment];
        // Relaxed: finish() takes the writer by value, which orders it behind every admit().
        total.pages.fetch_add(saved.data_pages, Ordering::Relaxed);
        total.sum.fetch_add(sum, Ordering::Relaxed);
        Ok(saved)
    }

    /// Returns the parts of `freed` that the file should hold and that were not saved in time.
    pub(crate) fn lost(&self, freed: &RangeSet) -> RangeSet {
        let page_size = self.layout.page_size();
        let mut lost = RangeSet::new();
        for dumped in self.layout.dumped_ranges() {
            for range in freed.within(dumped) {
                for piece in self.unsaved(range.widen(page_size)) {
                    lost.insert(piece);
                }
            }
        }
        lost
    }

    /// Returns the runs of `range`, which lies in one segment, that were not saved.
    fn unsaved(&self, range: VaRange) -> Vec<VaRange> {
        let page_size = self.layout.page_size();
        let offset = self.layout.offset_of(range.start()).expect("in the file").0;
        let first = self.page_index(offset);
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        for (chunk, bits) in chunks(first, range.page_count(page_size)) {
            let base = (chunk * CHUNK_PAGES) as u64;
            let mut push = |run: std::ops::Range<usize>| {
                let page = base + run.start as u64 - first;
                let start = range.start().add(Bytes(page << page_size.shift()));
                let len = Bytes((run.len() as u64) << page_size.shift());
                out.push(VaRange::of(start, len));
            };
            match &marks[chunk] {
                Some(map) => map.runs(bits, false).for_each(push),
                None => push(bits),
            }
        }
        out
    }

    /// Returns the sums of all segments with data, in address order.
    pub(crate) fn sums(&self) -> Vec<SegmentSum> {
        let page_size = self.layout.page_size();
        self.layout
            .segments()
            .iter()
            .zip(&self.sums)
            .map(|(segment, sum)| SegmentSum {
                range: segment.dumped_range(page_size),
                data_pages: sum.pages.load(Ordering::Relaxed),
                sum: sum.sum.load(Ordering::Relaxed),
            })
            .filter(|sum| !sum.range.is_empty())
            .collect()
    }

    fn page_index(&self, offset: u64) -> u64 {
        (offset >> self.layout.page_size().shift()) - 1
    }

    /// Marks pages and says whether all of them were unmarked; on `false` nothing is promised
    /// about the marks, since the caller gives the whole file up.
    fn mark(&self, first: u64, count: u64) -> bool {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks(first, count).all(|(chunk, bits)| {
            let map = marks[chunk].get_or_insert_with(|| Bitmap::new(CHUNK_PAGES));
            map.set(bits.clone()) == bits.len()
        })
    }
}

/// Cuts pages `first..first + count` at chunk borders: (chunk, bits in it).
fn chunks(first: u64, count: u64) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let pages = VaRange::of(Va(first), Bytes(count));
    let chunk = CHUNK_PAGES as u64;
    let head = (first.next_multiple_of(chunk) - first).min(count);
    let (head, rest) =
        (VaRange::of(Va(first), Bytes(head)), VaRange::new(Va(first + head), pages.end()));
    std::iter::once(head).filter(|head| !head.is_empty()).chain(rest.chunks(Bytes(chunk))).map(
        move |piece| {
            let index = Bytes(piece.start().0 / chunk).as_usize();
            let bit = Bytes(piece.start().0 % chunk).as_usize();
            (index, bit..bit + piece.len().as_usize())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cut_at_their_borders() {
        let chunk = CHUNK_PAGES as u64;
        let cut: Vec<_> = chunks(chunk - 1, chunk + 2).collect();
        assert_eq!(cut, [(0, CHUNK_PAGES - 1..CHUNK_PAGES), (1, 0..CHUNK_PAGES), (2, 0..1)]);
        let aligned: Vec<_> = chunks(chunk, 3).collect();
        assert_eq!(aligned, [(1, 0..3)]);
    }
}
