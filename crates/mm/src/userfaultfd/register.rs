//! REGISTER.

use faultless_pages::VaRange;
use faultless_uapi::UffdioRegister;
use faultless_uapi::mode::register;

use crate::errno::{EBUSY, EINVAL, ENOMEM, EPERM, Errno};
use crate::id::{ContextId, SpaceId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::Kind;
use crate::process::{Area, Protection, Registration};
use crate::sched::{Lock, Mode};
use crate::userfaultfd::request::User;

const IOCTLS_AT: usize = core::mem::offset_of!(UffdioRegister, ioctls);

impl Kernel {
    /// Locks the map of a userfaultfd's address space, unless its process is gone.
    pub(super) async fn lock_living_map(&self, id: ContextId) -> Result<(SpaceId, Guard), Errno> {
        let space = self.state().contexts[id].space;
        if self.state().spaces[space].is_dead() {
            return Err(ENOMEM);
        }
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        if self.state().spaces[space].is_dead() {
            return Err(ENOMEM);
        }
        Ok((space, map))
    }

    /// Registers a range. Areas are all checked before the first is changed.
    pub(super) async fn register(&self, id: ContextId, mut user: User<'_>) -> Result<u64, Errno> {
        let request = UffdioRegister::from_bytes(user.get_head::<IOCTLS_AT, _>(self).await?);
        let range = self.state().check_modes(id, &request)?;
        let (space, map) = self.lock_living_map(id).await?;
        let areas = self.lock_areas(space, range).await;
        let hugetlb = self.state().check_areas(id, range, request.mode)?;
        self.state().register_areas(id, range, request.mode)?;
        drop(areas);
        map.release().await;
        let offered = self.state().offered(request.mode, hugetlb);
        user.put(self, IOCTLS_AT, &offered.to_ne_bytes()).await?;
        Ok(0)
    }
}

impl State {
    fn check_modes(&self, id: ContextId, request: &UffdioRegister) -> Result<VaRange, Errno> {
        let mode = request.mode;
        let both = register::WP | register::RWP;
        let rwp_enabled = self.contexts[id].has(faultless_uapi::feature::FEATURE_RWP);
        if mode == 0
            || mode & !self.known_modes() != 0
            || mode & both == both
            || (mode & register::RWP != 0 && !rwp_enabled)
        {
            return Err(EINVAL);
        }
        self.possible(request.range)
    }

    /// Checks every area of the range in order; says whether any is hugetlb.
    fn check_areas(&self, id: ContextId, range: VaRange, mode: u64) -> Result<bool, Errno> {
        let space = self.contexts[id].space;
        let mut areas = self.spaces[space].areas.within(range).peekable();
        let first = areas.peek().ok_or(EINVAL)?;
        if let Some(Kind::Hugetlb(size)) = first.kind()
            && !range.start().is_aligned(size)
        {
            return Err(EINVAL);
        }
        let mut hugetlb = false;
        for area in areas {
            self.check_area(id, area, range, mode)?;
            hugetlb |= area.is_hugetlb();
        }
        Ok(hugetlb)
    }

    fn check_area(
        &self,
        id: ContextId,
        area: &Area,
        range: VaRange,
        mode: u64,
    ) -> Result<(), Errno> {
        let rwp = mode & register::RWP != 0;
        if !self.accepts(area, mode, self.contexts[id].wp_is_async())
            || (rwp && area.protection == Protection::NONE)
        {
            return Err(EINVAL);
        }
        if !area.may_write {
            return Err(EPERM);
        }
        if let Some(Kind::Hugetlb(size)) = area.kind()
            && area.range.contains(range.end())
            && !range.end().is_aligned(size)
        {
            return Err(EINVAL);
        }
        let Some(registration) = area.registration else { return Ok(()) };
        if registration.context != id {
            return Err(EBUSY);
        }
        let drops = registration.modes & !mode & (register::WP | register::RWP) != 0;
        if drops && self.profile.dropping_wp_is_busy {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Registers every area of the range that does not report all of these modes already. What
    /// was registered before a refusal stays so.
    fn register_areas(&mut self, id: ContextId, range: VaRange, mode: u64) -> Result<(), Errno> {
        let space = self.contexts[id].space;
        self.change_areas(space, range, |area| {
            let present = area.registration.map_or(0, |registration| registration.modes);
            if present & mode != mode {
                area.registration = Some(Registration { context: id, modes: mode });
            }
        })
    }
}
