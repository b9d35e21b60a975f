//! Pins: a device or an io_uring holds on to pages.
//!
//! # Concurrency
//! A page is pinned as the kernel's fast path does it, without any lock: the entry is read, the
//! page taken, the entry read again. Whoever takes an entry away looks for pins afterwards.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va};

use crate::errno::{EFAULT, Errno};
use crate::id::{FrameId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::op::access::{Access, From};
use crate::process::{Entry, FileKind};
use crate::sched::Point;

impl Kernel {
    /// Pins memory for writing, for as long as the descriptor this returns is open.
    ///
    /// # Errors
    /// EINVAL, EFAULT for what cannot be faulted in, EMFILE.
    pub async fn pin(&self, who: ThreadId, at: Va, len: Bytes) -> Result<u32, Errno> {
        let range = self.state().page_range(at, len)?;
        let (space, page) = {
            let state = self.state();
            (state.space_of(who), state.profile.page())
        };
        let mut frames = Vec::new();
        for piece in range.chunks(page) {
            let access =
                Access { thread: who, space, at: piece.start(), write: true, from: From::Pages };
            match self.pin_page(&access).await {
                Some(frame) => frames.push(frame),
                None => {
                    self.state().unpin(&frames);
                    return Err(EFAULT);
                }
            }
        }
        let process = self.process_of(who);
        let mut state = self.state();
        let installed = state.install(process, FileKind::Pins(frames.clone()), false, true);
        if installed.is_err() {
            state.unpin(&frames);
        }
        installed
    }

    async fn pin_page(&self, access: &Access) -> Option<FrameId> {
        loop {
            if self.fault_in(access).await.is_some() {
                return None;
            }
            let Some(frame) = self.state().writable_frame(access.space, access.at) else {
                continue;
            };
            self.state().pin_frame(frame);
            self.pause(Point::Access).await;
            if self.state().writable_frame(access.space, access.at) == Some(frame) {
                return Some(frame);
            }
            self.state().unpin(&[frame]);
        }
    }
}

impl State {
    /// The frame that a store to an address would reach.
    fn writable_frame(&self, space: SpaceId, at: Va) -> Option<FrameId> {
        let entry = self.part_entry(space, at)?;
        match entry {
            Entry::Present(mapped) if mapped.writable => Some(mapped.frame),
            _ => None,
        }
    }

    fn pin_frame(&mut self, frame: FrameId) {
        let head = self.machine.frames.head(frame);
        self.machine.frames.get(head);
        self.machine.frames[head].pins += 1;
    }
}
