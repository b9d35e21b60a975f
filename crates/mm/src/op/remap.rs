//! `mremap`: growing, shrinking, moving, and moving away from a place that stays mapped.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::RemapArg;

use crate::errno::{EFAULT, EINVAL, ENOMEM, Errno};
use crate::id::{SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::op::transfer::Transfer;
use crate::process::{Area, TASK_END};
use crate::sched::{Lock, Mode, Point};
use crate::userfaultfd::Announcement;

/// What to move, and where.
#[derive(Clone, Copy, Debug)]
pub struct RemapRequest {
    /// The old address.
    pub from: Va,
    /// The old length.
    pub len: Bytes,
    /// The new length.
    pub new_len: Bytes,
    /// It may go elsewhere.
    pub may_move: bool,
    /// It goes exactly here, over what is there.
    pub to: Option<Va>,
    /// The old place stays mapped, empty.
    pub dont_unmap: bool,
}

impl Kernel {
    /// `mremap(2)`. Returns the new address.
    ///
    /// # Errors
    /// EINVAL, EFAULT where nothing is mapped or an area ends early, ENOMEM where there is no room.
    pub async fn remap(&self, who: ThreadId, request: RemapRequest) -> Result<Va, Errno> {
        let request = self.state().check_remap(request)?;
        let space = self.state().space_of(who);
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let mut told = Vec::new();
        let result = self.remap_locked(space, request, &mut told).await;
        map.release().await;
        if let Ok(start) = result
            && request.len < request.new_len
            && self.state().area(space, start).is_some_and(|area| area.traits.locked)
        {
            let tail = VaRange::new(start.add(request.len), start.add(request.new_len));
            // What cannot be brought now is brought when it is used.
            let _ = self.populate_locked(who, tail).await;
        }
        self.announce_all(who, told).await;
        result
    }

    async fn remap_locked(
        &self,
        space: SpaceId,
        request: RemapRequest,
        told: &mut Vec<Announcement>,
    ) -> Result<Va, Errno> {
        if let (Some(to), true) = (request.to, self.moves_many(&request)) {
            return self.move_areas(space, &request, to, told).await;
        }
        let request = self.state().in_whole_pages(space, request)?;
        let old = VaRange::of(request.from, request.len);
        if request.to.is_some() || request.dont_unmap {
            self.move_area(space, &request, told).await
        } else if request.new_len <= request.len {
            self.shrink(space, old, request.new_len, told).await
        } else {
            match self.grow_in_place(space, old, request.new_len).await {
                Some(grown) => grown,
                None if request.may_move => self.move_area(space, &request, told).await,
                None => Err(ENOMEM),
            }
        }
    }

    /// Since 6.17 a move to a given place that changes no length may take several areas along.
    fn moves_many(&self, request: &RemapRequest) -> bool {
        self.state().profile.moves_many_areas && request.len == request.new_len
    }

    /// Moves areas one after the other, the gaps between them kept. The first must begin where the
    /// range does; registered areas only move alone.
    async fn move_areas(
        &self,
        space: SpaceId,
        request: &RemapRequest,
        to: Va,
        told: &mut Vec<Announcement>,
    ) -> Result<Va, Errno> {
        let old = VaRange::of(request.from, request.len);
        let areas: Vec<Area> = self.state().spaces[space].areas.within(old).copied().collect();
        if areas.first().is_none_or(|first| first.range.start() > old.start()) {
            return Err(EFAULT);
        }
        for (number, area) in areas.iter().enumerate() {
            let alone = number == 0 && area.range.end() >= old.end();
            if area.registration.is_some() && !alone {
                return Err(EFAULT);
            }
            let Some(part) = area.range.intersect(old) else { continue };
            let target = to.add(part.start().since(old.start()));
            let (from, len) = (part.start(), part.len());
            let single = RemapRequest { from, len, new_len: len, to: Some(target), ..*request };
            let single = self.state().in_whole_pages(space, single)?;
            self.move_area(space, &single, told).await?;
        }
        Ok(to)
    }

    async fn shrink(
        &self,
        space: SpaceId,
        old: VaRange,
        new_len: Bytes,
        told: &mut Vec<Announcement>,
    ) -> Result<Va, Errno> {
        if self.state().area(space, old.start()).is_none() {
            return Err(EFAULT);
        }
        if new_len < old.len() {
            let tail = VaRange::new(old.start().add(new_len), old.end());
            self.remove_range(space, tail, told).await?;
        }
        Ok(old.start())
    }

    /// Grows an area into free room behind it; `None` where there is not enough.
    async fn grow_in_place(
        &self,
        space: SpaceId,
        old: VaRange,
        new_len: Bytes,
    ) -> Option<Result<Va, Errno>> {
        let area = match self.state().movable(space, old) {
            Ok(area) => area,
            Err(errno) => return Some(Err(errno)),
        };
        let tail = VaRange::new(old.end(), old.start().add(new_len));
        let free = self.state().spaces[space].areas.within(tail).next().is_none();
        if area.range.end() != old.end() || !free || tail.end() > TASK_END {
            return None;
        }
        let guard = self.lock(Lock::Area(area.id), Mode::Exclusive).await;
        let mut state = self.state();
        let grown = Area {
            id: state.new_area(),
            range: tail,
            linear: area.linear_of(old.start()) + old.len().0,
            ..area
        };
        state.add_area(space, grown);
        drop(state);
        drop(guard);
        Some(Ok(old.start()))
    }

    /// Moves an area, its pages with it. UNMAP of what was at the new place is told first, then
    /// REMAP, then UNMAP of the old place.
    async fn move_area(
        &self,
        space: SpaceId,
        request: &RemapRequest,
        told: &mut Vec<Announcement>,
    ) -> Result<Va, Errno> {
        let old = VaRange::of(request.from, request.len);
        let mut shrunk = Vec::new();
        if let Some(to) = request.to {
            // Up to 6.16 an area that ends early was noticed too late.
            let early = self.state().profile.moves_many_areas;
            let looked_at = if early { request.len.0.min(request.new_len.0) } else { 1 };
            self.state().movable(space, VaRange::of(old.start(), Bytes(looked_at)))?;
            let target = VaRange::of(to, request.new_len);
            self.remove_range(space, target, told).await?;
            if request.new_len < request.len {
                let tail = VaRange::new(old.start().add(request.new_len), old.end());
                self.remove_range(space, tail, &mut shrunk).await?;
            }
        }
        let kept = Bytes(request.len.0.min(request.new_len.0));
        let old_kept = VaRange::of(old.start(), kept);
        let area = self.state().movable(space, old_kept)?;
        let guards = self.lock_areas(space, old_kept).await;
        let new = self.state().place(space, request)?;
        let message = RemapArg { from: old.start().0, to: new.start().0, len: kept.0 };
        let raised = self.raise_remap(&area, message).await;
        self.pause(Point::Access).await;
        let transfer = Transfer { space, area, old: old_kept, new, told: raised.is_some() };
        self.transfer_area(&transfer).await;
        drop(guards);
        told.extend(raised);
        told.extend(shrunk);
        if request.dont_unmap {
            self.state().forget_family(space, old_kept)?;
        } else {
            self.remove_range(space, old_kept, told).await?;
        }
        Ok(new.start())
    }
}

impl State {
    fn check_remap(&self, request: RemapRequest) -> Result<RemapRequest, Errno> {
        let page = self.profile.page_size;
        let aligned = |at: Va| at.is_aligned(page);
        let round = |len: Bytes| len.0.checked_next_multiple_of(page.bytes().0).map(Bytes);
        let (len, new_len) = (round(request.len), round(request.new_len));
        let (Some(len), Some(new_len)) = (len, new_len) else { return Err(EINVAL) };
        let fits = |at: Va, len: Bytes| at.0.checked_add(len.0).is_some_and(|e| e <= TASK_END.0);
        if !aligned(request.from)
            || new_len.0 == 0
            || len.0 == 0
            || !fits(request.from, len)
            || ((request.to.is_some() || request.dont_unmap) && !request.may_move)
            || (request.dont_unmap && len != new_len)
        {
            return Err(EINVAL);
        }
        if let Some(to) = request.to {
            let old = VaRange::of(request.from, len);
            if !aligned(to)
                || !fits(to, new_len)
                || old.intersect(VaRange::of(to, new_len)).is_some()
            {
                return Err(EINVAL);
            }
        }
        Ok(RemapRequest { len, new_len, ..request })
    }

    /// The request as memory of the hugetlb pool takes it: in whole pages, without growing, leaving
    /// nothing behind. Other memory takes any.
    fn in_whole_pages(&self, space: SpaceId, request: RemapRequest) -> Result<RemapRequest, Errno> {
        let Some(area) = self.area(space, request.from).filter(Area::is_hugetlb) else {
            return Ok(request);
        };
        let page = self.page_of(&area);
        let [len, new_len] = [request.len, request.new_len].map(|len| Va(len.0).align_up(page).0);
        let aligned =
            request.from.is_aligned(page) && request.to.is_none_or(|to| to.is_aligned(page));
        if !aligned || new_len > len || request.dont_unmap {
            return Err(EINVAL);
        }
        Ok(RemapRequest { len: Bytes(len), new_len: Bytes(new_len), ..request })
    }

    /// The area that holds a range, which must not leave it.
    fn movable(&self, space: SpaceId, range: VaRange) -> Result<Area, Errno> {
        let area = self.area(space, range.start()).ok_or(EFAULT)?;
        if area.range.covers(range) { Ok(area) } else { Err(EFAULT) }
    }

    fn place(&self, space: SpaceId, request: &RemapRequest) -> Result<VaRange, Errno> {
        if let Some(to) = request.to {
            return Ok(VaRange::of(to, request.new_len));
        }
        let page = self.profile.page_size;
        let start = self.spaces[space].areas.gap(request.new_len, page).ok_or(ENOMEM)?;
        Ok(VaRange::of(start, request.new_len))
    }

    /// Adds an area with what it counts for, and merges it with its neighbours.
    pub(crate) fn add_area(&mut self, space: SpaceId, area: Area) {
        self.insert_area(space, area);
        self.merge_areas(space, area.range);
    }

    /// Adds an area with what it counts for.
    pub(super) fn insert_area(&mut self, space: SpaceId, area: Area) {
        if let Some(object) = area.object() {
            self.machine.objects[object].uses += 1;
        }
        self.spaces[space].areas.insert(area);
    }

    /// What was left behind is not locked any more, the area it belongs to in whole. An area that
    /// was emptied whole has no pages, so it begins a family of its own.
    fn forget_family(&mut self, space: SpaceId, range: VaRange) -> Result<(), Errno> {
        let Some(left) = self.area(space, range.start()) else { return Ok(()) };
        self.change_areas(space, left.range, |area| {
            area.traits.locked = false;
            if area.is_anonymous() && left.range == range {
                (area.root, area.inherited) = (None, false);
            }
        })
    }
}
