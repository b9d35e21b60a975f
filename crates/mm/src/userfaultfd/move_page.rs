//! Moving a base page that is in memory.
//!
//! # Concurrency
//! The frame is locked before the tables, so that no walk of the reverse map that holds frames
//! sees it between two owners. Walks that hold none are kept out by the lock of the family it
//! leaves, on kernels that have such walks. A pin is taken without any lock: the entry is
//! therefore cleared first and put back if a pin has come.

use alloc::boxed::Box;

use faultless_pages::{Bytes, Va};

use crate::errno::{EBUSY, Errno};
use crate::id::FrameId;
use crate::kernel::{Guard, Kernel, State};
use crate::machine::Owner;
use crate::process::{Entry, Mapped};
use crate::sched::{Lock, Mode, Point};
use crate::userfaultfd::move_::{Ends, Step};
use crate::userfaultfd::move_step::release;

impl Kernel {
    /// Moves the page of an entry that was looked at.
    pub(super) async fn move_present(
        &self,
        ends: &Ends,
        source: Entry,
        frame: FrameId,
    ) -> Result<Step, Errno> {
        let table = self.lock_table(ends.space, ends.src).await;
        let held = self.state().hold_source(ends, source, frame);
        table.release().await;
        if !held {
            return Ok(Step::Again);
        }
        let moved = self.move_held(ends, source, frame).await;
        self.state().machine.put_frame(frame);
        moved
    }

    /// As [`Kernel::move_present`], with a use of the frame that keeps it.
    async fn move_held(&self, ends: &Ends, source: Entry, frame: FrameId) -> Result<Step, Errno> {
        let head = self.state().machine.frames.head(frame);
        let folio = self.lock(Lock::Folio(head), Mode::Exclusive).await;
        let (same, large) = {
            let frames = &self.state().machine.frames;
            (frames.head(frame) == head, frames.count(head) > 1)
        };
        if !same {
            return Ok(Step::Again);
        }
        if large {
            Box::pin(self.split_page(head, frame)).await?;
            folio.release().await;
            return Ok(Step::Again);
        }
        let family = self.lock_left_family(frame).await;
        let tables = self.lock_tables(ends).await;
        let moved = self.change_hands(ends, source).await;
        release(tables).await;
        drop(family);
        folio.release().await;
        moved
    }

    /// Locks the family the frame leaves, on kernels that do.
    pub(super) async fn lock_left_family(&self, frame: FrameId) -> Option<Guard> {
        let root = {
            let state = self.state();
            let head = state.machine.frames.head(frame);
            match state.machine.frames[head].owner {
                Owner::Anon { root, .. } if state.profile.move_locks_family => root,
                _ => return None,
            }
        };
        Some(self.lock(Lock::Root(root), Mode::Exclusive).await)
    }

    /// Moves the entry, and those behind it as long as nothing has to be waited for.
    async fn change_hands(&self, ends: &Ends, source: Entry) -> Result<Step, Errno> {
        if !self.move_entry(ends, source).await? {
            return Ok(Step::Again);
        }
        let page = self.state().profile.page();
        let mut done = page;
        while let Some((next, source, folio)) = self.next_of_batch(ends, done) {
            let moved = self.move_entry(&next, source).await;
            drop(folio);
            if moved != Ok(true) {
                break;
            }
            done = Bytes(done.0 + page.0);
        }
        Ok(Step::Done(done))
    }

    /// The page behind those that were moved, locked, if it is in the same tables and needs no
    /// second look.
    fn next_of_batch(&self, ends: &Ends, done: Bytes) -> Option<(Ends, Entry, Guard)> {
        let state = self.state();
        let next = state.further(ends, done)?;
        let table = &state.spaces[ends.space].table;
        let source = table.small(next.src)?;
        let Entry::Present(mapped) = source else { return None };
        let small = state.machine.frames.head(mapped.frame) == mapped.frame
            && state.machine.frames.count(mapped.frame) == 1;
        if table.get(next.dst).is_some() || !mapped.exclusive || !small {
            return None;
        }
        drop(state);
        let folio = self.try_lock(Lock::Folio(mapped.frame), Mode::Exclusive)?;
        Some((next, source, folio))
    }

    /// Moves one entry, with both tables and the frame locked; false when it has changed.
    async fn move_entry(&self, ends: &Ends, source: Entry) -> Result<bool, Errno> {
        let Entry::Present(mapped) = source else { return Ok(false) };
        {
            let mut state = self.state();
            if !state.is_unchanged(ends, source) {
                // The processor may have marked it since; anything else is another page.
                return Ok(false);
            }
            if state.machine.frames[mapped.frame].pins > 0 || !mapped.exclusive {
                return Err(EBUSY);
            }
            state.spaces[ends.space].table.set(ends.src, None);
        }
        self.pause(Point::Access).await;
        let mut state = self.state();
        if state.machine.frames[mapped.frame].pins > 0 {
            state.set(ends.space, ends.src, source);
            return Err(EBUSY);
        }
        state.rehome(ends, mapped.frame);
        let arrived = state.arrived(ends, mapped);
        state.set(ends.space, ends.dst, Entry::Present(arrived));
        Ok(true)
    }
}

impl State {
    /// Both ends a little further, in the tables they are in; `None` beyond these or the range, and
    /// on kernels that move page by page.
    fn further(&self, ends: &Ends, done: Bytes) -> Option<Ends> {
        let span = self.spaces[ends.space].table.span();
        let same = |a: Va, b: Va| a.align_down(span) == b.align_down(span);
        let goes_on = self.profile.move_batches && done < ends.left;
        let next = goes_on.then(|| ends.after(done))?;
        (same(next.dst, ends.dst) && same(next.src, ends.src)).then_some(next)
    }

    /// Takes a use of the source's frame, if the entry still maps it.
    fn hold_source(&mut self, ends: &Ends, source: Entry, frame: FrameId) -> bool {
        let same = self.spaces[ends.space].table.small(ends.src) == Some(source);
        if same {
            self.machine.frames.get(frame);
        }
        same
    }

    /// Gives a frame to the family of the destination.
    pub(super) fn rehome(&mut self, ends: &Ends, frame: FrameId) {
        self.adopt(ends.space, ends.dst, frame);
    }

    /// The entry a page gets at its destination.
    pub(super) fn arrived(&self, ends: &Ends, mapped: Mapped) -> Mapped {
        let forgets = self.profile.bugs.move_drops_wp;
        let uffd_wp = self.arrives_protected(ends, mapped.uffd_wp);
        Mapped {
            frame: mapped.frame,
            writable: (forgets || mapped.writable) && !uffd_wp,
            dirty: mapped.dirty,
            accessed: true,
            uffd_wp,
            exclusive: true,
        }
    }
}
