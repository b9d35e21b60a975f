//! RWPROTECT: makes any access fault, or lets accesses through again.

use faultless_pages::VaRange;
use faultless_uapi::{UffdioRwprotect, ioctl, mode};

use super::resolve;
use crate::register::raw;
use crate::{ForeignUffd, Outcome, Uffd};

/// Which way RWPROTECT goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RwpMode {
    /// Accesses fault from now on. Wakes nobody.
    Protect,
    /// Accesses pass from now on.
    Unprotect {
        /// Leave the waiting threads asleep; wake them later with WAKE.
        dontwake: bool,
    },
}

impl RwpMode {
    fn bits(self) -> u64 {
        match self {
            RwpMode::Protect => mode::rwprotect::RWP,
            RwpMode::Unprotect { dontwake: true } => mode::rwprotect::DONTWAKE,
            RwpMode::Unprotect { dontwake: false } => 0,
        }
    }
}

impl Uffd {
    /// Protects the present pages of a range against any access, or unprotects them;
    /// unprotecting wakes the threads that wait in it.
    ///
    /// Memory types: those that can be registered with RWP. Missing pages are not protected, and
    /// a page that is dropped loses its protection. The range may span mappings; unlike
    /// WRITEPROTECT it is checked before anything is changed.
    ///
    /// # Errors
    /// | errno | meaning | becomes |
    /// |---|---|---|
    /// | EAGAIN | unread event | `Retry` |
    /// | ENOENT | nothing mapped, or a mapping is not registered with RWP | `NotMapped` |
    /// | ESRCH | the process has exited | `Gone` |
    /// | EINVAL | misaligned; unknown to this kernel | `Refused` |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges".
    ///
    /// # Kernel
    /// Since 7.3 ([`Features::RWP`](crate::Features::RWP)); `UFFDIO_RWPROTECT(2const)`.
    pub unsafe fn rw_protect(&self, range: VaRange, mode: RwpMode) -> Outcome {
        let arg = UffdioRwprotect { range: raw(range), mode: mode.bits() };
        // SAFETY: UffdioRwprotect is the struct of UFFDIO_RWPROTECT; the caller answers for the
        // range.
        unsafe { resolve::<{ ioctl::UFFDIO_RWPROTECT }, _>(self, arg, range.len(), |_| 0) }
    }
}

impl ForeignUffd {
    /// Protects or unprotects a range of the other process; see [`Uffd::rw_protect`].
    pub fn rw_protect(&self, range: VaRange, mode: RwpMode) -> Outcome {
        // SAFETY: the address space is another process's, by the contract of `assume_foreign`.
        unsafe { self.0.rw_protect(range, mode) }
    }
}
