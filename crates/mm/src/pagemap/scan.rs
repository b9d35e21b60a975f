//! PAGEMAP_SCAN.
//!
//! Regions are gathered in lots of 512, and the map is let go between two lots. Where a walk comes
//! to the end of the range after a lot was full, the end of that lot is told as the end of the
//! walk, as kernels do.

use alloc::vec::Vec;

use faultless_pages::{Va, VaRange};
use faultless_uapi::scan::flag::{CHECK_WPASYNC, WP_MATCHING};
use faultless_uapi::{PageRegion, PmScanArg};

use crate::errno::{EFAULT, EINTR, EINVAL, ENOTTY, ESRCH, Errno};
use crate::id::{ProcessId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::pagemap::walk::Walk;
use crate::process::TASK_END;
use crate::userfaultfd::{Argument, User};

/// How many regions are gathered at a time.
const LOT: usize = 512;
const WALK_END_AT: usize = core::mem::offset_of!(PmScanArg, walk_end);

/// Where the regions of a scan go.
#[derive(Debug)]
pub enum Regions<'a> {
    /// Here, as bytes.
    Bytes(&'a mut Vec<u8>),
    /// Into memory of the caller, where the argument says.
    Memory,
}

impl Kernel {
    /// `PAGEMAP_SCAN` on the page table of a process. Returns the number of regions; in the
    /// argument, where the walk ended.
    ///
    /// # Errors
    /// ENOTTY where there is no such request, EINVAL and EFAULT for a bad argument, EPERM where
    /// write tracking is demanded and not set up, ESRCH for a process that is gone, EINTR.
    pub async fn scan(
        &self,
        who: ThreadId,
        of: ProcessId,
        argument: Argument<'_>,
        mut regions: Regions<'_>,
    ) -> Result<u64, Errno> {
        if !self.state().profile.has_scan {
            return Err(ENOTTY);
        }
        let space = self.state().living(of)?;
        let mut user = User { who, argument };
        let result = self.scan_space(space, &mut user, &mut regions).await;
        self.put_space(space).await;
        result
    }

    async fn scan_space(
        &self,
        space: SpaceId,
        user: &mut User<'_>,
        out: &mut Regions<'_>,
    ) -> Result<u64, Errno> {
        let wish = PmScanArg::from_bytes(user.get(self).await?);
        let mut wish = self.state().check_scan(wish)?;
        let range = VaRange::new(Va(wish.start), Va(wish.end));
        if wish.max_pages == 0 {
            wish.max_pages = u64::MAX;
        }
        let mut walk = Walk::new(wish);
        let (result, walk_end) = self.scan_lots(space, range, &mut walk, user.who, out).await;
        let walk_end = walk_end.unwrap_or(range.end());
        user.put(self, WALK_END_AT, &walk_end.0.to_ne_bytes()).await?;
        result
    }

    /// Walks lot after lot. Returns the regions told, and where the last lot that was full ended.
    async fn scan_lots(
        &self,
        space: SpaceId,
        range: VaRange,
        walk: &mut Walk,
        who: ThreadId,
        out: &mut Regions<'_>,
    ) -> (Result<u64, Errno>, Option<Va>) {
        let mut end = None;
        let mut next = range.start();
        while next < range.end() {
            if self.state().threads[who].dying {
                return (Err(EINTR), end);
            }
            let rest = VaRange::new(next, range.end());
            match self.scan_lot(space, rest, walk, who, out).await {
                Err(errno) => return (Err(errno), end),
                Ok(None) => return (Ok(walk.told), walk.given_up.or(end)),
                Ok(Some(stop)) => next = stop,
            }
            end = Some(next);
            if walk.told == walk.wish.vec_len || walk.pages == walk.wish.max_pages {
                break;
            }
        }
        (Ok(walk.told), end)
    }

    /// Walks one lot and hands its regions out, whatever ended it.
    async fn scan_lot(
        &self,
        space: SpaceId,
        rest: VaRange,
        walk: &mut Walk,
        who: ThreadId,
        out: &mut Regions<'_>,
    ) -> Result<Option<Va>, Errno> {
        let PmScanArg { vec, vec_len, .. } = walk.wish;
        walk.room = (vec_len > 0).then(|| as_room(vec_len - walk.told));
        let stopped = self.walk(space, rest, walk).await;
        let at = Va(vec + walk.told * size_of::<PageRegion>() as u64);
        let lot = core::mem::take(&mut walk.regions);
        walk.told += lot.len() as u64;
        self.hand_out(who, &lot, at, out).await?;
        stopped
    }

    async fn hand_out(
        &self,
        who: ThreadId,
        lot: &[PageRegion],
        at: Va,
        out: &mut Regions<'_>,
    ) -> Result<(), Errno> {
        let bytes: Vec<u8> = lot.iter().flat_map(|region| region.to_bytes()).collect();
        match out {
            Regions::Bytes(room) => {
                room.extend_from_slice(&bytes);
                Ok(())
            }
            Regions::Memory if bytes.is_empty() => Ok(()),
            Regions::Memory => self.copy_to_user(who, at, &bytes).await,
        }
    }
}

fn as_room(left: u64) -> usize {
    usize::try_from(left).unwrap_or(LOT).min(LOT)
}

impl State {
    /// The address space of a process, kept from being torn down.
    fn living(&mut self, of: ProcessId) -> Result<SpaceId, Errno> {
        let process = self.processes.get(of).filter(|process| !process.dead).ok_or(ESRCH)?;
        let space = process.space;
        self.get_space(space)?;
        Ok(space)
    }

    /// Checks an argument; its end comes back at the end of a page.
    fn check_scan(&self, wish: PmScanArg) -> Result<PmScanArg, Errno> {
        let page = self.profile.page_size;
        let masks = wish.category_inverted
            | wish.category_mask
            | wish.category_anyof_mask
            | wish.return_mask;
        if wish.size != size_of::<PmScanArg>() as u64
            || wish.flags & !(WP_MATCHING | CHECK_WPASYNC) != 0
            || masks & !self.known_categories() != 0
            || !Va(wish.start).is_aligned(page)
        {
            return Err(EINVAL);
        }
        let room = wish.vec_len.checked_mul(size_of::<PageRegion>() as u64);
        let room_end = room.and_then(|room| wish.vec.checked_add(room));
        if wish.end < wish.start || wish.end > TASK_END.0 {
            return Err(EFAULT);
        }
        if wish.vec == 0 && wish.vec_len > 0 {
            return Err(EINVAL);
        }
        if wish.vec != 0 && room_end.is_none_or(|end| end > TASK_END.0) {
            return Err(EFAULT);
        }
        Ok(PmScanArg { end: Va(wish.end).align_up(page).0, ..wish })
    }
}
