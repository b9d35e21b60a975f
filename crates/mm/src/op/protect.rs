//! `mprotect`.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};

use crate::errno::{EACCES, EINVAL, ENOMEM, Errno};
use crate::id::{SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::process::{Area, Entry, Mapped, Protection};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// `mprotect(2)`. Areas before one that is refused are changed.
    ///
    /// # Errors
    /// EINVAL, ENOMEM where nothing is mapped, EACCES for what was opened for reading. A page of
    /// the hugetlb pool is not cut: EINVAL.
    pub async fn protect(
        &self,
        who: ThreadId,
        at: Va,
        len: Bytes,
        protection: Protection,
    ) -> Result<(), Errno> {
        if len.0 == 0 && at.is_aligned(self.state().profile.page_size) {
            return Ok(());
        }
        let range = self.state().page_range(at, len).map_err(|_| EINVAL)?;
        let space = self.state().space_of(who);
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let guards = self.lock_areas(space, range).await;
        let result = self.protect_range(space, range, protection).await;
        drop(guards);
        map.release().await;
        result
    }

    async fn protect_range(
        &self,
        space: SpaceId,
        range: VaRange,
        protection: Protection,
    ) -> Result<(), Errno> {
        let (pieces, _) = self.state().pieces(space, range);
        let mut next = range.start();
        for piece in pieces {
            if piece.range.start() != next {
                return Err(ENOMEM);
            }
            if protection.write && !piece.may_write {
                return Err(EACCES);
            }
            next = piece.range.end();
            let uncharges = self.state().profile.untouched_is_uncharged;
            self.state().change_areas(space, piece.range, |area| {
                area.protection = protection;
                // What nobody ever touched can be taken back; other memory stays promised.
                let untouched = area.is_anonymous() && area.root.is_none();
                if area.is_charged_by(protection) {
                    area.traits.charged = true;
                } else if uncharges && untouched {
                    area.traits.charged = false;
                }
            })?;
            if !protection.write {
                self.make_read_only(space, piece.range).await;
            }
        }
        if next == range.end() { Ok(()) } else { Err(ENOMEM) }
    }

    /// Takes the right to store off every entry of a range.
    async fn make_read_only(&self, space: SpaceId, range: VaRange) {
        let parts = self.state().spaces[space].table.tables_in(range);
        for part in parts {
            let table = self.lock_table(space, part.start()).await;
            self.state().make_part_read_only(space, part);
            table.release().await;
        }
    }
}

impl State {
    /// The areas of a range cut to it, and whether they leave no hole.
    pub(crate) fn pieces(&self, space: SpaceId, range: VaRange) -> (Vec<Area>, bool) {
        let mut pieces = Vec::new();
        let mut next = range.start();
        let mut gapless = true;
        for area in self.spaces[space].areas.within(range) {
            let Some(part) = area.range.intersect(range) else { continue };
            gapless &= part.start() == next;
            next = part.end();
            pieces.push(area.part(part));
        }
        (pieces, gapless && next == range.end())
    }

    fn make_part_read_only(&mut self, space: SpaceId, range: VaRange) {
        let read_only = |entry: Entry| match entry {
            Entry::Present(mapped) => Entry::Present(Mapped { writable: false, ..mapped }),
            other => other,
        };
        let table = &mut self.spaces[space].table;
        for (at, entry) in table.list(range) {
            table.set(at, Some(read_only(entry)));
        }
        let huge: Vec<_> = table.huge_in(range).collect();
        for (at, entry) in huge {
            table.set_huge(at, Some(read_only(entry)));
        }
    }
}
