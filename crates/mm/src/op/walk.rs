//! Walks of the reverse map: visiting every entry that maps a page.
//!
//! # Concurrency
//! MOVE changes the family of a page. A walk therefore reads the family, locks it, and reads it
//! again: if it is another by now, the walk begins anew. Parents come before their children, as
//! fork copies in that direction: an entry copied during a walk is still met. An address space that
//! ends meanwhile waits for nobody: a walk passes over it.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};

use crate::id::{FrameId, ObjectId, RootId, SpaceId, ThreadId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::{Block, Owner};
use crate::process::{Area, Entry};
use crate::sched::{Lock, Mode};

/// Where a page may be mapped, and what keeps that from changing: the lock of the family, or of
/// the areas that show the object.
pub(crate) struct Spots {
    ranges: Vec<(SpaceId, VaRange)>,
    areas: Option<Guard>,
}

impl Spots {
    /// The ranges, and whose they are.
    pub(crate) fn ranges(&self) -> &[(SpaceId, VaRange)] {
        &self.ranges
    }

    /// Gives the areas back.
    pub(crate) async fn release(self) {
        if let Some(areas) = self.areas {
            areas.release().await;
        }
    }
}

/// An entry that a walk meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    pub(crate) space: SpaceId,
    pub(crate) at: Va,
    pub(crate) entry: Entry,
    pub(crate) huge: bool,
}

impl Kernel {
    /// The page behind an address, with a use more; `None` where there is none.
    pub(crate) async fn hold_page(&self, who: ThreadId, at: Va) -> Option<FrameId> {
        let space = self.state().space_of(who);
        let table = self.lock_table(space, at).await;
        let held = self.state().hold_present(space, at);
        table.release().await;
        held
    }

    /// Finds where the page with this head may be mapped, and keeps that from changing. The caller
    /// holds the page, as one of an object could leave it otherwise.
    pub(crate) async fn lock_spots(&self, head: FrameId, mode: Mode) -> Spots {
        if let Some((root, guard)) = self.lock_family(head, mode).await {
            let ranges = self.state().family_ranges(head, root);
            return Spots { ranges, areas: Some(guard) };
        }
        let owner = self.state().machine.frames[head].owner;
        let Owner::Cache { object, offset } = owner else {
            return Spots { ranges: Vec::new(), areas: None };
        };
        let len = self.state().bytes_of(head);
        self.lock_shown(object, offset, len, mode).await
    }

    /// Finds where `len` bytes of an object are shown from an offset on, and keeps that from
    /// changing.
    pub(crate) async fn lock_shown(
        &self,
        object: ObjectId,
        offset: u64,
        len: Bytes,
        mode: Mode,
    ) -> Spots {
        let areas = self.lock(Lock::Shown(object), mode).await;
        let ranges = self.state().ranges_of_object(object, offset, len);
        Spots { ranges, areas: Some(areas) }
    }

    /// Keeps walks from an area that is about to be copied or moved: one that has begun shall not
    /// miss what goes elsewhere.
    pub(crate) async fn keep_walks_out(&self, area: &Area) -> [Option<Guard>; 2] {
        let mut guards = [None, None];
        if let Some(object) = area.object() {
            guards[0] = Some(self.lock(Lock::Shown(object), Mode::Exclusive).await);
        }
        if let Some(root) = area.root {
            guards[1] = Some(self.lock(Lock::Root(root), Mode::Exclusive).await);
        }
        guards
    }

    /// Locks the family of an anonymous page against changes of who maps it; `None` when it has
    /// none.
    async fn lock_family(&self, head: FrameId, mode: Mode) -> Option<(RootId, Guard)> {
        loop {
            let root = self.state().family_of(head)?;
            let guard = self.lock(Lock::Root(root), mode).await;
            let state = self.state();
            let same = state.family_of(head) == Some(root);
            if same || state.profile.bugs.walk_forgets_root_check {
                return Some((root, guard));
            }
        }
    }

