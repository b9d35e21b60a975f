//! The two areas of a move: locking them, and which may take part.

use alloc::boxed::Box;

use crate::errno::{EAGAIN, EINVAL, ENOENT, Errno};
use crate::id::{AreaId, ContextId};
use crate::kernel::{Guard, Kernel, State};
use crate::process::{Area, Registration};
use crate::sched::{Lock, Mode, Point};
use crate::userfaultfd::move_::Removal;

/// What locks the areas at both ends; one area may be both.
type Areas = [Option<Guard>; 2];

/// Both areas locked, and the modes the destination is registered for if pages may go from one to
/// the other.
type Checked = (Areas, Result<u64, Errno>);

impl Kernel {
    /// Locks all that stays locked while pages move, and checks that they may. Returns the modes
    /// the destination is registered for, and the locks, the innermost first.
    pub(super) async fn lock_both(
        &self,
        id: ContextId,
        removal: &Removal,
    ) -> Result<(u64, (Guard, Areas)), Errno> {
        let first = self.state().claim_destination(id, removal)?;
        self.pause(Point::Take(Lock::Area(first))).await;
        let (areas, dst_modes) = match self.try_lock_both(id, removal)? {
            Some(locked) => locked,
            // Boxed to keep the path on which nobody is waited for small: it is copied around.
            None => Box::pin(self.lock_changed_areas(id, removal)).await?,
        };
        let changing = self.lock(Lock::Changing(id), Mode::Shared).await;
        if self.state().contexts[id].changing > 0 {
            return Err(EAGAIN);
        }
        // A pending event is told before what is wrong with the areas.
        Ok((dst_modes?, (changing, areas)))
    }

    /// Finds and locks both areas where somebody is changing one of them. Neither is held while the
    /// map's lock is waited for: its owner may be waiting for the other.
    async fn lock_changed_areas(&self, id: ContextId, removal: &Removal) -> Result<Checked, Errno> {
        let space = self.state().contexts[id].space;
        let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        // Areas are only locked exclusively by who holds the map exclusively.
        let locked = self.try_lock_both(id, removal)?.ok_or(ENOENT);
        map.release().await;
        locked
    }

    /// `None` where one of them is being changed.
    fn try_lock_both(&self, id: ContextId, removal: &Removal) -> Result<Option<Checked>, Errno> {
        let (dst, src, modes) = self.state().find_both(id, removal)?;
        let Some(first) = self.try_lock(Lock::Area(dst), Mode::Shared) else { return Ok(None) };
        if dst == src {
            return Ok(Some(([Some(first), None], modes)));
        }
        let second = self.try_lock(Lock::Area(src), Mode::Shared);
        Ok(second.map(|second| ([Some(first), Some(second)], modes)))
    }
}

impl State {
    /// Finds the area of the destination and gives it a family: before anything is examined, for a
    /// refused request leaves it behind too.
    fn claim_destination(&mut self, id: ContextId, removal: &Removal) -> Result<AreaId, Errno> {
        let space = self.contexts[id].space;
        let area = self.area(space, removal.dst.start()).ok_or(ENOENT)?;
        self.claim_family(space, &area);
        Ok(area.id)
    }

    /// Finds both areas, and the modes the destination is registered for if they fit.
    fn find_both(
        &self,
        id: ContextId,
        removal: &Removal,
    ) -> Result<(AreaId, AreaId, Result<u64, Errno>), Errno> {
        let areas = &self.spaces[self.contexts[id].space].areas;
        let dst = areas.find(removal.dst.start()).ok_or(ENOENT)?;
        let src = areas.find(removal.src.start()).ok_or(ENOENT)?;
        let modes = match dst.registration {
            Some(Registration { context, modes }) if context == id && removal.fits(dst, src) => {
                Ok(modes)
            }
            _ => Err(EINVAL),
        };
        Ok((dst.id, src.id, modes))
    }
}

impl Removal {
    /// Says whether pages may go from one area to the other.
    fn fits(&self, dst: &Area, src: &Area) -> bool {
        !src.shared
            && !dst.shared
            && src.range.covers(self.src)
            && dst.range.covers(self.dst)
            && src.protection == dst.protection
            && src.protection.write
            && src.traits.locked == dst.traits.locked
            && src.is_anonymous()
            && dst.is_anonymous()
    }
}
