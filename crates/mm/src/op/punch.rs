//! Holes in objects: punched, or cut off at the end.
//!
//! # Locking
//! The file, so that nobody writes or cuts at the same time. Then the entries go, table by table;
//! then the pages, each with the cache and its frame locked, and once more the entries that came
//! meanwhile. Whoever maps a page of an object holds its frame until the entry is set, or the
//! cache: so no entry is left of a page that is gone.

use alloc::vec::Vec;

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use crate::errno::{EBADF, EINVAL, EPERM, Errno};
use crate::id::{ObjectId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::{Cached, Kind, Object};
use crate::sched::{Lock, Mode};

/// Behind the last byte any object can have.
const END: u64 = 1 << 63;

/// What a hole takes.
#[derive(Clone, Copy)]
struct Hole {
    object: ObjectId,
    /// Offsets of the first page and of the one behind the last.
    first: u64,
    last: u64,
    /// Private copies too, as of what lies beyond the end of an object, or in a hole of the
    /// hugetlb pool.
    copies: bool,
}

impl Kernel {
    /// `ftruncate(2)`.
    ///
    /// # Errors
    /// EINVAL for what is open for reading only, and for hugetlb memory at no page border; ENOMEM
    /// where a page that is cut lies in swap and memory is full.
    pub async fn resize(&self, who: ThreadId, fd: u32, size: u64) -> Result<(), Errno> {
        let (file, object, writable) = self.hold_object(who, fd)?;
        let resized = if writable { self.resize_held(object, size).await } else { Err(EINVAL) };
        self.put_file(file).await;
        resized
    }

    async fn resize_held(&self, object: ObjectId, size: u64) -> Result<(), Errno> {
        let file = self.lock(Lock::File(object), Mode::Exclusive).await;
        let Object { kind, size: before, .. } = self.state().machine.objects[object];
        let step = self.state().object_page(object);
        let aligned = Va(size).is_aligned(step) || !matches!(kind, Kind::Hugetlb(_));
        if !aligned {
            return Err(EINVAL);
        }
        self.state().machine.objects[object].size = size;
        if size < before {
            let first = Va(size).align_up(step).0;
            self.make_hole(Hole { object, first, last: END, copies: true }).await;
            self.zero_part(object, size, first).await?;
        }
        file.release().await;
        Ok(())
    }

    /// `fallocate(2)` with PUNCH_HOLE.
    ///
    /// # Errors
    /// EBADF, EPERM for what is sealed, ENOMEM as in [`Kernel::resize`].
    pub async fn punch(&self, who: ThreadId, fd: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let (file, object, writable) = self.hold_object(who, fd)?;
        let punched =
            if writable { self.punch_object(object, offset, len).await } else { Err(EBADF) };
        self.put_file(file).await;
        punched
    }

    /// Makes a hole in an object, which the caller keeps; the parts of pages at its ends become
    /// zeros.
    pub(crate) async fn punch_object(
        &self,
        object: ObjectId,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let file = self.lock(Lock::File(object), Mode::Exclusive).await;
        if self.state().machine.objects[object].sealed {
            return Err(EPERM);
        }
        let end = offset.saturating_add(len).min(END);
        let step = self.state().object_page(object);
        let (first, last) = (Va(offset).align_up(step).0, Va(end).align_down(step).0);
        if first < last {
            // Of the hugetlb pool private copies go too.
            let copies = step != self.state().profile.page_size;
            self.make_hole(Hole { object, first, last, copies }).await;
        }
        self.zero_part(object, offset, first.min(end)).await?;
        self.zero_part(object, last.max(first), end).await?;
        file.release().await;
        Ok(())
    }

    /// Makes zeros of the bytes from `offset` up to `end`, which are less than a page.
    async fn zero_part(&self, object: ObjectId, offset: u64, end: u64) -> Result<(), Errno> {
        let pieces = self.state().chunks(offset, end.saturating_sub(offset));
        for piece in pieces {
            let locked = self.lock_cached(object, piece.page).await?;
            let Some((frame, folio)) = locked else { continue };
            {
                let mut state = self.state();
                let page = state.profile.page_size;
                let zeros = alloc::vec![0; piece.to - piece.from];
                state.machine.frames[frame].dirty = true;
                state.machine.frames[frame].content.write(page, piece.within, &zeros, false);
            }
            folio.release().await;
        }
        Ok(())
    }

    async fn make_hole(&self, hole: Hole) {
        self.unmap_shown(hole).await;
        let offsets = self.state().pages_in(hole);
        for offset in offsets {
            self.drop_cached(hole, offset).await;
        }
        if hole.copies {
            // Of a page that was still there a copy may have been made meanwhile.
            self.unmap_shown(hole).await;
        }
    }

    /// Drops the entries that show a part of an object.
    async fn unmap_shown(&self, hole: Hole) {
        let len = Bytes(hole.last - hole.first);
        let spots = self.lock_shown(hole.object, hole.first, len, Mode::Shared).await;
        for (space, range) in spots.ranges() {
            let parts = match self.state().spaces.get(*space) {
                Some(space) => space.table.tables_in(*range),
                None => continue,
            };
            for part in parts {
                let Some(table) = self.lock_table_left(*space, part.start()).await else { break };
                self.state().drop_shown(*space, part, hole);
                table.release().await;
            }
        }
        spots.release().await;
    }

    /// Drops a page of an object, and the entries that came to map it since others were dropped.
    async fn drop_cached(&self, hole: Hole, offset: u64) {
        let cache = self.lock(Lock::Object(hole.object), Mode::Exclusive).await;
        let cached = self.state().part_of_cache(hole.object, offset);
        let folio = match cached {
            Some(Cached::Frame(frame)) => {
                self.state().machine.frames.get(frame);
                Some((frame, self.lock(Lock::Folio(frame), Mode::Exclusive).await))
            }
            // Who brings it back needs the cache.
            Some(Cached::Swapped(_)) | None => None,
        };
        let step = self.state().object_page(hole.object).bytes().0;
        let page = Hole { first: offset, last: offset + step, copies: false, ..hole };
        self.unmap_shown(page).await;
        {
            let mut state = self.state();
            // By now it may lie in swap.
            if let Some(cached) = state.machine.objects[hole.object].pages.remove(&offset) {
                state.machine.put_cached(cached);
            }
        }
        if let Some((frame, folio)) = folio {
            folio.release().await;
            self.state().machine.put_frame(frame);
        }
        cache.release().await;
    }
}

impl State {
    /// The page of an object.
    fn object_page(&self, object: ObjectId) -> PageSize {
        match self.machine.objects[object].kind {
            Kind::Hugetlb(size) => size,
            _ => self.profile.page_size,
        }
    }

    /// Where the object has pages that a hole takes.
    fn pages_in(&self, hole: Hole) -> Vec<u64> {
        let pages = &self.machine.objects[hole.object].pages;
        pages.range(hole.first..hole.last).map(|(offset, _)| *offset).collect()
    }

    /// Drops the entries of a part of a table, if it still shows the object.
    fn drop_shown(&mut self, space: SpaceId, part: VaRange, hole: Hole) {
        let Some(area) = self.area(space, part.start()) else { return };
        if area.object() != Some(hole.object) {
            return;
        }
        if area.is_hugetlb() && hole.last == END {
            // Beyond the end of hugetlb memory markers go, too.
            self.zap_range(space, part, |_| true);
        } else {
            self.drop_entries(space, &area, part, hole.copies);
        }
    }
}
