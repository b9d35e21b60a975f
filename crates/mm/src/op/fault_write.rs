//! A store to a page that is there and not writable.

use crate::id::{FrameId, SpaceId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::{Content, Owner};
use crate::op::access::Access;
use crate::op::fault::Fault;
use crate::process::{Area, Entry, Mapped};
use crate::userfaultfd::Reason;

/// What is to be done about the store.
enum Remedy {
    /// Nothing: the entry has changed.
    Retry,
    /// A userfaultfd is to be told.
    Report,
    /// The page is made writable.
    Reuse,
    /// The page is copied; this is what is copied, of this frame.
    Copy(Entry, Option<FrameId>),
}

impl Kernel {
    pub(crate) async fn write_fault(&self, access: &Access, area: &Area, guard: Guard) -> Fault {
        let table = self.lock_table(access.space, access.at).await;
        let remedy = self.state().remedy(access, area);
        table.release().await;
        match remedy {
            Remedy::Retry | Remedy::Reuse => {
                guard.release().await;
                Fault::Retry
            }
            Remedy::Report => self.userfault(access, area, guard, Reason::WriteProtected).await,
            Remedy::Copy(entry, frame) => {
                let copied = self.copy_on_write(access, entry, frame).await;
                guard.release().await;
                copied
            }
        }
    }

    /// Copies with nothing but the area locked, and looks afterwards whether the entry is still
    /// what was copied.
    async fn copy_on_write(&self, access: &Access, entry: Entry, frame: Option<FrameId>) -> Fault {
        let content = {
            let state = self.state();
            frame.map_or(Content::Zero, |frame| state.machine.frames[frame].content.clone())
        };
        let Some(copy) = self.state().machine.frames.allocate(content) else {
            return Fault::Bus;
        };
        let table = self.lock_table(access.space, access.at).await;
        {
            let mut state = self.state();
            if state.spaces[access.space].table.small(access.at) == Some(entry) {
                state.replace_by_copy(access, entry, copy);
            }
            state.machine.put_frame(copy);
            if let Some(frame) = frame {
                state.machine.put_frame(frame);
            }
        }
        table.release().await;
        Fault::Retry
    }
}

impl State {
    /// Decides, and does at once what can be done under the table's lock.
    fn remedy(&mut self, access: &Access, area: &Area) -> Remedy {
        let table = &mut self.spaces[access.space].table;
        let Some(mut entry) = table.small(access.at) else { return Remedy::Retry };
        if let Some(registration) = area.registration
            && area.reports_wp()
            && entry.uffd_wp()
        {
            if !self.contexts[registration.context].wp_is_async() {
                return Remedy::Report;
            }
            entry = entry.with_uffd_wp(false);
            table.set(access.at, Some(entry));
        }
        match entry {
            Entry::Present(mapped) if mapped.writable => Remedy::Retry,
            Entry::Present(mapped) if area.shared || self.may_reuse(access.space, &mapped) => {
                let exclusive = !area.shared;
                let mapped = Mapped { writable: true, dirty: true, exclusive, ..mapped };
                self.set(access.space, access.at, Entry::Present(mapped));
                Remedy::Reuse
            }
            Entry::Present(mapped) => {
                self.machine.frames.get(mapped.frame);
                Remedy::Copy(entry, Some(mapped.frame))
            }
            Entry::Zero { .. } => Remedy::Copy(entry, None),
            _ => Remedy::Retry,
        }
    }

    /// Says whether nobody else has this private page, so that it need not be copied. A use by
    /// the swap cache alone is given up for it.
    pub(crate) fn may_reuse(&mut self, space: SpaceId, mapped: &Mapped) -> bool {
        let head = self.machine.frames.head(mapped.frame);
        let frame = &self.machine.frames[head];
        if !matches!(frame.owner, Owner::Anon { .. }) {
            return false;
        }
        if mapped.exclusive {
            return true;
        }
        let cached = frame.slot.filter(|slot| self.machine.swap[*slot].uses == 0);
        // One of which a single part is left is copied, so that the rest of it can go.
        let whole = self.profile.reuses_large_pages && self.machine.frames.count(head) > 1;
        let maps = if whole { frame.maps } else { 1 };
        let ours = !whole || maps > 1 && !self.is_mapped_elsewhere(space, head);
        if !ours || frame.uses != maps + u32::from(cached.is_some()) {
            return false;
        }
        if cached.is_some() {
            self.machine.leave_swap_cache(head);
        }
        true
    }

    fn replace_by_copy(&mut self, access: &Access, old: Entry, copy: FrameId) {
        self.machine.put_entry(old);
        self.adopt(access.space, access.at, copy);
        self.machine.frames.map(copy);
        let mapped =
            Mapped { writable: true, dirty: true, exclusive: true, ..Mapped::read_only(copy) };
        self.set(access.space, access.at, Entry::Present(mapped));
    }
}
