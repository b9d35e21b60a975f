//! An area: a range of an address space whose pages are treated alike.

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::mode::register;

use crate::id::{AreaId, ContextId, ObjectId, RootId};
use crate::machine::Kind;

/// What accesses an area allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Execution.
    pub execute: bool,
}

impl Protection {
    /// No access.
    pub const NONE: Protection = Protection { read: false, write: false, execute: false };
    /// Loads.
    pub const READ: Protection = Protection { read: true, write: false, execute: false };
    /// Loads and stores.
    pub const READ_WRITE: Protection = Protection { read: true, write: true, execute: false };
    /// Everything.
    pub const ALL: Protection = Protection { read: true, write: true, execute: true };
}

/// What lies behind an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Nothing: pages of zeros on demand.
    Anonymous,
    /// An object.
    Object { object: ObjectId, kind: Kind },
}

/// A userfaultfd's hold on an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) context: ContextId,
    /// [`register`] bits.
    pub(crate) modes: u64,
}

/// Properties of an area that advice and flags set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties")]
pub(crate) struct Traits {
    pub(crate) locked: bool,
    pub(crate) dont_fork: bool,
    /// Its pages may be merged with pages that hold the same.
    pub(crate) mergeable: bool,
    pub(crate) droppable: bool,
    /// Was asked for as a stack. It does not grow here, but is not one area with another either.
    pub(crate) grows_down: bool,
    /// Wants transparent huge pages.
    pub(crate) huge: bool,
    /// Wants none.
    pub(crate) no_huge: bool,
    /// Counts as memory that was promised. It is not one area with another that does not.
    pub(crate) charged: bool,
}

/// An area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) id: AreaId,
    pub(crate) range: VaRange,
    pub(crate) protection: Protection,
    /// Stores may be allowed: not so for a shared mapping of what is open only for reading.
    pub(crate) may_write: bool,
    pub(crate) shared: bool,
    pub(crate) backing: Backing,
    /// The place of its first page: in the object, or in the numbering of its family, where it
    /// stays when the area moves.
    pub(crate) linear: u64,
    /// The family of its anonymous pages, once it has any.
    pub(crate) root: Option<RootId>,
    /// It has its family by a fork: a neighbour without one does not join.
    pub(crate) inherited: bool,
    pub(crate) traits: Traits,
    pub(crate) registration: Option<Registration>,
}

impl Area {
    /// The place of an address: in the object, or in the numbering of the family.
    pub(crate) fn linear_of(&self, at: Va) -> u64 {
        self.linear + at.since(self.range.start()).0
    }

    /// The address that has this place, if it lies in the area.
    pub(crate) fn address_of(&self, linear: u64) -> Option<Va> {
        let distance = linear.checked_sub(self.linear)?;
        (distance < self.range.len().0).then(|| self.range.start().add(Bytes(distance)))
    }

    /// The range in which the area shows `len` bytes from a place on, if any of it.
    pub(crate) fn show(&self, linear: u64, len: Bytes) -> Option<VaRange> {
        let first = linear.max(self.linear);
        let last = (linear + len.0).min(self.linear + self.range.len().0);
        let start = self.range.start().add(Bytes(first - self.linear));
        (first < last).then(|| VaRange::of(start, Bytes(last - first)))
    }

    /// The part of the area in a range, as an area of its own.
    pub(crate) fn part(&self, range: VaRange) -> Area {
        Area { range, linear: self.linear_of(range.start()), ..*self }
    }

    /// Private memory with nothing behind it.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.backing == Backing::Anonymous
    }

    /// Its object.
    pub(crate) fn object(&self) -> Option<ObjectId> {
        match self.backing {
            Backing::Object { object, .. } => Some(object),
            Backing::Anonymous => None,
        }
    }

    /// The kind of its object.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.backing {
            Backing::Object { kind, .. } => Some(kind),
            Backing::Anonymous => None,
        }
    }

    /// Says whether it counts as promised once these accesses are allowed: what may become a page
    /// of its own does. Memory of the pool is counted there.
    pub(crate) fn is_charged_by(&self, protection: Protection) -> bool {
        protection.write && !self.shared && !self.is_hugetlb()
    }

    /// Memory of the hugetlb pool.
    pub(crate) fn is_hugetlb(&self) -> bool {
        matches!(self.kind(), Some(Kind::Hugetlb(_)))
    }

    /// Says whether it is registered for any of these modes.
    pub(crate) fn reports(&self, modes: u64) -> bool {
        self.registration.is_some_and(|registration| registration.modes & modes != 0)
    }

    /// Says whether writes to protected pages are reported.
    pub(crate) fn reports_wp(&self) -> bool {
        self.reports(register::WP)
    }

    /// Says whether `next`, which begins where this area ends, can be one with it. Areas of the
    /// hugetlb pool, which are not to grow, never can.
    pub(crate) fn continues_in(&self, next: &Area) -> bool {
        let roots = match (self.root, next.root) {
            (None, None) => true,
            (Some(_), None) => !self.inherited,
            (None, Some(_)) => !next.inherited,
            (ours, theirs) => ours == theirs,
        };
        let Area { id, range, root, inherited, linear, .. } = *next;
        let as_next = Area { id, range, root, inherited, linear, ..*self };
        roots
            && !self.is_hugetlb()
            && self.range.end() == next.range.start()
            && self.linear + self.range.len().0 == next.linear
            && as_next == *next
    }
}
