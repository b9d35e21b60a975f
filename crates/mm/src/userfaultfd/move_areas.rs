//! The two areas of a move: locking them, and which may take part.

use crate::errno::{EINVAL, ENOENT, Errno};
use crate::id::{ContextId, SpaceId};
use crate::kernel::{Guard, Kernel, State};
use crate::process::Area;
use crate::sched::{Lock, Mode, Point};
use crate::userfaultfd::move_::Removal;

/// The areas at both ends; one area may be both.
pub(super) struct Areas {
    pub(super) dst: Area,
    pub(super) src: Area,
}

/// Both areas with what locks them.
type Locked = (Areas, [Option<Guard>; 2]);

impl Kernel {
    /// Finds and locks both areas, shared. Where somebody is changing one of them, neither is
    /// held while the map's lock is waited for: its owner may be waiting for the other.
    pub(super) async fn lock_both(
        &self,
        space: SpaceId,
        removal: &Removal,
    ) -> Result<Locked, Errno> {
        let first = self.state().area(space, removal.dst.start()).ok_or(ENOENT)?;
        if !first.shared {
            // Before anything is examined: a refused request leaves it behind too.
            self.state().family(space, first.range.start());
        }
        self.pause(Point::Take(Lock::Area(first.id))).await;
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
    fn try_lock_both(&self, space: SpaceId, removal: &Removal) -> Result<Option<Locked>, Errno> {
        let (dst, src) = {
            let state = self.state();
            let dst = state.area(space, removal.dst.start()).ok_or(ENOENT)?;
            (dst, state.area(space, removal.src.start()).ok_or(ENOENT)?)
        };
        let Some(first) = self.try_lock(Lock::Area(dst.id), Mode::Shared) else { return Ok(None) };
        if dst.id == src.id {
            return Ok(Some((Areas { dst, src }, [Some(first), None])));
        }
        let second = self.try_lock(Lock::Area(src.id), Mode::Shared);
        Ok(second.map(|second| (Areas { dst, src }, [Some(first), Some(second)])))
    }
}

impl State {
    /// Checks that pages may go from one area to the other.
    pub(super) fn check_both(
        &self,
        id: ContextId,
        removal: &Removal,
        areas: &Areas,
    ) -> Result<(), Errno> {
        let Areas { dst, src } = areas;
        let owner = dst.registration.map(|registration| registration.context);
        let fits = !src.shared
            && !dst.shared
            && src.range.covers(removal.src)
            && dst.range.covers(removal.dst)
            && src.protection == dst.protection
            && src.protection.write
            && src.traits.locked == dst.traits.locked
            && owner == Some(id)
            && src.is_anonymous()
            && dst.is_anonymous();
        if fits { Ok(()) } else { Err(EINVAL) }
    }
}
