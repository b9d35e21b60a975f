//! What COPY, ZEROPAGE, CONTINUE and POISON have in common: order of checks, the destination,
//! page after page, the out field, the wake.

use alloc::boxed::Box;
use alloc::vec;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::mode::register;

use crate::errno::{EAGAIN, EEXIST, EFAULT, EINTR, EINVAL, ENOENT, Errno};
use crate::id::{ContextId, SpaceId, ThreadId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::{Content, Kind};
use crate::process::{Area, Backing, Entry, Marker};
use crate::sched::{Lock, Mode};
use crate::userfaultfd::request::User;

/// The mode bit that leaves sleepers asleep; the same in every request that fills.
const DONTWAKE: u64 = 1;

/// With what to fill.
#[derive(Clone, Debug)]
pub(super) enum Filling {
    /// With bytes from here in the caller's memory.
    Copy { src: Va, wp: bool },
    /// With zeros.
    Zero,
    /// With what the object holds.
    Continue { wp: bool },
    /// With poison.
    Poison,
}

/// What a request wants done.
pub(super) struct Order {
    pub(super) range: VaRange,
    pub(super) mode: u64,
    pub(super) filling: Filling,
    /// Where in the argument the result goes.
    pub(super) out_at: usize,
}

/// Where a fill goes on.
pub(super) struct Target<'a> {
    pub(super) space: SpaceId,
    pub(super) area: &'a Area,
    pub(super) at: Va,
}

/// What stopped a page.
pub(super) enum Halt {
    /// This error.
    Refused(Errno),
    /// The source is not in memory: it must be read with nothing locked.
    Source,
}

impl From<Errno> for Halt {
    fn from(errno: Errno) -> Halt {
        Halt::Refused(errno)
    }
}

impl Kernel {
    /// Carries an order out whose arguments were checked.
    pub(super) async fn fill(
        &self,
        id: ContextId,
        mut user: User<'_>,
        order: &Order,
    ) -> Result<u64, Errno> {
        let space = self.state().contexts[id].space;
        self.state().get_space(space)?;
        let result = self.fill_range(id, space, user.who, order).await;
        self.put_space(space).await;
        user.put_result(self, order.out_at, result).await?;
        self.finish(id, order.range, order.mode, result?)
    }

    /// Wakes who waits for what was done, and says whether that was all.
    pub(super) fn finish(
        &self,
        id: ContextId,
        range: VaRange,
        mode: u64,
        done: u64,
    ) -> Result<u64, Errno> {
        if mode & DONTWAKE == 0 {
            self.wake_range(id, VaRange::of(range.start(), Bytes(done)));
        }
        if done == range.len().0 { Ok(0) } else { Err(EAGAIN) }
    }

    /// Fills page by page. The error that stops it is only told when nothing was done.
    async fn fill_range(
        &self,
        id: ContextId,
        space: SpaceId,
        who: ThreadId,
        order: &Order,
    ) -> Result<u64, Errno> {
        let mut done = 0;
        let mut buffer: Option<Content> = None;
        let mut before: Option<Area> = None;
        let stopped = loop {
            let (area, locks) = match self.lock_destination(id, space, order).await {
                Ok(locked) => locked,
                Err(errno) => break errno,
            };
            if self.state().became_another(before.as_ref(), &area) {
                break EAGAIN;
            }
            let step = self.state().step_of(&area);
            let mut halt = None;
            while halt.is_none() && done < order.range.len().0 {
                let at = order.range.start().add(Bytes(done));
                let target = Target { space, area: &area, at };
                match self.fill_page(who, order, &target, done, &mut buffer).await {
                    Ok(()) => done += step,
                    Err(stop) => halt = Some(stop),
                }
                if self.state().threads[who].dying {
                    halt = halt.or(Some(Halt::Refused(EINTR)));
                }
            }
            drop(locks);
            match halt {
                None => return Ok(done),
                Some(Halt::Refused(errno)) => break errno,
                Some(Halt::Source) => {
                    match Box::pin(self.read_source(who, order, done, step)).await {
                        Ok(content) => (buffer, before) = (Some(content), Some(area)),
                        Err(errno) => break errno,
                    }
                }
            }
        };
        if done > 0 { Ok(done) } else { Err(stopped) }
    }

