//! What the kernel is asked to do, and what came of it.

use faultless_pages::{Bytes, VaRange};

use crate::core::FetchId;

/// Something to be done to an address space, at addresses of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Put copies of these bytes there, write-protected in the same step if `protect`.
    Copy {
        /// Where.
        range: VaRange,
        /// What.
        from: Supply,
        /// Writes are to be told.
        protect: bool,
        /// Whoever waits is to go on.
        wake: bool,
    },
    /// Put pages of zeros there.
    Zero {
        /// Where.
        range: VaRange,
        /// Whoever waits is to go on.
        wake: bool,
    },
    /// Move the pages there that hold these bytes, without copying them.
    Move {
        /// Where.
        range: VaRange,
        /// What.
        from: Supply,
        /// Whoever waits is to go on.
        wake: bool,
    },
    /// Map what the page cache holds, after writing these bytes to it, if there are any.
    Continue {
        /// Where.
        range: VaRange,
        /// What the page cache does not hold yet.
        fill: Option<Supply>,
        /// Writes are to be told.
        protect: bool,
        /// Whoever waits is to go on.
        wake: bool,
    },
    /// Make every access there a bus error.
    Poison {
        /// Where.
        range: VaRange,
        /// Whoever waits is to go on.
        wake: bool,
    },
    /// Let whoever waits there go on.
    Wake {
        /// Where.
        range: VaRange,
    },
    /// Let pages there be written, and whoever waits to do so go on.
    Unprotect {
        /// Where.
        range: VaRange,
    },
    /// Drop the pages there, so that they are missing again.
    Evict {
        /// Where.
        range: VaRange,
    },
    /// Let the range go: its faults are the kernel's from then on.
    Unregister {
        /// Where.
        range: VaRange,
    },
}

/// Bytes a request puts somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// What a fetch brought, from this offset on.
    Fetched {
        /// The fetch.
        fetch: FetchId,
        /// The first byte of it.
        offset: Bytes,
    },
    /// Zeros, where the kernel has no cheaper way to put them.
    Zeros,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How much was done, from the start of the range.
    pub done: Bytes,
    /// Why it stopped there; `None` when all of it was done.
    pub stopped: Option<Stop>,
}

/// Why a request stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A page is there already. Whoever waits for it may have begun to after the other party had
    /// woken all: the page is to be woken.
    Present,
    /// The process has ended.
    Gone,
    /// What is there is not mapped as one piece, or not registered, any more.
    NotMapped,
    /// A page that was to be moved is shared or pinned.
    Busy,
    /// Nothing is wrong.
    Again(Again),
    /// Nothing is behind the address: the end of a file, a page the page cache does not hold.
    Nothing,
    /// There is no memory left.
    NoMemory,
    /// The memory is broken.
    Broken,
    /// It cannot be done with this memory, or not by this kernel.
    Refused,
}

/// Why a request is to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// An event is under way; nothing tells when it is over.
    Pending,
    /// A part was done; only the rest tells what stopped it.
    Partial,
    /// Somebody else was at it.
    Contended,
}

impl Request {
    /// Where.
    #[must_use]
    pub fn range(&self) -> VaRange {
        match *self {
            Request::Copy { range, .. }
            | Request::Zero { range, .. }
            | Request::Move { range, .. }
            | Request::Continue { range, .. }
            | Request::Poison { range, .. }
            | Request::Wake { range }
            | Request::Unprotect { range }
            | Request::Evict { range }
            | Request::Unregister { range } => range,
        }
    }
}

impl Outcome {
    /// All of a range was done.
    #[must_use]
    pub fn complete(range: VaRange) -> Outcome {
        Outcome { done: range.len(), stopped: None }
    }

    /// Nothing was done.
    #[must_use]
    pub fn stopped(stop: Stop) -> Outcome {
        Outcome { done: Bytes::ZERO, stopped: Some(stop) }
    }
}
