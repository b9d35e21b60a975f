//! Dropping pages by advice: DONTNEED, FREE, REMOVE.
//!
//! REMOVE the event is told before pages go, with nothing locked; what is mapped there afterwards
//! is looked up anew.

use alloc::vec::Vec;

use faultless_pages::{Va, VaRange};

use crate::errno::{EINVAL, ENOMEM, Errno};
use crate::id::{FrameId, SpaceId, ThreadId};
use crate::kernel::{Guard, Kernel, State};
use crate::op::advise::Advice;
use crate::process::{Area, Entry, Mapped, Marker};
use crate::sched::{Lock, Mode};

impl Kernel {
    pub(crate) async fn drop_pages(
        &self,
        who: ThreadId,
        range: VaRange,
        advice: Advice,
    ) -> Result<(), Errno> {
        let space = self.state().space_of(who);
        let mut map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        let mut next = range.start();
        let mut holes = false;
        while next < range.end() {
            let rest = VaRange::new(next, range.end());
            let Some(piece) = self.state().next_piece(space, rest) else { break };
            holes |= piece.range.start() != next;
            self.state().may_drop(&piece, advice)?;
            (map, next) = self.drop_piece(who, space, piece, advice, map).await?;
        }
        map.release().await;
        if holes || next < range.end() { Err(ENOMEM) } else { Ok(()) }
    }

    /// Drops the pages of one area, or of a part of one; gives the map's lock back while the event
    /// is told, and returns it taken again, and where it came to: what is mapped there by then may
    /// end earlier.
    async fn drop_piece(
        &self,
        who: ThreadId,
        space: SpaceId,
        mut piece: Area,
        advice: Advice,
        mut map: Guard,
    ) -> Result<(Guard, Va), Errno> {
        if advice == Advice::Remove {
            return self.remove_piece(who, space, &piece, map).await;
        }
        let mut end = piece.range.end();
        let Some(whole) = self.state().whole_pages(&piece) else { return Ok((map, end)) };
        piece = whole;
        if let Some(raised) = self.raise_remove(&piece, piece.range).await {
            map.release().await;
            self.announce(who, raised).await;
            map = self.lock(Lock::Mmap(space), Mode::Shared).await;
            let start = piece.range.start();
            let now = self.state().next_piece(space, piece.range);
            piece = now.filter(|now| now.range.start() == start).ok_or(ENOMEM)?;
            self.state().may_drop(&piece, advice)?;
            end = piece.range.end();
            let Some(whole) = self.state().whole_pages(&piece) else { return Ok((map, end)) };
            piece = whole;
        }
        if advice == Advice::Free && !piece.is_anonymous() {
            return Err(EINVAL);
        }
        if advice == Advice::Free {
            self.split_partly_covered(space, piece.range).await;
        }
        let tables = self.state().spaces[space].table.tables_in(piece.range);
        for part in tables {
            let table = self.lock_table(space, part.start()).await;
            if advice == Advice::Free {
                self.state().free_entries(space, part);
            } else {
                self.state().drop_entries(space, &piece, part, true);
            }
            table.release().await;
        }
        if matches!(advice, Advice::DontNeed | Advice::DontNeedLocked) {
            self.state().reclaim_tables(space, piece.range);
        }
        Ok((map, end))
    }

    /// Makes a hole in the object behind a piece, the one that was mapped when it was asked for.
    async fn remove_piece(
        &self,
        who: ThreadId,
        space: SpaceId,
        piece: &Area,
        map: Guard,
    ) -> Result<(Guard, Va), Errno> {
        let object = piece.object().ok_or(EINVAL)?;
        // Nothing keeps the area from being unmapped meanwhile.
        self.state().machine.objects[object].uses += 1;
        let raised = self.raise_remove(piece, piece.range).await;
        map.release().await;
        if let Some(raised) = raised {
            self.announce(who, raised).await;
        }
        let start = piece.linear_of(piece.range.start());
        let punched = self.punch_object(object, start, piece.range.len().0).await;
        self.state().machine.put_object(object);
        punched?;
        Ok((self.lock(Lock::Mmap(space), Mode::Shared).await, piece.range.end()))
    }
}

impl State {
    /// The pages of a piece that are dropped from a mapping: of the hugetlb pool, those that end in
    /// it; `None` where there are none.
    fn whole_pages(&self, piece: &Area) -> Option<Area> {
        let (start, end) = (piece.range.start(), piece.range.end().align_down(self.page_of(piece)));
        (start < end).then(|| piece.part(VaRange::new(start, end)))
    }

