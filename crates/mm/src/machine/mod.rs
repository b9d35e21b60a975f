//! The machine: frames of memory, swap, and the objects whose pages lie in frames.
//!
//! | file | holds |
//! |---|---|
//! | `content` | what a page holds: bytes, or something cheaper that stands for them |
//! | `frame` | frames, how often each is used, to whom it belongs; huge pages |
//! | `swap` | slots and the swap cache |
//! | `object` | shared memory, hugetlb files, regular files, and their page caches |

mod content;
mod frame;
mod object;
mod swap;

pub use content::Content;
pub(crate) use frame::{Block, Frames, Owner, Size};
pub(crate) use object::{Cached, Kind, Object};
pub(crate) use swap::Swap;

use crate::id::ObjectId;
use crate::profile::Profile;
use crate::slab::Slab;

/// Frames, swap and objects.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) frames: Frames,
    pub(crate) swap: Swap,
    pub(crate) objects: Slab<ObjectId, Object>,
    /// Free pages of the hugetlb pool.
    pub(crate) hugetlb_free: u64,
}

impl Machine {
    pub(crate) fn new(profile: &Profile) -> Machine {
        Machine {
            frames: Frames::new(profile.frames),
            swap: Swap::new(profile.swap_slots),
            objects: Slab::new(),
            hugetlb_free: profile.hugetlb.map_or(0, |(_, count)| count),
        }
    }

    /// Drops one use of an object: a descriptor or an area. The last one frees its pages.
    pub(crate) fn put_object(&mut self, id: ObjectId) {
        let object = &mut self.objects[id];
        object.uses -= 1;
        if object.uses > 0 {
            return;
        }
        if let Some(object) = self.objects.remove(id) {
            for cached in object.pages.into_values() {
                self.put_cached(cached);
            }
        }
    }

    /// Frees what an object's page cache held for a page.
    pub(crate) fn put_cached(&mut self, cached: Cached) {
        match cached {
            Cached::Frame(frame) => {
                self.frames[frame].owner = Owner::Nobody;
                self.put_frame(frame);
            }
            Cached::Swapped(slot) => self.put_slot(slot),
        }
    }

    /// Drops one use of a frame.
    pub(crate) fn put_frame(&mut self, frame: crate::id::FrameId) {
        if self.frames.put(frame) == frame::Put::FreedHugetlb {
            self.hugetlb_free += 1;
        }
    }

    /// Drops one use of a swap slot. With the last one its page leaves the swap cache, unless an
    /// entry maps it.
    pub(crate) fn put_slot(&mut self, slot: crate::id::SlotId) {
        self.swap[slot].uses -= 1;
        if self.swap[slot].uses > 0 {
            return;
        }
        match self.swap[slot].cached {
            Some(frame) if self.frames[frame].maps > 0 => {}
            Some(frame) => self.leave_swap_cache(frame),
            None => self.swap.free(slot),
        }
    }
}
