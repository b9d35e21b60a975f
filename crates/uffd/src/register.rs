//! Registering ranges: which faults are reported, and what the kernel then offers.

use std::fmt;
use std::os::fd::AsFd;

use bitflags::bitflags;
use faultless_pages::VaRange;
use faultless_uapi::ioctl::{self, nr};
use faultless_uapi::{UffdioRange, UffdioRegister, mode};

use crate::{ForeignUffd, Op, OpError, Uffd, call};

bitflags! {
    /// Which faults a registered range reports.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Modes: u64 {
        /// Accesses to pages that do not exist yet.
        const MISSING = mode::register::MISSING;
        /// Writes to write-protected pages (5.7).
        const WP = mode::register::WP;
        /// Accesses to pages the page cache holds; shared and hugetlb memory only (5.13).
        const MINOR = mode::register::MINOR;
        /// Any access to read-write-protected pages; excludes `WP` (7.3).
        const RWP = mode::register::RWP;
    }
}

bitflags! {
    /// Requests, as the kernel lists them: bit *n* is the request with sequence number *n*.
    /// Bits of kernels yet to come are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Ioctls: u64 {
        /// REGISTER.
        const REGISTER = 1 << nr::REGISTER;
        /// UNREGISTER.
        const UNREGISTER = 1 << nr::UNREGISTER;
        /// WAKE.
        const WAKE = 1 << nr::WAKE;
        /// COPY.
        const COPY = 1 << nr::COPY;
        /// ZEROPAGE.
        const ZEROPAGE = 1 << nr::ZEROPAGE;
        /// MOVE.
        const MOVE = 1 << nr::MOVE;
        /// WRITEPROTECT.
        const WRITEPROTECT = 1 << nr::WRITEPROTECT;
        /// CONTINUE.
        const CONTINUE = 1 << nr::CONTINUE;
        /// POISON.
        const POISON = 1 << nr::POISON;
        /// RWPROTECT.
        const RWPROTECT = 1 << nr::RWPROTECT;
        /// `SET_MODE`.
        const SET_MODE = 1 << nr::SET_MODE;
        /// API.
        const API = 1 << nr::API;
        const _ = !0;
    }
}

/// Prints `WAKE, COPY`; bits without a name as a number.
impl fmt::Display for Ioctls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut unknown = self.bits();
        for request in ioctl::REQUESTS.iter().filter(|known| self.bits() >> known.nr & 1 != 0) {
            write!(f, "{separator}{}", request.name)?;
            separator = ", ";
            unknown &= !(1 << request.nr);
        }
        match unknown {
            0 if self.is_empty() => f.write_str("none"),
            0 => Ok(()),
            _ => write!(f, "{separator}{unknown:#x}"),
        }
    }
}

/// Makes the argument form of a range.
pub(crate) fn raw(range: VaRange) -> UffdioRange {
    UffdioRange { start: range.start().0, len: range.len().0 }
}

impl Uffd {
    /// Registers a range, so that its faults are reported.
    ///
    /// The range may span several mappings and holes between them. Memory types: anonymous,
    /// shared and hugetlb memory take MISSING, WP and RWP; shared and hugetlb memory also take
    /// MINOR; a file takes WP alone, and only with `WP_ASYNC` granted.
    ///
    /// Registering again what is registered adds nothing if the modes are a subset, and replaces
    /// them otherwise; a kernel from 7.3 refuses to drop WP or RWP that way.
    ///
    /// Returns the requests that make sense on the range. The list is advice: it offers MOVE and
    /// ZEROPAGE on memory that refuses them, and later kernels add bits.
    ///
    /// # Errors
    /// | errno | meaning | what happens |
    /// |---|---|---|
    /// | EINVAL | misaligned, empty, no mapping, memory that cannot have the mode | returned |
    /// | EPERM | a shared mapping of a file that may not be written | returned |
    /// | EBUSY | owned by another userfaultfd; from 7.3 on, would drop WP or RWP | returned |
    /// | ENOMEM | the process is gone, or too many mappings; a part may be registered | returned |
    ///
    /// # Safety
    /// See [`Uffd`], "Raw ranges".
    ///
    /// # Kernel
    /// Since 4.3, modes as listed at [`Modes`]; `UFFDIO_REGISTER(2const)`.
    pub unsafe fn register_range(&self, range: VaRange, modes: Modes) -> Result<Ioctls, OpError> {
        let mut arg = UffdioRegister { range: raw(range), mode: modes.bits(), ioctls: 0 };
        // SAFETY: UffdioRegister is the struct of UFFDIO_REGISTER; the caller answers for the
        // range.
        unsafe { call::request::<{ ioctl::UFFDIO_REGISTER }, _>(self.as_fd(), &mut arg) }
            .map_err(|errno| OpError { op: Op::Register, range, errno })?;
        Ok(Ioctls::from_bits_retain(arg.ioctls))
    }
}

impl ForeignUffd {
    /// Registers a range of the other process; see [`Uffd::register_range`].
    ///
    /// # Errors
    /// Those of [`Uffd::register_range`].
    pub fn register_range(&self, range: VaRange, modes: Modes) -> Result<Ioctls, OpError> {
        // SAFETY: the address space is another process's, by the contract of `assume_foreign`.
        unsafe { self.0.register_range(range, modes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_requests_are_kept_and_printed() {
        let ioctls = Ioctls::from_bits_retain(1 << nr::WAKE | 1 << nr::POISON | 1 << 33);
        assert!(ioctls.contains(Ioctls::POISON));
        assert_eq!(ioctls.to_string(), "WAKE, POISON, 0x200000000");
        assert_eq!(Ioctls::empty().to_string(), "none");
    }
}
