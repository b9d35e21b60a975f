//! One lot of a scan: from page to page, gathering those that match, protecting them in passing.
//!
//! # Locking
//! The map is held shared over a lot, each table while its pages are looked at. Looking at a page
//! and protecting it is one step.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::scan::category::{PAGE_IS_WPALLOWED, PAGE_IS_WRITTEN};
use faultless_uapi::scan::flag::{CHECK_WPASYNC, WP_MATCHING};
use faultless_uapi::{PageRegion, PmScanArg};

use crate::errno::{EPERM, Errno};
use crate::id::SpaceId;
use crate::kernel::{Kernel, State};
use crate::pagemap::category::Found;
use crate::process::Area;
use crate::sched::{Lock, Mode};

/// What a scan looks for, and what it has found.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) wish: PmScanArg,
    /// Pages found so far, over all lots.
    pub(super) pages: u64,
    /// How many regions this lot may have; `None` where none are wanted at all.
    pub(super) room: Option<usize>,
    /// The regions of this lot.
    pub(super) regions: Vec<PageRegion>,
    /// How many regions the lots before had.
    pub(super) told: u64,
    /// Where a page was given up that could only be protected whole.
    pub(super) given_up: Option<Va>,
}

/// How much of a run of pages was taken.
enum Taken {
    /// All of it.
    All,
    /// What lies before this address; the walk ends there.
    Until(Va),
}

impl Walk {
    pub(super) fn new(wish: PmScanArg) -> Walk {
        Walk { wish, pages: 0, room: None, regions: Vec::new(), told: 0, given_up: None }
    }

    pub(super) fn protects(&self) -> bool {
        self.wish.flags & WP_MATCHING != 0
    }

    /// Says whether pages of these categories are looked for.
    fn matches(&self, categories: u64) -> bool {
        let seen = categories ^ self.wish.category_inverted;
        let (all, any) = (self.wish.category_mask, self.wish.category_anyof_mask);
        seen & all == all && (any == 0 || seen & any != 0)
    }

    /// Says whether an area can hold such pages.
    fn may_match(&self, area_categories: u64) -> bool {
        let required = self.wish.category_mask & PAGE_IS_WPALLOWED;
        (area_categories ^ self.wish.category_inverted) & required == required
    }

    /// Takes note of a run of pages, as far as it is wanted and there is room.
    fn take(&mut self, categories: u64, run: VaRange, page: Bytes) -> Taken {
        let Some(room) = self.room else { return Taken::All };
        let categories = categories & self.wish.return_mask;
        let left = self.wish.max_pages.saturating_sub(self.pages);
        let pages = (run.len().0 / page.0).min(left);
        let end = run.start().add(Bytes(pages * page.0));
        let full = self.regions.len() >= room;
        match self.regions.last_mut() {
            _ if pages == 0 => return Taken::Until(run.start()),
            Some(last) if last.end == run.start().0 && last.categories == categories => {
                last.end = end.0;
            }
            _ if full => return Taken::Until(run.start()),
            _ => self.regions.push(PageRegion { start: run.start().0, end: end.0, categories }),
        }
        self.pages += pages;
        if end == run.end() { Taken::All } else { Taken::Until(end) }
    }
}

impl Kernel {
    /// Walks a range until its end, or until room or wishes are used up: then it says where.
    pub(super) async fn walk(
        &self,
        space: SpaceId,
        range: VaRange,
        walk: &mut Walk,
    ) -> Result<Option<Va>, Errno> {
        let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        let (areas, _) = self.state().pieces(space, range);
        let mut stopped = Ok(None);
        for area in areas {
            let enters = self.state().enters(&area, walk);
            stopped = match enters {
                Ok(true) => self.walk_area(space, &area, walk).await,
                Ok(false) => Ok(None),
                Err(errno) => Err(errno),
            };
            if stopped != Ok(None) {
                break;
            }
        }
        map.release().await;
        stopped
    }

