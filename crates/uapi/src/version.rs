//! Kernel versions, as far as the history of the ABI needs them.
//!
//! They explain an answer of the kernel to a person. What a kernel can do is learnt by asking it.

use core::fmt;

/// A release of the kernel: `6.8` is `{ major: 6, minor: 8 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// The number before the point.
    pub major: u16,
    /// The number after the point.
    pub minor: u16,
}

impl KernelVersion {
    /// Makes `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> KernelVersion {
        KernelVersion { major, minor }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
