//! WRITEPROTECT: makes writes fault, or lets them through again.

use faultless_pages::VaRange;
use faultless_uapi::{UffdioWriteprotect, ioctl, mode};

use super::resolve;
use crate::register::raw;
use crate::{ForeignUffd, Outcome, Uffd};

/// Which way WRITEPROTECT goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WpMode {
    /// Writes fault from now on. Wakes nobody.
    Protect,
    /// Writes pass from now on.
    Unprotect {
        /// Leave the waiting threads asleep; wake them later with WAKE.
        dontwake: bool,
    },
}

impl WpMode {
    fn bits(self) -> u64 {
        match self {
            WpMode::Protect => mode::writeprotect::WP,
            WpMode::Unprotect { dontwake: true } => mode::writeprotect::DONTWAKE,
            WpMode::Unprotect { dontwake: false } => 0,
        }
    }
}

impl Uffd {
    /// Write-protects or unprotects a range; unprotecting wakes the threads that wait in it.
    ///
    /// Memory types: anonymous (pages not yet there only with `WP_UNPOPULATED`), shared and
    /// hugetlb with `WP_HUGETLBFS_SHMEM`, files with `WP_ASYNC`. The range may span mappings,
    /// all registered with WP, and holes.
    ///
    /// # Errors
    /// The kernel reports no progress: when the call stops, mappings before the offending one
    /// are done and `done` is 0. Repeating the whole range is harmless.
    ///
    /// | errno | meaning | becomes |
    /// |---|---|---|
    /// | EAGAIN | unread event | `Retry` |
    /// | ENOENT | nothing mapped, or a mapping is not registered with WP | `NotMapped` |
    /// | ESRCH | the process has exited | `Gone` |
    /// | ENOMEM | no memory for page tables | `OutOfMemory` |
    /// | EINVAL | misaligned | `Refused` |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges".
    ///
    /// # Kernel
    /// Since 5.7, shared and hugetlb memory since 5.19; `UFFDIO_WRITEPROTECT(2const)`.
    pub unsafe fn write_protect(&self, range: VaRange, mode: WpMode) -> Outcome {
        let arg = UffdioWriteprotect { range: raw(range), mode: mode.bits() };
        // SAFETY: UffdioWriteprotect is the struct of UFFDIO_WRITEPROTECT; the caller answers
        // for the range.
        unsafe { resolve::<{ ioctl::UFFDIO_WRITEPROTECT }, _>(self, arg, range.len(), |_| 0) }
    }
}

impl ForeignUffd {
    /// Write-protects or unprotects a range of the other process; see [`Uffd::write_protect`].
    pub fn write_protect(&self, range: VaRange, mode: WpMode) -> Outcome {
        // SAFETY: the address space is another process's, by the contract of `assume_foreign`.
        unsafe { self.0.write_protect(range, mode) }
    }
}
