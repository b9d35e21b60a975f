//! A huge entry becomes base entries. The page itself stays one block of frames.

use faultless_pages::{Bytes, Va, VaRange};

use crate::id::{FrameId, SpaceId};
use crate::kernel::State;
use crate::process::{Entry, Mapped};

impl State {
    /// Splits the transparent huge entry that an address lies inside of, not at the start of.
    pub(crate) fn split_huge_at(&mut self, space: SpaceId, at: Va) {
        let span = self.spaces[space].table.span();
        if !at.is_aligned(span) {
            self.split_huge(space, at);
        }
    }

    /// Splits the huge entry that covers an address, if there is one.
    pub(crate) fn split_huge(&mut self, space: SpaceId, at: Va) {
        let table = &mut self.spaces[space].table;
        let span = table.span();
        let page = self.profile.page_size;
        let Some(entry) = table.set_huge(at, None) else { return };
        let range = VaRange::of(at.align_down(span), span.bytes());
        for (index, place) in (0..).zip(range.chunks(Bytes(page.bytes().0))) {
            let part = |mapped: Mapped| Mapped { frame: FrameId(mapped.frame.0 + index), ..mapped };
            let small = match entry {
                Entry::Present(mapped) => Entry::Present(part(mapped)),
                Entry::Migrating(mapped) => Entry::Migrating(part(mapped)),
                other => other,
            };
            if let Some(frame) = small.frame() {
                self.machine.frames.map(frame);
            }
            self.spaces[space].table.set(place.start(), Some(small));
        }
        self.machine.put_entry(entry);
    }
}
