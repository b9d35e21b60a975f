//! The page table of an address space.
//!
//! Entries are kept by address in ordered maps, base pages and huge pages apart, so that cost
//! follows the number of entries and never the size of the address space. A huge page, be it
//! transparent or hugetlb, is one entry at its first address.
//!
//! A table of base entries exists from the first of them on, or since somebody wanted to look
//! into it, until its memory is unmapped: an empty one still keeps huge pages out.
//!
//! # Invariants
//! - No base entry lies in a range that a huge entry covers.
//! - Every base entry lies in a table.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use faultless_pages::{PageSize, Va, VaRange};

use crate::process::entry::Entry;

/// How many base pages a huge entry covers.
const PER_TABLE: u64 = 512;

/// The entries of an address space.
#[derive(Debug)]
pub(crate) struct PageTable {
    small: BTreeMap<Va, Entry>,
    huge: BTreeMap<Va, Entry>,
    /// Where tables of base entries begin.
    tables: BTreeSet<Va>,
    /// The table used last: most uses are of the same one.
    recent: Option<Va>,
    page: PageSize,
    span: PageSize,
}

impl PageTable {
    pub(crate) fn new(page: PageSize) -> PageTable {
        let span = PageSize::new(faultless_pages::Bytes(page.bytes().0 * PER_TABLE));
        let span = span.expect("a power of two");
        PageTable {
            small: BTreeMap::new(),
            huge: BTreeMap::new(),
            tables: BTreeSet::new(),
            recent: None,
            page,
            span,
        }
    }

    /// The range that a huge entry covers, and a table of base entries.
    pub(crate) fn span(&self) -> PageSize {
        self.span
    }

    /// The entry of a base page; where a huge page covers it, that one's.
    pub(crate) fn get(&self, at: Va) -> Option<Entry> {
        let small = self.small.get(&at.align_down(self.page)).copied();
        small.or_else(|| self.huge(at))
    }

    /// Asks as the processor does: the entry of the base page, marked as accessed and, for a
    /// store, as dirty; `None` where the access does not go through. In a huge page it names the
    /// frame of the part.
    pub(crate) fn touch(&mut self, at: Va, write: bool) -> Option<Entry> {
        let page = at.align_down(self.page);
        let small = self.small.get_mut(&page);
        let (entry, part) = match small {
            Some(entry) => (entry, 0),
            None if self.huge.is_empty() => return None,
            None => {
                let base = at.align_down(self.span);
                let part = page.since(base).pages(self.page);
                (self.huge.get_mut(&base)?, usize::try_from(part).unwrap_or(0))
            }
        };
        if let Entry::Present(mapped) = entry {
            if write && !mapped.writable {
                return None;
            }
            mapped.accessed = true;
            mapped.dirty |= write;
            let frame = crate::id::FrameId(mapped.frame.0 + part);
            return Some(Entry::Present(crate::process::Mapped { frame, ..*mapped }));
        }
        Some(*entry)
    }

    /// The entry of the base page, not of a huge one.
    pub(crate) fn small(&self, at: Va) -> Option<Entry> {
        self.small.get(&at.align_down(self.page)).copied()
    }

    /// The entry of the huge page that covers the address.
    pub(crate) fn huge(&self, at: Va) -> Option<Entry> {
        if self.huge.is_empty() {
            return None;
        }
        self.huge.get(&at.align_down(self.span)).copied()
    }

    /// Sets or clears the entry of a base page and returns what was there.
    pub(crate) fn set(&mut self, at: Va, entry: Option<Entry>) -> Option<Entry> {
        debug_assert!(entry.is_none() || self.huge(at).is_none(), "a base page in a huge one");
        match entry {
            Some(entry) => {
                self.add_table(at);
                self.small.insert(at.align_down(self.page), entry)
            }
            None => self.small.remove(&at.align_down(self.page)),
        }
    }

    /// Sets or clears a huge entry and returns what was there.
    pub(crate) fn set_huge(&mut self, at: Va, entry: Option<Entry>) -> Option<Entry> {
        match entry {
            Some(entry) => {
                self.drop_table(at);
                self.huge.insert(at.align_down(self.span), entry)
            }
            None => self.huge.remove(&at.align_down(self.span)),
        }
    }

