//! What reading through a pin does to private pages: one that others may have too is copied, so
//! that no later store of somebody else parts the pin from the page.

use faultless_pages::{Bytes, VaRange};

use crate::kernel::{Kernel, State};
use crate::machine::Owner;
use crate::op::access::Access;
use crate::process::{Entry, Mapped};

impl Kernel {
    /// Does so to the pages of `len` bytes that were read.
    pub(crate) async fn unshare(&self, read: &Access, len: u64) {
        let page = self.state().profile.page_size;
        let start = read.at.align_down(page);
        let end = read.at.add(Bytes(len)).align_up(page);
        for piece in VaRange::new(start, end).chunks(page.bytes()) {
            let access = Access { at: piece.start(), ..*read };
            let table = self.lock_table(access.space, access.at).await;
            self.state().unshare_page(&access);
            table.release().await;
        }
    }
}

impl State {
    /// A page of the hugetlb pool is copied whole; a transparent huge page that is not to be had
    /// alone is split first.
    fn unshare_huge(&mut self, access: &Access) {
        let Some(Entry::Present(mapped)) = self.spaces[access.space].table.huge(access.at) else {
            return;
        };
        let anonymous = matches!(self.machine.frames[mapped.frame].owner, Owner::Anon { .. });
        let Some(area) = self.area(access.space, access.at).filter(|_| anonymous) else { return };
        if mapped.exclusive {
            return;
        }
        let alone = self.machine.frames[mapped.frame].uses == 1;
        let frame = match (alone, area.is_hugetlb()) {
            (true, _) => Some(mapped.frame),
            (false, true) => self.replace_by_pool(access, &area, mapped),
            (false, false) => {
                self.split_huge(access.space, access.at);
                None
            }
        };
        if let Some(frame) = frame {
            let own = Entry::Present(Mapped { frame, exclusive: true, ..mapped });
            self.spaces[access.space].table.set_huge(access.at, Some(own));
        }
    }

    /// The copy is mapped as the page was: it is not for a store.
    fn unshare_page(&mut self, access: &Access) {
        self.unshare_huge(access);
        let table = &self.spaces[access.space].table;
        let Some(entry @ Entry::Present(mapped)) = table.small(access.at) else { return };
        let head = self.machine.frames.head(mapped.frame);
        let anonymous = matches!(self.machine.frames[head].owner, Owner::Anon { .. });
        if mapped.exclusive || !anonymous {
            return;
        }
        if self.may_reuse(access.space, &mapped) {
            let own = Mapped { exclusive: true, ..mapped };
            self.set(access.space, access.at, Entry::Present(own));
            return;
        }
        let content = self.machine.frames[mapped.frame].content.clone();
        let Some(copy) = self.machine.frames.allocate(content) else { return };
        self.machine.put_entry(entry);
        self.adopt(access.space, access.at, copy);
        self.machine.frames.map(copy);
        self.machine.put_frame(copy);
        let own = Mapped { frame: copy, exclusive: true, dirty: false, ..mapped };
        self.set(access.space, access.at, Entry::Present(own));
    }
}
