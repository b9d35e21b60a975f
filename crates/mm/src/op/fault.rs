//! What an access leads to that the page table does not let through.

use crate::kernel::{Guard, Kernel};
use crate::op::access::{Access, From};
use crate::process::{Entry, Marker};
use crate::sched::On;

/// How a fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something changed: the access is tried again.
    Retry,
    /// SIGBUS: nothing to be had.
    Bus,
    /// SIGBUS: the page is lost.
    Poisoned,
    /// SIGSEGV: nothing is mapped.
    Unmapped,
    /// SIGSEGV: the mapping forbids it.
    Forbidden,
    /// The thread is to die.
    Killed,
}

impl Kernel {
    /// Handles the fault of an access.
    pub(crate) async fn fault(&self, access: &Access) -> Fault {
        let locked = self.lock_area(access.space, access.at).await;
        let Some((area, guard)) = locked else { return Fault::Unmapped };
        let protection = area.protection;
        if !(if access.write { protection.write } else { protection.read }) {
            return Fault::Forbidden;
        }
        let entry = self.state().entry(access.space, access.at);
        match entry {
            Some(Entry::Marker(Marker::WriteProtected))
                if !area.reports_wp() && !area.is_hugetlb() =>
            {
                self.forget_marker(access, guard).await
            }
            None | Some(Entry::Marker(Marker::WriteProtected)) => {
                if access.write {
                    // Even where a userfaultfd is told and nothing is mapped.
                    self.state().claim_family(access.space, &area);
                }
                if area.is_anonymous() {
                    self.anonymous_fault(access, &area, guard).await
                } else if area.is_hugetlb() {
                    self.hugetlb_fault(access, &area, guard).await
                } else {
                    self.object_fault(access, &area, guard).await
                }
            }
            Some(Entry::Marker(Marker::Poison { .. })) => Fault::Poisoned,
            Some(Entry::Marker(Marker::Guard { .. })) => Fault::Unmapped,
            Some(entry @ Entry::Swapped { .. }) => {
                self.swap_fault(access, &area, guard, entry).await
            }
            Some(Entry::Migrating(_)) => {
                drop(guard);
                self.wait(On::Migration).await;
                Fault::Retry
            }
            Some(Entry::Present(_) | Entry::Zero { .. })
                if self.state().is_closed(access, &area) =>
            {
                self.closed_fault(access, &area, guard).await
            }
            Some(Entry::Present(_) | Entry::Zero { .. }) if access.write => {
                if area.is_hugetlb() {
                    self.hugetlb_write_fault(access, &area, guard).await
                } else if self.state().spaces[access.space].table.huge(access.at).is_some() {
                    self.huge_write_fault(access, &area, guard).await
                } else {
                    self.write_fault(access, &area, guard).await
                }
            }
            Some(_) => Fault::Retry,
        }
    }

    /// Takes a marker away that a registration has left behind, and has the access tried again.
    async fn forget_marker(&self, access: &Access, guard: Guard) -> Fault {
        let table = self.lock_table(access.space, access.at).await;
        {
            let mut state = self.state();
            let marker = Some(Entry::Marker(Marker::WriteProtected));
            if state.entry(access.space, access.at) == marker {
                state.zap(access.space, access.at);
            }
        }
        table.release().await;
        guard.release().await;
        Fault::Retry
    }

    /// Faults a page in for a system call that works on pages; `None` when it is there.
    pub(crate) async fn fault_in(&self, access: &Access) -> Option<Fault> {
        debug_assert_ne!(access.from, From::User);
        loop {
            if self.state().way(access.space, access.at, access.write).is_some() {
                return None;
            }
            match self.fault(access).await {
                Fault::Retry => {}
                fault => return Some(fault),
            }
        }
    }
}
