//! Moving a huge page whole.

use crate::errno::{EBUSY, ENOENT, Errno};
use crate::id::FrameId;
use crate::kernel::{Kernel, State};
use crate::process::Entry;
use crate::sched::{Lock, Mode};
use crate::userfaultfd::move_::{Ends, Step};
use crate::userfaultfd::move_step::release;

impl Kernel {
    /// Moves the huge page whose entry was looked at.
    pub(super) async fn move_huge(&self, ends: &Ends, source: Entry) -> Result<Step, Errno> {
        match source {
            Entry::Present(mapped) if !mapped.exclusive => Err(EBUSY),
            Entry::Present(mapped) => self.move_huge_page(ends, source, mapped.frame).await,
            Entry::Zero { .. } => self.change_huge_hands(ends, source).await,
            Entry::Migrating(_) => {
                self.wait_for_migration(ends.space, ends.src).await;
                Ok(Step::Again)
            }
            // Transparent huge pages are not swapped whole, and know no markers.
            Entry::Swapped { .. } | Entry::Marker(_) => Err(ENOENT),
        }
    }

    async fn move_huge_page(
        &self,
        ends: &Ends,
        source: Entry,
        head: FrameId,
    ) -> Result<Step, Errno> {
        {
            let mut state = self.state();
            if state.spaces[ends.space].table.huge(ends.src) != Some(source) {
                return Ok(Step::Again);
            }
            state.machine.frames.get(head);
        }
        let folio = self.lock(Lock::Folio(head), Mode::Exclusive).await;
        let family = self.lock_left_family(head).await;
        let moved = self.change_huge_hands(ends, source).await;
        drop(family);
        folio.release().await;
        self.state().machine.put_frame(head);
        moved
    }

    async fn change_huge_hands(&self, ends: &Ends, source: Entry) -> Result<Step, Errno> {
        let tables = self.lock_tables(ends).await;
        let moved = self.state().move_huge_entry(ends, source);
        release(tables).await;
        moved
    }
}

impl State {
    fn move_huge_entry(&mut self, ends: &Ends, source: Entry) -> Result<Step, Errno> {
        let table = &self.spaces[ends.space].table;
        let taken = table.has_table(ends.dst) || table.huge(ends.dst).is_some();
        if table.huge(ends.src) != Some(source) || taken {
            return Ok(Step::Again);
        }
        let arrived = match source {
            Entry::Present(mapped) => {
                if self.machine.frames[mapped.frame].pins > 0 {
                    return Err(EBUSY);
                }
                self.rehome(ends, mapped.frame);
                let arrived = self.arrived(ends, mapped);
                Entry::Present(crate::process::Mapped { dirty: true, ..arrived })
            }
            _ => Entry::Zero { uffd_wp: self.arrives_protected(ends, source.uffd_wp()) },
        };
        let table = &mut self.spaces[ends.space].table;
        table.set_huge(ends.src, None);
        table.set_huge(ends.dst, Some(arrived));
        Ok(Step::Done(table.span().bytes()))
    }
}
