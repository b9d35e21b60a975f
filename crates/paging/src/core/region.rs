//! A range of memory and where its pages come from.

use std::fmt;
use std::sync::Arc;

use faultless_pages::{Bytes, PageSize, Va};

use crate::page::{PageIndex, PageRun, PageTable, PageWord, RegionId};
use crate::port::{Content, Request, Supply};
use crate::prefetch::Prefetch;

/// What a region is.
pub struct RegionSpec {
    /// Its first address.
    pub start: Va,
    /// How many pages it has.
    pub pages: u64,
    /// How large they are.
    pub page_size: PageSize,
    /// Which page of its source its first page is.
    pub source_page: u64,
    /// How pages can be put there.
    pub ways: Ways,
    /// Writes are told: pages come write-protected, and what was written is known.
    pub tracked: bool,
    /// Most pages of a fetch somebody waits for, and of one request.
    pub run_max: u64,
    /// How many pages around a fault are fetched after it; 0 for none.
    pub around: u64,
    /// Who guesses what is wanted next.
    pub prefetch: Box<dyn Prefetch>,
}

/// The ways in which pages can be put into memory, which differ with its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// The kernel makes pages of zeros by itself.
    pub zero: bool,
    /// Pages reach the page cache through a second mapping and are mapped from there.
    pub fill: bool,
    /// Pages that hold the content can be moved there, worth it from so many at once on.
    pub moves: Option<u64>,
}

impl Ways {
    /// Private anonymous memory, or shared memory registered for missing pages.
    pub const PLAIN: Ways = Ways { zero: true, fill: false, moves: None };
    /// Private anonymous memory of the own process, with a pool of pages to move. A single page
    /// costs more to move than to copy, a batch a fraction.
    pub const OWN: Ways = Ways { zero: true, fill: false, moves: Some(8) };
    /// Huge pages of a pool.
    pub const HUGETLB: Ways = Ways { zero: false, fill: false, moves: None };
    /// Shared memory registered for minor faults, with a second mapping to fill it through.
    pub const FILLED: Ways = Ways { zero: true, fill: true, moves: None };
}

impl RegionSpec {
    /// A region of plain memory of 4 KiB pages whose content begins at the first page of a source.
    #[must_use]
    pub fn new(start: Va, pages: u64) -> RegionSpec {
        RegionSpec {
            start,
            pages,
            page_size: PageSize::KIB4,
            source_page: 0,
            ways: Ways::PLAIN,
            tracked: false,
            // 64 pages: what is installed at once delays the reading of events by some 50 µs.
            run_max: 64,
            around: 0,
            prefetch: Box::new(crate::prefetch::Never),
        }
    }

    pub(super) fn heir(&self) -> RegionSpec {
        RegionSpec { prefetch: self.prefetch.heir(), ..*self }
    }
}

impl fmt::Debug for RegionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages of {} at {}", self.pages, self.page_size, self.start)
    }
}

/// A region in service.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) spec: RegionSpec,
    pub(super) table: Arc<PageTable>,
    /// Pages before this one are in the background's past.
    pub(super) cursor: PageIndex,
}

impl RegionId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Region {
    pub(super) fn new(spec: RegionSpec, table: Arc<PageTable>) -> Region {
        Region { spec, table, cursor: PageIndex(0) }
    }

    /// The same for a forked child: what is there in the parent is there in the child, what is not
    /// comes from the same source.
    pub(super) fn heir(&self) -> Region {
        let table = PageTable::new(self.spec.pages);
        for page in
            self.table.whole().pages().filter(|page| self.table.get(*page) != PageWord::FRESH)
        {
            let word = self.table.get(page);
            let known = word.then(word.given_back()).wanted(false);
            table.change(page, |_| Some(known));
        }
        Region { spec: self.spec.heir(), table: Arc::new(table), cursor: PageIndex(0) }
    }

    /// Which pages of the source these are.
    pub(super) fn in_source(&self, pages: PageRun) -> PageRun {
        PageRun { first: pages.first.plus(self.spec.source_page), count: pages.count }
    }

    pub(super) fn bytes(&self, pages: u64) -> Bytes {
        Bytes(pages << self.spec.page_size.shift())
    }

    /// Chooses the way in which content gets to `range`.
    pub(super) fn install(
        &self,
        range: faultless_pages::VaRange,
        content: Content,
        from: Supply,
        wake: bool,
        may_move: bool,
    ) -> Request {
        let protect = self.spec.tracked;
        let ways = self.spec.ways;
        let pages = range.page_count(self.spec.page_size);
        let many = ways.moves.is_some_and(|least| pages >= least);
        match content {
            // Zeros have no write-protected form: put first and protected afterwards, a write in
            // between would be lost. So where writes are told they are copied.
            Content::Zeros if ways.zero && !protect => Request::Zero { range, wake },
            Content::Zeros => Request::Copy { range, from: Supply::Zeros, protect, wake },
            Content::Cached => Request::Continue { range, fill: None, protect, wake },
            Content::Bytes if ways.fill => {
                Request::Continue { range, fill: Some(from), protect, wake }
            }
            // MOVE drops the protection of the page it moves, so it cannot be used with tracking.
            Content::Bytes if many && may_move && !protect => Request::Move { range, from, wake },
            Content::Bytes => Request::Copy { range, from, protect, wake },
        }
    }
}
