//! A fault at a page that is in swap.

use crate::id::{FrameId, SlotId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::Owner;
use crate::op::access::Access;
use crate::op::fault::Fault;
use crate::process::{Area, Entry, Mapped};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// Brings the page of an entry back, or finds it in the swap cache, and maps it.
    pub(crate) async fn swap_fault(
        &self,
        access: &Access,
        area: &Area,
        guard: Guard,
        entry: Entry,
    ) -> Fault {
        let Entry::Swapped { slot, .. } = entry else { return Fault::Retry };
        let Some(frame) = self.state().hold_swapped(slot) else { return Fault::Bus };
        let folio = self.lock(Lock::Folio(frame), Mode::Exclusive).await;
        // It may have left the swap cache since, and the slot be somebody else's.
        if self.state().machine.frames[frame].slot == Some(slot) {
            let table = self.lock_table(access.space, access.at).await;
            {
                let mut state = self.state();
                if state.spaces[access.space].table.small(access.at) == Some(entry) {
                    state.map_swapped(access, area, entry, frame);
                }
            }
            table.release().await;
        }
        folio.release().await;
        self.state().machine.put_swapped(frame);
        guard.release().await;
        Fault::Retry
    }
}

impl crate::machine::Machine {
    /// Drops a use of a frame that may be nothing but a slot's in the swap cache any more.
    fn put_swapped(&mut self, frame: FrameId) {
        self.leave_unused_slot(frame);
        self.put_frame(frame);
    }

    /// Takes a frame out of the swap cache that no entry maps and whose slot nobody names.
    pub(crate) fn leave_unused_slot(&mut self, frame: FrameId) {
        let unused = |slot: &SlotId| self.swap[*slot].uses == 0;
        if self.frames[frame].slot.as_ref().is_some_and(unused) && self.frames[frame].maps == 0 {
            self.leave_swap_cache(frame);
        }
    }
}

impl State {
    /// The frame of a slot, from the swap cache or brought there, with a use more.
    fn hold_swapped(&mut self, slot: SlotId) -> Option<FrameId> {
        if let Some(frame) = self.machine.swap[slot].cached {
            self.machine.frames.get(frame);
            return Some(frame);
        }
        let content = self.machine.swap[slot].content.clone();
        let frame = self.machine.frames.allocate(content)?;
        self.machine.enter_swap_cache(frame, slot);
        Some(frame)
    }

    /// Maps a page of the swap cache in place of its swap entry.
    fn map_swapped(&mut self, access: &Access, area: &Area, entry: Entry, frame: FrameId) {
        let Entry::Swapped { slot, exclusive, uffd_wp } = entry else { return };
        if self.machine.frames[frame].owner == Owner::Nobody {
            self.adopt(access.space, access.at, frame);
        }
        let writable = exclusive && area.protection.write && !uffd_wp;
        let dirty = writable && access.write;
        let mapped = Mapped { writable, dirty, uffd_wp, exclusive, ..Mapped::read_only(frame) };
        self.set(access.space, access.at, Entry::Present(mapped));
        self.machine.frames.map(frame);
        self.machine.put_slot(slot);
        // A store makes the copy in swap worthless.
        if dirty && self.machine.swap[slot].uses == 0 {
            self.machine.leave_swap_cache(frame);
        }
    }
}
