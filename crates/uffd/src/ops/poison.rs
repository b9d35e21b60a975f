//! POISON: marks missing pages as lost.

use faultless_pages::VaRange;
use faultless_uapi::{UffdioPoison, ioctl, mode};

use super::{bits, resolve};
use crate::register::raw;
use crate::{ForeignUffd, Outcome, Uffd};

/// How POISON marks pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoisonMode {
    /// Leave the waiting threads asleep; wake them later with WAKE.
    pub dontwake: bool,
}

impl Uffd {
    /// Marks missing pages, so that an access raises SIGBUS, and wakes the threads that wait for
    /// them. A lost page must not read as zeros: this is how to say so.
    ///
    /// Memory types: anonymous, shared, hugetlb. The marker outlives unregistering; `madvise`
    /// with `MADV_DONTNEED` and unmapping remove it. A system call that touches the page fails
    /// with EFAULT.
    ///
    /// # Errors
    /// | errno | meaning | becomes |
    /// |---|---|---|
    /// | EEXIST | a page or a marker is there already | `AlreadyPresent`; wake it |
    /// | EAGAIN | unread event, partial progress, contention | `Retry` |
    /// | ENOENT | not mapped, not registered, crosses mappings | `NotMapped` |
    /// | ESRCH | the process has exited | `Gone` |
    /// | EFAULT | the page lies behind the end of its file | `Fault` |
    /// | ENOMEM | no memory for page tables | `OutOfMemory` |
    /// | EINVAL | misaligned; unknown to this kernel | `Refused` |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges".
    ///
    /// # Kernel
    /// Since 6.6 ([`Features::POISON`](crate::Features::POISON)); `UFFDIO_POISON(2const)`. The
    /// signal's code is `BUS_MCEERR_AR`, or `BUS_ADRERR` on kernels built without memory failure
    /// handling.
    pub unsafe fn poison(&self, range: VaRange, mode: PoisonMode) -> Outcome {
        let mode = bits([(mode.dontwake, mode::poison::DONTWAKE)]);
        let arg = UffdioPoison { range: raw(range), mode, updated: 0 };
        // SAFETY: UffdioPoison is the struct of UFFDIO_POISON; the caller answers for the range.
        unsafe { resolve::<{ ioctl::UFFDIO_POISON }, _>(self, arg, range.len(), |arg| arg.updated) }
    }
}

impl ForeignUffd {
    /// Marks missing pages of the other process as lost; see [`Uffd::poison`].
    pub fn poison(&self, range: VaRange, mode: PoisonMode) -> Outcome {
        // SAFETY: the address space is another process's, by the contract of `assume_foreign`.
        unsafe { self.0.poison(range, mode) }
    }
}