    async fn walk_area(
        &self,
        space: SpaceId,
        area: &Area,
        walk: &mut Walk,
    ) -> Result<Option<Va>, Errno> {
        let parts = self.state().spaces[space].table.parts_of(area.range);
        for part in parts {
            let table = self.lock_table(space, part.start()).await;
            let stopped = self.state().walk_table(space, area, part, walk);
            table.release().await;
            if stopped.is_some() {
                return Ok(stopped);
            }
        }
        Ok(None)
    }
}

impl State {
    /// Says whether an area is to be looked at.
    fn enters(&self, area: &Area, walk: &Walk) -> Result<bool, Errno> {
        let tracked = self.is_tracked(area);
        if !tracked && walk.wish.flags & CHECK_WPASYNC != 0 {
            return Err(EPERM);
        }
        let special = area.kind() == Some(crate::machine::Kind::Special);
        let passed_over = special || (!tracked && walk.protects());
        Ok(!passed_over && walk.may_match(self.area_categories(area)))
    }

    /// Walks the part of an area that lies in one table.
    fn walk_table(
        &mut self,
        space: SpaceId,
        area: &Area,
        part: VaRange,
        walk: &mut Walk,
    ) -> Option<Va> {
        let table = &self.spaces[space].table;
        if let Some(entry) = table.huge(part.start()) {
            return self.walk_huge(space, area, part, Found::Huge(entry), walk);
        }
        if area.is_hugetlb() {
            return self.walk_run(space, area, part, Found::Page(None), walk);
        }
        if !table.has_table(part.start()) {
            return self.walk_run(space, area, part, Found::NoTable, walk);
        }
        let page = self.profile.page();
        // With nothing to tell, whatever is not protected is, be it looked for or not.
        let all = walk.protects() && walk.room.is_none();
        for piece in part.chunks(page) {
            if all {
                self.protect_scanned(space, area, piece);
                continue;
            }
            let found = Found::Page(self.entry(space, piece.start()));
            let stopped = self.walk_run(space, area, piece, found, walk);
            if stopped.is_some() {
                return stopped;
            }
        }
        None
    }

    /// A huge page that is wanted in part is split, if it is to be protected; one of the hugetlb
    /// pool cannot be and is passed over, but told as the end of the walk.
    fn walk_huge(
        &mut self,
        space: SpaceId,
        area: &Area,
        part: VaRange,
        found: Found,
        walk: &mut Walk,
    ) -> Option<Va> {
        let span = self.spaces[space].table.span();
        let categories = self.area_categories(area) | self.page_categories(area, found);
        let wanted = walk.matches(categories) && categories & PAGE_IS_WRITTEN != 0;
        let left = walk.wish.max_pages.saturating_sub(walk.pages);
        let cut = !part.is_aligned(span)
            || (walk.room.is_some() && part.len().0 / self.profile.page().0 > left);
        if !(walk.protects() && wanted && cut) {
            return self.walk_run(space, area, part, found, walk);
        }
        if area.is_hugetlb() {
            walk.given_up = Some(part.start());
            return None;
        }
        self.split_huge(space, part.start());
        self.walk_table(space, area, part, walk)
    }

    /// Takes pages alike, if they match, and protects what was written of them.
    fn walk_run(
        &mut self,
        space: SpaceId,
        area: &Area,
        run: VaRange,
        found: Found,
        walk: &mut Walk,
    ) -> Option<Va> {
        let categories = self.area_categories(area) | self.page_categories(area, found);
        if !walk.matches(categories) {
            return None;
        }
        let page = self.profile.page();
        let (end, stopped) = match walk.take(categories, run, page) {
            Taken::All => (run.end(), None),
            Taken::Until(end) => (end, Some(end)),
        };
        if walk.protects() && categories & PAGE_IS_WRITTEN != 0 && end > run.start() {
            self.protect_scanned(space, area, VaRange::new(run.start(), end));
        }
        stopped
    }
}
