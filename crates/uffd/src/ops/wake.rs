//! WAKE: lets waiting threads try again.

use std::os::fd::AsFd;

use faultless_pages::VaRange;
use faultless_uapi::ioctl;

use crate::register::raw;
use crate::{ForeignUffd, Op, OpError, Uffd, call};

impl Uffd {
    /// Wakes the threads whose reported address lies in the range. Each repeats its access, and
    /// faults again if nothing changed.
    ///
    /// Safe on any range, registered or not: a wake-up without cause is always allowed. It works
    /// while events are unread and after the process has exited. Use it after operations with
    /// `dontwake`, and after [`AlreadyPresent`](crate::Situation::AlreadyPresent).
    ///
    /// # Errors
    /// | errno | meaning | what happens |
    /// |---|---|---|
    /// | EINVAL | misaligned or empty | returned |
    ///
    /// # Kernel
    /// Since 4.3; `UFFDIO_WAKE(2const)`.
    pub fn wake(&self, range: VaRange) -> Result<(), OpError> {
        let mut arg = raw(range);
        // SAFETY: UffdioRange is the struct of UFFDIO_WAKE, which changes no memory.
        unsafe { call::request::<{ ioctl::UFFDIO_WAKE }, _>(self.as_fd(), &mut arg) }
            .map_err(|errno| OpError { op: Op::Wake, range, errno })
    }
}

impl ForeignUffd {
    /// Wakes threads of the other process; see [`Uffd::wake`].
    ///
    /// # Errors
    /// Those of [`Uffd::wake`].
    pub fn wake(&self, range: VaRange) -> Result<(), OpError> {
        self.0.wake(range)
    }
}
