//! UNREGISTER: ends reporting, and lets every waiting thread go on.

use std::os::fd::AsFd;

use faultless_pages::VaRange;
use faultless_uapi::ioctl;

use crate::register::raw;
use crate::{ForeignUffd, Op, OpError, Uffd, call};

impl Uffd {
    /// Unregisters a range and wakes the threads that wait in it. Pages still missing are the
    /// kernel's to fill again: they read as zeros, or as their file.
    ///
    /// The kernel wakes only threads that wait for missing pages; one that waits for a
    /// write-protected or minor page would sleep for ever. The range is therefore woken
    /// explicitly, also if unregistering stopped half-way.
    ///
    /// Write-protection is cleared. Markers of POISON stay.
    ///
    /// # Errors
    /// | errno | meaning | what happens |
    /// |---|---|---|
    /// | EINVAL | misaligned, empty, no mapping, memory that cannot be registered | returned |
    /// | EINVAL | owned by another userfaultfd (from 6.17 on) | returned |
    /// | ENOMEM | the process is gone, or too many mappings | returned |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges".
    ///
    /// # Kernel
    /// Since 4.3; `UFFDIO_UNREGISTER(2const)`.
    pub unsafe fn unregister(&self, range: VaRange) -> Result<(), OpError> {
        let mut arg = raw(range);
        // SAFETY: UffdioRange is the struct of UFFDIO_UNREGISTER; the caller answers for the
        // range.
        let result =
            unsafe { call::request::<{ ioctl::UFFDIO_UNREGISTER }, _>(self.as_fd(), &mut arg) }
                .map_err(|errno| OpError { op: Op::Unregister, range, errno });
        // Waking fails only where unregistering failed for the same reason, a misaligned range.
        result.and(self.wake(range))
    }
}

impl ForeignUffd {
    /// Unregisters a range of the other process and wakes its threads; see [`Uffd::unregister`].
    ///
    /// # Errors
    /// Those of [`Uffd::unregister`].
    pub fn unregister(&self, range: VaRange) -> Result<(), OpError> {
        // SAFETY: the address space is another process's, by the contract of `assume_foreign`.
        unsafe { self.0.unregister(range) }
    }
}
