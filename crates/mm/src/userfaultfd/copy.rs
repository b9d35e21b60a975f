//! COPY.

use faultless_pages::Va;
use faultless_uapi::mode::copy;
use faultless_uapi::{UffdioCopy, UffdioRange};

use crate::errno::{EEXIST, EINVAL, ENOMEM, Errno};
use crate::id::{ContextId, FrameId, ObjectId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::{Cached, Content, Owner};
use crate::process::{Entry, Mapped};
use crate::sched::{Lock, Mode};
use crate::userfaultfd::fill::{Filling, Halt, Order, Target};
use crate::userfaultfd::request::{User, possible_unaligned};

const OUT_AT: usize = core::mem::offset_of!(UffdioCopy, copy);

impl Kernel {
    /// Installs copies of the caller's memory.
    pub(super) async fn copy(&self, id: ContextId, mut user: User<'_>) -> Result<u64, Errno> {
        self.refuse_if_changing(id, &mut user, Some(OUT_AT)).await?;
        let request = UffdioCopy::from_bytes(user.get_head::<OUT_AT, _>(self).await?);
        if self.state().profile.copy_checks_its_source {
            possible_unaligned(request.src, request.len)?;
        }
        let range = UffdioRange { start: request.dst, len: request.len };
        let range = self.state().possible(range)?;
        if request.mode & !(copy::DONTWAKE | copy::WP) != 0 {
            return Err(EINVAL);
        }
        let wp = request.mode & copy::WP != 0;
        let filling = Filling::Copy { src: Va(request.src), wp };
        let order = Order { range, mode: request.mode, filling, out_at: OUT_AT };
        self.fill(id, user, &order).await
    }

    pub(super) async fn copy_page(
        &self,
        who: ThreadId,
        src: Va,
        wp: bool,
        target: &Target<'_>,
        buffer: &mut Option<Content>,
    ) -> Result<(), Halt> {
        let content = match buffer.take() {
            Some(content) => content,
            None => self.state().peek_page(who, src).ok_or(Halt::Source)?,
        };
        let frame = self.state().machine.frames.allocate(content).ok_or(ENOMEM)?;
        let installed = self.install_copy(frame, wp, target).await;
        // This task's own use.
        self.state().machine.put_frame(frame);
        installed.map_err(Halt::Refused)
    }

    /// Installs a page with its content, wherever the destination keeps it.
    pub(super) async fn install_copy(
        &self,
        frame: FrameId,
        wp: bool,
        target: &Target<'_>,
    ) -> Result<(), Errno> {
        if let (true, Some(object)) = (target.area.shared, target.area.object()) {
            return self.install_in_object(object, frame, wp, target).await;
        }
        let table = self.lock_table(target.space, target.at).await;
        {
            let mut state = self.state();
            // A private page of the pool has no place in the object, and no end to keep to.
            if !target.area.is_hugetlb() {
                let beyond = state.profile.copy_beyond_end;
                state.check_end(target, beyond)?;
            }
            let entry = state.entry(target.space, target.at);
            state.gives_way(entry)?;
            state.adopt(target.space, target.at, frame);
            state.map_filled(frame, wp, true, target);
        }
        table.release().await;
        Ok(())
    }

    /// Puts a page into an object's page cache and maps it; the cache is left as it was when it
    /// cannot be mapped.
    pub(super) async fn install_in_object(
        &self,
        object: ObjectId,
        frame: FrameId,
        wp: bool,
        target: &Target<'_>,
    ) -> Result<(), Errno> {
        let offset = target.area.linear_of(target.at);
        let cache = self.lock(Lock::Object(object), Mode::Exclusive).await;
        {
            let state = self.state();
            let beyond = state.profile.copy_beyond_end;
            state.check_end(target, beyond)?;
            if state.machine.objects[object].pages.contains_key(&offset) {
                return Err(EEXIST);
            }
        }
        let table = self.lock_table(target.space, target.at).await;
        {
            let mut state = self.state();
            let entry = state.entry(target.space, target.at);
            state.gives_way(entry)?;
            state.enter_cache(object, offset, frame);
            state.map_filled(frame, wp, false, target);
        }
        table.release().await;
        cache.release().await;
        Ok(())
    }
}

impl State {
    /// Refuses what lies beyond the end of the object.
    pub(super) fn check_end(&self, target: &Target<'_>, errno: Errno) -> Result<(), Errno> {
        let Some(object) = target.area.object() else { return Ok(()) };
        let page = self.profile.page_size;
        let end = Va(self.machine.objects[object].size).align_up(page).0;
        if target.area.linear_of(target.at) < end { Ok(()) } else { Err(errno) }
    }

    /// Puts a frame into the page cache of an object.
    pub(crate) fn enter_cache(&mut self, object: ObjectId, offset: u64, frame: FrameId) {
        self.machine.frames.get(frame);
        self.machine.frames[frame].owner = Owner::Cache { object, offset };
        self.machine.objects[object].pages.insert(offset, Cached::Frame(frame));
    }

    /// Sets the entry of a destination, which in memory of the hugetlb pool is a huge one.
    pub(super) fn set_page(&mut self, target: &Target<'_>, entry: Entry) {
        let table = &mut self.spaces[target.space].table;
        if target.area.is_hugetlb() {
            table.set_huge(target.at, Some(entry));
        } else {
            table.set(target.at, Some(entry));
        }
    }

    /// Maps a page that a request brought: dirty, writable if the area is.
    pub(super) fn map_filled(
        &mut self,
        frame: FrameId,
        wp: bool,
        exclusive: bool,
        target: &Target<'_>,
    ) {
        let writable = target.area.protection.write && !wp && (exclusive || target.area.shared);
        let mapped =
            Mapped { writable, dirty: true, uffd_wp: wp, exclusive, ..Mapped::read_only(frame) };
        self.machine.frames.map(frame);
        self.set_page(target, Entry::Present(mapped));
    }
}
