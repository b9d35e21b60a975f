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
        let page = self.state().profile.page_size;
        let start = at.align_down(page);
        let len = Bytes(at.0 - start.0 + len.0);
        if len.0 == 0 {
            return Ok(());
        }
        let range = self.state().page_range(start, len)?;
        let space = self.state().space_of(who);
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let guards = self.lock_areas(space, range).await;
        let (pieces, gapless) = self.state().pieces(space, range);
        let mut next = range.start();
        for piece in pieces.iter().take_while(|piece| {
            let joined = piece.range.start() == next;
            next = piece.range.end();
            joined
        }) {
            self.state().change_areas(space, piece.range, |area| area.traits.locked = true)?;
        }
        drop(guards);
        map.release().await;
        if !gapless {
            return Err(ENOMEM);
        }
        self.populate_locked(who, range).await.map_err(|_| ENOMEM)
    }

    /// Populates as `mlock` does: for stores where private memory allows them.
    async fn populate_locked(&self, who: ThreadId, range: VaRange) -> Result<(), Errno> {
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
