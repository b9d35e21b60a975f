//! MOVE: pages change hands without being copied.
//!
//! Page after page: what lies at the source decides the step, and a step that finds its entries
//! changed is taken again without the caller hearing of it.
//!
//! | file | holds |
//! |---|---|
//! | `move_areas` | which areas may take part, locking both |
//! | `move_step` | what lies at the source, what that leads to |
//! | `move_page` | a base page in memory |
//! | `move_swapped` | a page in swap, which stays there |
//! | `move_huge` | a huge page, whole |
//!
//! # Locking
//! Both areas, shared; the context's *changing* lock, shared; per page the frame, on kernels that
//! want it the family the frame leaves, then the tables of both ends in the order of addresses.

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::feature::FEATURE_MOVE;
use faultless_uapi::mode::move_::{ALLOW_SRC_HOLES, DONTWAKE};
use faultless_uapi::{UffdioMove, UffdioRange};

use crate::errno::{EAGAIN, EINTR, EINVAL, Errno};
use crate::id::{ContextId, SpaceId, ThreadId};
use crate::kernel::Kernel;
use crate::userfaultfd::request::User;

const OUT_AT: usize = core::mem::offset_of!(UffdioMove, move_);

/// What a request wants moved.
pub(super) struct Removal {
    pub(super) dst: VaRange,
    pub(super) src: VaRange,
    /// Holes at the source count as moved.
    pub(super) holes: bool,
    pub(super) wakes: bool,
}

/// Where both ends of a move have got to, in areas that are locked.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) space: SpaceId,
    /// The modes the destination is registered for.
    pub(super) dst_modes: u64,
    pub(super) dst: Va,
    pub(super) src: Va,
    /// What is left to move.
    pub(super) left: Bytes,
    pub(super) holes: bool,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes are done.
    Done(Bytes),
    /// Something changed under way: the step is taken again.
    Again,
}

impl Kernel {
    /// Moves pages of the caller's memory to a place registered here.
    pub(super) async fn move_request(
        &self,
        id: ContextId,
        mut user: User<'_>,
    ) -> Result<u64, Errno> {
        if !self.state().profile.offers(FEATURE_MOVE) {
            return Err(EINVAL);
        }
        self.refuse_if_changing(id, &mut user, Some(OUT_AT)).await?;
        let request = UffdioMove::from_bytes(user.get_head::<OUT_AT, _>(self).await?);
        let space = self.state().contexts[id].space;
        if self.state().space_of(user.who) != space {
            return Err(EINVAL);
        }
        let range = |start| self.state().possible(UffdioRange { start, len: request.len });
        let (dst, src) = (range(request.dst)?, range(request.src)?);
        if request.mode & !(DONTWAKE | ALLOW_SRC_HOLES) != 0 {
            return Err(EINVAL);
        }
        let holes = request.mode & ALLOW_SRC_HOLES != 0;
        let wakes = request.mode & DONTWAKE == 0;
        let removal = Removal { dst, src, holes, wakes };
        self.state().get_space(space)?;
        let result = self.move_range(id, user.who, &removal).await;
        self.put_space(space).await;
        user.put_result(self, OUT_AT, result).await?;
        let done = result?;
        if removal.wakes {
            self.wake_range(id, VaRange::of(dst.start(), Bytes(done)));
        }
        if done == request.len { Ok(0) } else { Err(EAGAIN) }
    }

    /// Moves page by page. The error that stops it is only told when nothing was done.
    async fn move_range(
        &self,
        id: ContextId,
        who: ThreadId,
        removal: &Removal,
    ) -> Result<u64, Errno> {
        let space = self.state().contexts[id].space;
        let (dst_modes, locks) = self.lock_both(id, removal).await?;
        let (dst, src, left) = (removal.dst.start(), removal.src.start(), removal.dst.len());
        let mut ends = Ends { space, dst_modes, dst, src, left, holes: removal.holes };
        let mut stopped = None;
        while ends.left > Bytes::ZERO && stopped.is_none() {
            if self.state().threads[who].dying {
                stopped = Some(EINTR);
                break;
            }
            match self.move_step(&ends).await {
                Ok(Step::Done(moved)) => ends = ends.after(moved),
                Ok(Step::Again) => {}
                Err(errno) => stopped = Some(errno),
            }
        }
        drop(locks);
        match (stopped, ends.dst.since(dst)) {
            (Some(errno), Bytes::ZERO) => Err(errno),
            (_, Bytes(done)) => Ok(done),
        }
    }
}

impl Ends {
    /// Both ends so much further.
    pub(super) fn after(self, moved: Bytes) -> Ends {
        let left = Bytes(self.left.0 - moved.0);
        Ends { dst: self.dst.add(moved), src: self.src.add(moved), left, ..self }
    }
}
