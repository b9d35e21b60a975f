//! Entries of a page table: every kind the kernel tells apart.

use crate::id::{FrameId, SlotId};

/// What maps a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the bits of an entry")]
pub(crate) struct Mapped {
    /// The frame; of a huge page its head.
    pub(crate) frame: FrameId,
    /// Stores go through.
    pub(crate) writable: bool,
    /// A store went through.
    pub(crate) dirty: bool,
    /// An access went through.
    pub(crate) accessed: bool,
    /// Write-protected by a userfaultfd; in an area registered for RWP, protected against any
    /// access.
    pub(crate) uffd_wp: bool,
    /// An anonymous page nobody else may have: it may be written without a copy, and moved.
    pub(crate) exclusive: bool,
}

impl Mapped {
    /// A fresh mapping: accessed, readable, and nothing else.
    pub(crate) fn read_only(frame: FrameId) -> Mapped {
        Mapped {
            frame,
            writable: false,
            dirty: false,
            accessed: true,
            uffd_wp: false,
            exclusive: false,
        }
    }
}

/// An entry that names no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    /// The page that comes here will be write-protected.
    WriteProtected,
    /// The page is lost: SIGBUS.
    Poison {
        /// A scan met it that protects what it meets.
        uffd_wp: bool,
    },
    /// No access: SIGSEGV.
    Guard {
        /// A scan met it that protects what it meets.
        uffd_wp: bool,
    },
}

impl Marker {
    /// Poison as it comes.
    pub(crate) const POISON: Marker = Marker::Poison { uffd_wp: false };
    /// A guard as it comes.
    pub(crate) const GUARD: Marker = Marker::Guard { uffd_wp: false };

    /// As a child gets it.
    pub(crate) fn fresh(self) -> Marker {
        match self {
            Marker::WriteProtected => Marker::WriteProtected,
            Marker::Poison { .. } => Marker::POISON,
            Marker::Guard { .. } => Marker::GUARD,
        }
    }

    fn uffd_wp(self) -> bool {
        match self {
            Marker::WriteProtected => true,
            Marker::Poison { uffd_wp } | Marker::Guard { uffd_wp } => uffd_wp,
        }
    }
}

/// An entry. That there is none is told by absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A page in memory.
    Present(Mapped),
    /// The page of zeros that all share, never writable.
    Zero {
        /// Write-protected by a userfaultfd.
        uffd_wp: bool,
    },
    /// A page in swap.
    Swapped {
        /// Where.
        slot: SlotId,
        /// Nobody else may have it.
        exclusive: bool,
        /// Write-protected by a userfaultfd.
        uffd_wp: bool,
    },
    /// A page on the move to another frame or another size: wait.
    Migrating(Mapped),
    /// No page, and a reason.
    Marker(Marker),
}

impl Entry {
    /// Says whether it carries the write-protection of a userfaultfd.
    pub(crate) fn uffd_wp(self) -> bool {
        match self {
            Entry::Present(mapped) | Entry::Migrating(mapped) => mapped.uffd_wp,
            Entry::Zero { uffd_wp } | Entry::Swapped { uffd_wp, .. } => uffd_wp,
            Entry::Marker(marker) => marker.uffd_wp(),
        }
    }

    /// Returns the entry with or without the write-protection of a userfaultfd; a protected page
    /// is not writable. Markers stay what they are.
    pub(crate) fn with_uffd_wp(self, uffd_wp: bool) -> Entry {
        let change =
            |mapped: Mapped| Mapped { uffd_wp, writable: mapped.writable && !uffd_wp, ..mapped };
        match self {
            Entry::Present(mapped) => Entry::Present(change(mapped)),
            Entry::Migrating(mapped) => Entry::Migrating(change(mapped)),
            Entry::Zero { .. } => Entry::Zero { uffd_wp },
            Entry::Swapped { slot, exclusive, .. } => Entry::Swapped { slot, exclusive, uffd_wp },
            Entry::Marker(_) => self,
        }
    }

    /// The entry as a scan leaves it that protects what it meets: poison and guards too take note.
    pub(crate) fn scanned(self) -> Entry {
        match self {
            Entry::Marker(Marker::Poison { .. }) => Entry::Marker(Marker::Poison { uffd_wp: true }),
            Entry::Marker(Marker::Guard { .. }) => Entry::Marker(Marker::Guard { uffd_wp: true }),
            entry => entry.with_uffd_wp(true),
        }
    }

    /// The frame it maps, or is about to map again.
    pub(crate) fn frame(self) -> Option<FrameId> {
        match self {
            Entry::Present(mapped) | Entry::Migrating(mapped) => Some(mapped.frame),
            _ => None,
        }
    }

    /// The entry of a huge page as that of one of its parts.
    pub(crate) fn with_part(self, part: usize) -> Entry {
        let shift = |mapped: Mapped| Mapped { frame: FrameId(mapped.frame.0 + part), ..mapped };
        match self {
            Entry::Present(mapped) => Entry::Present(shift(mapped)),
            Entry::Migrating(mapped) => Entry::Migrating(shift(mapped)),
            other => other,
        }
    }
}
