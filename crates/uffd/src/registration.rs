//! Guards for registered pieces of owned memory, typed by mode.
//!
//! A [`Registration`] is the safe side of a userfaultfd of this process: it borrows a
//! [`Mapping`], so the range stays mapped, and takes offsets that are checked against it. Which
//! operations it has follows from its mode: a range registered without WP cannot be protected.
//! Dropping it unregisters the range and wakes every thread that waits in it.
//!
//! # Invariants
//! - `range` lies inside `mapping`, page aligned and not empty.
//! - `range` was registered with `uffd` in the modes of `M` when the guard was made.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use faultless_pages::{Bytes, Va, VaRange};

use crate::{
    ContinueMode, CopyMode, Errno, Ioctls, Mapping, Modes, MoveMode, OpError, Outcome, PoisonMode,
    RwpMode, Uffd, WpMode, ZeropageMode,
};

/// A mode to register with: one of the types here, or a tuple of them that the kernel allows.
pub trait RegisterMode: Copy {
    /// The bits of the mode.
    const MODES: Modes;
}

/// Modes that include [`WriteProtect`].
pub trait Protects: RegisterMode {}

/// Modes that include [`Minor`].
pub trait Continues: RegisterMode {}

/// Modes that include [`ReadWriteProtect`].
pub trait ProtectsAccess: RegisterMode {}

/// Report accesses to missing pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing;

/// Report writes to write-protected pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteProtect;

/// Report accesses to pages the page cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minor;

/// Report any access to read-write-protected pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadWriteProtect;

macro_rules! modes {
    ($($mode:ty = $($bit:ident)|+, $($with:ident)*;)+) => {$(
        impl RegisterMode for $mode {
            const MODES: Modes = Modes::from_bits_retain($(Modes::$bit.bits())|+);
        }
        $(impl $with for $mode {})*
    )+};
}

// All subsets but those with both WriteProtect and ReadWriteProtect, which the kernel refuses.
modes! {
    Missing = MISSING,;
    WriteProtect = WP, Protects;
    Minor = MINOR, Continues;
    ReadWriteProtect = RWP, ProtectsAccess;
    (Missing, WriteProtect) = MISSING | WP, Protects;
    (Missing, Minor) = MISSING | MINOR, Continues;
    (Missing, ReadWriteProtect) = MISSING | RWP, ProtectsAccess;
    (WriteProtect, Minor) = WP | MINOR, Protects Continues;
    (Minor, ReadWriteProtect) = MINOR | RWP, Continues ProtectsAccess;
    (Missing, WriteProtect, Minor) = MISSING | WP | MINOR, Protects Continues;
    (Missing, Minor, ReadWriteProtect) = MISSING | MINOR | RWP, Continues ProtectsAccess;
}

/// A registered piece of a mapping.
#[derive(Debug)]
#[must_use = "dropping it unregisters the range"]
pub struct Registration<'u, 'm, M> {
    uffd: &'u Uffd,
    mapping: PhantomData<&'m Mapping>,
    range: VaRange,
    ioctls: Ioctls,
    mode: M,
}

impl Uffd {
    /// Registers a whole mapping; see [`Uffd::register_range`] for modes and memory types.
    ///
    /// Register a range once: of two guards over one range, the first to go unregisters it for
    /// both.
    ///
    /// ```
    /// use faultless_pages::Bytes;
    /// use faultless_uffd::{Features, Mapping, Missing, OpenOptions, Uffd, Wanted};
    ///
    /// let mapping = Mapping::anonymous(Bytes::kib(64))?;
    /// let Ok(unbound) = Uffd::open(&OpenOptions::default()) else {
    ///     return Ok(()); // this host lets nobody have one
    /// };
    /// let wanted = Wanted { optional: Features::THREAD_ID, ..Wanted::default() };
    /// let uffd = unbound.handshake(wanted)?;
    /// let registered = uffd.register(&mapping, Missing)?;
    /// let outcome = registered.zeropage(Bytes::ZERO, mapping.len(), Default::default());
    /// assert!(outcome.is_complete());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Uffd::register_range`].
    ///
    /// # Kernel
    /// As [`Uffd::register_range`].
    pub fn register<'u, 'm, M: RegisterMode>(
        &'u self,
        mapping: &'m Mapping,
        mode: M,
    ) -> Result<Registration<'u, 'm, M>, OpError> {
        self.register_part(mapping, Bytes::ZERO, mapping.len(), mode)
    }

