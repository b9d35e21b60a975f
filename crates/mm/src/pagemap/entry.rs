//! The pagemap word of a page.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va};
use faultless_uapi::scan::pagemap;

use crate::id::{SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::Owner;
use crate::process::{Entry, Mapped, Marker};

impl Kernel {
    /// Reads entries of the pagemap of a thread's process, a word a page.
    #[must_use]
    pub fn pagemap(&self, who: ThreadId, at: Va, pages: u64) -> Vec<u64> {
        let state = self.state();
        let space = state.space_of(who);
        let page = state.profile.page();
        let places = (0..pages).map(|index| at.add(Bytes(index * page.0)));
        places.map(|place| state.pagemap_word(space, state.told_by(space, at, place))).collect()
    }

    /// Bytes of the area at an address that transparent huge pages map.
    #[must_use]
    pub fn huge_bytes(&self, who: ThreadId, at: Va) -> u64 {
        let state = self.state();
        let space = state.space_of(who);
        let Some(area) = state.area(space, at) else { return 0 };
        if area.is_hugetlb() {
            return 0;
        }
        let table = &state.spaces[space].table;
        let present = |entry: &Entry| matches!(entry, Entry::Present(_));
        let count = table.huge_in(area.range).filter(|(_, entry)| present(entry)).count();
        count as u64 * table.span().bytes().0
    }
}

impl State {
    /// The page whose word is told of a page: in a huge mapping the first that is read of it.
    fn told_by(&self, space: SpaceId, first: Va, at: Va) -> Va {
        let table = &self.spaces[space].table;
        let huge = self.profile.pagemap_tells_first_part && table.huge(at).is_some();
        if huge { at.align_down(table.span()).max(first) } else { at }
    }

    fn pagemap_word(&self, space: SpaceId, at: Va) -> u64 {
        let Some(entry) = self.entry(space, at) else { return 0 };
        let wp = if entry.uffd_wp() { pagemap::UFFD_WP } else { 0 };
        wp | match entry {
            Entry::Present(mapped) => pagemap::PRESENT | self.kind_bits(&mapped),
            // The huge page of zeros, unlike the small one, passes for a page of a file.
            Entry::Zero { .. } if self.spaces[space].table.huge(at).is_some() => {
                pagemap::PRESENT | pagemap::FILE_OR_SHARED
            }
            Entry::Zero { .. } => pagemap::PRESENT,
            Entry::Swapped { .. } | Entry::Migrating(_) => pagemap::SWAPPED,
            Entry::Marker(Marker::Guard { .. }) if self.profile.shows_guards => {
                pagemap::SWAPPED | pagemap::GUARD
            }
            // Markers of the hugetlb pool do not look swapped; what they mean is not told.
            Entry::Marker(_) if self.area(space, at).is_some_and(|area| area.is_hugetlb()) => 0,
            Entry::Marker(_) => pagemap::SWAPPED,
        }
    }

    /// Whose the page is, and whether it is mapped once.
    fn kind_bits(&self, mapped: &Mapped) -> u64 {
        let head = self.machine.frames.head(mapped.frame);
        let frame = &self.machine.frames[head];
        let file =
            if matches!(frame.owner, Owner::Anon { .. }) { 0 } else { pagemap::FILE_OR_SHARED };
        let mappings = match self.machine.frames.count(head) {
            1 => frame.maps as usize,
            _ => self.mappings(mapped.frame).len(),
        };
        let exclusive = if mappings == 1 { pagemap::EXCLUSIVE } else { 0 };
        file | exclusive
    }
}
