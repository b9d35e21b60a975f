//! `munmap`, and what every unmapping has in common.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};

use crate::errno::{EINVAL, ENOMEM, Errno};
use crate::id::{SpaceId, ThreadId};
use crate::kernel::{Guard, Kernel, State};
use crate::process::{Area, Space, TASK_END};
use crate::sched::{Lock, Mode, Point};
use crate::userfaultfd::Announcement;

impl Kernel {
    /// `munmap(2)`.
    ///
    /// # Errors
    /// EINVAL for an impossible range, and for one that cuts a page of the hugetlb pool; ENOMEM
    /// where one area too many would be left.
    pub async fn unmap(&self, who: ThreadId, at: Va, len: Bytes) -> Result<(), Errno> {
        let range = self.state().page_range(at, len)?;
        let space = self.state().space_of(who);
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        self.state().may_unmap(space, range)?;
        let mut told = Vec::new();
        let removed = self.remove_range(space, range, &mut told).await;
        map.release().await;
        self.announce_all(who, told).await;
        removed
    }

    /// Takes areas and pages of a range away, under the map's lock; adds the events that are to be
    /// told once it is given back.
    ///
    /// # Errors
    /// EINVAL where the range cuts a page of the hugetlb pool: nothing is taken away then, but
    /// what lies before a cut at the end is told all the same.
    pub(crate) async fn remove_range(
        &self,
        space: SpaceId,
        range: VaRange,
        told: &mut Vec<Announcement>,
    ) -> Result<(), Errno> {
        self.state().may_cut(space, range.start())?;
        let mut guards = self.lock_areas(space, range).await;
        let (told_of, whole) = {
            let state = self.state();
            let whole = state.may_cut(space, range.end());
            let cut = state.area(space, range.end()).map_or(range.end(), |area| area.range.start());
            let cut = cut.max(range.start());
            (if whole.is_ok() { range.end() } else { cut }, whole)
        };
        told.extend(self.raise_unmap(space, range, told_of).await);
        whole?;
        guards.extend(self.cut_area(space, range.start()));
        guards.extend(self.cut_area(space, range.end()));
        // Pages go first, and areas when no entry is left: until then a walk finds what maps a
        // page. A fault waits for the areas to be gone, an access may still find a page.
        self.pause(Point::Access).await;
        self.zap_tables(space, range).await;
        {
            let mut state = self.state();
            state.take_areas(space, range);
            state.drop_tables(space, range);
        }
        drop(guards);
        Ok(())
    }

    /// Cuts the area that holds an address there; the second part is locked as the first is.
    fn cut_area(&self, space: SpaceId, at: Va) -> Option<Guard> {
        let second = self.state().split_area(space, at)?;
        self.try_lock(Lock::Area(second), Mode::Exclusive)
    }

    /// Drops every entry of a range, table by table.
    pub(crate) async fn zap_tables(&self, space: SpaceId, range: VaRange) {
        let parts = self.state().spaces[space].table.tables_in(range);
        for part in parts {
            let table = self.lock_table(space, part.start()).await;
            self.state().zap_range(space, part, |_| true);
            table.release().await;
        }
    }

    /// Tells events one after the other, each waited for.
    pub(crate) async fn announce_all(&self, who: ThreadId, raised: Vec<Announcement>) {
        for announcement in raised {
            self.announce(who, announcement).await;
        }
    }
}

impl State {
    /// Checks that an area may be cut at an address: not inside a page of the hugetlb pool.
    ///
    /// # Errors
    /// EINVAL.
    pub(crate) fn may_cut(&self, space: SpaceId, at: Va) -> Result<(), Errno> {
        let cuts = |area: &Area| area.range.start() < at && !at.is_aligned(self.page_of(area));
        if self.area(space, at).is_some_and(|area| cuts(&area)) { Err(EINVAL) } else { Ok(()) }
    }

    /// The pages of a range, checked as `munmap` does: aligned start, nothing beyond the end.
    pub(crate) fn page_range(&self, at: Va, len: Bytes) -> Result<VaRange, Errno> {
        let page = self.profile.page_size;
        let end = at.0.checked_add(len.0).ok_or(EINVAL)?;
        if !at.is_aligned(page) || len.0 == 0 || end > TASK_END.0 {
            return Err(EINVAL);
        }
        Ok(VaRange::new(at, Va(end).align_up(page)))
    }

    /// Checks that a hole in the middle of an area leaves room for both its ends.
    pub(crate) fn may_unmap(&self, space: SpaceId, range: VaRange) -> Result<(), Errno> {
        let cuts_out =
            |area: Area| area.range.start() < range.start() && range.end() < area.range.end();
        let hole = self.area(space, range.start()).is_some_and(cuts_out);
        if hole && self.is_full(space) { Err(ENOMEM) } else { Ok(()) }
    }

    /// Drops the tables that no area reaches into any more.
    fn drop_tables(&mut self, space: SpaceId, range: VaRange) {
        let Space { areas, table, .. } = &mut self.spaces[space];
        for part in table.made_in(range) {
            if areas.within(part).next().is_none() {
                table.drop_table(part.start());
            }
        }
    }

    /// Takes the areas of a range out, which must not cut any.
    pub(crate) fn take_areas(&mut self, space: SpaceId, range: VaRange) {
        for area in self.spaces[space].areas.take(range) {
            if let Some(object) = area.object() {
                self.machine.put_object(object);
            }
            if area.root.is_some() {
                self.area_departed(space);
            }
        }
    }
}
