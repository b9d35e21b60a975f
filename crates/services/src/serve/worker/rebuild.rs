//! What is known of a client's pages when another worker served it before.
//!
//! The page table of the client is the truth: what it holds was put there, or written by the
//! client itself. What the client discarded and has not touched since is zeros, which the page
//! table cannot tell from what nobody has touched; the front has kept that.
//!
//! Where the page table is closed to us, nothing is lost but time: a page that is there raises no
//! fault, and one that is put there again is refused by the kernel.

use std::sync::Arc;

use faultless_pages::{RangeSet, VaRange};
use faultless_paging::page::{PageIndex, PageTable, State};
use faultless_uffd::{Category, Pagemap, PagemapScan, Pid, ScanRegion};
use faultless_wire::Region;

/// Makes the words of a region's pages.
pub(super) fn table(region: &Region, removed: &RangeSet, pid: Option<Pid>) -> Arc<PageTable> {
    let table = PageTable::new(region.memory.page_count(region.page_size));
    for range in removed.within(region.memory) {
        set(&table, region, range, State::Removed);
    }
    for found in pid.map(|pid| present(pid, region.memory)).unwrap_or_default() {
        set(&table, region, found.range, State::Present);
    }
    Arc::new(table)
}

/// Finds the pages that are there, in memory or swapped out, as far as it is told.
fn present(pid: Pid, range: VaRange) -> Vec<ScanRegion> {
    let mut found = Vec::new();
    if let Ok(pagemap) = Pagemap::open(pid) {
        let scan = PagemapScan::new().anyof(Category::PRESENT | Category::SWAPPED);
        // What was found before an error is right.
        let _ = scan.scan_all(&pagemap, range, &mut found);
    }
    found
}

fn set(table: &PageTable, region: &Region, range: VaRange, state: State) {
    let Some(range) = range.intersect(region.memory) else { return };
    let page = |at: faultless_pages::Va| at.since(region.memory.start()).pages(region.page_size);
    let last = page(range.end().align_up(region.page_size));
    for page in page(range.start())..last {
        table.change(PageIndex(page), |word| Some(word.taken(state)));
    }
}
