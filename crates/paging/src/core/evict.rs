//! Dropping pages that can be fetched again.
//!
//! Only pages that were not written since they were put there, and only where that is known. A
//! write that comes while a page is dropped waits until it is gone and then fetches it again; it is
//! the page's word that decides which of the two came first.

use super::job::{Job, Kind};
use super::{Core, Stage};
use crate::page::{PageIndex, PageRun, RegionId, State};
use crate::port::Stop;

impl Core {
    /// Drops those of these pages that are there and unwritten.
    pub(super) fn evict(&mut self, region: RegionId, pages: PageRun) {
        let served = &self.regions[region.index()];
        if !served.spec.tracked || self.stage != Stage::Serving {
            return;
        }
        let claim = |page: &PageIndex| {
            let claimed = served.table.change(*page, |word| {
                let clean = word.state() == State::Present && !word.is_dirty();
                clean.then(|| word.taken(State::Evicting))
            });
            claimed.is_some()
        };
        let claimed: Vec<_> = pages.pages().filter(claim).collect();
        let runs: Vec<_> = crate::page::runs(claimed, served.spec.run_max).collect();
        for run in runs {
            self.put_run(region, run, Kind::Evict);
        }
    }

    /// Pages were not dropped, and are still there.
    pub(super) fn eviction_failed(&mut self, job: &Job, stop: Stop) {
        if stop != Stop::Gone
            && let Some(range) = self.place_of(job)
        {
            // No event was raised for what was refused.
            self.evicted.retain(|evicted| *evicted != range);
        }
        self.settle_kept(job);
    }
}
