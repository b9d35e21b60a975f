//! Faults in memory of the hugetlb pool: pages are huge, and come from the pool or not at all.

use faultless_pages::Va;

use crate::id::{FrameId, ObjectId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::{Cached, Machine, Owner};
use crate::op::access::Access;
use crate::op::fault::Fault;
use crate::op::fault_object::Lookup;
use crate::process::{Area, Entry, Mapped};
use crate::sched::{Lock, Mode};
use crate::userfaultfd::Reason;

/// What is to be done about a store.
enum Remedy {
    /// Nothing, or nothing any more.
    Retry,
    /// A userfaultfd is to be told.
    Report,
    /// The pool is empty, and the page would have to be copied.
    Bus,
}

impl Kernel {
    /// Handles the first access to a page.
    pub(crate) async fn hugetlb_fault(&self, access: &Access, area: &Area, guard: Guard) -> Fault {
        let Some(object) = area.object() else { return Fault::Bus };
        let at = self.state().page_at(area, access.at);
        let offset = area.linear_of(at);
        let lookup = self.state().looks_up(object, offset, area);
        match lookup {
            Lookup::Beyond => return Fault::Bus,
            Lookup::Report(reason) => {
                return self.userfault(access, area, guard, reason).await;
            }
            Lookup::There | Lookup::Absent => {}
        }
        let cache = self.lock(Lock::Object(object), Mode::Exclusive).await;
        if self.state().looks_up(object, offset, area) != lookup {
            return Fault::Retry;
        }
        let table = self.lock_table(access.space, at).await;
        let populated = self.state().populate_hugetlb(access, area, object, at);
        table.release().await;
        cache.release().await;
        guard.release().await;
        if populated { Fault::Retry } else { Fault::Bus }
    }

    /// Handles a store to a page that is not writable.
    pub(crate) async fn hugetlb_write_fault(
        &self,
        access: &Access,
        area: &Area,
        guard: Guard,
    ) -> Fault {
        let table = self.lock_table(access.space, access.at).await;
        let remedy = self.state().settle_hugetlb_write(access, area);
        table.release().await;
        if let Remedy::Report = remedy {
            return self.userfault(access, area, guard, Reason::WriteProtected).await;
        }
        guard.release().await;
        if let Remedy::Bus = remedy { Fault::Bus } else { Fault::Retry }
    }
}

impl Machine {
    /// Takes a page of zeros from the hugetlb pool, used once.
    pub(crate) fn take_from_pool(&mut self, count: usize) -> Option<FrameId> {
        if self.hugetlb_free == 0 {
            return None;
        }
        let head = self.frames.allocate_block(count, true)?;
        self.hugetlb_free -= 1;
        Some(head)
    }
}

impl State {
    /// Frames of a page of an area of the pool.
    pub(crate) fn frames_of(&self, area: &Area) -> usize {
        self.page_of(area).bytes().as_usize() / self.profile.page().as_usize()
    }

    /// Maps the object's page, or one of its own for private memory; false when there is none.
    fn populate_hugetlb(&mut self, access: &Access, area: &Area, object: ObjectId, at: Va) -> bool {
        if !self.is_unpopulated(access) {
            return true;
        }
        let marked = self.spaces[access.space].table.huge(at).is_some();
        let uffd_wp = marked && area.reports_wp();
        let offset = area.linear_of(at);
        let cached = self.machine.objects[object].pages.get(&offset).copied();
        let (frame, own) = match cached {
            Some(Cached::Frame(frame)) => (frame, false),
            Some(Cached::Swapped(_)) => return false,
            None => {
                let count = self.frames_of(area);
                let Some(frame) = self.machine.take_from_pool(count) else { return false };
                if area.shared {
                    self.enter_cache(object, offset, frame);
                } else {
                    self.adopt(access.space, at, frame);
                }
                (frame, !area.shared)
            }
        };
        self.machine.frames.map(frame);
        if cached.is_none() {
            // The use of the allocation: the entry and the cache have their own.
            self.machine.put_frame(frame);
        }
        let writable = area.protection.write && !uffd_wp && (area.shared || (own && access.write));
        let mapped = Mapped {
            writable,
            dirty: access.write,
            uffd_wp,
            exclusive: own,
            ..Mapped::read_only(frame)
        };
        self.spaces[access.space].table.set_huge(at, Some(Entry::Present(mapped)));
        true
    }

    fn settle_hugetlb_write(&mut self, access: &Access, area: &Area) -> Remedy {
        let at = self.page_at(area, access.at);
        let table = &mut self.spaces[access.space].table;
        let Some(mut entry) = table.huge(at) else { return Remedy::Retry };
        if let (true, true, Some(owner)) = (area.reports_wp(), entry.uffd_wp(), area.registration) {
            if !self.contexts[owner.context].wp_is_async() {
                return Remedy::Report;
            }
            entry = entry.with_uffd_wp(false);
        }
        let Entry::Present(mapped) = entry else { return Remedy::Retry };
        let own = area.shared || self.is_only_ours(&mapped);
        let frame =
            if own { Some(mapped.frame) } else { self.replace_by_pool(access, area, mapped) };
        let Some(frame) = frame else { return Remedy::Bus };
        let exclusive = !area.shared;
        let mapped = Mapped { frame, writable: true, dirty: true, exclusive, ..mapped };
        self.spaces[access.space].table.set_huge(at, Some(Entry::Present(mapped)));
        Remedy::Retry
    }

    fn is_only_ours(&self, mapped: &Mapped) -> bool {
        let frame = &self.machine.frames[mapped.frame];
        matches!(frame.owner, Owner::Anon { .. }) && (mapped.exclusive || frame.uses == 1)
    }

    /// Copies a page for an entry that is to map the copy in its place.
    pub(crate) fn replace_by_pool(
        &mut self,
        access: &Access,
        area: &Area,
        old: Mapped,
    ) -> Option<FrameId> {
        let copy = self.copy_from_pool(self.frames_of(area), old.frame)?;
        let at = self.page_at(area, access.at);
        self.adopt(access.space, at, copy);
        self.machine.frames.map(copy);
        self.machine.put_frame(copy);
        self.machine.unmap_frame(old.frame);
        Some(copy)
    }

    /// Copies a page of the pool, part by part, to another of it, used once.
    pub(crate) fn copy_from_pool(&mut self, count: usize, from: FrameId) -> Option<FrameId> {
        let copy = self.machine.take_from_pool(count)?;
        for part in 0..count {
            let content = self.machine.frames[FrameId(from.0 + part)].content.clone();
            self.machine.frames[FrameId(copy.0 + part)].content = content;
        }
        Some(copy)
    }
}
