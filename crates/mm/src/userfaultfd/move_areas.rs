//! The two areas of a move: locking them, and which may take part.

use crate::errno::{EAGAIN, EINVAL, ENOENT, Errno};
use crate::id::{ContextId, SpaceId};
use crate::kernel::{Guard, Kernel, State};
use crate::sched::{Lock, Mode, Point};
use crate::userfaultfd::move_::Removal;

/// What locks the areas at both ends; one area may be both.
type Areas = [Option<Guard>; 2];

impl Kernel {
    /// Locks all that stays locked while pages move, and checks that they may. Returns the modes
    /// the destination is registered for, and the locks, the innermost first.
    pub(super) async fn lock_both(
        &self,
        id: ContextId,
        removal: &Removal,
    ) -> Result<(u64, (Guard, Areas)), Errno> {
        let areas = self.lock_both_areas(id, removal).await?;
        let changing = self.lock(Lock::Changing(id), Mode::Shared).await;
        if self.state().contexts[id].changing > 0 {
            return Err(EAGAIN);
        }
        let dst_modes = self.state().check_both(id, removal)?;
        Ok((dst_modes, (changing, areas)))
    }

    /// Finds and locks both areas, shared. Where somebody is changing one of them, neither is
    /// held while the map's lock is waited for: its owner may be waiting for the other.
    async fn lock_both_areas(&self, id: ContextId, removal: &Removal) -> Result<Areas, Errno> {
        let space = self.state().contexts[id].space;
        let first = {
            let mut state = self.state();
            let area = state.area(space, removal.dst.start()).ok_or(ENOENT)?;
            // Before anything is examined: a refused request leaves it behind too.
            state.claim_family(space, &area);
            area.id
        };
        self.pause(Point::Take(Lock::Area(first))).await;
        if let Some(locked) = self.try_lock_both(space, removal)? {
            return Ok(locked);
        }
        let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        // Areas are only locked exclusively by who holds the map exclusively.
        let locked = self.try_lock_both(space, removal)?.ok_or(ENOENT);
        map.release().await;
        locked
    }

    /// `None` where one of them is being changed.
    fn try_lock_both(&self, space: SpaceId, removal: &Removal) -> Result<Option<Areas>, Errno> {
        let (dst, src) = {
            let state = self.state();
            let dst = state.area(space, removal.dst.start()).ok_or(ENOENT)?;
            (dst.id, state.area(space, removal.src.start()).ok_or(ENOENT)?.id)
        };
        let Some(first) = self.try_lock(Lock::Area(dst), Mode::Shared) else { return Ok(None) };
        if dst == src {
            return Ok(Some([Some(first), None]));
        }
        let second = self.try_lock(Lock::Area(src), Mode::Shared);
        Ok(second.map(|second| [Some(first), Some(second)]))
    }
}

impl State {
    /// Checks that pages may go from one area to the other; returns the modes the destination is
    /// registered for.
    fn check_both(&self, id: ContextId, removal: &Removal) -> Result<u64, Errno> {
        let areas = &self.spaces[self.contexts[id].space].areas;
        let dst = areas.find(removal.dst.start()).ok_or(ENOENT)?;
        let src = areas.find(removal.src.start()).ok_or(ENOENT)?;
        let fits = !src.shared
            && !dst.shared
            && src.range.covers(removal.src)
            && dst.range.covers(removal.dst)
            && src.protection == dst.protection
            && src.protection.write
            && src.traits.locked == dst.traits.locked
            && src.is_anonymous()
            && dst.is_anonymous();
        match dst.registration {
            Some(registration) if fits && registration.context == id => Ok(registration.modes),
            _ => Err(EINVAL),
        }
    }
}
