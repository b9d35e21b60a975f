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
use core::cell::Cell;

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use crate::id::TableId;
use crate::process::areas::TASK_END;
use crate::process::entry::Entry;
use crate::process::table::{PLACES, Table};
use crate::slab::Slab;

/// No table begins at the end of all addresses.
const NONE_FOUND: [(Va, TableId); 2] = [(Va(u64::MAX), TableId(0)); 2];

/// The entries of an address space.
#[derive(Debug)]
pub(crate) struct PageTable {
    tables: Slab<TableId, Table>,
    /// The tables by where they begin.
    starts: BTreeMap<Va, TableId>,
    /// The tables found last, as the processor keeps them: an operation asks for the same one or
    /// two again and again.
    found: Cell<[(Va, TableId); 2]>,
    huge: BTreeMap<Va, Entry>,
    page: PageSize,
    span: PageSize,
}

impl PageTable {
    pub(crate) fn new(page: PageSize) -> PageTable {
        let span = PageSize::new(Bytes(page.bytes().0 * PLACES as u64));
        let span = span.expect("a power of two");
        PageTable {
            tables: Slab::new(),
            starts: BTreeMap::new(),
            found: Cell::new(NONE_FOUND),
            huge: BTreeMap::new(),
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
        self.small(at).or_else(|| self.huge(at))
    }

    /// Asks as the processor does: the entry of the base page, marked as accessed and, for a
    /// store, as dirty; `None` where the access does not go through. In a huge page it names the
    /// frame of the part.
    pub(crate) fn touch(&mut self, at: Va, write: bool) -> Option<Entry> {
        let (base, place) = self.place(at);
        let small = self.find(base).and_then(|id| self.tables[id].get_mut(place));
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

    /// The table that begins at an address.
    fn find(&self, base: Va) -> Option<TableId> {
        let [first, second] = self.found.get();
        if first.0 == base {
            return Some(first.1);
        }
        if second.0 == base {
            return Some(second.1);
        }
        let id = *self.starts.get(&base)?;
        self.found.set([(base, id), first]);
        Some(id)
    }

    /// The table that begins at an address, made if there is none.
    fn find_or_make(&mut self, base: Va) -> TableId {
        self.find(base).unwrap_or_else(|| {
            let id = self.tables.insert(Table::default());
            self.starts.insert(base, id);
            id
        })
    }

    /// The entry of the base page, not of a huge one.
    pub(crate) fn small(&self, at: Va) -> Option<Entry> {
        let (base, place) = self.place(at);
        self.tables[self.find(base)?].get(place)
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
        let id = match entry {
            Some(_) => self.find_or_make(base),
            None => self.find(base)?,
        };
        self.tables[id].set(place, entry)
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
        self.find(at.align_down(self.span)).is_some()
    }

    /// Makes the table of base entries for an address, unless a huge page is there; says whether
    /// there is a table now.
    pub(crate) fn add_table(&mut self, at: Va) -> bool {
        let small = self.huge(at).is_none();
        if small {
            self.find_or_make(at.align_down(self.span));
        }
        small
    }

    /// Drops the table of base entries for an address, which must be empty.
    pub(crate) fn drop_table(&mut self, at: Va) {
        if let Some(id) = self.take_table(at.align_down(self.span)) {
            let gone = self.tables.remove(id);
            debug_assert!(gone.is_none_or(|table| table.is_empty()), "entries in a dropped table");
        }
    }

    /// Takes the table for an address, with all its entries, to another address. Both are borders
    /// of tables.
    pub(crate) fn move_table(&mut self, from: Va, to: Va) {
        self.drop_table(to);
        if let Some(id) = self.take_table(from) {
            self.starts.insert(to, id);
        }
    }

    fn take_table(&mut self, base: Va) -> Option<TableId> {
        self.found.set(NONE_FOUND);
        self.starts.remove(&base)
    }

    /// The ranges of the tables of base entries that a range touches.
    pub(crate) fn made_in(&self, range: VaRange) -> Vec<VaRange> {
        let tables = self.touched(range);
        tables.map(|(base, _)| VaRange::of(base, self.span.bytes())).collect()
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
        self.touched(range).flat_map(move |(base, id)| {
            let places = self.place_from(base, range.start())..self.place_from(base, range.end());
            let at = move |place| base.add(Bytes(self.page.bytes().0 * place as u64));
            self.tables[id].within(places).map(move |(place, entry)| (at(place), entry))
        })
    }

    /// The tables that a range touches, in order. It mostly lies in one, which was found before.
    fn touched(&self, range: VaRange) -> impl Iterator<Item = (Va, TableId)> + '_ {
        let around = range.widen(self.span);
        let base = around.start();
        let single = around.len() == self.span.bytes();
        let one = if single { self.find(base).map(|id| (base, id)) } else { None };
        let many = (!single).then(|| self.starts.range(base..around.end()));
        let many = many.into_iter().flatten().map(|(base, id)| (*base, *id));
        one.into_iter().chain(many)
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
