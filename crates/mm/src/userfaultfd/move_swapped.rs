//! Moving a page that is in swap: its entry moves, the page stays where it is.
//!
//! # Concurrency
//! The page may be in the swap cache, under the family it leaves; then it is given to the family
//! of the destination with the frame locked, or the next swap-in would map it where no walk finds
//! it. It may also enter the swap cache between the look and the move: a task may have brought
//! it in and another have swapped it out again to the very same slot, so that the entry tells
//! nothing. Therefore the swap cache is asked again once the tables are locked.

use faultless_uapi::mode::register;

use crate::errno::{EBUSY, Errno};
use crate::id::{FrameId, SlotId};
use crate::kernel::{Kernel, State};
use crate::process::Entry;
use crate::sched::{Lock, Mode};
use crate::userfaultfd::move_::{Ends, Step};
use crate::userfaultfd::move_step::release;

impl Kernel {
    /// Moves the entry of a page in swap that was looked at.
    pub(super) async fn move_swapped(
        &self,
        ends: &Ends,
        source: Entry,
        slot: SlotId,
    ) -> Result<Step, Errno> {
        let cached = self.state().hold_cached(slot);
        let Some(frame) = cached else { return self.move_slot(ends, source, slot, None).await };
        let folio = self.lock(Lock::Folio(frame), Mode::Exclusive).await;
        let large = self.state().machine.frames.count(frame) > 1;
        let moved =
            if large { Err(EBUSY) } else { self.move_slot(ends, source, slot, cached).await };
        folio.release().await;
        self.state().machine.put_frame(frame);
        moved
    }

    async fn move_slot(
        &self,
        ends: &Ends,
        source: Entry,
        slot: SlotId,
        cached: Option<FrameId>,
    ) -> Result<Step, Errno> {
        let tables = self.lock_tables(ends).await;
        let step = self.state().move_slot_entry(ends, source, slot, cached);
        release(tables).await;
        Ok(step)
    }
}

impl State {
    /// The frame of a slot in the swap cache, with a use more.
    fn hold_cached(&mut self, slot: SlotId) -> Option<FrameId> {
        if self.profile.bugs.move_forgets_swap_cache {
            return None;
        }
        let frame = self.machine.swap[slot].cached?;
        self.machine.frames.get(frame);
        Some(frame)
    }

    fn move_slot_entry(
        &mut self,
        ends: &Ends,
        source: Entry,
        slot: SlotId,
        cached: Option<FrameId>,
    ) -> Step {
        let bugs = self.profile.bugs;
        let trusts =
            bugs.move_forgets_swap_cache || (bugs.move_forgets_swap_recheck && cached.is_none());
        let same_cache = trusts || self.machine.swap[slot].cached == cached;
        if !self.is_unchanged(ends, source) || !same_cache {
            return Step::Again;
        }
        if let Some(frame) = cached {
            self.rehome(ends, frame);
        }
        // What the entry carries goes along, write-protection included.
        let closes = ends.dst_modes & register::RWP != 0;
        let arrived = if closes { source.with_uffd_wp(true) } else { source };
        let table = &mut self.spaces[ends.space].table;
        table.set(ends.src, None);
        table.set(ends.dst, Some(arrived));
        Step::Done(self.profile.page())
    }
}
