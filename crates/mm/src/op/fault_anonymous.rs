//! The first access to a page of private memory with nothing behind it.

use faultless_uapi::mode::register;

use crate::kernel::{Guard, Kernel, State};
use crate::machine::Content;
use crate::op::access::Access;
use crate::op::fault::Fault;
use crate::process::{Area, Entry, Mapped, Marker};
use crate::userfaultfd::Reason;

impl Kernel {
    pub(crate) async fn anonymous_fault(
        &self,
        access: &Access,
        area: &Area,
        guard: Guard,
    ) -> Fault {
        let table = self.lock_table(access.space, access.at).await;
        if !self.state().is_unpopulated(access) {
            return Fault::Retry;
        }
        if self.state().room_for_huge(access, area).is_some() {
            // Even a load, and one that is only told.
            self.state().claim_family(access.space, area);
        }
        if area.reports(register::MISSING) {
            self.state().look_into_table(access, area);
            table.release().await;
            return self.userfault(access, area, guard, Reason::Missing).await;
        }
        let populated = self.state().populate(access, area);
        table.release().await;
        guard.release().await;
        populated
    }
}

impl State {
    /// Says whether there is still no page, nor anything that stands for one.
    pub(crate) fn is_unpopulated(&self, access: &Access) -> bool {
        let entry = self.entry(access.space, access.at);
        matches!(entry, None | Some(Entry::Marker(Marker::WriteProtected)))
    }

    /// Even a fault that only tells makes the table it looked into, unless a huge page could come.
    fn look_into_table(&mut self, access: &Access, area: &Area) {
        if self.room_for_huge(access, area).is_none() {
            self.spaces[access.space].table.add_table(access.at);
        }
    }

    /// Maps the page of zeros for a load, a page of its own for a store. What was marked comes
    /// write-protected.
    fn populate(&mut self, access: &Access, area: &Area) -> Fault {
        if let Some(range) = self.room_for_huge(access, area)
            && self.populate_huge(access, range)
        {
            return Fault::Retry;
        }
        let marked = self.entry(access.space, access.at).is_some();
        let uffd_wp = marked && area.reports_wp();
        if !access.write {
            self.set(access.space, access.at, Entry::Zero { uffd_wp });
            return Fault::Retry;
        }
        let Some(frame) = self.machine.frames.allocate(Content::Zero) else {
            return Fault::Bus;
        };
        self.adopt(access.space, access.at, frame);
        self.machine.frames.map(frame);
        self.machine.put_frame(frame);
        let mapped = Mapped {
            writable: !uffd_wp,
            dirty: true,
            uffd_wp,
            exclusive: true,
            ..Mapped::read_only(frame)
        };
        self.set(access.space, access.at, Entry::Present(mapped));
        Fault::Retry
    }
}
