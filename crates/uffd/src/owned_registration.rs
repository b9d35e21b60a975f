//! A registered mapping that owns what it needs.
//!
//! A [`Registration`](crate::Registration) borrows its mapping and its userfaultfd, which suits a
//! scope. Whoever serves memory for as long as a program runs shares both with the program; an
//! [`OwnedRegistration`] keeps them alive, takes addresses as messages name them, and knows its
//! modes at run time.
//!
//! # Invariants
//! - `range` lies inside `mapping`, which nobody else can move or shrink: that takes an exclusive
//!   reference.
//! - Every operation is made on addresses inside `range`.

use std::sync::Arc;

use faultless_pages::{Va, VaRange};

use crate::{
    ContinueMode, CopyMode, Mapping, Modes, MoveMode, OpError, Outcome, PoisonMode, Situation,
    Uffd, WpMode, ZeropageMode,
};

/// A mapping registered as a whole, unregistered on drop.
#[derive(Debug)]
#[must_use = "dropping it unregisters the range"]
pub struct OwnedRegistration {
    uffd: Arc<Uffd>,
    mapping: Arc<Mapping>,
}

impl OwnedRegistration {
    /// Registers a whole mapping; see [`Uffd::register_range`].
    ///
    /// # Errors
    /// Those of [`Uffd::register_range`].
    pub fn new(
        uffd: Arc<Uffd>,
        mapping: Arc<Mapping>,
        modes: Modes,
    ) -> Result<OwnedRegistration, OpError> {
        // SAFETY: 1. the range belongs to the mapping, which no reference looks into; 2. whoever
        // answers its faults works with this registration.
        unsafe { uffd.register_range(mapping.range(), modes) }?;
        Ok(OwnedRegistration { uffd, mapping })
    }

    /// Returns the registered addresses.
    #[must_use]
    pub fn range(&self) -> VaRange {
        self.mapping.range()
    }

    /// Returns the memory.
    #[must_use]
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Returns the userfaultfd.
    #[must_use]
    pub fn uffd(&self) -> &Arc<Uffd> {
        &self.uffd
    }

    /// Runs an operation on a part of the range; anything else does not exist here.
    fn within(&self, range: VaRange, operation: impl FnOnce() -> Outcome) -> Outcome {
        if self.range().covers(range) {
            return operation();
        }
        Outcome { done: faultless_pages::Bytes::ZERO, stopped: Some(Situation::NotMapped) }
    }

    /// Fills missing pages from `dst` on with the bytes of `src`; see [`Uffd::copy`].
    pub fn copy(&self, dst: Va, src: &[u8], mode: CopyMode) -> Outcome {
        let range = VaRange::of(dst, src.len().into());
        self.within(range, || {
            // SAFETY: 1. the destination belongs to the mapping, which no reference looks into;
            // 2. the slice is readable and unchanging for its length.
            unsafe { self.uffd.copy(range, src.as_ptr(), mode) }
        })
    }

    /// Fills missing pages with what lies in a part of another mapping; see [`Uffd::copy`].
    ///
    /// # Panics
    /// If `from` leaves `src`.
    pub fn copy_from(&self, dst: Va, src: &Mapping, from: VaRange, mode: CopyMode) -> Outcome {
        assert!(src.range().covers(from), "{from} leaves {}", src.range());
        let range = VaRange::of(dst, from.len());
        let offset = from.start().since(src.range().start()).as_usize();
        self.within(range, || {
            // SAFETY: 1. the destination belongs to the mapping, which no reference looks into;
            // 2. the source belongs to a mapping, whose changes no reference observes.
            unsafe { self.uffd.copy(range, src.as_ptr().wrapping_add(offset), mode) }
        })
    }

    /// Fills missing pages with zeros; see [`Uffd::zeropage`].
    pub fn zeropage(&self, range: VaRange, mode: ZeropageMode) -> Outcome {
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        self.within(range, || unsafe { self.uffd.zeropage(range, mode) })
    }

    /// Moves pages of another mapping to missing pages; see [`Uffd::move_pages`].
    ///
    /// # Panics
    /// If `from` leaves `src`.
    pub fn move_from(&self, dst: Va, src: &Mapping, from: VaRange, mode: MoveMode) -> Outcome {
        assert!(src.range().covers(from), "{from} leaves {}", src.range());
        let range = VaRange::of(dst, from.len());
        // SAFETY: both ranges belong to mappings, which no reference looks into.
        self.within(range, || unsafe { self.uffd.move_pages(range, from.start(), mode) })
    }

    /// Maps pages that the page cache holds; see [`Uffd::continue_`].
    pub fn continue_(&self, range: VaRange, mode: ContinueMode) -> Outcome {
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        self.within(range, || unsafe { self.uffd.continue_(range, mode) })
    }

    /// Marks missing pages as lost; see [`Uffd::poison`].
    pub fn poison(&self, range: VaRange, mode: PoisonMode) -> Outcome {
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        self.within(range, || unsafe { self.uffd.poison(range, mode) })
    }

    /// Protects a part of the range against writes or lets it be written; see
    /// [`Uffd::write_protect`].
    pub fn write_protect(&self, range: VaRange, mode: WpMode) -> Outcome {
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        self.within(range, || unsafe { self.uffd.write_protect(range, mode) })
    }

    /// Ends reporting for the whole range and wakes who waits in it; see [`Uffd::unregister`].
    /// May be called more than once.
    ///
    /// # Errors
    /// Those of [`Uffd::unregister`].
    pub fn unregister(&self) -> Result<(), OpError> {
        // SAFETY: the range belongs to the mapping, which no reference looks into, and whoever
        // answers its faults works with this registration.
        unsafe { self.uffd.unregister(self.range()) }
    }
}

impl Drop for OwnedRegistration {
    fn drop(&mut self) {
        // What can fail here is a range that is no longer as it was registered. Its threads have
        // been woken all the same, and there is nobody to tell.
        let _ = self.unregister();
    }
}
