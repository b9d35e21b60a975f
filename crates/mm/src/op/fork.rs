//! `fork`.

use alloc::vec::Vec;

use faultless_pages::VaRange;
use faultless_uapi::mode::register;

use crate::errno::{ENOMEM, Errno};
use crate::id::{FrameId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::process::{Area, Entry, Mapped, Marker, Registration, Space, TASK_END};
use crate::sched::{Lock, Mode};
use crate::userfaultfd::Announcement;

/// Modes that protect pages.
const PROTECTS: u64 = register::WP | register::RWP;

impl Kernel {
    /// `fork(2)`. Returns the first thread of the child.
    ///
    /// # Errors
    /// ENOMEM where a pinned page would have to be copied and there is no room.
    pub async fn fork(&self, who: ThreadId) -> Result<ThreadId, Errno> {
        let parent = self.state().space_of(who);
        let map = self.lock(Lock::Mmap(parent), Mode::Exclusive).await;
        let whole = VaRange::new(faultless_pages::Va(0), TASK_END);
        let guards = self.lock_areas(parent, whole).await;
        let child = {
            let mut state = self.state();
            let heap = state.spaces[parent].heap;
            let space = Space { heap, ..Space::new(state.profile.page_size) };
            state.spaces.insert(space)
        };
        let mut raised = Vec::new();
        let copied = self.copy_areas(parent, child, &mut raised).await;
        drop(guards);
        map.release().await;
        if let Err(errno) = copied {
            self.put_space(child).await;
            self.take_back(raised).await;
            return Err(errno);
        }
        let thread = self.state().fork_process(who, child);
        self.announce_all(who, raised).await;
        Ok(thread)
    }

    /// Copies the areas of a space and their pages; events to be told are raised on the way.
    async fn copy_areas(
        &self,
        parent: SpaceId,
        child: SpaceId,
        raised: &mut Vec<Announcement>,
    ) -> Result<(), Errno> {
        let areas: Vec<Area> = self.state().spaces[parent].areas.all().copied().collect();
        for area in areas {
            if area.traits.dont_fork {
                continue;
            }
            let owner = area.registration.map(|registration| registration.context);
            let known = raised.iter().find(|known| Some(known.context) == owner);
            let heir = match known {
                Some(known) => known.child,
                None => {
                    let announcement = self.raise_fork(&area, child).await;
                    raised.extend(announcement);
                    announcement.and_then(|announcement| announcement.child)
                }
            };
            let registration = area
                .registration
                .and_then(|registration| Some(Registration { context: heir?, ..registration }));
            self.copy_area(parent, child, &area, registration).await?;
        }
        Ok(())
    }

    async fn copy_area(
        &self,
        parent: SpaceId,
        child: SpaceId,
        area: &Area,
        registration: Option<Registration>,
    ) -> Result<(), Errno> {
        let walks = self.keep_walks_out(area).await;
        let copy = self.state().inherit(child, area, registration);
        drop(walks);
        let parts = self.state().spaces[parent].table.tables_in(area.range);
        self.state().copy_tables(parent, child, &copy, area.range);
        for part in parts {
            let guard = self.lock_table(parent, part.start()).await;
            let copied = self.state().copy_entries(parent, child, &copy, part);
            guard.release().await;
            copied?;
        }
        Ok(())
    }
}

impl State {
    /// Adds the child's process, with the parent's descriptors.
    fn fork_process(&mut self, who: ThreadId, space: SpaceId) -> ThreadId {
        let process = self.threads[who].process;
        let descriptors = self.processes[process].descriptors.clone();
        for descriptor in descriptors.map.values() {
            self.files[descriptor.file].uses += 1;
        }
        let privileged = self.threads[who].privileged;
        self.add_process(space, descriptors, privileged)
    }

    /// Adds a child's copy of an area; memory locked is not inherited.
    fn inherit(&mut self, child: SpaceId, area: &Area, registration: Option<Registration>) -> Area {
        let mut copy = Area { id: self.new_area(), registration, ..*area };
        copy.traits.locked = false;
        copy.inherited = copy.root.is_some();
        if let Some(root) = copy.root {
            self.roots[root].spaces.insert(child);
            self.spaces[child].families.insert(root);
        }
        if let Some(object) = copy.object() {
            self.machine.objects[object].uses += 1;
        }
        self.spaces[child].areas.insert(copy);
        copy
    }

    /// Gives the child a table wherever the parent has one, be it empty.
    fn copy_tables(&mut self, parent: SpaceId, child: SpaceId, area: &Area, range: VaRange) {
        if is_copied(area) {
            for part in self.spaces[parent].table.made_in(range) {
                self.spaces[child].table.add_table(part.start());
            }
        }
    }

    fn copy_entries(
        &mut self,
        parent: SpaceId,
        child: SpaceId,
        area: &Area,
        range: VaRange,
    ) -> Result<(), Errno> {
        if !is_copied(area) {
            return Ok(());
        }
        self.split_pinned(parent, range);
        for (at, entry) in self.spaces[parent].table.list(range) {
            let (kept, given) = self.share_entry(area, entry)?;
            self.set(parent, at, kept);
            if let Some(given) = given {
                self.set(child, at, given);
                self.own_pinned_copy(child, at, entry, given);
            }
        }
        let huge: Vec<_> = self.spaces[parent].table.huge_in(range).collect();
        for (at, entry) in huge {
            let (kept, given) = self.share_entry(area, entry)?;
            self.spaces[parent].table.set_huge(at, Some(kept));
            self.spaces[child].table.set_huge(at, given);
            if let Some(given) = given {
                self.own_pinned_copy(child, at, entry, given);
            }
        }
        Ok(())
    }

    /// Splits the entries of huge pages that are pinned: their pages are copied one by one.
    fn split_pinned(&mut self, parent: SpaceId, range: VaRange) {
        let huge: Vec<_> = self.spaces[parent].table.huge_in(range).collect();
        for (at, entry) in huge {
            if let Entry::Present(mapped) = entry
                && self.machine.frames[mapped.frame].pins > 0
                && self.machine.frames.is_transparent(mapped.frame)
            {
                self.split_huge(parent, at);
            }
        }
    }

    /// What the parent keeps of an entry and what the child gets, counted.
    fn share_entry(&mut self, area: &Area, entry: Entry) -> Result<(Entry, Option<Entry>), Errno> {
        let protects = area.reports(PROTECTS);
        Ok(match entry {
            Entry::Marker(Marker::WriteProtected) => (entry, protects.then_some(entry)),
            Entry::Marker(marker) => (entry, Some(Entry::Marker(marker.fresh()))),
            Entry::Zero { uffd_wp } => (entry, Some(entry.with_uffd_wp(uffd_wp && protects))),
            Entry::Swapped { slot, uffd_wp, .. } => {
                self.machine.swap[slot].uses += 1;
                let kept = Entry::Swapped { slot, exclusive: false, uffd_wp };
                (kept, Some(kept.with_uffd_wp(uffd_wp && protects)))
            }
            Entry::Present(mapped) => {
                let (kept, given) = self.share_page(area, mapped)?;
                let given = given.with_uffd_wp(mapped.uffd_wp && protects);
                (Entry::Present(kept), Some(given))
            }
            Entry::Migrating(mapped) => {
                self.machine.frames.map(mapped.frame);
                let kept = Mapped { writable: false, exclusive: false, ..mapped };
                let given = Entry::Migrating(kept).with_uffd_wp(mapped.uffd_wp && protects);
                (Entry::Migrating(kept), Some(given))
            }
        })
    }

    /// A private page is shared until one side writes; a pinned one stays the parent's own, and
    /// the child gets a copy.
    fn share_page(&mut self, area: &Area, mapped: Mapped) -> Result<(Mapped, Entry), Errno> {
        if self.is_pinned_down(&mapped) {
            let copy = self.copy_of_pinned(area, mapped.frame).ok_or(ENOMEM)?;
            // The use of the allocation is that of the entry.
            self.machine.frames[copy].maps += 1;
            return Ok((mapped, Entry::Present(Mapped { frame: copy, ..mapped })));
        }
        self.machine.frames.map(mapped.frame);
        let writable = mapped.writable && area.shared;
        let kept = Mapped { writable, exclusive: false, ..mapped };
        Ok((kept, Entry::Present(kept)))
    }

    /// A copy of a page, used once. Of a transparent huge page only the part is asked for.
    fn copy_of_pinned(&mut self, area: &Area, frame: FrameId) -> Option<FrameId> {
        if area.is_hugetlb() {
            return self.copy_from_pool(self.frames_of(area), frame);
        }
        let content = self.machine.frames[frame].content.clone();
        self.machine.frames.allocate(content)
    }

    /// Gives the copy that a child got of a pinned page to the child's family.
    fn own_pinned_copy(
        &mut self,
        child: SpaceId,
        at: faultless_pages::Va,
        before: Entry,
        given: Entry,
    ) {
        if let (Some(old), Some(new)) = (before.frame(), given.frame())
            && old != new
        {
            self.adopt(child, at, new);
        }
    }
}

/// Says whether a child gets the entries of an area. Of one without a page of its own it does not:
/// what is mapped is found again, in the object or as zeros.
fn is_copied(area: &Area) -> bool {
    area.reports(PROTECTS) || area.root.is_some()
}
