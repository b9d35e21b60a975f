//! The page cache of objects: finding a page, bringing it back from swap, making one.

use faultless_pages::Va;

use crate::errno::{ENOMEM, Errno};
use crate::id::{FrameId, ObjectId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::{Cached, Content, Kind};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// The frame an object has for a page, brought back from swap if it lies there; `None` when
    /// the object has no such page.
    pub(crate) async fn cached_frame(
        &self,
        object: ObjectId,
        offset: u64,
    ) -> Result<Option<FrameId>, Errno> {
        let cached = self.state().part_of_cache(object, offset);
        match cached {
            None => Ok(None),
            Some(Cached::Frame(frame)) => Ok(Some(frame)),
            Some(Cached::Swapped(_)) => {
                let cache = self.lock(Lock::Object(object), Mode::Exclusive).await;
                let frame = self.state().bring_back(object, offset);
                cache.release().await;
                frame
            }
        }
    }

    /// As [`Kernel::cached_frame`], with the frame locked: it stays in the object.
    pub(crate) async fn lock_cached(
        &self,
        object: ObjectId,
        offset: u64,
    ) -> Result<Option<(FrameId, Guard)>, Errno> {
        loop {
            let Some(frame) = self.cached_frame(object, offset).await? else { return Ok(None) };
            let folio = self.lock(Lock::Folio(frame), Mode::Exclusive).await;
            if self.state().part_of_cache(object, offset) == Some(Cached::Frame(frame)) {
                return Ok(Some((frame, folio)));
            }
        }
    }

    /// The frame an object has for a page, made of zeros if it has none.
    pub(crate) async fn frame_for(&self, object: ObjectId, offset: u64) -> Result<FrameId, Errno> {
        if let Some(frame) = self.cached_frame(object, offset).await? {
            return Ok(frame);
        }
        let cache = self.lock(Lock::Object(object), Mode::Exclusive).await;
        let frame = {
            let mut state = self.state();
            match state.machine.objects[object].pages.get(&offset) {
                Some(Cached::Frame(frame)) => *frame,
                Some(Cached::Swapped(_)) => state.bring_back(object, offset)?.ok_or(ENOMEM)?,
                None => state.make_page(object, offset)?,
            }
        };
        cache.release().await;
        Ok(frame)
    }
}

impl State {
    /// Where an object has a base page, which may be a part of a huge one.
    fn part_of_cache(&self, object: ObjectId, offset: u64) -> Option<Cached> {
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
    fn bring_back(&mut self, object: ObjectId, offset: u64) -> Result<Option<FrameId>, Errno> {
        let cached = self.machine.objects[object].pages.get(&offset).copied();
        let slot = match cached {
            Some(Cached::Swapped(slot)) => slot,
            Some(Cached::Frame(frame)) => return Ok(Some(frame)),
            None => return Ok(None),
        };
        let content = self.machine.swap[slot].content.clone();
        let frame = self.machine.frames.allocate(content).ok_or(ENOMEM)?;
        self.enter_cache(object, offset, frame);
        self.machine.put_frame(frame);
        self.machine.put_slot(slot);
        Ok(Some(frame))
    }
}
