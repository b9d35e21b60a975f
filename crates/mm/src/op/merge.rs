//! Merging: two pages that hold the same become one (KSM), in memory that allows it.
//!
//! A merged page belongs to no family: it is found through the merger's own books, so that
//! neither reclaim nor migration of the model touches it. It is written by copying, and nobody's
//! own, so that it cannot be moved.

use faultless_pages::Va;

use crate::id::{FrameId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::Owner;
use crate::process::{Entry, Mapped};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// Merges the pages at two addresses, if the memory allows it and they are alike; says
    /// whether it did.
    pub async fn merge_pages(&self, who: ThreadId, kept: Va, dropped: Va) -> bool {
        let space = self.state().space_of(who);
        let Some(first) = self.hold_page(who, kept).await else { return false };
        let Some(second) = self.hold_page(who, dropped).await else {
            self.state().machine.put_frame(first);
            return false;
        };
        let merged =
            first != second && self.merge_held(space, [kept, dropped], [first, second]).await;
        let mut state = self.state();
        state.machine.put_frame(first);
        state.machine.put_frame(second);
        merged
    }

    async fn merge_held(&self, space: SpaceId, at: [Va; 2], frames: [FrameId; 2]) -> bool {
        let [first, second] = frames;
        let outer = self.lock(Lock::Folio(first.min(second)), Mode::Exclusive).await;
        let inner = self.lock(Lock::Folio(first.max(second)), Mode::Exclusive).await;
        let span = self.state().profile.table_span();
        let tables = at.map(|at| at.align_down(span));
        let low = self.lock_table(space, tables[0].min(tables[1])).await;
        let high = if tables[0] == tables[1] {
            None
        } else {
            Some(self.lock_table(space, tables[0].max(tables[1])).await)
        };
        let merged = self.state().merge_entries(space, at, frames);
        drop(high);
        low.release().await;
        drop(inner);
        outer.release().await;
        merged
    }
}

impl State {
    /// Both entries map the first frame from here on, neither as its own.
    fn merge_entries(&mut self, space: SpaceId, at: [Va; 2], frames: [FrameId; 2]) -> bool {
        let [first, second] = frames;
        let alone = at.iter().zip(frames).all(|(at, frame)| self.is_mergeable(space, *at, frame));
        let content = |frame: FrameId| &self.machine.frames[frame].content;
        if !alone || content(first) != content(second) {
            return false;
        }
        self.machine.frames[first].owner = Owner::Nobody;
        let shared = Entry::Present(Mapped::read_only(first));
        self.set(space, at[0], shared);
        self.machine.frames.map(first);
        self.set(space, at[1], shared);
        self.machine.unmap_frame(second);
        true
    }

    /// Says whether an entry maps a base page that is its own and used by nobody else but the
    /// caller, in memory that may be merged.
    fn is_mergeable(&self, space: SpaceId, at: Va, frame: FrameId) -> bool {
        let allowed = self
            .area(space, at)
            .is_some_and(|area| area.traits.mergeable && area.is_anonymous() && !area.reports_wp());
        let small = self.spaces[space].table.small(at);
        let own = matches!(small, Some(Entry::Present(mapped))
            if mapped.frame == frame && mapped.exclusive);
        let base = self.machine.frames.count(self.machine.frames.head(frame)) == 1;
        allowed && own && base && self.machine.frames[frame].uses == 2
    }
}
