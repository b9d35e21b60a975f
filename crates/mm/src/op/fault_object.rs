//! The first access to a page of an object through a mapping.

use faultless_pages::Va;
use faultless_uapi::mode::register;

use crate::errno::Errno;
use crate::id::{FrameId, ObjectId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::Kind;
use crate::op::access::Access;
use crate::op::fault::Fault;
use crate::process::{Area, Entry, Mapped};
use crate::sched::{Lock, Mode};
use crate::userfaultfd::Reason;

impl Kernel {
    pub(crate) async fn object_fault(&self, access: &Access, area: &Area, guard: Guard) -> Fault {
        let Some(object) = area.object() else { return Fault::Bus };
        let offset = area.linear_of(access.at.align_down(self.state().profile.page_size));
        self.fault_around(access, area, object).await;
        if !self.state().is_unpopulated(access) {
            return Fault::Retry;
        }
        let lookup = self.state().looks_up(object, offset, area);
        let page = match lookup {
            Lookup::Beyond => return Fault::Bus,
            Lookup::Report(reason) => {
                return self.userfault(access, area, guard, reason).await;
            }
            Lookup::There => self.lock_cached(object, offset).await,
            Lookup::Absent => self.make_missing(object, offset, area).await,
        };
        let (frame, folio) = match page {
            Ok(Some(page)) => page,
            Ok(None) => return Fault::Retry,
            Err(_) => return Fault::Bus,
        };
        let table = self.lock_table(access.space, access.at).await;
        let mapped = self.state().map_object_page(access, area, frame);
        table.release().await;
        folio.release().await;
        guard.release().await;
        mapped
    }

    /// Makes a page that a fault found missing and need not tell, unless that has changed until
    /// the cache is locked.
    async fn make_missing(
        &self,
        object: ObjectId,
        offset: u64,
        area: &Area,
    ) -> Result<Option<(FrameId, Guard)>, Errno> {
        let cache = self.lock(Lock::Object(object), Mode::Exclusive).await;
        let lookup = self.state().looks_up(object, offset, area);
        let made = match lookup {
            Lookup::Absent => self.make_cached(object, offset).map(Some),
            _ => Ok(None),
        };
        cache.release().await;
        made
    }
}

/// What becomes of the first access to a page of an object, as far as can be told before
/// anything is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Behind the end of the object.
    Beyond,
    /// A userfaultfd is to be told.
    Report(Reason),
    /// The object has the page.
    There,
    /// The object does not have the page, and it can be made.
    Absent,
}

impl State {
    /// Looks for a page of an object on behalf of a fault.
    pub(super) fn looks_up(&self, id: ObjectId, offset: u64, area: &Area) -> Lookup {
        let object = &self.machine.objects[id];
        if offset >= Va(object.size).align_up(self.profile.page_size).0 {
            return Lookup::Beyond;
        }
        let reports = matches!(object.kind, Kind::Shmem | Kind::Hugetlb(_));
        match object.pages.contains_key(&offset) {
            true if reports && area.reports(register::MINOR) => Lookup::Report(Reason::Minor),
            false if reports && area.reports(register::MISSING) => Lookup::Report(Reason::Missing),
            true => Lookup::There,
            false => Lookup::Absent,
        }
    }

    /// Maps a page of the cache, or a private copy of it for a store to private memory.
    fn map_object_page(&mut self, access: &Access, area: &Area, cached: FrameId) -> Fault {
        if !self.is_unpopulated(access) {
            return Fault::Retry;
        }
        let marked = self.entry(access.space, access.at).is_some();
        let uffd_wp = marked && area.reports_wp();
        let private = access.write && !area.shared;
        let frame = if private {
            let content = self.machine.frames[cached].content.clone();
            let Some(frame) = self.machine.frames.allocate(content) else { return Fault::Bus };
            self.adopt(access.space, access.at, frame);
            frame
        } else {
            cached
        };
        self.machine.frames.map(frame);
        if private {
            self.machine.put_frame(frame);
        }
        let mapped = Mapped {
            writable: access.write && !uffd_wp,
            dirty: access.write,
            uffd_wp,
            exclusive: private,
            ..Mapped::read_only(frame)
        };
        self.set(access.space, access.at, Entry::Present(mapped));
        Fault::Retry
    }
}
