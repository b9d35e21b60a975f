//! Swap: slots with content, and the swap cache, which holds the frame of a slot while both exist.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

use crate::id::{FrameId, SlotId};
use crate::machine::content::Content;

/// A slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) content: Content,
    /// Entries and page caches that name it.
    pub(crate) uses: u32,
    /// Its frame in the swap cache.
    pub(crate) cached: Option<FrameId>,
}

/// The swap area.
#[derive(Debug)]
pub(crate) struct Swap {
    slots: Vec<Slot>,
    free: Vec<SlotId>,
    limit: usize,
}

impl Swap {
    pub(crate) fn new(limit: usize) -> Swap {
        Swap { slots: Vec::new(), free: Vec::new(), limit }
    }

    /// Takes a slot, not used yet; `None` when swap is full.
    pub(crate) fn allocate(&mut self, content: Content) -> Option<SlotId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.slots.len() < self.limit => {
                self.slots.push(Slot::default());
                SlotId(self.slots.len() - 1)
            }
            None => return None,
        };
        self.slots[id.0] = Slot { content, uses: 0, cached: None };
        Some(id)
    }

    /// Frees a slot that nobody uses and that is not in the swap cache.
    pub(crate) fn free(&mut self, id: SlotId) {
        debug_assert!(self.slots[id.0].uses == 0 && self.slots[id.0].cached.is_none(), "in use");
        self.slots[id.0] = Slot::default();
        self.free.push(id);
    }

    /// Slots in use, those that only the swap cache knows included.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        let all = self.slots.iter().enumerate();
        let used = |slot: &Slot| slot.uses > 0 || slot.cached.is_some();
        all.filter(move |(_, slot)| used(slot)).map(|(index, slot)| (SlotId(index), slot))
    }
}

impl Index<SlotId> for Swap {
    type Output = Slot;

    fn index(&self, id: SlotId) -> &Slot {
        &self.slots[id.0]
    }
}

impl IndexMut<SlotId> for Swap {
    fn index_mut(&mut self, id: SlotId) -> &mut Slot {
        &mut self.slots[id.0]
    }
}
