//! `mlock`, and pins.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};

use crate::errno::{ENOMEM, Errno};
use crate::id::{FrameId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// `mlock(2)`: faults every page in and keeps it. Where something is not mapped, only what lies
    /// before it is kept, and nothing is faulted in.
    ///
    /// # Errors
    /// EINVAL, ENOMEM where nothing is mapped or a page cannot be had.
    pub async fn lock_memory(&self, who: ThreadId, at: Va, len: Bytes) -> Result<(), Errno> {
        match self.set_locked(who, at, len, true).await? {
            Some(range) => self.populate_locked(who, range).await.map_err(|_| ENOMEM),
            None => Ok(()),
        }
    }

    /// `munlock(2)`: lets pages go again, as far as everything is mapped.
    ///
    /// # Errors
    /// EINVAL, ENOMEM where nothing is mapped.
    pub async fn unlock_memory(&self, who: ThreadId, at: Va, len: Bytes) -> Result<(), Errno> {
        self.set_locked(who, at, len, false).await.map(|_| ())
    }

    /// Marks the areas of a range up to the first hole; returns the range in whole pages, unless it
    /// is empty. Memory of the hugetlb pool stays anyway, and is not marked.
    async fn set_locked(
        &self,
        who: ThreadId,
        at: Va,
        len: Bytes,
        locked: bool,
    ) -> Result<Option<VaRange>, Errno> {
        let start = at.align_down(self.state().profile.page_size);
        let len = Bytes(at.0 - start.0 + len.0);
        if len.0 == 0 {
            return Ok(None);
        }
        let range = self.state().page_range(start, len)?;
        let space = self.state().space_of(who);
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let guards = self.lock_areas(space, range).await;
        let (pieces, gapless) = self.state().pieces(space, range);
        let mut next = range.start();
        for piece in pieces {
            if piece.range.start() != next {
                break;
            }
            next = piece.range.end();
            self.state().change_areas(space, piece.range, |area| {
                area.traits.locked = locked && !area.is_hugetlb();
            })?;
        }
        drop(guards);
        map.release().await;
        if gapless { Ok(Some(range)) } else { Err(ENOMEM) }
    }

    /// Populates as `mlock` does: for stores where private memory allows them.
    pub(crate) async fn populate_locked(&self, who: ThreadId, range: VaRange) -> Result<(), Errno> {
        let space = self.state().space_of(who);
        let (pieces, _) = self.state().pieces(space, range);
        for piece in pieces {
            let write = piece.protection.write && !piece.shared;
            self.populate_range(who, piece.range, write).await?;
        }
        Ok(())
    }
}

impl State {
    /// Drops pins.
    pub(crate) fn unpin(&mut self, frames: &[FrameId]) {
        let heads: Vec<FrameId> = frames.iter().map(|id| self.machine.frames.head(*id)).collect();
        for head in heads {
            self.machine.frames[head].pins -= 1;
            self.machine.put_frame(head);
        }
    }
}
