//! The page cache of objects: finding a page, bringing it back from swap, making one.

use crate::errno::{ENOMEM, Errno};
use crate::id::{FrameId, ObjectId};
use crate::kernel::{Kernel, State};
use crate::machine::{Cached, Content};
use crate::sched::{Lock, Mode};

impl Kernel {
    /// The frame an object has for a page, brought back from swap if it lies there; `None` when
    /// the object has no such page.
    pub(crate) async fn cached_frame(
        &self,
        object: ObjectId,
        offset: u64,
    ) -> Result<Option<FrameId>, Errno> {
        let cached = self.state().machine.objects[object].pages.get(&offset).copied();
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
