//! COPY into memory of the hugetlb pool: a huge page at a time.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};

use crate::errno::{EEXIST, ENOMEM, Errno};
use crate::id::{FrameId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::Content;
use crate::userfaultfd::fill::{Halt, Target};

impl Kernel {
    pub(super) async fn copy_huge_page(
        &self,
        who: ThreadId,
        src: Va,
        wp: bool,
        target: &Target<'_>,
        buffer: &mut Option<Content>,
    ) -> Result<(), Halt> {
        // What is there is seen before the source is looked at.
        self.state().is_free(target)?;
        let parts = match buffer.take() {
            Some(content) => self.state().parts_of_content(&content, target),
            None => self.state().peek_parts(who, src, target).ok_or(Halt::Source)?,
        };
        let empty = if self.state().profile.empty_pool_exists { EEXIST } else { ENOMEM };
        let head = self.state().machine.take_from_pool(parts.len()).ok_or(empty)?;
        for (part, content) in parts.into_iter().enumerate() {
            self.state().machine.frames[FrameId(head.0 + part)].content = content;
        }
        let installed = self.install_copy(head, wp, target).await;
        // This task's own use.
        self.state().machine.put_frame(head);
        installed.map_err(Halt::Refused)
    }
}

impl State {
    /// Refuses a destination that has its page already.
    fn is_free(&self, target: &Target<'_>) -> Result<(), Errno> {
        self.gives_way(self.entry(target.space, target.at))?;
        let offset = target.area.linear_of(target.at);
        let cached = target
            .area
            .object()
            .filter(|_| target.area.shared)
            .is_some_and(|object| self.machine.objects[object].pages.contains_key(&offset));
        if cached { Err(EEXIST) } else { Ok(()) }
    }

    /// The contents of a huge page's worth of a thread's memory, if all is there to be read.
    fn peek_parts(&mut self, who: ThreadId, src: Va, target: &Target<'_>) -> Option<Vec<Content>> {
        let range = VaRange::of(src, Bytes(self.step_of(target.area)));
        let page = self.profile.page();
        range.chunks(page).map(|piece| self.peek_page(who, piece.start())).collect()
    }

    /// The contents of the base pages of a huge one.
    fn parts_of_content(&self, content: &Content, target: &Target<'_>) -> Vec<Content> {
        let page = self.profile.page().as_usize();
        match content {
            Content::Bytes(bytes) => bytes.chunks(page).map(Content::of).collect(),
            same => alloc::vec![same.clone(); self.frames_of(target.area)],
        }
    }
}
