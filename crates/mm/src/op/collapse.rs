//! Collapse: base pages become a huge page.
//!
//! # Locking
//! The map and the area exclusively, the family exclusively, the table; the pages themselves are
//! only tried, as their locks come before these.

use alloc::vec::Vec;

use faultless_pages::{PageSize, VaRange};

use crate::errno::{EAGAIN, EINVAL, ENOMEM, Errno};
use crate::id::{FrameId, SpaceId};
use crate::kernel::{Kernel, State};
use crate::machine::{Content, Kind};
use crate::process::{Area, Entry, Mapped};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// MADV_COLLAPSE of a range: makes huge pages of all of it that can hold any.
    pub(crate) async fn collapse_range(&self, space: SpaceId, range: VaRange) -> Result<(), Errno> {
        let (pieces, gapless) = self.state().pieces(space, range);
        for piece in pieces {
            self.collapse_area(space, piece.range).await?;
        }
        if gapless { Ok(()) } else { Err(ENOMEM) }
    }

    /// The last refusal is told; one that lies in the kind of memory ends it at once.
    async fn collapse_area(&self, space: SpaceId, range: VaRange) -> Result<(), Errno> {
        let Some(size) = self.state().profile.transparent_huge_page else { return Err(EINVAL) };
        let area = self.state().area(space, range.start()).ok_or(ENOMEM)?;
        let (first, last) = (range.start().align_up(size), range.end().align_down(size));
        // A range between two borders of huge pages is refused; one that touches a border and
        // holds none is nothing to do.
        if !may_hold(&area, size) || first > last {
            return Err(EINVAL);
        }
        let mut result = Ok(());
        for place in inner(range, size) {
            match self.collapse_at(space, place).await {
                Ok(()) => {}
                Err(errno @ (EINVAL | EAGAIN)) => result = Err(errno),
                Err(errno) => return Err(errno),
            }
        }
        result
    }

    async fn collapse_at(&self, space: SpaceId, place: VaRange) -> Result<(), Errno> {
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let area = self.state().area(space, place.start()).ok_or(ENOMEM)?;
        if !area.is_anonymous() || area.traits.no_huge || !area.range.covers(place) {
            return Err(EINVAL);
        }
        let guard = self.lock(Lock::Area(area.id), Mode::Exclusive).await;
        let family = match area.root {
            Some(root) => Some(self.lock(Lock::Root(root), Mode::Exclusive).await),
            None => None,
        };
        let table = self.lock_table(space, place.start()).await;
        let collapsed = self.collapse_locked(space, &area, place);
        table.release().await;
        drop(family);
        drop(guard);
        map.release().await;
        collapsed
    }

    fn collapse_locked(&self, space: SpaceId, area: &Area, place: VaRange) -> Result<(), Errno> {
        if self.state().spaces[space].table.huge(place.start()).is_some() {
            return Ok(());
        }
        let heads = self.state().collapsible(space, area, place)?;
        let mut folios = Vec::new();
        for head in heads {
            folios.push(self.try_lock(Lock::Folio(head), Mode::Exclusive).ok_or(EAGAIN)?);
        }
        self.state().collapse(space, area, place)
    }
}

/// Says whether a huge page fits anywhere into an area, as its object is laid out. One without a
/// page of its own yet is refused.
fn may_hold(area: &Area, size: PageSize) -> bool {
    let distance = area.range.start().0.wrapping_sub(area.linear);
    let fits = area.is_anonymous() || distance.is_multiple_of(size.bytes().0);
    let kind = area.kind() != Some(Kind::Regular) && !area.is_hugetlb();
    let used = !area.is_anonymous() || area.root.is_some();
    kind && used && fits && !area.traits.no_huge && inner(area.range, size).next().is_some()
}

/// The huge pages that fit into a range.
fn inner(range: VaRange, size: PageSize) -> impl Iterator<Item = VaRange> {
    let (start, end) = (range.start().align_up(size), range.end().align_down(size));
    let whole = VaRange::new(start.min(end), end);
    whole.chunks(size.bytes())
}

impl State {
    /// Checks that everything in a range can become part of a huge page, and returns the pages
    /// that are in memory.
    fn collapsible(
        &self,
        space: SpaceId,
        area: &Area,
        place: VaRange,
    ) -> Result<Vec<FrameId>, Errno> {
        let table = &self.spaces[space].table;
        if !table.has_table(place.start()) {
            return Err(EINVAL);
        }
        // Where a userfaultfd listens, no page comes unasked: one of zeros is as good as none.
        let listens = area.registration.is_some();
        let awaited = self.profile.awaited_pages_refuse_collapse;
        let (mut heads, mut next) = (Vec::new(), place.start());
        for (at, entry) in table.small_in(place) {
            let missing = at != next || matches!(entry, Entry::Zero { .. });
            if listens && missing {
                return Err(awaited);
            }
            next = at.add(self.profile.page());
            match entry {
                Entry::Zero { .. } => {}
                _ if entry.uffd_wp() => return Err(EINVAL),
                Entry::Present(mapped) => {
                    let head = self.machine.frames.head(mapped.frame);
                    if heads.last() != Some(&head) {
                        self.check_uses(head)?;
                        heads.push(head);
                    }
                }
                Entry::Swapped { .. } => {}
                Entry::Migrating(_) => return Err(EAGAIN),
                Entry::Marker(_) => return Err(EINVAL),
            }
        }
        if listens && next != place.end() { Err(awaited) } else { Ok(heads) }
    }

    fn check_uses(&self, head: FrameId) -> Result<(), Errno> {
        let frame = &self.machine.frames[head];
        let expected = frame.maps + u32::from(frame.slot.is_some());
        if frame.uses == expected { Ok(()) } else { Err(EAGAIN) }
    }

    fn collapse(&mut self, space: SpaceId, area: &Area, place: VaRange) -> Result<(), Errno> {
        let count = self.profile.huge_frames();
        let head = self.machine.frames.allocate_block(count, false).ok_or(ENOMEM)?;
        for (at, entry) in self.spaces[space].table.list(place) {
            let part = at.since(place.start()).pages(self.profile.page_size);
            let part = usize::try_from(part).unwrap_or(usize::MAX);
            self.machine.frames[FrameId(head.0 + part)].content = self.content_of(entry);
            self.zap(space, at);
        }
        self.adopt(space, place.start(), head);
        self.machine.frames.map(head);
        self.machine.put_frame(head);
        let writable = area.protection.write;
        let mapped = Mapped { writable, dirty: true, exclusive: true, ..Mapped::read_only(head) };
        self.spaces[space].table.set_huge(place.start(), Some(Entry::Present(mapped)));
        Ok(())
    }

    /// What the page of an entry holds, wherever it is.
    fn content_of(&self, entry: Entry) -> Content {
        match entry {
            Entry::Present(mapped) | Entry::Migrating(mapped) => {
                self.machine.frames[mapped.frame].content.clone()
            }
            Entry::Swapped { slot, .. } => match self.machine.swap[slot].cached {
                Some(frame) => self.machine.frames[frame].content.clone(),
                None => self.machine.swap[slot].content.clone(),
            },
            Entry::Zero { .. } | Entry::Marker(_) => Content::Zero,
        }
    }
}
