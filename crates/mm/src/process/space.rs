//! An address space: areas and the page table, and what keeps the two and the frames together.
//!
//! # Invariants
//! - Entries lie in areas, except between the two steps of an unmapping.
//! - Every present entry counts in its frame's `maps` and `uses`; every swapped one in its slot.

use alloc::collections::BTreeSet;

use faultless_pages::{PageSize, Va, VaRange};

use crate::errno::{ENOMEM, ESRCH, Errno};
use crate::id::{AreaId, FrameId, RootId, SpaceId};
use crate::kernel::State;
use crate::machine::{Kind, Machine, Owner};
use crate::process::area::Area;
use crate::process::areas::Areas;
use crate::process::entry::Entry;
use crate::process::page_table::PageTable;

/// Where the heap of a process begins.
const HEAP: Va = Va(0x5555_5560_0000);

/// An address space.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) areas: Areas,
    pub(crate) table: PageTable,
    /// The heap; its end need not be at a page border.
    pub(crate) heap: VaRange,
    /// The families its areas belong to, and perhaps some they have left.
    pub(crate) families: BTreeSet<RootId>,
    /// How many areas with a family went since it was last looked which are left.
    pub(crate) departed: usize,
    /// Processes that run in it, and calls that keep it from being torn down.
    pub(crate) users: u32,
    /// Userfaultfds that name it, dead or not.
    pub(crate) contexts: u32,
    /// It was torn down.
    pub(crate) gone: bool,
}

impl Space {
    pub(crate) fn new(page: PageSize) -> Space {
        let heap = VaRange::new(HEAP, HEAP);
        Space {
            areas: Areas::default(),
            table: PageTable::new(page),
            heap,
            families: BTreeSet::new(),
            departed: 0,
            users: 1,
            contexts: 0,
            gone: false,
        }
    }

    /// Its last process is gone; a userfaultfd may still name it.
    pub(crate) fn is_dead(&self) -> bool {
        self.users == 0
    }
}

/// A family of areas: those that a fork made of one, and what was split off them.
#[derive(Debug, Default)]
pub(crate) struct Root {
    /// Where they are.
    pub(crate) spaces: BTreeSet<SpaceId>,
}

impl Machine {
    /// Frees what an entry held.
    pub(crate) fn put_entry(&mut self, entry: Entry) {
        match entry {
            Entry::Present(mapped) | Entry::Migrating(mapped) => {
                self.frames[mapped.frame].dirty |= mapped.dirty;
                self.unmap_frame(mapped.frame);
            }
            Entry::Swapped { slot, .. } => self.put_slot(slot),
            Entry::Zero { .. } | Entry::Marker(_) => {}
        }
    }

    /// Takes one mapping off a frame. The last one takes it out of the swap cache, unless
    /// somebody still has it in swap.
    pub(crate) fn unmap_frame(&mut self, frame: FrameId) {
        let head = self.frames.head(frame);
        self.frames.unmap(head);
        let idle = self.frames[head].maps == 0;
        if let (true, Some(slot)) = (idle, self.frames[head].slot)
            && self.swap[slot].uses == 0
        {
            self.leave_swap_cache(head);
        }
        self.put_frame(head);
    }

    /// Puts a frame into the swap cache.
    pub(crate) fn enter_swap_cache(&mut self, frame: FrameId, slot: crate::id::SlotId) {
        self.frames.get(frame);
        self.frames[frame].slot = Some(slot);
        self.swap[slot].cached = Some(frame);
    }

    /// Takes a frame out of the swap cache; its slot is freed if nobody names it.
    pub(crate) fn leave_swap_cache(&mut self, frame: FrameId) {
        let Some(slot) = self.frames[frame].slot.take() else { return };
        self.swap[slot].cached = None;
        if self.swap[slot].uses == 0 {
            self.swap.free(slot);
        }
        self.put_frame(frame);
    }
}

impl State {
    /// Keeps an address space from being torn down, unless it is dead.
    pub(crate) fn get_space(&mut self, space: SpaceId) -> Result<(), Errno> {
        if self.spaces[space].is_dead() {
            return Err(ESRCH);
        }
        self.spaces[space].users += 1;
        Ok(())
    }

    /// Changes the areas of a range, cutting those that reach beyond it and merging what is alike
    /// afterwards. Huge pages that are cut are split. An area that would stay what it is is neither
    /// cut nor merged.
    ///
    /// # Errors
    /// ENOMEM where a cut would make too many areas, EINVAL where it would go through a page of the
    /// hugetlb pool; those before it are changed.
    pub(crate) fn change_areas(
        &mut self,
        space: SpaceId,
        range: VaRange,
        mut change: impl FnMut(&mut Area),
    ) -> Result<(), Errno> {
        let (pieces, _) = self.pieces(space, range);
        for piece in pieces {
            let mut changed = piece;
            change(&mut changed);
            if changed == piece {
                continue;
            }
            for at in [piece.range.start(), piece.range.end()] {
                let inside = self.area(space, at).is_some_and(|area| area.range.start() < at);
                self.may_cut(space, at)?;
                if inside && self.is_full(space) {
                    return Err(ENOMEM);
                }
                self.split_area(space, at);
            }
            self.spaces[space].areas.change(piece.range, &mut change);
            self.merge_areas(space, piece.range);
        }
        Ok(())
    }

