//! What the kernel tells of an address space.

use faultless_pages::{Bytes, Va, VaRange};

/// A message of a userfaultfd.
///
/// The kernel hands out faults before events that are older; whoever reads leaves the order as it
/// is, the core knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A thread waits for a page.
    Fault(Fault),
    /// Pages are about to be given up by their program, and read as zeros from then on.
    Remove(VaRange),
    /// A range was unmapped; it may be wider than what is served.
    Unmap(VaRange),
    /// A range moved. It was unmapped from the old place by the time this is read.
    Remap {
        /// Where it was.
        from: Va,
        /// Where it is.
        to: Va,
        /// How long it was.
        len: Bytes,
    },
    /// The process forked; the child's memory waits for a pager of its own.
    Fork {
        /// The child's userfaultfd, by a name whoever read the message gave it.
        child: u64,
    },
}

/// A thread that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, rounded down to a page or exact.
    pub at: Va,
    /// What for.
    pub kind: FaultKind,
    /// Who, in its own pid namespace, if that is told.
    pub thread: Option<u32>,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The page to be there.
    Missing,
    /// The page to be mapped, which the page cache holds.
    Minor,
    /// Leave to write.
    Protected,
}
