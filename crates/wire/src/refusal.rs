//! Everything that can be wrong with what a peer says.

use crate::layout::Fault;
use crate::{Claim, Dialect, FDS_MAX, MESSAGE_LEN_MAX, REGIONS_MAX};

/// Why a peer is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The first bytes are those of no protocol.
    #[error("the first bytes {0:02x?} belong to no protocol spoken here")]
    UnknownDialect([u8; 5]),
    /// The protocol is known and not spoken.
    #[error("{0} is not spoken here")]
    Unsupported(&'static str),
    /// The peer closed, or fell silent, before it said anything.
    #[error("the peer said nothing")]
    Silent,
    /// The peer closed, or fell silent, within a message.
    #[error("a message ends after {have} bytes, before it is whole")]
    Truncated {
        /// How many bytes of it came.
        have: usize,
    },
    /// A message is longer than any there is reason to send.
    #[error("a message of {len} bytes; {MESSAGE_LEN_MAX} at most")]
    TooLong {
        /// How long it is, as far as known.
        len: u64,
    },
    /// A message that hands over a userfaultfd came without it.
    #[error("a {0} message came without a userfaultfd; send it in the same message")]
    NoDescriptor(Dialect),
    /// More descriptors than the message means.
    #[error("{found} descriptors came where at most {expected} are meant")]
    TooManyDescriptors {
        /// How many came.
        found: usize,
        /// How many the message can mean.
        expected: usize,
    },
    /// Descriptors pile up that belong to no message.
    #[error("more than {FDS_MAX} descriptors are waiting for their message")]
    DescriptorFlood,
    /// A message is not what its protocol says.
    #[error("malformed {dialect} message: {reason}")]
    Malformed {
        /// The protocol.
        dialect: Dialect,
        /// What is wrong with it.
        reason: String,
    },
    /// The peer asks for something that is understood and not done.
    #[error("a {dialect} peer asks for {what}, which is not done here")]
    Declined {
        /// The protocol.
        dialect: Dialect,
        /// What it asks for.
        what: String,
    },
    /// A version of the protocol that is not spoken.
    #[error("version {found} of the {dialect} protocol; {spoken} is spoken here")]
    Version {
        /// The protocol.
        dialect: Dialect,
        /// The peer's version.
        found: u64,
        /// The version spoken here.
        spoken: u64,
    },
    /// A message that has no place at this point.
    #[error("{what} at a point where it has no place")]
    OutOfOrder {
        /// Which message.
        what: &'static str,
    },
    /// A layout without regions.
    #[error("no region of memory is named")]
    NoRegions,
    /// A layout of too many regions.
    #[error("{found} regions of memory; {REGIONS_MAX} at most")]
    TooManyRegions {
        /// How many there are.
        found: usize,
    },
    /// A region that cannot be served.
    #[error(
        "region {index} ({:#x} bytes at {:#x} from offset {:#x}, pages of {:#x}): {fault}",
        claim.len, claim.address, claim.offset, claim.page_size
    )]
    Region {
        /// Which one, counted in the order sent.
        index: usize,
        /// What was claimed.
        claim: Claim,
        /// What is wrong with it.
        fault: Fault,
    },
}

impl Refusal {
    /// Makes a refusal of a malformed message.
    pub(crate) fn malformed(dialect: Dialect, reason: impl Into<String>) -> Refusal {
        Refusal::Malformed { dialect, reason: reason.into() }
    }

    /// Returns a short name for metrics and machines, which stays as it is.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::UnknownDialect(_) => "unknown-dialect",
            Refusal::Unsupported(_) => "unsupported",
            Refusal::Silent => "silent",
            Refusal::Truncated { .. } => "truncated",
            Refusal::TooLong { .. } => "too-long",
            Refusal::NoDescriptor(_) => "no-descriptor",
            Refusal::TooManyDescriptors { .. } | Refusal::DescriptorFlood => "too-many-descriptors",
            Refusal::Malformed { .. } => "malformed",
            Refusal::Declined { .. } => "declined",
            Refusal::Version { .. } => "version",
            Refusal::OutOfOrder { .. } => "out-of-order",
            Refusal::NoRegions | Refusal::TooManyRegions { .. } | Refusal::Region { .. } => {
                "region"
            }
        }
    }
}