    /// Registers `len` bytes of a mapping from `offset` on; both multiples of its page size.
    ///
    /// # Errors
    /// Those of [`Uffd::register_range`].
    ///
    /// # Panics
    /// If they leave the mapping.
    ///
    /// # Kernel
    /// As [`Uffd::register_range`].
    pub fn register_part<'u, 'm, M: RegisterMode>(
        &'u self,
        mapping: &'m Mapping,
        offset: Bytes,
        len: Bytes,
        mode: M,
    ) -> Result<Registration<'u, 'm, M>, OpError> {
        let range = mapping.range_of(offset, len);
        let guard = |ioctls| Registration { uffd: self, mapping: PhantomData, range, ioctls, mode };
        // SAFETY: 1. the range belongs to the mapping, which no reference looks into; 2. whoever
        // answers its faults works with this registration.
        match unsafe { self.register_range(range, M::MODES) } {
            Ok(ioctls) => Ok(guard(ioctls)),
            Err(error) => {
                if error.errno == Errno::NOMEM {
                    // The kernel goes from mapping to mapping and may have registered the first
                    // ones; nobody would answer their faults.
                    drop(guard(Ioctls::empty()));
                }
                Err(error)
            }
        }
    }
}

impl<M: RegisterMode> Registration<'_, '_, M> {
    /// Returns the mode, which is also the type.
    #[must_use]
    pub fn mode(&self) -> M {
        self.mode
    }

    /// Returns the registered addresses.
    #[must_use]
    pub fn range(&self) -> VaRange {
        self.range
    }

    /// Returns the requests the kernel offers on the range; see [`Uffd::register_range`].
    #[must_use]
    pub fn ioctls(&self) -> Ioctls {
        self.ioctls
    }

    /// Returns where in the range an address lies, as a fault reports it; `None` if outside.
    #[must_use]
    pub fn offset_of(&self, address: Va) -> Option<Bytes> {
        self.range.contains(address).then(|| address.since(self.range.start()))
    }

    /// Fills missing pages from `offset` on with the bytes of `src`; see [`Uffd::copy`].
    ///
    /// # Panics
    /// If they leave the range.
    pub fn copy(&self, offset: Bytes, src: &[u8], mode: CopyMode) -> Outcome {
        let dst = self.part(offset, Bytes::from(src.len()));
        // SAFETY: 1. the destination belongs to the mapping, which no reference looks into;
        // 2. the slice is readable and unchanging for its length.
        unsafe { self.uffd.copy(dst, src.as_ptr(), mode) }
    }

    /// Fills missing pages from `offset` on with `len` bytes of `src` from `src_offset` on; see
    /// [`Uffd::copy`].
    ///
    /// # Panics
    /// If either side leaves its memory.
    pub fn copy_from(
        &self,
        offset: Bytes,
        src: &Mapping,
        src_offset: Bytes,
        len: Bytes,
        mode: CopyMode,
    ) -> Outcome {
        let dst = self.part(offset, len);
        // Checks that the source stays inside its mapping.
        let src_range = src.range_of(src_offset, len);
        let src =
            src.as_ptr().wrapping_add(src_range.start().since(src.range().start()).as_usize());
        // SAFETY: 1. the destination belongs to the mapping, which no reference looks into;
        // 2. the source belongs to a mapping, whose changes no reference observes.
        unsafe { self.uffd.copy(dst, src, mode) }
    }

    /// Fills missing pages with zeros; see [`Uffd::zeropage`].
    ///
    /// # Panics
    /// If they leave the range.
    pub fn zeropage(&self, offset: Bytes, len: Bytes, mode: ZeropageMode) -> Outcome {
        let range = self.part(offset, len);
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        unsafe { self.uffd.zeropage(range, mode) }
    }

