//! `madvise`: which advice means what, area by area.

use faultless_pages::{Bytes, Va, VaRange};

use crate::errno::{EACCES, EAGAIN, EFAULT, EHWPOISON, EINTR, EINVAL, ENOMEM, Errno};
use crate::id::{SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::Kind;
use crate::op::access::{Access, From};
use crate::op::fault::Fault;
use crate::op::swap_out::check_reclaim;
use crate::process::Area;
use crate::sched::{Lock, Mode};

/// Advice on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Drops pages.
    DontNeed,
    /// As [`Advice::DontNeed`], locked pages too.
    DontNeedLocked,
    /// Lets the kernel drop pages under pressure; until then they stay.
    Free,
    /// Drops pages of the object behind the mapping.
    Remove,
    /// Leaves the range out of children, or not.
    DontFork(bool),
    /// Lets identical pages be merged.
    Mergeable,
    /// Wants huge pages, or none.
    Huge(bool),
    /// Reclaims first: nothing that can be seen.
    Cold,
    /// Makes every access fail and drops pages, or ends that.
    Guard(bool),
    /// Makes huge pages now.
    Collapse,
    /// Reclaims now.
    PageOut,
    /// Faults pages in.
    Populate {
        /// For stores.
        write: bool,
    },
}

impl Kernel {
    /// `madvise(2)`.
    ///
    /// # Errors
    /// EINVAL for what the memory does not take, ENOMEM where nothing is mapped (after the rest
    /// was done), EFAULT where a page cannot be faulted in.
    pub async fn advise(
        &self,
        who: ThreadId,
        at: Va,
        len: Bytes,
        advice: Advice,
    ) -> Result<(), Errno> {
        if len.0 == 0 && at.is_aligned(self.state().profile.page_size) {
            return Ok(());
        }
        let range = self.state().page_range(at, len)?;
        let space = self.state().space_of(who);
        match advice {
            Advice::DontNeed | Advice::DontNeedLocked | Advice::Free | Advice::Remove => {
                self.drop_pages(who, range, advice).await
            }
            Advice::Guard(install) => self.guard_range(space, range, install).await,
            Advice::Populate { write } => self.populate_range(who, range, write).await,
            Advice::Collapse => self.collapse_range(space, range).await,
            Advice::PageOut => self.page_out(space, range).await,
            Advice::Cold => self.age_range(space, range).await,
            Advice::DontFork(_) | Advice::Mergeable | Advice::Huge(_) => {
                self.change_traits(space, range, advice).await
            }
        }
    }

    /// Nothing of it shows but that huge pages are split of which it is only asked for a part.
    /// Areas are checked one by one, as everywhere; holes are told at the end.
    async fn age_range(&self, space: SpaceId, range: VaRange) -> Result<(), Errno> {
        let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        let (pieces, gapless) = self.state().pieces(space, range);
        let mut result = Ok(());
        for piece in pieces {
            result = check_reclaim(&piece);
            if result.is_err() {
                break;
            }
            self.split_partly_covered(space, piece.range).await;
        }
        map.release().await;
        result.and(if gapless { Ok(()) } else { Err(ENOMEM) })
    }

    async fn change_traits(
        &self,
        space: SpaceId,
        range: VaRange,
        advice: Advice,
    ) -> Result<(), Errno> {
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let guards = self.lock_areas(space, range).await;
        let (pieces, gapless) = self.state().pieces(space, range);
        for piece in pieces {
            let changed =
                self.state().change_areas(space, piece.range, |area| advised(area, advice));
            // Where there is no room for more areas, advice may be given again later.
            changed.map_err(|errno| if errno == ENOMEM { EAGAIN } else { errno })?;
        }
        drop(guards);
        map.release().await;
        if gapless { Ok(()) } else { Err(ENOMEM) }
    }

    /// Faults every page of a range in.
    pub(crate) async fn populate_range(
        &self,
        who: ThreadId,
        range: VaRange,
        write: bool,
    ) -> Result<(), Errno> {
        let (space, page) = {
            let state = self.state();
            (state.space_of(who), state.profile.page())
        };
        for piece in range.chunks(page) {
            let at = piece.start();
            let access = Access { thread: who, space, at, write, from: From::Pages };
            match self.fault_in(&access).await {
                None => {}
                Some(Fault::Unmapped) if self.state().area(space, at).is_none() => {
                    return Err(ENOMEM);
                }
                Some(Fault::Poisoned) => return Err(EHWPOISON),
                Some(Fault::Killed) => return Err(EINTR),
                Some(Fault::Forbidden) => return Err(EINVAL),
                Some(_) => return Err(EFAULT),
            }
        }
        Ok(())
    }
}

fn advised(area: &mut Area, advice: Advice) {
    // Where pages are never merged the advice is taken and forgotten.
    let merges = !area.shared && !area.is_hugetlb() && !area.traits.droppable;
    let traits = &mut area.traits;
    match advice {
        Advice::DontFork(dont_fork) => traits.dont_fork = dont_fork,
        Advice::Mergeable => traits.mergeable |= merges,
        Advice::Huge(huge) => {
            traits.huge = huge;
            traits.no_huge = !huge;
        }
        _ => {}
    }
}

impl State {
    /// Says whether pages of an area may be dropped by this advice, as far as that is looked at
    /// before anybody is told of it.
    pub(crate) fn may_drop(&self, area: &Area, advice: Advice) -> Result<(), Errno> {
        let special = area.kind() == Some(Kind::Special);
        match advice {
            Advice::Free if area.is_hugetlb() => Err(EINVAL),
            Advice::DontNeed | Advice::DontNeedLocked
                if !area.range.start().is_aligned(self.page_of(area)) =>
            {
                Err(EINVAL)
            }
            Advice::DontNeedLocked if special => Err(EINVAL),
            Advice::DontNeedLocked => Ok(()),
            _ if area.traits.locked || special => Err(EINVAL),
            Advice::Remove if area.object().is_none() => Err(EINVAL),
            Advice::Remove if !area.shared || !area.may_write => Err(EACCES),
            _ => Ok(()),
        }
    }

    /// The first area of a range, cut to it.
    pub(crate) fn next_piece(&self, space: SpaceId, rest: VaRange) -> Option<Area> {
        let area = self.spaces[space].areas.first_within(rest)?;
        Some(area.part(area.range.intersect(rest)?))
    }
}
