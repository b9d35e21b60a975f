//! What a check found: broken promises, and how much was looked at.

use std::fmt;

/// Broken promises told one by one; more are only counted, one bad core can hold 100 000.
const TOLD_MAX: usize = 20;

/// The promise that was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Promise {
    /// Every thread is in the snapshot with its mark in its register.
    ThreadThere,
    /// A thread's published number is the one in its register or the one before.
    RegisterMatches,
    /// Stamped memory is never freed, so it is always saved.
    PageThere,
    /// A page is the page of this thread and number.
    Identity,
    /// A page carries the last stamp that fell on it before the register's.
    Stamp,
    /// A thread never sees its neighbour go backwards.
    SeenGrows,
    /// What was seen of a neighbour was published by it.
    SeenIsPast,
    /// Words nobody writes are zero.
    Untouched,
    /// A settled slot holds what its entry says.
    SlotContent,
    /// What a settled slot dropped reads as zeros.
    SlotHole,
    /// A settled slot's pages are mapped.
    SlotThere,
    /// What a settled slot does not map is not mapped.
    SlotGone,
    /// Only the slot of the running operation is unsettled.
    OneChange,
}

/// One broken promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    /// Which promise.
    pub(crate) promise: Promise,
    /// Where: an address, or a thread id for promises about threads.
    pub(crate) at: u64,
    /// What had to be there.
    pub(crate) expected: u64,
    /// What was there.
    pub(crate) found: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { promise, at, expected, found } = self;
        write!(f, "{promise:?} at {at:#x}: expected {expected:#x}, found {found:#x}")
    }
}

/// The result of checking one snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Verdict {
    /// The first broken promises.
    pub(crate) told: Vec<Violation>,
    /// All broken promises.
    pub(crate) violations: u64,
    /// Stamped pages compared.
    pub(crate) pages: u64,
    /// Pages of settled slots compared.
    pub(crate) slot_pages: u64,
    /// Pages of settled slots that were recorded as freed.
    pub(crate) freed: u64,
    /// Dropped pages of settled slots, which held nothing, recorded as freed: true but needless.
    pub(crate) freed_holes: u64,
}

impl Verdict {
    /// Notes a broken promise.
    pub(crate) fn broken(&mut self, promise: Promise, at: u64, expected: u64, found: u64) {
        self.violations += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(Violation { promise, at, expected, found });
        }
    }

    /// Notes a broken promise if the two differ.
    pub(crate) fn same(&mut self, promise: Promise, at: u64, expected: u64, found: u64) {
        if expected != found {
            self.broken(promise, at, expected, found);
        }
    }
}