    /// Moves the pages of `src` from `src_offset` on to the missing pages from `offset` on; see
    /// [`Uffd::move_pages`]. The source is missing afterwards.
    ///
    /// # Panics
    /// If either side leaves its memory.
    pub fn move_pages(
        &self,
        offset: Bytes,
        src: &Mapping,
        src_offset: Bytes,
        len: Bytes,
        mode: MoveMode,
    ) -> Outcome {
        let dst = self.part(offset, len);
        let src = src.range_of(src_offset, len).start();
        // SAFETY: both ranges belong to mappings, which no reference looks into.
        unsafe { self.uffd.move_pages(dst, src, mode) }
    }

    /// Marks missing pages as lost; see [`Uffd::poison`].
    ///
    /// # Panics
    /// If they leave the range.
    pub fn poison(&self, offset: Bytes, len: Bytes, mode: PoisonMode) -> Outcome {
        let range = self.part(offset, len);
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        unsafe { self.uffd.poison(range, mode) }
    }

    /// Wakes the threads that wait in a part of the range; see [`Uffd::wake`].
    ///
    /// # Errors
    /// Those of [`Uffd::wake`].
    ///
    /// # Panics
    /// If it leaves the range.
    pub fn wake(&self, offset: Bytes, len: Bytes) -> Result<(), OpError> {
        self.uffd.wake(self.part(offset, len))
    }

    /// Unregisters the range, as dropping does, and reports errors.
    ///
    /// # Errors
    /// Those of [`Uffd::unregister`]. The range then stays registered.
    pub fn unregister(self) -> Result<(), OpError> {
        ManuallyDrop::new(self).release()
    }

    /// Returns the address range of a part.
    fn part(&self, offset: Bytes, len: Bytes) -> VaRange {
        let end = offset.0.checked_add(len.0);
        assert!(
            end.is_some_and(|end| end <= self.range.len().0),
            "{len:?} at {offset:?} leaves the registered {}",
            self.range
        );
        VaRange::of(self.range.start().add(offset), len)
    }
}

impl<M: Protects> Registration<'_, '_, M> {
    /// Write-protects or unprotects a part of the range; see [`Uffd::write_protect`].
    ///
    /// # Panics
    /// If it leaves the range.
    pub fn write_protect(&self, offset: Bytes, len: Bytes, mode: WpMode) -> Outcome {
        let range = self.part(offset, len);
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        unsafe { self.uffd.write_protect(range, mode) }
    }
}

impl<M: Continues> Registration<'_, '_, M> {
    /// Maps pages that the page cache holds; see [`Uffd::continue_`].
    ///
    /// # Panics
    /// If they leave the range.
    pub fn continue_(&self, offset: Bytes, len: Bytes, mode: ContinueMode) -> Outcome {
        let range = self.part(offset, len);
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        unsafe { self.uffd.continue_(range, mode) }
    }
}

impl<M: ProtectsAccess> Registration<'_, '_, M> {
    /// Protects a part of the range against any access, or unprotects it; see
    /// [`Uffd::rw_protect`].
    ///
    /// # Panics
    /// If it leaves the range.
    pub fn rw_protect(&self, offset: Bytes, len: Bytes, mode: RwpMode) -> Outcome {
        let range = self.part(offset, len);
        // SAFETY: the range belongs to the mapping, which no reference looks into.
        unsafe { self.uffd.rw_protect(range, mode) }
    }
}

impl<M> Registration<'_, '_, M> {
    fn release(&self) -> Result<(), OpError> {
        // SAFETY: the range belongs to the mapping, which no reference looks into, and whoever
        // answers its faults works with this registration, which ends.
        unsafe { self.uffd.unregister(self.range) }
    }
}

impl<M> Drop for Registration<'_, '_, M> {
    fn drop(&mut self) {
        // What can fail here is a range that is no longer as it was registered. Its threads
        // have been woken all the same, and there is nobody to tell.
        let _ = self.release();
    }
}
