//! Guards: pages of which no access goes through, without an area of their own.
//!
//! Installing one drops what was there, without telling a userfaultfd. Only a marker of
//! write-protection in an object's mapping resists: the kernel then tries again for ever, which
//! here is told as EINTR, the only end it can have.

use faultless_pages::VaRange;

use crate::errno::{EINTR, EINVAL, ENOMEM, Errno};
use crate::id::SpaceId;
use crate::kernel::{Kernel, State};
use crate::machine::Kind;
use crate::process::{Area, Entry, Marker};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// Installs guards, or takes them away. Areas before one that is refused are done; holes are
    /// told at the end.
    pub(crate) async fn guard_range(
        &self,
        space: SpaceId,
        range: VaRange,
        install: bool,
    ) -> Result<(), Errno> {
        let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        let (pieces, gapless) = self.state().pieces(space, range);
        let mut result = Ok(());
        for area in pieces {
            result = self.state().may_guard(&area, install);
            if result.is_ok() {
                result = self.guard_area(space, &area, install).await;
            }
            if result.is_err() {
                break;
            }
        }
        map.release().await;
        result.and(if gapless { Ok(()) } else { Err(ENOMEM) })
    }

    async fn guard_area(&self, space: SpaceId, area: &Area, install: bool) -> Result<(), Errno> {
        let parts = self.state().parts_to_guard(space, area, install);
        for part in parts {
            let table = self.lock_table(space, part.start()).await;
            let guarded = self.state().guard_part(space, area, part, install);
            table.release().await;
            guarded?;
        }
        Ok(())
    }
}

impl State {
    fn may_guard(&self, area: &Area, install: bool) -> Result<(), Errno> {
        let special = matches!(area.kind(), Some(Kind::Hugetlb(_) | Kind::Special));
        // Objects were taken in the version that began to show guards.
        let taken = self.profile.shows_guards || (area.is_anonymous() && area.may_write);
        let refused = special || !taken || (install && area.traits.locked);
        if refused || !self.profile.has_guards { Err(EINVAL) } else { Ok(()) }
    }

    fn parts_to_guard(
        &mut self,
        space: SpaceId,
        area: &Area,
        install: bool,
    ) -> alloc::vec::Vec<VaRange> {
        if install {
            // A family makes a child inherit the guards.
            self.home(space, area.range.start());
        }
        let table = &self.spaces[space].table;
        if install { table.parts_of(area.range) } else { table.tables_in(area.range) }
    }

    fn guard_part(
        &mut self,
        space: SpaceId,
        area: &Area,
        part: VaRange,
        install: bool,
    ) -> Result<(), Errno> {
        if !install {
            let guard = |entry| matches!(entry, Entry::Marker(Marker::Guard { .. }));
            self.zap_range(space, part, guard);
            return Ok(());
        }
        self.split_huge_at(space, part.start());
        self.split_huge_at(space, part.end());
        for piece in part.chunks(self.profile.page()) {
            let at = piece.start();
            if matches!(self.entry(space, at), Some(Entry::Marker(Marker::Guard { .. }))) {
                continue;
            }
            let entry = self.entry(space, at);
            let protected = entry.is_some_and(|entry| area.reports_wp() && entry.uffd_wp());
            if protected && area.object().is_some() {
                self.drop_entries(space, area, piece, true);
                return Err(EINTR);
            }
            self.split_huge(space, at);
            self.zap(space, at);
            self.set(space, at, Entry::Marker(Marker::GUARD));
        }
        Ok(())
    }
}
