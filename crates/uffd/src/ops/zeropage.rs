//! ZEROPAGE: installs zeros where no page is.

use faultless_pages::VaRange;
use faultless_uapi::{UffdioZeropage, ioctl, mode};

use super::{bits, resolve};
use crate::register::raw;
use crate::{ForeignUffd, Outcome, Uffd};

/// How ZEROPAGE installs pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZeropageMode {
    /// Leave the waiting threads asleep; wake them later with WAKE.
    pub dontwake: bool,
}

impl Uffd {
    /// Fills missing pages with zeros and wakes the threads that wait for them.
    ///
    /// Memory types: anonymous and private shared memory get the kernel's common page of zeros,
    /// which costs no memory until it is written; shared memory gets a page of its own; hugetlb
    /// memory refuses. There is no way to install the page write-protected: protecting it
    /// afterwards leaves a gap in which a write goes unseen, so copy zeros with `wp` instead.
    ///
    /// # Errors
    /// | errno | meaning | becomes |
    /// |---|---|---|
    /// | EEXIST | a page or a marker is there already | `AlreadyPresent`; wake it |
    /// | EAGAIN | unread event, partial progress, contention | `Retry` |
    /// | ENOENT | not mapped, not registered, crosses mappings | `NotMapped` |
    /// | ESRCH | the process has exited | `Gone` |
    /// | EFAULT | the page lies behind the end of its file | `Fault` |
    /// | ENOMEM | no memory | `OutOfMemory` |
    /// | EINVAL | misaligned; hugetlb memory | `Refused` |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges".
    ///
    /// # Kernel
    /// Since 4.3; `UFFDIO_ZEROPAGE(2const)`.
    pub unsafe fn zeropage(&self, range: VaRange, mode: ZeropageMode) -> Outcome {
        let mode = bits([(mode.dontwake, mode::zeropage::DONTWAKE)]);
        let arg = UffdioZeropage { range: raw(range), mode, zeropage: 0 };
        // SAFETY: UffdioZeropage is the struct of UFFDIO_ZEROPAGE; the caller answers for the
        // range.
        unsafe {
            resolve::<{ ioctl::UFFDIO_ZEROPAGE }, _>(self, arg, range.len(), |arg| arg.zeropage)
        }
    }
}

impl ForeignUffd {
    /// Fills missing pages of the other process with zeros; see [`Uffd::zeropage`].
    pub fn zeropage(&self, range: VaRange, mode: ZeropageMode) -> Outcome {
        // SAFETY: the address space is another process's, by the contract of `assume_foreign`.
        unsafe { self.0.zeropage(range, mode) }
    }
}
