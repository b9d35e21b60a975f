//! The page table of an address space.
//!
//! Tables of base entries and huge entries are kept by address in ordered maps, so that cost
//! follows what there is and never the size of the address space. A huge page, be it transparent
//! or hugetlb, is one entry at its first address.
//!
//! A table of base entries exists from the first of them on, or since somebody wanted to look
//! into it, until its memory is unmapped: an empty one still keeps huge pages out.
//!
//! # Invariants
//! - No base entry lies in a range that a huge entry covers.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use crate::process::areas::TASK_END;
use crate::process::entry::Entry;
use crate::process::table::{PLACES, Table};

/// The entries of an address space.
#[derive(Debug)]
pub(crate) struct PageTable {
    /// By where they begin.
    tables: BTreeMap<Va, Table>,
    huge: BTreeMap<Va, Entry>,
    page: PageSize,
    span: PageSize,
}

impl PageTable {
    pub(crate) fn new(page: PageSize) -> PageTable {
        let span = PageSize::new(Bytes(page.bytes().0 * PLACES as u64));
        let span = span.expect("a power of two");
        PageTable { tables: BTreeMap::new(), huge: BTreeMap::new(), page, span }
    }

    /// The range that a huge entry covers, and a table of base entries.
    pub(crate) fn span(&self) -> PageSize {
        self.span
    }

    /// The entry of a base page; where a huge page covers it, that one's.
    pub(crate) fn get(&self, at: Va) -> Option<Entry> {
        self.small(at).or_else(|| self.huge(at))
    }

    /// Asks as the processor does: the entry of the base page, marked as accessed and, for a
    /// store, as dirty; `None` where the access does not go through. In a huge page it names the
    /// frame of the part.
    pub(crate) fn touch(&mut self, at: Va, write: bool) -> Option<Entry> {
        let (base, place) = self.place(at);
        let small = self.tables.get_mut(&base).and_then(|table| table.get_mut(place));
        let (entry, part) = match small {
            Some(entry) => (entry, 0),
            None => (self.huge.get_mut(&base)?, place),
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

    /// Where the table of an address begins, and the place of its page there.
    fn place(&self, at: Va) -> (Va, usize) {
        let base = at.align_down(self.span);
        let place = usize::try_from(at.since(base).pages(self.page));
        (base, place.expect("fewer than a table has places"))
    }

    /// The entry of the base page, not of a huge one.
    pub(crate) fn small(&self, at: Va) -> Option<Entry> {
        let (base, place) = self.place(at);
        self.tables.get(&base)?.get(place)
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
        let (base, place) = self.place(at);
        match entry {
            Some(_) => self.tables.entry(base).or_default().set(place, entry),
            None => self.tables.get_mut(&base)?.set(place, None),
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
        self.tables.contains_key(&at.align_down(self.span))
    }

    /// Makes the table of base entries for an address, unless a huge page is there.
    pub(crate) fn add_table(&mut self, at: Va) {
        if self.huge(at).is_none() {
            self.tables.entry(at.align_down(self.span)).or_default();
        }
    }

    /// Drops the table of base entries for an address, which must be empty.
    pub(crate) fn drop_table(&mut self, at: Va) {
        let gone = self.tables.remove(&at.align_down(self.span));
        debug_assert!(gone.is_none_or(|table| table.is_empty()), "entries in a dropped table");
    }

    /// Takes the table for an address, with all its entries, to another address. Both are borders
    /// of tables.
    pub(crate) fn move_table(&mut self, from: Va, to: Va) {
        if let Some(table) = self.tables.remove(&from) {
            self.tables.insert(to, table);
        }
    }

    /// The ranges of the tables of base entries that a range touches.
    pub(crate) fn made_in(&self, range: VaRange) -> Vec<VaRange> {
        let range = range.widen(self.span);
        let starts = self.tables.range(range.start()..range.end());
        starts.map(|(start, _)| VaRange::of(*start, self.span.bytes())).collect()
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
        let around = range.widen(self.span);
        let tables = self.tables.range(around.start()..around.end());
        tables.flat_map(move |(base, table)| {
            let places = self.place_from(*base, range.start())..self.place_from(*base, range.end());
            let entries = table.within(places);
            entries.map(|(place, entry)| (base.add(Bytes(self.page.bytes().0 * place as u64)), entry))
        })
    }

    /// The first place of a table that lies at an address or behind it.
    fn place_from(&self, base: Va, at: Va) -> usize {
        let pages = at.max(base).since(base).pages(self.page);
        usize::try_from(pages).map_or(PLACES, |place| place.min(PLACES))
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
        let whole = VaRange::new(Va(0), TASK_END);
        self.small_in(whole).chain(self.huge_in(whole))
    }
}
