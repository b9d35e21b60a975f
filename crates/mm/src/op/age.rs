//! Ageing: reclaim asks of a page whether anybody used it lately.
//!
//! # Concurrency
//! Of all walks of the reverse map this one did without the page's lock, until MOVE stopped
//! locking families (6.18). Then as now it meets every entry that maps the page.

use faultless_pages::Va;

use crate::id::ThreadId;
use crate::kernel::Kernel;
use crate::process::{Entry, Mapped};
use crate::sched::{Lock, Mode};

/// What ageing found of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// Entries that map it.
    pub mappings: u32,
    /// Entries through which it was accessed since it was asked last.
    pub accessed: u32,
}

impl Kernel {
    /// Asks of the page behind an address whether it was used; `None` where there is none.
    pub async fn age(&self, who: ThreadId, at: Va) -> Option<Age> {
        let frame = self.hold_page(who, at).await?;
        let (head, unlocked) = {
            let state = self.state();
            (state.machine.frames.head(frame), state.profile.move_locks_family)
        };
        let folio =
            if unlocked { None } else { Some(self.lock(Lock::Folio(head), Mode::Exclusive).await) };
        let block = self.state().machine.frames.block(head);
        let spots = self.lock_spots(head, Mode::Shared).await;
        let mut age = Age::default();
        age.mappings = self
            .visit_mappings(&spots, block, |state, met| {
                if let Entry::Present(mapped) = met.entry {
                    age.accessed += u32::from(mapped.accessed);
                    let old = Mapped { accessed: false, ..mapped };
                    state.replace_met(met, Entry::Present(old));
                }
            })
            .await;
        spots.release().await;
        drop(folio);
        self.state().machine.put_frame(frame);
        Some(age)
    }
}
