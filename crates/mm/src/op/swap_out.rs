//! Reclaim: pages go to swap.
//!
//! The page enters the swap cache, its entries become swap entries one by one, and when nobody
//! is left it is written and leaves memory. Whoever comes in between finds it in the swap cache.

use faultless_pages::{Va, VaRange};

use crate::errno::{EINVAL, ENOMEM, Errno};
use crate::id::{FrameId, ObjectId, SlotId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::{Cached, Content, Owner};
use crate::op::walk::Met;
use crate::process::{Area, Entry, Mapped, Marker};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// Reclaims the page behind an address; says whether it left memory. What is pinned, locked
    /// by somebody or has no place to go stays.
    pub async fn swap_out(&self, who: ThreadId, at: Va) -> bool {
        let Some(frame) = self.hold_page(who, at).await else { return false };
        self.reclaim(frame).await
    }

    /// MADV_PAGEOUT of a range: reclaims pages that only this entry maps.
    pub(crate) async fn page_out(&self, space: SpaceId, range: VaRange) -> Result<(), Errno> {
        let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        let (pieces, gapless) = self.state().pieces(space, range);
        for piece in pieces {
            check_reclaim(&piece)?;
            self.split_partly_covered(space, piece.range).await;
            let tables = self.state().spaces[space].table.tables_in(piece.range);
            for part in tables {
                self.page_out_table(space, part).await;
            }
        }
        map.release().await;
        if gapless { Ok(()) } else { Err(ENOMEM) }
    }

    async fn page_out_table(&self, space: SpaceId, range: VaRange) {
        let page = self.state().profile.page();
        for place in range.chunks(page) {
            let table = self.lock_table(space, place.start()).await;
            let held = self.state().hold_unshared(space, place.start());
            table.release().await;
            if let Some(frame) = held {
                self.reclaim(frame).await;
            }
        }
    }

    /// Reclaims a page of which the caller holds a use, which is dropped; says whether it left
    /// memory.
    async fn reclaim(&self, frame: FrameId) -> bool {
        let head = self.state().machine.frames.head(frame);
        let Some(folio) = self.try_lock(Lock::Folio(head), Mode::Exclusive) else {
            self.state().machine.put_frame(frame);
            return false;
        };
        let gone = self.reclaim_locked(head, frame).await;
        folio.release().await;
        self.state().machine.put_frame(frame);
        gone
    }

    async fn reclaim_locked(&self, head: FrameId, frame: FrameId) -> bool {
        if self.state().is_kept_by_pins(head) {
            return false;
        }
        let (mut part, mut second) = (head, None);
        if self.state().machine.frames.is_transparent(head) {
            if self.state().goes_whole(head) {
                return self.reclaim_anonymous(head).await;
            }
            if self.split_page(head, frame).await.is_err() {
                return false;
            }
            part = frame;
            // The lock of the head says nothing of its parts any more.
            if part != head {
                second = self.try_lock(Lock::Folio(part), Mode::Exclusive);
                if second.is_none() {
                    return false;
                }
            }
        }
        let owner = self.state().machine.frames[part].owner;
        let gone = match owner {
            Owner::Anon { .. } => self.reclaim_anonymous(part).await,
            Owner::Cache { object, offset } => self.reclaim_shared(object, offset, part).await,
            Owner::Nobody => false,
        };
        drop(second);
        gone
    }

    async fn reclaim_anonymous(&self, frame: FrameId) -> bool {
        let lazy = self.state().machine.frames[frame].lazy;
        let Some(slot) = self.state().slot_for(frame, lazy) else { return false };
        let block = self.state().machine.frames.block(frame);
        let spots = self.lock_spots(frame, Mode::Shared).await;
        self.visit_mappings(&spots, block, |state, met| state.swap_entry(met, slot)).await;
        spots.release().await;
        self.state().finish_reclaim(frame)
    }

    async fn reclaim_shared(&self, object: ObjectId, offset: u64, frame: FrameId) -> bool {
        let block = self.state().machine.frames.block(frame);
        let spots = self.lock_spots(frame, Mode::Shared).await;
        self.visit_mappings(&spots, block, State::unmap_shared).await;
        spots.release().await;
        self.state().swap_cached(object, offset, frame)
    }
}

/// Says whether pages of an area may be reclaimed or aged by advice.
pub(super) fn check_reclaim(area: &Area) -> Result<(), Errno> {
    if area.traits.locked || area.is_hugetlb() { Err(EINVAL) } else { Ok(()) }
}

