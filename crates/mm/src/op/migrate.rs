//! Migration: a page gets another frame, behind the back of who uses it.
//!
//! Entries that map the page are first put *on the move*, which keeps everybody from it; when the
//! content is in the new frame they are made to map that. Compaction, balancing between nodes
//! and the splitting of huge pages do this at any time.

use crate::errno::{EAGAIN, ENOMEM, Errno};
use crate::id::{FrameId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::{Block, Size};
use crate::op::walk::Spots;
use crate::process::{Entry, Mapped};
use crate::sched::{Lock, Mode, On, Point};

use faultless_pages::Va;

impl Kernel {
    /// Moves the page behind an address to another frame, if one is there.
    ///
    /// # Errors
    /// EAGAIN while anybody else than entries uses it, ENOMEM.
    pub async fn migrate_page(&self, who: ThreadId, at: Va) -> Result<(), Errno> {
        let Some(frame) = self.hold_page(who, at).await else { return Ok(()) };
        let head = self.state().machine.frames.head(frame);
        let folio = self.lock(Lock::Folio(head), Mode::Exclusive).await;
        let same = self.state().machine.frames.head(frame) == head;
        let migrated = if same { self.migrate_locked(head).await } else { Err(EAGAIN) };
        folio.release().await;
        self.state().machine.put_frame(frame);
        migrated
    }

    async fn migrate_locked(&self, head: FrameId) -> Result<(), Errno> {
        let block = self.state().machine.frames.block(head);
        if !self.state().may_migrate(head) {
            return Err(EAGAIN);
        }
        let spots = self.lock_spots(head, Mode::Shared).await;
        self.freeze(&spots, block, false).await;
        spots.release().await;
        let replaced = self.state().replace_frozen(block);
        let target = replaced.unwrap_or(block);
        self.pause(Point::Access).await;
        let spots = self.lock_spots(head, Mode::Shared).await;
        self.thaw(&spots, block, target).await;
        spots.release().await;
        if replaced.is_ok() {
            // The use of whoever allocated it.
            self.state().machine.put_frame(target.first);
        }
        replaced.map(|_| ())
    }

    /// Puts every entry that maps a block on the move, but for those of pinned pages; huge entries
    /// are split for it with `splits`.
    pub(crate) async fn freeze(&self, spots: &Spots, block: Block, splits: bool) {
        if splits {
            self.visit_mappings(spots, block, |state, met| {
                if met.huge {
                    state.split_huge(met.space, met.at);
                }
            })
            .await;
        }
        self.visit_mappings(spots, block, |state, met| {
            if let Entry::Present(mapped) = met.entry
                && !state.is_pinned_down(&mapped)
            {
                state.replace_met(met, Entry::Migrating(mapped));
            }
        })
        .await;
    }

    /// Makes entries on the move map the frames of `to` in place of those of `from`, and lets
    /// go on who waits for them.
    pub(crate) async fn thaw(&self, spots: &Spots, from: Block, to: Block) {
        self.visit_mappings(spots, from, |state, met| state.thaw_entry(met, from, to)).await;
        self.tasks().wake(On::Migration);
    }
}

impl State {
    /// Whether a page can get another frame: one in the swap cache keeps its own, and what
    /// belongs to nobody is not found again.
    fn may_migrate(&self, head: FrameId) -> bool {
        let frame = &self.machine.frames[head];
        let anonymous = matches!(frame.owner, crate::machine::Owner::Anon { .. });
        anonymous && frame.slot.is_none()
    }

    /// Says whether a pin keeps an entry from being taken away for anything that a fork might
    /// come in between of: the child would share what a device writes to.
    pub(crate) fn is_pinned_down(&self, mapped: &Mapped) -> bool {
        let head = self.machine.frames.head(mapped.frame);
        mapped.exclusive && self.machine.frames[head].pins > 0
    }

    /// Copies a page none of whose entries is present to new frames, used once by the caller.
    fn replace_frozen(&mut self, block: Block) -> Result<Block, Errno> {
        let frame = self.machine.frames[block.first].clone();
        if frame.uses != frame.maps + 1 {
            return Err(EAGAIN);
        }
        let first = match frame.size {
            Size::Huge(count) => self.machine.frames.allocate_block(count, false),
            // The page it leaves goes back to the pool.
            Size::Hugetlb(count) => self.machine.take_from_pool(count),
            Size::Base | Size::Part(_) => self.machine.frames.allocate(frame.content),
        };
        let frames = &mut self.machine.frames;
        let target = Block { first: first.ok_or(ENOMEM)?, count: block.count };
        for part in 0..block.count {
            frames[target.at(part)].content = frames[block.at(part)].content.clone();
        }
        frames[target.first].owner = frame.owner;
        frames[target.first].lazy = frame.lazy;
        Ok(target)
    }

    fn thaw_entry(&mut self, met: crate::op::walk::Met, from: Block, to: Block) {
        let Entry::Migrating(mapped) = met.entry else { return };
        let Some(part) = from.part(mapped.frame) else { return };
        let frame = to.at(part);
        self.replace_met(met, Entry::Present(Mapped { frame, ..mapped }));
        if from != to {
            self.machine.frames.map(frame);
            self.machine.unmap_frame(mapped.frame);
        }
    }
}
