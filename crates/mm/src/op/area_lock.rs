//! Finding and locking areas and tables.

use alloc::vec::Vec;

use faultless_pages::{Va, VaRange};

use crate::id::{AreaId, SpaceId};
use crate::kernel::{Guard, Kernel, Take};
use crate::process::Area;
use crate::sched::{Lock, Mode, Point, TableName};

impl Kernel {
    /// Finds the area of an address and locks it shared. Where somebody is changing it, the
    /// map's lock is waited for. On kernels without locks of areas the map's does for all.
    pub(crate) async fn lock_area(&self, space: SpaceId, at: Va) -> Option<(Area, Guard)> {
        if !self.state().profile.locks_areas {
            let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
            let area = self.state().area(space, at)?;
            return Some((area, map));
        }
        let found = self.state().spaces[space].areas.find(at)?.id;
        self.pause(Point::Take(Lock::Area(found))).await;
        if let Some(locked) = self.try_lock_area(space, at) {
            return locked;
        }
        let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        // Areas are only locked exclusively by who holds the map exclusively.
        let locked = self.try_lock_area(space, at).flatten();
        map.release().await;
        locked
    }

    /// The outer `None` says that the area is being changed, the inner that there is none.
    #[expect(clippy::option_option, reason = "two different answers")]
    fn try_lock_area(&self, space: SpaceId, at: Va) -> Option<Option<(Area, Guard)>> {
        let Some(area) = self.state().area(space, at) else { return Some(None) };
        let guard = self.try_lock(Lock::Area(area.id), Mode::Shared)?;
        Some(Some((area, guard)))
    }

    /// Locks the areas of a range exclusively; the caller holds the map exclusively.
    pub(crate) async fn lock_areas(&self, space: SpaceId, range: VaRange) -> Vec<Guard> {
        let ids: Vec<AreaId> =
            self.state().spaces[space].areas.within(range).map(|area| area.id).collect();
        let mut guards = Vec::new();
        for id in ids {
            guards.push(self.lock(Lock::Area(id), Mode::Exclusive).await);
        }
        guards
    }

    /// Locks the table that holds an address.
    pub(crate) fn lock_table(&self, space: SpaceId, at: Va) -> Take<'_> {
        let span = self.state().profile.table_span();
        let name = TableName::of(space, at.align_down(span));
        self.lock(Lock::Table(name), Mode::Exclusive)
    }

    /// Does so for a walk that found the address space some time ago: `None` when that is gone by
    /// now.
    pub(crate) async fn lock_table_left(&self, space: SpaceId, at: Va) -> Option<Guard> {
        let table = self.lock_table(space, at).await;
        let left = self.state().spaces.get(space).is_some();
        left.then_some(table)
    }
}
