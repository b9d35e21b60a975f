//! MOVE: takes pages from one place of the own address space to another, without copying.

use faultless_pages::{Va, VaRange};
use faultless_uapi::{UffdioMove, ioctl, mode};

use super::{bits, resolve};
use crate::{Outcome, Uffd};

/// How MOVE takes pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveMode {
    /// Leave the waiting threads asleep; wake them later with WAKE.
    pub dontwake: bool,
    /// Count holes of the source as moved, leaving the destination missing, instead of stopping.
    pub allow_src_holes: bool,
}

impl MoveMode {
    fn bits(self) -> u64 {
        bits([
            (self.dontwake, mode::move_::DONTWAKE),
            (self.allow_src_holes, mode::move_::ALLOW_SRC_HOLES),
        ])
    }
}

impl Uffd {
    /// Moves pages from `src` to the missing pages of `dst` and wakes the threads that wait for
    /// them. The source is missing afterwards.
    ///
    /// Memory types: private anonymous memory on both sides, writable, with equal protection and
    /// locking, each side in one mapping, the destination registered with *this* userfaultfd.
    /// Both in the address space of the caller. A transparent huge page is moved whole if both
    /// sides are aligned to it, else split. Write-protection of a moved page is lost.
    ///
    /// # Errors
    /// | errno | meaning | becomes |
    /// |---|---|---|
    /// | EEXIST | a page or a marker is at the destination | `AlreadyPresent`; wake it |
    /// | EBUSY | a source page is shared since a fork, or pinned | `Busy`; write to it or copy |
    /// | ENOENT | a side is not mapped, or a source page is missing | `NotMapped` |
    /// | EFAULT | a source page is a marker: protected, poisoned, guard | `Fault` |
    /// | EAGAIN | unread event, partial progress, contention | `Retry` |
    /// | EINVAL | misaligned, mappings that do not match, another process's | `Refused` |
    /// | ESRCH | the process has exited | `Gone` |
    /// | EINTR | the calling thread is being killed | `Interrupted` |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges"; the source loses its pages, so it must be the caller's as well.
    ///
    /// # Kernel
    /// Since 6.8 ([`Features::MOVE`](crate::Features::MOVE)); `UFFDIO_MOVE(2const)`.
    pub unsafe fn move_pages(&self, dst: VaRange, src: Va, mode: MoveMode) -> Outcome {
        let arg = UffdioMove {
            dst: dst.start().0,
            src: src.0,
            len: dst.len().0,
            mode: mode.bits(),
            move_: 0,
        };
        // SAFETY: UffdioMove is the struct of UFFDIO_MOVE; the caller answers for both ranges.
        unsafe { resolve::<{ ioctl::UFFDIO_MOVE }, _>(self, arg, dst.len(), |arg| arg.move_) }
    }
}
