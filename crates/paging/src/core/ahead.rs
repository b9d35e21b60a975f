//! What is fetched before anybody waits: guesses, plans, and everything else in the background.
//!
//! # Invariants
//! - What somebody waits for is asked for first, by itself, in the same step as its fault was told.
//! - The background begins nothing while anybody waits for a fetch.

use super::ending::Stage;
use super::region::Region;
use super::{Core, Due, Ending};
use crate::page::{PageIndex, PageRun, RegionId, State};
use crate::port::Urgency;

/// Most guesses that are kept. The oldest are forgotten: a program has moved on by then.
const WISHES_MAX: usize = 256;

/// How far looking ahead has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    /// The region the background is at.
    region: usize,
    /// It was fast enough for now.
    pub(super) resting: bool,
}

impl Core {
    /// Takes note of pages that are going to be wanted.
    pub(super) fn wish(&mut self, region: RegionId, pages: PageRun) {
        let whole = self.regions[region.index()].table.whole();
        let Some(pages) = whole.intersect(pages) else { return };
        self.wishes.push_back((region, pages));
        if self.wishes.len() > WISHES_MAX {
            self.wishes.pop_front();
        }
    }

    /// Guesses from pages that are waited for what is wanted next.
    pub(super) fn guess(&mut self, region: RegionId, run: PageRun) {
        let spec = &mut self.regions[region.index()].spec;
        let mut wishes = Vec::new();
        if spec.around > 0 {
            // Aligned, so that neighbouring faults wish for the same.
            let first = run.first.0 - run.first.0 % spec.around;
            wishes.push(PageRun::new(first, spec.around));
        }
        for page in run.pages() {
            spec.prefetch.faulted(page, &mut wishes);
        }
        for pages in wishes {
            self.wish(region, pages);
        }
    }

    /// Begins what there is room for.
    pub(super) fn look_ahead(&mut self) {
        let filling = match self.stage {
            Stage::Serving => self.policy.background.is_some(),
            Stage::Ending(Ending::Complete) => true,
            _ => return,
        };
        if self.stage == Stage::Serving {
            self.prefetch();
        }
        if filling {
            self.fill();
        }
    }

    fn under_way(&self, urgency: Urgency) -> usize {
        self.fetches.values().filter(|fetch| fetch.urgency == urgency).count()
    }

    fn prefetch(&mut self) {
        let mut room = self.policy.prefetches.saturating_sub(self.under_way(Urgency::Prefetch));
        while room > 0 {
            let Some((region, pages)) = self.wishes.pop_front().or_else(|| self.planned()) else {
                return;
            };
            let most = self.regions[region.index()].spec.run_max;
            let claimed = self.claim(region, pages);
            for run in crate::page::runs(claimed, most) {
                self.ask(region, run, Urgency::Prefetch);
                room = room.saturating_sub(1);
            }
        }
    }

    /// The next pages of a plan, taken one at a time: a plan may be as long as the memory.
    fn planned(&mut self) -> Option<(RegionId, PageRun)> {
        for (index, region) in self.regions.iter_mut().enumerate() {
            if let Some(pages) = region.spec.prefetch.next() {
                let id = RegionId(u32::try_from(index).unwrap_or(u32::MAX));
                return Some((id, region.table.whole().intersect(pages)?));
            }
        }
        None
    }

    /// Fetches the next pages nobody asked for yet.
    fn fill(&mut self) {
        let background = self.policy.background.unwrap_or_default();
        let paced = self.stage == Stage::Serving && background.pace.0 > 0;
        while self.under_way(Urgency::Demand) == 0
            && self.under_way(Urgency::Background) < background.fetches.max(1)
            && !(paced && self.ahead.resting)
        {
            let Some((region, run)) = self.next_absent(background.pages.max(1)) else { return };
            self.ask(region, run, Urgency::Background);
            if paced {
                self.ahead.resting = true;
                self.at(self.now + background.pace, Due::Background);
            }
        }
    }

    /// Claims the next run of pages that were never there.
    fn next_absent(&mut self, most: u64) -> Option<(RegionId, PageRun)> {
        while self.ahead.region < self.regions.len() {
            let index = self.ahead.region;
            let id = RegionId(u32::try_from(index).unwrap_or(u32::MAX));
            let Region { table, cursor, .. } = &self.regions[index];
            let rest = PageRun { first: *cursor, count: table.pages().saturating_sub(cursor.0) };
            let skipped = rest.pages().take_while(|page| table.get(*page).state() != State::Absent);
            let first = cursor.plus(skipped.count() as u64);
            let (run, _) = PageRun { first, count: table.pages() - first.0 }.split(most);
            if run.count == 0 {
                self.regions[index].cursor = PageIndex(0);
                self.ahead.region += 1;
                continue;
            }
            let count = run.pages().take_while(|page| self.claim_page(id, *page)).count() as u64;
            self.regions[index].cursor = first.plus(count.max(1));
            if count > 0 {
                return Some((id, PageRun { first, count }));
            }
        }
        None
    }

    /// Claims those of these pages that were never there, and returns them in order.
    fn claim(&self, region: RegionId, pages: PageRun) -> Vec<PageIndex> {
        pages.pages().filter(|page| self.claim_page(region, *page)).collect()
    }

    fn claim_page(&self, region: RegionId, page: PageIndex) -> bool {
        let claimed = self.regions[region.index()].table.change(page, |word| {
            (word.state() == State::Absent).then(|| word.taken(State::Fetching))
        });
        claimed.is_some()
    }

    /// Lets the background look at every page again: some came back.
    pub(super) fn rewind(&mut self) {
        self.ahead.region = 0;
        for region in &mut self.regions {
            region.cursor = PageIndex(0);
        }
    }

    /// Says whether no page is missing that a source has, or on its way.
    pub(super) fn is_filled(&self) -> bool {
        self.regions.iter().all(|region| {
            let state = |page| region.table.get(page).state();
            let open = |state: State| state == State::Absent || state.is_held();
            !region.table.whole().pages().any(|page| open(state(page)))
        })
    }
}
