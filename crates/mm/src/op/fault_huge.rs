//! Transparent huge pages: the first access to memory that wants them, and a store to one that is
//! not writable.

use faultless_pages::{Va, VaRange};

use crate::kernel::{Guard, Kernel, State};
use crate::op::access::Access;
use crate::op::fault::Fault;
use crate::process::{Area, Entry, Mapped};
use crate::userfaultfd::Reason;

impl Kernel {
    /// Handles a store to a huge page.
    pub(crate) async fn huge_write_fault(
        &self,
        access: &Access,
        area: &Area,
        guard: Guard,
    ) -> Fault {
        let table = self.lock_table(access.space, access.at).await;
        let reports = self.state().settle_huge_write(access, area);
        table.release().await;
        if reports {
            return self.userfault(access, area, guard, Reason::WriteProtected).await;
        }
        guard.release().await;
        Fault::Retry
    }
}

impl State {
    /// The range of the huge page that an access to empty memory may bring. A table of base
    /// entries keeps it out, an empty one too.
    pub(crate) fn room_for_huge(&self, access: &Access, area: &Area) -> Option<VaRange> {
        let size = self.profile.transparent_huge_page?;
        let range = VaRange::of(access.at.align_down(size), size.bytes());
        let wanted = area.is_anonymous() && area.traits.huge && area.range.covers(range);
        let table = &self.spaces[access.space].table;
        (wanted && !table.has_table(access.at)).then_some(range)
    }

    /// Maps a huge page: for a load the one of zeros that all share. False when there is no
    /// memory in one piece.
    pub(crate) fn populate_huge(&mut self, access: &Access, range: VaRange) -> bool {
        if access.write {
            return self.map_fresh_huge(access, range.start());
        }
        let zeros = Entry::Zero { uffd_wp: false };
        self.spaces[access.space].table.set_huge(range.start(), Some(zeros));
        true
    }

    fn map_fresh_huge(&mut self, access: &Access, start: Va) -> bool {
        let count = self.profile.huge_frames();
        let Some(head) = self.machine.frames.allocate_block(count, false) else { return false };
        self.adopt(access.space, start, head);
        self.machine.frames.map(head);
        self.machine.put_frame(head);
        let mapped =
            Mapped { writable: true, dirty: true, exclusive: true, ..Mapped::read_only(head) };
        self.spaces[access.space].table.set_huge(start, Some(Entry::Present(mapped)));
        true
    }

    /// Does what a store to a huge page needs; says whether a userfaultfd is to be told instead.
    ///
    /// What cannot be settled for the whole page is left to the base pages it is split into.
    fn settle_huge_write(&mut self, access: &Access, area: &Area) -> bool {
        let Some(entry) = self.spaces[access.space].table.huge(access.at) else { return false };
        if let (true, true, Some(owner)) = (area.reports_wp(), entry.uffd_wp(), area.registration) {
            let records = self.contexts[owner.context].wp_is_async();
            if records {
                self.split_huge(access.space, access.at);
            }
            return !records;
        }
        match entry {
            Entry::Present(mapped) if mapped.writable => {}
            Entry::Present(mapped) if self.may_reuse_huge(&mapped) => {
                let own = Mapped { writable: true, dirty: true, exclusive: true, ..mapped };
                let table = &mut self.spaces[access.space].table;
                table.set_huge(access.at, Some(Entry::Present(own)));
            }
            Entry::Zero { .. } if self.profile.huge_zeros_grow => {
                let start = access.at.align_down(self.spaces[access.space].table.span());
                if !self.map_fresh_huge(access, start) {
                    self.split_huge(access.space, access.at);
                }
            }
            Entry::Present(_) | Entry::Zero { .. } => self.split_huge(access.space, access.at),
            _ => {}
        }
        false
    }

    fn may_reuse_huge(&self, mapped: &Mapped) -> bool {
        mapped.exclusive || self.machine.frames[mapped.frame].uses == 1
    }
}
