//! `SET_MODE`: switches features of a live userfaultfd.

use std::os::fd::AsFd;

use faultless_pages::VaRange;
use faultless_uapi::{UffdioSetMode, ioctl};

use crate::{Features, ForeignUffd, Op, OpError, Uffd, call};

impl Uffd {
    /// Switches features on and off. Only `RWP_ASYNC` can be switched so far. Switching it on
    /// wakes every waiting thread.
    ///
    /// # Errors
    /// | errno | meaning | what happens |
    /// |---|---|---|
    /// | EINVAL | not to be switched, in both sets, `RWP` not granted, older kernel | returned |
    /// | ESRCH | the process has exited | returned |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges": every registered range is concerned.
    ///
    /// # Kernel
    /// Since 7.3 ([`Features::RWP`]); `UFFDIO_SET_MODE(2const)`.
    pub unsafe fn set_mode(&self, enable: Features, disable: Features) -> Result<(), OpError> {
        let mut arg = UffdioSetMode { enable: enable.bits(), disable: disable.bits() };
        // SAFETY: UffdioSetMode is the struct of UFFDIO_SET_MODE; the caller answers for the
        // registered ranges.
        unsafe { call::request::<{ ioctl::UFFDIO_SET_MODE }, _>(self.as_fd(), &mut arg) }
            .map_err(|errno| OpError { op: Op::SetMode, range: VaRange::default(), errno })
    }
}

impl ForeignUffd {
    /// Switches features; see [`Uffd::set_mode`].
    ///
    /// # Errors
    /// Those of [`Uffd::set_mode`].
    pub fn set_mode(&self, enable: Features, disable: Features) -> Result<(), OpError> {
        // SAFETY: the address space is another process's, by the contract of `assume_foreign`.
        unsafe { self.0.set_mode(enable, disable) }
    }
}
