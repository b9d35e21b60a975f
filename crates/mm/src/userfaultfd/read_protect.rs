//! RWPROTECT: protection against any access, new in 7.3.

use faultless_uapi::UffdioRwprotect;
use faultless_uapi::feature::FEATURE_RWP;
use faultless_uapi::mode::register;

use crate::errno::{EINVAL, Errno};
use crate::id::ContextId;
use crate::kernel::{Guard, Kernel, State};
use crate::op::{Access, Fault};
use crate::process::Area;
use crate::userfaultfd::Reason;
use crate::userfaultfd::protect_pages::Wish;
use crate::userfaultfd::request::User;

impl Kernel {
    /// Protects pages against any access, or no longer.
    pub(super) async fn read_protect(
        &self,
        id: ContextId,
        mut user: User<'_>,
    ) -> Result<u64, Errno> {
        if !self.state().profile.offers(FEATURE_RWP) {
            return Err(EINVAL);
        }
        let bytes = self.protect_argument(id, &mut user).await?;
        let UffdioRwprotect { range, mode } = UffdioRwprotect::from_bytes(bytes);
        self.change_protection(id, &Wish { range, mode, of: register::RWP }).await
    }

    /// Handles an access to a page that is closed: reports it, or opens the page.
    pub(crate) async fn closed_fault(&self, access: &Access, area: &Area, guard: Guard) -> Fault {
        let table = self.lock_table(access.space, access.at).await;
        let reports = self.state().is_closed(access, area) && !self.state().opens(access, area);
        table.release().await;
        if reports {
            return self.userfault(access, area, guard, Reason::Closed).await;
        }
        guard.release().await;
        Fault::Retry
    }
}

impl State {
    /// Says whether a page may not be accessed at all.
    pub(crate) fn is_closed(&self, access: &Access, area: &Area) -> bool {
        let page = self.page_at(area, access.at);
        area.reports(register::RWP)
            && self.entry(access.space, page).is_some_and(crate::process::Entry::uffd_wp)
    }

    /// Opens a closed page where accesses are only recorded; says whether it did.
    fn opens(&mut self, access: &Access, area: &Area) -> bool {
        let Some(registration) = area.registration else { return false };
        let records = self.contexts[registration.context].rwp_is_async();
        if records {
            self.open_page(access.space, area, access.at);
        }
        records
    }
}