    /// Says whether there is a table of base entries for an address, be it empty.
    pub(crate) fn has_table(&self, at: Va) -> bool {
        let base = at.align_down(self.span);
        self.recent == Some(base) || self.tables.contains(&base)
    }

    /// Makes the table of base entries for an address, unless a huge page is there.
    pub(crate) fn add_table(&mut self, at: Va) {
        let base = at.align_down(self.span);
        if self.recent != Some(base) && self.huge(at).is_none() {
            self.tables.insert(base);
            self.recent = Some(base);
        }
    }

    /// Drops the table of base entries for an address, which must be empty.
    pub(crate) fn drop_table(&mut self, at: Va) {
        let base = at.align_down(self.span);
        self.tables.remove(&base);
        self.recent = self.recent.filter(|recent| *recent != base);
    }

    /// Takes the table for an address, with all its entries, to another address.
    pub(crate) fn move_table(&mut self, from: Va, to: Va) {
        let range = VaRange::of(from, self.span.bytes());
        for (at, entry) in self.list(range) {
            self.small.remove(&at);
            self.small.insert(to.add(at.since(from)), entry);
        }
        self.drop_table(from);
        self.add_table(to);
    }

    /// The ranges of the tables of base entries that a range touches.
    pub(crate) fn made_in(&self, range: VaRange) -> Vec<VaRange> {
        let range = range.widen(self.span);
        let starts = self.tables.range(range.start()..range.end());
        starts.map(|start| VaRange::of(*start, self.span.bytes())).collect()
    }

    /// The parts of a range that lie in one table each, where there is a table, be it empty, or a
    /// huge entry.
    pub(crate) fn occupied(&self, range: VaRange) -> Vec<VaRange> {
        let huge = self.huge_in(range).map(|(at, _)| VaRange::of(at, self.span.bytes()));
        let mut parts: Vec<VaRange> = self.made_in(range).into_iter().chain(huge).collect();
        parts.sort_unstable_by_key(|part| part.start());
        parts.into_iter().filter_map(|part| part.intersect(range)).collect()
    }

    /// Base entries in a range, in order.
    pub(crate) fn small_in(&self, range: VaRange) -> impl Iterator<Item = (Va, Entry)> + '_ {
        self.small.range(range.start()..range.end()).map(|(at, entry)| (*at, *entry))
    }

    /// Base entries in a range, as a list that outlives changes.
    pub(crate) fn list(&self, range: VaRange) -> Vec<(Va, Entry)> {
        self.small_in(range).collect()
    }

    /// Huge entries that cover any address of a range, in order.
    pub(crate) fn huge_in(&self, range: VaRange) -> impl Iterator<Item = (Va, Entry)> + '_ {
        let range = range.widen(self.span);
        self.huge.range(range.start()..range.end()).map(|(at, entry)| (*at, *entry))
    }

    /// The parts of a range that lie in one table each and hold any entry, in order. What is empty
    /// is never looked at.
    pub(crate) fn tables_in(&self, range: VaRange) -> Vec<VaRange> {
        let mut tables = Vec::new();
        let mut next = range.start();
        while next < range.end() {
            let rest = VaRange::new(next, range.end());
            let small = self.small_in(rest).next().map(|(at, _)| at);
            let huge = self.huge_in(rest).next().map(|(at, _)| at);
            let first = match (small, huge) {
                (Some(small), Some(huge)) => small.min(huge),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => break,
            };
            let table = VaRange::of(first.align_down(self.span), self.span.bytes());
            tables.extend(table.intersect(range));
            next = table.end();
        }
        tables
    }

    /// The parts of a range that lie in one table each, empty or not, in order.
    pub(crate) fn parts_of(&self, range: VaRange) -> Vec<VaRange> {
        let tables = range.widen(self.span).chunks(self.span.bytes());
        tables.filter_map(|table| table.intersect(range)).collect()
    }

    /// Every entry, base pages first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Va, Entry)> + '_ {
        self.small.iter().chain(&self.huge).map(|(at, entry)| (*at, *entry))
    }
}