    /// Drops what a range of an area maps. What stays: guards; in memory with an object behind
    /// it, markers of write-protection, and a marker where a protected page was; with `copies`
    /// off, private copies.
    pub(crate) fn drop_entries(
        &mut self,
        space: SpaceId,
        area: &Area,
        range: VaRange,
        copies: bool,
    ) {
        self.split_huge_at(space, range.start());
        self.split_huge_at(space, range.end());
        let marks = area.object().is_some() && area.reports_wp();
        for (at, entry) in self.spaces[space].table.list(range) {
            let own = self.is_private_copy(entry);
            if stays(area, entry) || (own && !copies) {
                continue;
            }
            self.zap(space, at);
            if marks && entry.uffd_wp() {
                self.set(space, at, Entry::Marker(Marker::WriteProtected));
            }
        }
        let huge: Vec<_> = self.spaces[space].table.huge_in(range).collect();
        for (at, entry) in huge {
            if stays(area, entry) || (!copies && self.is_private_copy(entry)) {
                continue;
            }
            let marker =
                (marks && entry.uffd_wp()).then_some(Entry::Marker(Marker::WriteProtected));
            self.spaces[space].table.set_huge(at, marker);
            self.machine.put_entry(entry);
        }
    }

    /// Gives empty tables back that lie in a range whole: mostly it is too short for one.
    fn reclaim_tables(&mut self, space: SpaceId, range: VaRange) {
        let table = &mut self.spaces[space].table;
        if !self.profile.reclaims_tables || range.len() < table.span().bytes() {
            return;
        }
        for made in table.made_in(range) {
            if range.covers(made) && table.small_in(made).next().is_none() {
                table.drop_table(made.start());
            }
        }
    }

    /// Makes the pages of a range clean, for reclaim to drop them; those in swap, and poison, go at
    /// once. A page that others map too is left alone.
    fn free_entries(&mut self, space: SpaceId, range: VaRange) {
        let clean = |entry: Entry| match entry {
            Entry::Present(mapped) => {
                Entry::Present(Mapped { dirty: false, accessed: false, ..mapped })
            }
            other => other,
        };
        for (at, entry) in self.spaces[space].table.list(range) {
            match entry {
                Entry::Swapped { .. } | Entry::Marker(Marker::Poison { .. }) => self.zap(space, at),
                Entry::Present(mapped) if self.is_freeable(space, mapped.frame) => {
                    let head = self.machine.frames.head(mapped.frame);
                    self.machine.frames[head].lazy = true;
                    self.set(space, at, clean(entry));
                }
                _ => {}
            }
        }
        let span = self.spaces[space].table.span().bytes();
        let huge: Vec<_> = self.spaces[space].table.huge_in(range).collect();
        for (at, entry) in huge {
            let Some(frame) = entry.frame() else { continue };
            if !range.covers(VaRange::of(at, span)) || self.machine.frames[frame].maps != 1 {
                continue;
            }
            self.machine.frames[frame].lazy = true;
            self.spaces[space].table.set_huge(at, Some(clean(entry)));
        }
    }

    /// Says whether a page that base entries map is mapped by nobody else. What is still part of a
    /// huge page is freed with the whole of it.
    fn is_freeable(&self, space: SpaceId, frame: FrameId) -> bool {
        let head = self.machine.frames.head(frame);
        let page = &self.machine.frames[head];
        let count = u32::try_from(self.machine.frames.count(head)).unwrap_or(u32::MAX);
        page.maps == count
            && (count == 1 || page.pins == 0)
            && !self.is_mapped_elsewhere(space, head)
    }

    /// Says whether an entry stands for a page that belongs to no object.
    fn is_private_copy(&self, entry: Entry) -> bool {
        match entry {
            Entry::Present(mapped) | Entry::Migrating(mapped) => {
                let head = self.machine.frames.head(mapped.frame);
                matches!(self.machine.frames[head].owner, crate::machine::Owner::Anon { .. })
            }
            Entry::Swapped { .. } => true,
            // Poison counts as a page of the mapping.
            Entry::Marker(marker) => matches!(marker, Marker::Poison { .. }),
            Entry::Zero { .. } => false,
        }
    }
}

fn stays(area: &Area, entry: Entry) -> bool {
    match entry {
        Entry::Marker(Marker::Guard { .. }) => true,
        Entry::Marker(Marker::WriteProtected) => area.object().is_some(),
        _ => false,
    }
}