    /// Visits every entry that maps a frame of a block, each with its table locked; returns how
    /// many there were.
    pub(crate) async fn visit_mappings(
        &self,
        spots: &Spots,
        block: Block,
        mut visit: impl FnMut(&mut State, Met),
    ) -> u32 {
        let span = self.state().profile.table_span();
        let mut met = 0;
        for (space, range) in &spots.ranges {
            for part in range.widen(span).chunks(span.bytes()) {
                let Some(part) = part.intersect(*range) else { continue };
                let Some(table) = self.lock_table_left(*space, part.start()).await else {
                    break;
                };
                {
                    let mut state = self.state();
                    for found in state.entries_of(*space, part, block) {
                        met += 1;
                        visit(&mut state, found);
                    }
                }
                table.release().await;
            }
        }
        met
    }
}

impl State {
    /// The entry of an address; in a huge page it names the frame of the part.
    pub(crate) fn part_entry(&self, space: SpaceId, at: Va) -> Option<Entry> {
        let table = &self.spaces[space].table;
        if let Some(entry) = table.small(at) {
            return Some(entry);
        }
        let entry = table.huge(at)?;
        let offset = at.since(at.align_down(table.span())).pages(self.profile.page_size);
        let part = usize::try_from(offset).ok()?;
        Some(entry.with_part(part))
    }

    fn hold_present(&mut self, space: SpaceId, at: Va) -> Option<FrameId> {
        let Entry::Present(mapped) = self.part_entry(space, at)? else { return None };
        self.machine.frames.get(mapped.frame);
        Some(mapped.frame)
    }

    fn family_of(&self, head: FrameId) -> Option<RootId> {
        match self.machine.frames[head].owner {
            Owner::Anon { root, .. } => Some(root),
            _ => None,
        }
    }

    /// Where a family shows the place a page has now.
    fn family_ranges(&self, head: FrameId, root: RootId) -> Vec<(SpaceId, VaRange)> {
        let Owner::Anon { linear, .. } = self.machine.frames[head].owner else {
            return Vec::new();
        };
        self.ranges_in_family(root, linear, self.bytes_of(head))
    }

    /// Says whether others than one address space map a page or a part of it.
    pub(crate) fn is_mapped_elsewhere(&self, space: SpaceId, head: FrameId) -> bool {
        let block = self.machine.frames.block(head);
        if block.count == 1 {
            return self.machine.frames[head].maps > 1;
        }
        let Some(root) = self.family_of(head) else { return false };
        let ranges = self.family_ranges(head, root);
        let mut others = ranges.into_iter().filter(|(other, _)| *other != space);
        others.any(|(other, range)| !self.entries_of(other, range, block).is_empty())
    }

    /// Bytes of the page with this head.
    pub(crate) fn bytes_of(&self, head: FrameId) -> Bytes {
        Bytes(self.profile.page().0 * self.machine.frames.count(head) as u64)
    }

    /// The entries of a range that map a frame of a block.
    fn entries_of(&self, space: SpaceId, range: VaRange, block: Block) -> Vec<Met> {
        let table = &self.spaces[space].table;
        let small = table.small_in(range).map(|(at, entry)| Met { space, at, entry, huge: false });
        let huge = table.huge_in(range).map(|(at, entry)| Met { space, at, entry, huge: true });
        let maps = |met: &Met| met.entry.frame().and_then(|frame| block.part(frame)).is_some();
        small.chain(huge).filter(maps).collect()
    }

    /// Drops the entry that a walk has met.
    pub(crate) fn zap_met(&mut self, met: Met) {
        let table = &mut self.spaces[met.space].table;
        let taken = if met.huge { table.set_huge(met.at, None) } else { table.set(met.at, None) };
        if let Some(entry) = taken {
            self.machine.put_entry(entry);
        }
    }

    /// Sets the entry that a walk has met to another that counts the same.
    pub(crate) fn replace_met(&mut self, met: Met, entry: Entry) {
        let table = &mut self.spaces[met.space].table;
        if met.huge {
            table.set_huge(met.at, Some(entry));
        } else {
            table.set(met.at, Some(entry));
        }
    }
}
