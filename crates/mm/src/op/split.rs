//! Splitting: a huge entry becomes base entries, a huge page base pages.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};

use crate::errno::{EBUSY, Errno};
use crate::id::{FrameId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::{Block, Owner};
use crate::op::walk::{Met, Spots};
use crate::process::Entry;
use crate::sched::{Lock, Mode};

impl Kernel {
    /// Splits the transparent huge page behind an address, if one is there.
    ///
    /// # Errors
    /// EBUSY while anybody else than entries uses it: a pin, for one.
    pub async fn split_huge_page(&self, who: ThreadId, at: Va) -> Result<(), Errno> {
        let Some(frame) = self.hold_page(who, at).await else { return Ok(()) };
        let head = self.state().machine.frames.head(frame);
        let folio = self.lock(Lock::Folio(head), Mode::Exclusive).await;
        let whole = {
            let state = self.state();
            state.machine.frames.head(frame) == head && state.machine.frames.is_transparent(head)
        };
        let split = if whole { self.split_page(head, frame).await } else { Ok(()) };
        folio.release().await;
        self.state().machine.put_frame(frame);
        split
    }

    /// Splits a huge page into base pages. The caller holds the lock of its frame, and one use,
    /// which stays with the part `keep`.
    ///
    /// Every entry is put on the move first, so that nobody reaches the page while its parts come
    /// to count for themselves.
    ///
    /// # Errors
    /// EBUSY while anybody else than entries uses it.
    pub(crate) async fn split_page(&self, head: FrameId, keep: FrameId) -> Result<(), Errno> {
        let block = self.state().machine.frames.block(head);
        let spots = self.lock_spots(head, Mode::Exclusive).await;
        if !self.state().may_split(head) {
            spots.release().await;
            return Err(EBUSY);
        }
        self.freeze(&spots, block, true).await;
        let split = self.state().split_frozen(&spots, block, keep);
        if split.is_ok() && self.state().profile.split_drops_zeros {
            self.visit_mappings(&spots, block, State::drop_zero_part).await;
        }
        self.thaw(&spots, block, block).await;
        spots.release().await;
        split
    }

    /// Splits huge pages of which advice is only about a part. One that others map too, or that
    /// does not let itself be split, is left alone.
    pub(crate) async fn split_partly_covered(&self, space: SpaceId, range: VaRange) {
        let held = self.state().hold_partly_covered(space, range);
        for frame in held {
            let head = self.state().machine.frames.head(frame);
            if let Some(folio) = self.try_lock(Lock::Folio(head), Mode::Exclusive) {
                // A refusal means that the page stays as it is.
                let _ = self.split_page(head, frame).await;
                folio.release().await;
            }
            self.state().machine.put_frame(frame);
        }
    }
}

impl State {
    /// A frame of each huge page that lies partly in a range and is mapped by nobody else, with a
    /// use more.
    fn hold_partly_covered(&mut self, space: SpaceId, range: VaRange) -> Vec<FrameId> {
        let table = &self.spaces[space].table;
        let span = table.span().bytes();
        let cut = table.huge_in(range).filter(|(at, _)| !range.covers(VaRange::of(*at, span)));
        let cut = cut.filter_map(|(_, entry)| entry.frame()).map(|frame| (frame, 0));
        let small = table.small_in(range).filter_map(|(_, entry)| entry.frame());
        let small = small.filter(|frame| self.machine.frames.is_transparent(*frame));
        // By head: a frame of it, and how many base entries in the range map it.
        let mut pages: BTreeMap<FrameId, (FrameId, u32)> = cut.map(|one| (one.0, one)).collect();
        for frame in small {
            pages.entry(self.machine.frames.head(frame)).or_insert((frame, 0)).1 += 1;
        }
        let mut held = Vec::new();
        for (head, (frame, covered)) in pages {
            let count = u32::try_from(self.machine.frames.count(head)).unwrap_or(u32::MAX);
            if covered < count && !self.is_mapped_elsewhere(space, head) {
                self.machine.frames.get(frame);
                held.push(frame);
            }
        }
        held
    }

    /// Splits the transparent huge entry that an address lies inside of, not at the start of.
    pub(crate) fn split_huge_at(&mut self, space: SpaceId, at: Va) {
        let span = self.spaces[space].table.span();
        if !at.is_aligned(span) {
            self.split_huge(space, at);
        }
    }

    /// Splits the huge entry that covers an address, if there is one. The page itself stays one
    /// block of frames.
    pub(crate) fn split_huge(&mut self, space: SpaceId, at: Va) {
        let table = &mut self.spaces[space].table;
        let span = table.span();
        let page = self.profile.page_size;
        let Some(entry) = table.set_huge(at, None) else { return };
        table.add_table(at);
        let range = VaRange::of(at.align_down(span), span.bytes());
        for (index, place) in (0..).zip(range.chunks(Bytes(page.bytes().0))) {
            let small = entry.with_part(index);
            if let Some(frame) = small.frame() {
                self.machine.frames.map(frame);
            }
            self.spaces[space].table.set(place.start(), Some(small));
        }
        self.machine.put_entry(entry);
    }

    /// Says whether only entries use a huge page, and the caller, once.
    fn may_split(&self, head: FrameId) -> bool {
        let frame = &self.machine.frames[head];
        frame.uses == frame.maps + 1
    }

    /// Makes base pages of a huge one none of whose entries is present.
    fn split_frozen(&mut self, spots: &Spots, block: Block, keep: FrameId) -> Result<(), Errno> {
        if !self.may_split(block.first) {
            return Err(EBUSY);
        }
        let head = &self.machine.frames[block.first];
        let (owner, lazy) = (head.owner, head.lazy);
        let maps = self.count_maps(spots, block);
        self.machine.frames.split(block.first, &maps, keep);
        let page = self.profile.page().0;
        for part in 0..block.count {
            let frame = &mut self.machine.frames[block.at(part)];
            if let (Owner::Anon { root, linear }, true) = (owner, frame.uses > 0) {
                frame.owner = Owner::Anon { root, linear: linear + part as u64 * page };
                frame.lazy = lazy;
            }
        }
        Ok(())
    }

    /// Maps the page of zeros in place of a part that holds nothing else, unless it must stay.
    fn drop_zero_part(&mut self, met: Met) {
        let Entry::Migrating(mapped) = met.entry else { return };
        let locked = self.area(met.space, met.at).is_some_and(|area| area.traits.locked);
        if !locked && self.machine.frames[mapped.frame].content.is_zero() {
            self.replace_met(met, Entry::Zero { uffd_wp: mapped.uffd_wp });
            self.machine.unmap_frame(mapped.frame);
        }
    }

    /// How many entries map each frame of a block.
    fn count_maps(&self, spots: &Spots, block: Block) -> Vec<u32> {
        let mut maps = alloc::vec![0; block.count];
        for (space, range) in spots.ranges() {
            // A space that is gone maps nothing.
            let Some(space) = self.spaces.get(*space) else { continue };
            for (_, entry) in space.table.small_in(*range) {
                if let Some(part) = entry.frame().and_then(|frame| block.part(frame)) {
                    maps[part] += 1;
                }
            }
        }
        maps
    }
}