/// Where the pages of a reclaim go.
#[derive(Clone, Copy, Debug)]
enum Destination {
    Slot(SlotId),
    /// Nowhere: nobody needs their content.
    Nowhere,
}

impl State {
    /// Says whether a page is pinned and private: one of an object is pinned, too, but loses its
    /// entries all the same.
    fn is_kept_by_pins(&self, head: FrameId) -> bool {
        let page = &self.machine.frames[head];
        page.pins > 0 && matches!(page.owner, Owner::Anon { .. })
    }

    /// Says whether a huge page that was given up goes without being split.
    fn goes_whole(&self, head: FrameId) -> bool {
        let frames = &self.machine.frames;
        self.profile.lazy_goes_whole && frames[head].lazy && frames[head].slot.is_none()
    }

    /// The page behind an address, with a use more, if this entry alone maps it.
    fn hold_unshared(&mut self, space: SpaceId, at: Va) -> Option<FrameId> {
        let Entry::Present(Mapped { frame, .. }) = self.part_entry(space, at)? else {
            return None;
        };
        if self.is_mapped_elsewhere(space, self.machine.frames.head(frame)) {
            return None;
        }
        self.machine.frames.get(frame);
        Some(frame)
    }

    /// The slot of a page, which enters the swap cache with it; `None` when swap is full.
    fn slot_for(&mut self, frame: FrameId, lazy: bool) -> Option<Destination> {
        if let Some(slot) = self.machine.frames[frame].slot {
            return Some(Destination::Slot(slot));
        }
        if lazy {
            return Some(Destination::Nowhere);
        }
        let slot = self.machine.swap.allocate(Content::Zero)?;
        self.machine.enter_swap_cache(frame, slot);
        Some(Destination::Slot(slot))
    }

    /// Makes a swap entry of an entry. One that needs nothing kept just goes, unless it was
    /// stored through.
    fn swap_entry(&mut self, met: Met, destination: Destination) {
        let Entry::Present(mapped) = met.entry else { return };
        if self.is_pinned_down(&mapped) {
            return;
        }
        match destination {
            Destination::Slot(slot) => {
                let (exclusive, uffd_wp) = (mapped.exclusive, mapped.uffd_wp);
                self.replace_met(met, Entry::Swapped { slot, exclusive, uffd_wp });
                self.machine.swap[slot].uses += 1;
                self.machine.unmap_frame(mapped.frame);
            }
            Destination::Nowhere if mapped.dirty => {
                self.machine.frames[mapped.frame].lazy = false;
            }
            Destination::Nowhere => self.zap_met(met),
        }
    }

    /// Writes a page that no entry maps, and lets it leave memory if nobody else uses it.
    fn finish_reclaim(&mut self, frame: FrameId) -> bool {
        let page = &self.machine.frames[frame];
        let cached = u32::from(page.slot.is_some());
        // One use is the caller's.
        if page.maps > 0 || page.uses != 1 + cached {
            self.machine.leave_unused_slot(frame);
            return false;
        }
        if let Some(slot) = page.slot {
            self.machine.swap[slot].content = page.content.clone();
            self.machine.leave_swap_cache(frame);
        }
        true
    }

    /// Takes the entry of a page of an object away; protection leaves its marker.
    fn unmap_shared(&mut self, met: Met) {
        self.zap(met.space, met.at);
        let reported = self.area(met.space, met.at).is_some_and(|area| area.reports_wp());
        if reported && met.entry.uffd_wp() {
            self.set(met.space, met.at, Entry::Marker(Marker::WriteProtected));
        }
    }

    /// Moves a page of an object's cache to swap, if nobody else uses it. One nobody wrote to is
    /// as good as a hole, and becomes one.
    fn swap_cached(&mut self, object: ObjectId, offset: u64, frame: FrameId) -> bool {
        // It may be gone by now, with all its pages.
        let Some(of) = self.machine.objects.get(object) else { return false };
        let swaps = of.kind == crate::machine::Kind::Shmem;
        let page = &self.machine.frames[frame];
        let held = of.pages.get(&offset) == Some(&Cached::Frame(frame));
        // One use is the caller's, one the cache's.
        if !swaps || !held || page.uses != 2 {
            return false;
        }
        if page.dirty {
            let content = page.content.clone();
            let Some(slot) = self.machine.swap.allocate(content) else { return false };
            self.machine.swap[slot].uses = 1;
            self.machine.objects[object].pages.insert(offset, Cached::Swapped(slot));
        } else {
            self.machine.objects[object].pages.remove(&offset);
        }
        self.machine.frames[frame].owner = Owner::Nobody;
        self.machine.put_frame(frame);
        true
    }
}
