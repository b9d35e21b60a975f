//! COPY: installs a copy of the caller's memory where no page is.

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::{UffdioCopy, ioctl, mode};

use super::{bits, resolve};
use crate::{ForeignUffd, Outcome, Uffd};

/// How COPY installs pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyMode {
    /// Install the pages write-protected, in the same step. The range must be registered with WP.
    pub wp: bool,
    /// Leave the waiting threads asleep; wake them later with WAKE.
    pub dontwake: bool,
}

impl CopyMode {
    fn bits(self) -> u64 {
        bits([(self.dontwake, mode::copy::DONTWAKE), (self.wp, mode::copy::WP)])
    }
}

impl Uffd {
    /// Fills missing pages with a copy of the memory at `src` and wakes the threads that wait
    /// for them.
    ///
    /// Memory types: anonymous, shared, hugetlb. `dst` must lie in one mapping, be registered,
    /// and be aligned to its page size; `src` need not be aligned. The source is read in this
    /// process, also when the destination is another's.
    ///
    /// # Errors
    /// | errno | meaning | becomes |
    /// |---|---|---|
    /// | EEXIST | a page is there already | `AlreadyPresent`; wake it |
    /// | EAGAIN | unread event, partial progress, contention | `Retry` |
    /// | ENOENT | not mapped, not registered, crosses mappings | `NotMapped` |
    /// | ESRCH | the process has exited | `Gone` |
    /// | EFAULT | the source is unreadable, or the page lies behind the end of its file | `Fault` |
    /// | ENOMEM | no memory, or no huge page left | `OutOfMemory` |
    /// | EINVAL | misaligned; `wp` without WP registered; memory of another type | `Refused` |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges". Besides, `src` must be valid for reading as many bytes as
    /// `dst` has, and unchanging, or memory whose changes no reference observes. Memory that is
    /// not mapped is fine: it gives `Fault`.
    ///
    /// # Kernel
    /// Since 4.3, `wp` since 5.7 (shared memory: 5.19); `UFFDIO_COPY(2const)`.
    pub unsafe fn copy(&self, dst: VaRange, src: *const u8, mode: CopyMode) -> Outcome {
        let arg = UffdioCopy {
            dst: dst.start().0,
            src: src.expose_provenance() as u64,
            len: dst.len().0,
            mode: mode.bits(),
            copy: 0,
        };
        // SAFETY: UffdioCopy is the struct of UFFDIO_COPY; the caller answers for both ranges.
        unsafe { resolve::<{ ioctl::UFFDIO_COPY }, _>(self, arg, dst.len(), |arg| arg.copy) }
    }
}

impl ForeignUffd {
    /// Fills missing pages of the other process with the bytes of `src`; see [`Uffd::copy`].
    ///
    /// Hand in bytes that are in memory: a source that faults to the same pager waits for itself.
    pub fn copy(&self, dst: Va, src: &[u8], mode: CopyMode) -> Outcome {
        let range = VaRange::of(dst, Bytes::from(src.len()));
        // SAFETY: 1. the destination is another process's memory, by the contract of
        // `assume_foreign`; 2. the slice is readable and unchanging for its length.
        unsafe { self.0.copy(range, src.as_ptr(), mode) }
    }
}
