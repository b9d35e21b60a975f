//! UNREGISTER.

use faultless_pages::VaRange;
use faultless_uapi::UffdioRange;
use faultless_uapi::mode::register;

use crate::errno::{EINVAL, Errno};
use crate::id::{ContextId, SpaceId};
use crate::kernel::{Kernel, State};
use crate::machine::Kind;
use crate::process::Area;
use crate::userfaultfd::request::User;

impl Kernel {
    /// Takes a range out of every registration of this userfaultfd.
    pub(super) async fn unregister(&self, id: ContextId, user: User<'_>) -> Result<u64, Errno> {
        let range = UffdioRange::from_bytes(user.get(self).await?);
        let range = self.state().possible(range)?;
        let (space, map) = self.lock_living_map(id).await?;
        let areas = self.lock_areas(space, range).await;
        self.state().check_unregister(id, range)?;
        let registered = self.state().registered_in(space, range);
        for area in registered {
            self.unregister_area(space, &area).await?;
        }
        drop(areas);
        map.release().await;
        Ok(0)
    }

    /// Wakes, unprotects and unregisters one area or a part of one, under the map's lock. A part
    /// that ends inside a page of the hugetlb pool stays registered.
    async fn unregister_area(&self, space: SpaceId, area: &Area) -> Result<(), Errno> {
        let Some(registration) = area.registration else { return Ok(()) };
        let forgets = self.state().profile.bugs.unregister_leaves_wp_waiters;
        if registration.modes & register::MISSING != 0 || !forgets {
            self.wake_range(registration.context, area.range);
        }
        let whole = area.range.widen(self.state().page_of(area));
        self.clear_protection(space, &Area { range: whole, ..*area }).await;
        self.state().change_areas(space, area.range, |area| area.registration = None)
    }
}

impl State {
    fn check_unregister(&self, id: ContextId, range: VaRange) -> Result<(), Errno> {
        let space = self.contexts[id].space;
        let mut areas = self.spaces[space].areas.within(range).peekable();
        let first = areas.peek().ok_or(EINVAL)?;
        if let Some(Kind::Hugetlb(size)) = first.kind()
            && !range.start().is_aligned(size)
        {
            return Err(EINVAL);
        }
        for area in areas {
            let owner = area.registration.map(|registration| registration.context);
            let foreign = owner.is_some_and(|owner| owner != id);
            let wp_async = self.contexts[id].wp_is_async();
            let modes = area.registration.map_or(0, |registration| registration.modes);
            if (foreign && self.profile.refuses_foreign_unregister)
                || !self.accepts(area, modes, wp_async)
            {
                return Err(EINVAL);
            }
        }
        Ok(())
    }

    /// The registered parts of a range.
    fn registered_in(&self, space: SpaceId, range: VaRange) -> alloc::vec::Vec<Area> {
        let areas = self.spaces[space].areas.within(range);
        let registered = areas.filter(|area| area.registration.is_some());
        registered.filter_map(|area| Some(area.part(area.range.intersect(range)?))).collect()
    }
}
