//! CONTINUE: maps pages that the page cache already holds.

use faultless_pages::VaRange;
use faultless_uapi::{UffdioContinue, ioctl, mode};

use super::{bits, resolve};
use crate::register::raw;
use crate::{ForeignUffd, Outcome, Uffd};

/// How CONTINUE maps pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContinueMode {
    /// Map the pages write-protected, in the same step. The range must be registered with WP.
    pub wp: bool,
    /// Leave the waiting threads asleep; wake them later with WAKE.
    pub dontwake: bool,
}

impl ContinueMode {
    fn bits(self) -> u64 {
        bits([(self.dontwake, mode::continue_::DONTWAKE), (self.wp, mode::continue_::WP)])
    }
}

impl Uffd {
    /// Maps the pages that a second mapping of the same memory filled, and wakes the threads
    /// that wait for them.
    ///
    /// Memory types: shared and hugetlb. A private mapping gets the page read-only and copies it
    /// at the first write.
    ///
    /// # Errors
    /// | errno | meaning | becomes |
    /// |---|---|---|
    /// | EEXIST | the page is mapped already | `AlreadyPresent`; wake it |
    /// | EFAULT | the page cache does not hold the page | `Fault`; fill it first |
    /// | EIO | the page's memory has failed | `Poisoned` |
    /// | EAGAIN | unread event, partial progress, contention | `Retry` |
    /// | ENOENT | not mapped, not registered, crosses mappings | `NotMapped` |
    /// | ESRCH | the process has exited | `Gone` |
    /// | ENOMEM | no memory | `OutOfMemory` |
    /// | EINVAL | misaligned; anonymous memory; `wp` without WP registered | `Refused` |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges".
    ///
    /// # Kernel
    /// Since 5.13 (hugetlb) and 5.14 (shared memory), `wp` since 6.4; `UFFDIO_CONTINUE(2const)`.
    pub unsafe fn continue_(&self, range: VaRange, mode: ContinueMode) -> Outcome {
        let arg = UffdioContinue { range: raw(range), mode: mode.bits(), mapped: 0 };
        // SAFETY: UffdioContinue is the struct of UFFDIO_CONTINUE; the caller answers for the
        // range.
        unsafe {
            resolve::<{ ioctl::UFFDIO_CONTINUE }, _>(self, arg, range.len(), |arg| arg.mapped)
        }
    }
}

impl ForeignUffd {
    /// Maps pages of the other process that the page cache holds; see [`Uffd::continue_`].
    pub fn continue_(&self, range: VaRange, mode: ContinueMode) -> Outcome {
        // SAFETY: the address space is another process's, by the contract of `assume_foreign`.
        unsafe { self.0.continue_(range, mode) }
    }
}
