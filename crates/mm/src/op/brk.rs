//! `brk`: the heap of a process, an area that grows and shrinks at its end.

use faultless_pages::{Va, VaRange};

use crate::errno::{EINVAL, Errno};
use crate::id::{SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::process::{Area, Backing, Protection, TASK_END, Traits};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// Gives a process an empty heap at another place, as `prctl` with PR_SET_MM_START_BRK and
    /// PR_SET_MM_BRK does. What the heap held so far stays mapped.
    ///
    /// # Errors
    /// EINVAL for an address no program can have.
    pub fn place_heap(&self, who: ThreadId, at: Va) -> Result<(), Errno> {
        if at >= TASK_END {
            return Err(EINVAL);
        }
        let space = self.state().space_of(who);
        self.state().spaces[space].heap = VaRange::new(at, at);
        Ok(())
    }

    /// `brk(2)` as the system call: moves the end of the heap if it can, and returns where it is.
    /// What is given back is unmapped, and a userfaultfd told so.
    pub async fn brk(&self, who: ThreadId, end: Va) -> Va {
        let space = self.state().space_of(who);
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let (heap, page) = {
            let state = self.state();
            (state.spaces[space].heap, state.profile.page_size)
        };
        if end < heap.start() || end >= TASK_END {
            return heap.end();
        }
        let (before, after) = (heap.end().align_up(page), end.align_up(page));
        let mut told = alloc::vec::Vec::new();
        if after < before {
            let tail = VaRange::new(after, before);
            if self.state().spaces[space].areas.within(tail).next().is_none() {
                // Nothing of the heap is left there: it is somebody else's business.
                return heap.end();
            }
            if self.state().may_unmap(space, tail).is_err() {
                return heap.end();
            }
            if self.remove_range(space, tail, &mut told).await.is_err() {
                return heap.end();
            }
        } else if before < after && !self.state().grow_heap(space, VaRange::new(before, after)) {
            return heap.end();
        }
        self.state().spaces[space].heap = VaRange::new(heap.start(), end);
        map.release().await;
        self.announce_all(who, told).await;
        end
    }
}

impl State {
    /// Maps a range behind the heap, if nothing is there, nor in the page behind it.
    fn grow_heap(&mut self, space: SpaceId, range: VaRange) -> bool {
        let wanted = VaRange::new(range.start(), range.end().add(self.profile.page()));
        let taken = self.spaces[space].areas.within(wanted).next().is_some();
        if taken || self.is_full(space) {
            return false;
        }
        let grown = Area {
            id: self.new_area(),
            range,
            protection: Protection::READ_WRITE,
            may_write: true,
            shared: false,
            backing: Backing::Anonymous,
            linear: range.start().0,
            root: None,
            inherited: false,
            traits: Traits { charged: true, ..Traits::default() },
            registration: None,
        };
        self.add_area(space, grown);
        true
    }
}