    /// Says whether an address space can have no more areas.
    pub(crate) fn is_full(&self, space: SpaceId) -> bool {
        self.spaces[space].areas.count() >= self.profile.areas
    }

    /// Cuts the area that holds an address there; returns the name of the second part.
    pub(crate) fn split_area(&mut self, space: SpaceId, at: Va) -> Option<AreaId> {
        let new = self.new_area();
        let second = self.spaces[space].areas.split(at, new)?;
        self.split_huge_at(space, at);
        if let Some(object) = second.object() {
            self.machine.objects[object].uses += 1;
        }
        Some(second.id)
    }

    /// Merges what is alike in a range and at its ends.
    pub(crate) fn merge_areas(&mut self, space: SpaceId, range: VaRange) {
        for area in self.spaces[space].areas.merge(range) {
            if let Some(object) = area.object() {
                self.machine.put_object(object);
            }
        }
    }

    /// The area that holds an address.
    pub(crate) fn area(&self, space: SpaceId, at: Va) -> Option<Area> {
        self.spaces[space].areas.find(at).copied()
    }

    /// The page of an area: a huge one in hugetlb memory.
    pub(crate) fn page_of(&self, area: &Area) -> PageSize {
        match area.kind() {
            Some(Kind::Hugetlb(size)) => size,
            _ => self.profile.page_size,
        }
    }

    /// The entry of an address.
    pub(crate) fn entry(&self, space: SpaceId, at: Va) -> Option<Entry> {
        self.spaces[space].table.get(at)
    }

    /// Sets the entry of a base page; what was there must have been let go.
    pub(crate) fn set(&mut self, space: SpaceId, at: Va, entry: Entry) {
        self.spaces[space].table.set(at, Some(entry));
    }

    /// Drops the entry of a base page and what it held.
    pub(crate) fn zap(&mut self, space: SpaceId, at: Va) {
        if let Some(entry) = self.spaces[space].table.set(at, None) {
            self.machine.put_entry(entry);
        }
    }

    /// Drops every entry in a range that `drops` says yes to. Huge pages must lie in it whole.
    pub(crate) fn zap_range(
        &mut self,
        space: SpaceId,
        range: VaRange,
        mut drops: impl FnMut(Entry) -> bool,
    ) {
        for (at, entry) in self.spaces[space].table.list(range) {
            if drops(entry) {
                self.zap(space, at);
            }
        }
        let huge: alloc::vec::Vec<_> = self.spaces[space].table.huge_in(range).collect();
        for (at, entry) in huge {
            if drops(entry) {
                self.spaces[space].table.set_huge(at, None);
                self.machine.put_entry(entry);
            }
        }
    }

    /// Gives private memory a family, if it has none.
    pub(crate) fn claim_family(&mut self, space: SpaceId, area: &Area) {
        if !area.shared && area.root.is_none() {
            self.home(space, area.range.start());
        }
    }

    /// The family of the area at an address, made if it has none, and the place of the address in
    /// it; the area exists.
    pub(crate) fn home(&mut self, space: SpaceId, at: Va) -> (RootId, u64) {
        let Space { areas, families, .. } = &mut self.spaces[space];
        let area = areas.find_mut(at).expect("the area is locked");
        let root = *area.root.get_or_insert_with(|| {
            let root = self.roots.insert(Root { spaces: BTreeSet::from([space]) });
            families.insert(root);
            root
        });
        (root, area.linear_of(at))
    }

    /// Notes that an area with a family has gone from a space. When many have, the space leaves
    /// the families of which it has no area any more: looking each time would cost too much.
    pub(crate) fn area_departed(&mut self, space: SpaceId) {
        const MANY: usize = 16;
        let Space { areas, families, departed, .. } = &mut self.spaces[space];
        *departed += 1;
        if *departed < MANY + areas.count() {
            return;
        }
        *departed = 0;
        let kept: BTreeSet<RootId> = areas.all().filter_map(|area| area.root).collect();
        let left: alloc::vec::Vec<RootId> = families.difference(&kept).copied().collect();
        *families = kept;
        for root in left {
            self.leave_family(space, root);
        }
    }

    /// A family without areas is gone.
    pub(crate) fn leave_family(&mut self, space: SpaceId, root: RootId) {
        let spaces = &mut self.roots[root].spaces;
        spaces.remove(&space);
        if spaces.is_empty() {
            self.roots.remove(root);
        }
    }

    /// Forgets an address space that was torn down and that nothing names any more.
    pub(crate) fn forget_space(&mut self, space: SpaceId) {
        let Space { gone, contexts, .. } = self.spaces[space];
        if gone && contexts == 0 {
            self.spaces.remove(space);
        }
    }

    /// Gives a frame to the family of the area at an address.
    pub(crate) fn adopt(&mut self, space: SpaceId, at: Va, frame: FrameId) {
        let (root, linear) = self.home(space, at.align_down(self.profile.page_size));
        self.machine.frames[frame].owner = Owner::Anon { root, linear };
    }
}
