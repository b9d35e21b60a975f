//! The page cache of objects: finding a page, bringing it back from swap, making one.
//!
//! # Concurrency
//! A page that is found is only worth something while its frame is locked: else a hole may be
//! punched where it lies, and the frame be somebody else's. Everything here that hands out a page
//! hands it out locked. Pages come and go with the lock of the cache held; with that of the frame
//! alone they only go to swap.

use faultless_pages::Va;

use crate::errno::{ENOMEM, Errno};
use crate::id::{FrameId, ObjectId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::{Cached, Content, Kind};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// The frame an object has for a page, locked: it stays in the object. It is brought back if
    /// it lies in swap; `None` when the object has no such page.
    pub(crate) async fn lock_cached(
        &self,
        object: ObjectId,
        offset: u64,
    ) -> Result<Option<(FrameId, Guard)>, Errno> {
        loop {
            let cached = self.state().part_of_cache(object, offset);
            match cached {
                None => return Ok(None),
                Some(Cached::Frame(frame)) => {
                    let locked = self.lock_frame_of(object, offset, frame).await;
                    if let Some(folio) = locked {
                        return Ok(Some((frame, folio)));
                    }
                }
                Some(Cached::Swapped(_)) => {
                    let cache = self.lock(Lock::Object(object), Mode::Exclusive).await;
                    self.state().bring_back(object, offset)?;
                    cache.release().await;
                }
            }
        }
    }

    /// Locks a frame that was found in an object, unless it has left it meanwhile.
    async fn lock_frame_of(&self, object: ObjectId, offset: u64, frame: FrameId) -> Option<Guard> {
        let head = {
            let mut state = self.state();
            state.machine.frames.get(frame);
            state.machine.frames.head(frame)
        };
        let folio = self.lock(Lock::Folio(head), Mode::Exclusive).await;
        let mut state = self.state();
        let stays = state.part_of_cache(object, offset) == Some(Cached::Frame(frame));
        state.machine.put_frame(head);
        drop(state);
        stays.then_some(folio)
    }

    /// Makes a page of zeros, locked. The caller holds the cache, and has seen that there is none.
    pub(crate) fn make_cached(
        &self,
        object: ObjectId,
        offset: u64,
    ) -> Result<(FrameId, Guard), Errno> {
        let frame = self.state().make_page(object, offset)?;
        let folio = self.try_lock(Lock::Folio(frame), Mode::Exclusive);
        Ok((frame, folio.expect("nobody knows a fresh frame")))
    }

    /// The frame an object has for a page, locked; made of zeros if it has none.
    pub(crate) async fn lock_or_make(
        &self,
        object: ObjectId,
        offset: u64,
    ) -> Result<(FrameId, Guard), Errno> {
        loop {
            if let Some(page) = self.lock_cached(object, offset).await? {
                return Ok(page);
            }
            let cache = self.lock(Lock::Object(object), Mode::Exclusive).await;
            if self.state().part_of_cache(object, offset).is_none() {
                let made = self.make_cached(object, offset);
                cache.release().await;
                return made;
            }
        }
    }
}

impl State {
    /// Where an object has a base page, which may be a part of a huge one.
    pub(crate) fn part_of_cache(&self, object: ObjectId, offset: u64) -> Option<Cached> {
        let object = &self.machine.objects[object];
        let Kind::Hugetlb(size) = object.kind else { return object.pages.get(&offset).copied() };
        let base = Va(offset).align_down(size);
        let Cached::Frame(head) = object.pages.get(&base.0).copied()? else { return None };
        let part = Va(offset).since(base).pages(self.profile.page_size);
        Some(Cached::Frame(FrameId(head.0 + usize::try_from(part).ok()?)))
    }

    /// Makes a page of zeros in an object.
    fn make_page(&mut self, object: ObjectId, offset: u64) -> Result<FrameId, Errno> {
        let frame = self.machine.frames.allocate(Content::Zero).ok_or(ENOMEM)?;
        self.enter_cache(object, offset, frame);
        self.machine.put_frame(frame);
        Ok(frame)
    }

    /// Brings a page of an object back from swap, if it still lies there.
    fn bring_back(&mut self, object: ObjectId, offset: u64) -> Result<(), Errno> {
        let cached = self.machine.objects[object].pages.get(&offset).copied();
        let Some(Cached::Swapped(slot)) = cached else { return Ok(()) };
        let content = self.machine.swap[slot].content.clone();
        let frame = self.machine.frames.allocate(content).ok_or(ENOMEM)?;
        self.machine.frames[frame].dirty = true;
        self.enter_cache(object, offset, frame);
        self.machine.put_frame(frame);
        self.machine.put_slot(slot);
        Ok(())
    }
}
