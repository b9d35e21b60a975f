//! One step of a move: what lies at both ends, and what that leads to.

use alloc::boxed::Box;

use faultless_pages::{Bytes, Va};
use faultless_uapi::mode::register;

use crate::errno::{EBUSY, EEXIST, EFAULT, ENOENT, Errno};
use crate::kernel::{Guard, Kernel, State};
use crate::process::Entry;
use crate::sched::{Lock, Mode, On, TableName};
use crate::userfaultfd::move_::{Ends, Step};

impl Kernel {
    /// Moves what lies next: a base page, or a huge page whole.
    pub(super) async fn move_step(&self, ends: &Ends) -> Result<Step, Errno> {
        let huge = self.state().huge_source(ends)?;
        if let Some(entry) = huge {
            // Boxed, here and below, to keep the path of a base page small: it is copied around.
            return Box::pin(self.move_or_split(ends, entry)).await;
        }
        let Some(source) = self.look(ends).await? else {
            return Ok(Step::Done(self.state().profile.page()));
        };
        match source {
            Entry::Zero { .. } => self.move_zero(ends, source).await,
            Entry::Present(mapped) if !mapped.exclusive => Err(EBUSY),
            Entry::Present(mapped) => self.move_present(ends, source, mapped.frame).await,
            Entry::Swapped { exclusive: false, .. } => Err(EBUSY),
            Entry::Swapped { slot, .. } => Box::pin(self.move_swapped(ends, source, slot)).await,
            Entry::Migrating(_) => {
                self.wait_for_migration(ends.space, ends.src).await;
                Ok(Step::Again)
            }
            Entry::Marker(_) => Err(EFAULT),
        }
    }

    /// Moves a huge page if it fits whole, else splits it.
    async fn move_or_split(&self, ends: &Ends, entry: Entry) -> Result<Step, Errno> {
        if self.state().moves_whole(ends) {
            self.move_huge(ends, entry).await
        } else {
            self.split_source(ends, entry).await
        }
    }

    /// Splits the entry of a huge source; the page behind it is split when its turn comes.
    async fn split_source(&self, ends: &Ends, entry: Entry) -> Result<Step, Errno> {
        let table = self.lock_table(ends.space, ends.src).await;
        {
            let mut state = self.state();
            match state.spaces[ends.space].table.huge(ends.src) {
                Some(Entry::Present(mapped)) if !mapped.exclusive => return Err(EBUSY),
                Some(now) if now == entry => state.split_huge(ends.space, ends.src),
                _ => {}
            }
        }
        table.release().await;
        Ok(Step::Again)
    }

    /// Looks at the destination, which must be empty, and then at the source; `None` for a hole
    /// that counts as moved.
    async fn look(&self, ends: &Ends) -> Result<Option<Entry>, Errno> {
        {
            let mut state = self.state();
            let table = &mut state.spaces[ends.space].table;
            if !table.has_table(ends.src) {
                if !ends.holes {
                    return Err(ENOENT);
                }
                table.add_table(ends.src);
            }
            table.add_table(ends.dst);
        }
        let dst = self.lock_table(ends.space, ends.dst).await;
        if self.state().entry(ends.space, ends.dst).is_some() {
            return Err(EEXIST);
        }
        dst.release().await;
        let src = self.lock_table(ends.space, ends.src).await;
        let source = self.state().spaces[ends.space].table.small(ends.src);
        src.release().await;
        if source.is_none() && !ends.holes {
            return Err(ENOENT);
        }
        Ok(source)
    }

    /// The page of zeros is moved as itself.
    async fn move_zero(&self, ends: &Ends, source: Entry) -> Result<Step, Errno> {
        let tables = self.lock_tables(ends).await;
        let page = {
            let mut state = self.state();
            if !state.is_unchanged(ends, source) {
                return Ok(Step::Again);
            }
            let uffd_wp = state.arrives_protected(ends, source.uffd_wp());
            let table = &mut state.spaces[ends.space].table;
            table.set(ends.src, None);
            table.set(ends.dst, Some(Entry::Zero { uffd_wp }));
            state.profile.page()
        };
        release(tables).await;
        Ok(Step::Done(page))
    }

    /// Locks the tables of both ends, in the order of their addresses.
    pub(super) async fn lock_tables(&self, ends: &Ends) -> [Option<Guard>; 2] {
        let span = self.state().spaces[ends.space].table.span();
        let name = |at: Va| TableName::of(ends.space, at.align_down(span));
        let (dst, src) = (name(ends.dst), name(ends.src));
        let first = self.lock(Lock::Table(dst.min(src)), Mode::Exclusive).await;
        if dst == src {
            return [Some(first), None];
        }
        let second = self.lock(Lock::Table(dst.max(src)), Mode::Exclusive).await;
        [Some(first), Some(second)]
    }

    /// Sleeps until the entry of an address is no longer on the move, or returns at once.
    pub(crate) async fn wait_for_migration(&self, space: crate::id::SpaceId, at: Va) {
        let moving = matches!(self.state().entry(space, at), Some(Entry::Migrating(_)));
        if moving {
            self.wait(On::Migration).await;
        }
    }
}

/// Gives the tables of both ends back.
pub(super) async fn release([first, second]: [Option<Guard>; 2]) {
    if let Some(second) = second {
        second.release().await;
    }
    if let Some(first) = first {
        first.release().await;
    }
}

impl State {
    /// The huge page at the source, if there is one; there must be none at the destination.
    fn huge_source(&self, ends: &Ends) -> Result<Option<Entry>, Errno> {
        let table = &self.spaces[ends.space].table;
        if table.huge(ends.dst).is_some() { Err(EEXIST) } else { Ok(table.huge(ends.src)) }
    }

    /// Says whether, with both tables locked, the source is what was looked at and the
    /// destination still empty.
    pub(super) fn is_unchanged(&self, ends: &Ends, source: Entry) -> bool {
        let table = &self.spaces[ends.space].table;
        table.small(ends.src) == Some(source) && table.get(ends.dst).is_none()
    }

    /// Says whether a page arrives protected. Write-protection goes along, but not on kernels that
    /// forget it, and only to where it means something; read-and-write protection is put on
    /// whatever arrives where it is registered.
    pub(super) fn arrives_protected(&self, ends: &Ends, uffd_wp: bool) -> bool {
        let reported = ends.dst_modes & register::WP != 0;
        let kept = uffd_wp && !self.profile.bugs.move_drops_wp && reported;
        kept || ends.dst_modes & register::RWP != 0
    }

    /// Says whether the huge page at the source fits whole: both ends at its border, as much
    /// left to move, and not even an empty table at the destination.
    fn moves_whole(&self, ends: &Ends) -> bool {
        let table = &self.spaces[ends.space].table;
        let span = table.span();
        let Bytes(len) = span.bytes();
        ends.dst.is_aligned(span)
            && ends.src.is_aligned(span)
            && ends.left.0 >= len
            && !table.has_table(ends.dst)
    }
}