    async fn fill_page(
        &self,
        who: ThreadId,
        order: &Order,
        target: &Target<'_>,
        done: u64,
        buffer: &mut Option<Content>,
    ) -> Result<(), Halt> {
        // Made before anything is looked at, the table stays whatever comes of it.
        if !target.area.is_hugetlb()
            && !self.state().spaces[target.space].table.add_table(target.at)
        {
            return Err(EEXIST.into());
        }
        match order.filling {
            Filling::Copy { src, wp } => {
                let src = src.add(Bytes(done));
                if target.area.is_hugetlb() {
                    return self.copy_huge_page(who, src, wp, target, buffer).await;
                }
                self.copy_page(who, src, wp, target, buffer).await
            }
            Filling::Zero => self.zero_page(target).await.map_err(Halt::Refused),
            Filling::Continue { wp } => self.continue_page(wp, target).await.map_err(Halt::Refused),
            Filling::Poison => self.poison_page(target).await.map_err(Halt::Refused),
        }
    }

    /// Finds and locks the destination, and checks that it takes this filling.
    async fn lock_destination(
        &self,
        id: ContextId,
        space: SpaceId,
        order: &Order,
    ) -> Result<(Area, [Guard; 2]), Errno> {
        let locked = self.lock_area(space, order.range.start()).await;
        let (area, guard) = locked.ok_or(ENOENT)?;
        // Before anything is examined: a refused request leaves it behind too.
        self.state().claim_family(space, &area);
        if !area.range.covers(order.range) || area.registration.is_none() {
            return Err(ENOENT);
        }
        let changing = self.lock(Lock::Changing(id), Mode::Shared).await;
        if self.state().contexts[id].changing > 0 {
            return Err(EAGAIN);
        }
        check_filling(&area, order)?;
        // The inner lock is given back first.
        Ok((area, [changing, guard]))
    }

    /// Reads the source of a page with faults, waiting for them; nothing is locked.
    async fn read_source(
        &self,
        who: ThreadId,
        order: &Order,
        done: u64,
        step: u64,
    ) -> Result<Content, Errno> {
        let Filling::Copy { src, .. } = order.filling else { return Err(EFAULT) };
        let mut bytes = vec![0; Bytes(step).as_usize()];
        self.copy_from_user(who, src.add(Bytes(done)), &mut bytes).await?;
        Ok(Content::of(&bytes))
    }
}

fn check_filling(area: &Area, order: &Order) -> Result<(), Errno> {
    let wp = match order.filling {
        Filling::Copy { wp, .. } | Filling::Continue { wp } => wp,
        Filling::Zero | Filling::Poison => false,
    };
    if wp && !area.reports(register::WP) {
        return Err(EINVAL);
    }
    let continues = matches!(order.filling, Filling::Continue { .. });
    match area.backing {
        Backing::Anonymous if continues => Err(EINVAL),
        Backing::Anonymous | Backing::Object { kind: Kind::Shmem, .. } => Ok(()),
        Backing::Object { kind: Kind::Hugetlb(size), .. } => {
            let zero = matches!(order.filling, Filling::Zero);
            let whole = order.range.is_aligned(size);
            if zero || !whole { Err(EINVAL) } else { Ok(()) }
        }
        Backing::Object { .. } => Err(EINVAL),
    }
}

impl State {
    /// Says whether an area that was unlocked in between is of another kind now, where the kernel
    /// looks; another protection is none.
    fn became_another(&self, before: Option<&Area>, now: &Area) -> bool {
        let kind = |area: &Area| (area.backing, area.shared, area.registration);
        let offset = |area: &Area| area.linear.wrapping_sub(area.range.start().0);
        self.profile.copy_rechecks_area
            && before
                .is_some_and(|before| kind(before) != kind(now) || offset(before) != offset(now))
    }

    /// Bytes of a page of an area.
    pub(super) fn step_of(&self, area: &Area) -> u64 {
        self.page_of(area).bytes().0
    }

    /// Checks that an entry gives way to a page.
    pub(super) fn gives_way(&self, entry: Option<Entry>) -> Result<(), Errno> {
        let profile = &self.profile;
        let free = match entry {
            None | Some(Entry::Marker(Marker::WriteProtected)) => true,
            Some(Entry::Marker(Marker::Guard { .. })) => !profile.copy_respects_guards,
            Some(Entry::Marker(Marker::Poison { .. })) => profile.bugs.copy_over_poison,
            Some(_) => false,
        };
        if free { Ok(()) } else { Err(EEXIST) }
    }
}
