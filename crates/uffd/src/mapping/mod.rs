//! Memory this process owns, mapped so that other threads, other processes and the kernel may
//! change it at any time.
//!
//! [`Mapping`] is the memory; [`MappingBuilder`] makes it from nothing, from a memfd, from the
//! hugetlb pool or from a file; [`Advice`] and [`Protection`] are what can be asked of it.
//! Registrations borrow a mapping, which makes the operations on them safe: the range cannot be
//! unmapped or moved while one lives.
//!
//! # Invariants
//! - `[base, base + len)` belongs to the mapping alone until it is dropped: nothing else in
//!   this process maps, moves or unmaps there.
//! - No reference into the memory is made but to single atomics: it is read and written by copies
//!   of those (see `access.rs`), so that pages coming, going and changing underneath break no rule
//!   of the language: a read may see any value, and nothing worse.
//!
//! # Faults
//! Any access may block on a userfaultfd, or raise `SIGSEGV` (protected, guard region) or
//! `SIGBUS` (poisoned, behind the end of a file, a userfaultfd in SIGBUS mode, no huge page
//! left).

mod access;
mod advice;
mod builder;
mod error;
mod object;
mod remap;

use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use faultless_pages::{Bytes, PageSize, Va, VaRange};
use rustix::mm::munmap;

pub use advice::{Advice, Protection, prefer_huge_pages};
pub use builder::MappingBuilder;
pub use error::{MapError, MapOp};
pub use object::Seals;

/// A piece of memory of this process, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: Bytes,
    page_size: PageSize,
    shared: bool,
    object: Option<Object>,
}

/// What a mapping that is not anonymous shows.
#[derive(Clone, Debug)]
struct Object {
    fd: Arc<OwnedFd>,
    /// Where in the object the mapping begins, in bytes.
    offset: u64,
}

// SAFETY: the mapping owns its range; it is not bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference memory is only touched by atomic copies, and the kernel
// orders calls that change the mapping itself.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Begins a mapping of `len`, rounded up to whole pages.
    pub fn builder(len: Bytes) -> MappingBuilder {
        MappingBuilder::new(len)
    }

    /// Maps private anonymous memory.
    ///
    /// # Errors
    /// `NOMEM`: no room, or a limit on memory or on the number of mappings.
    pub fn anonymous(len: Bytes) -> Result<Mapping, MapError> {
        Mapping::builder(len).anonymous()
    }

    /// Makes a memfd of `len`, closed on exec and sealable, and maps it shared.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `MFILE`, `NFILE` | no descriptor free |
    /// | `NOMEM` | no room |
    pub fn memfd(len: Bytes) -> Result<Mapping, MapError> {
        Mapping::builder(len).memfd()
    }

    /// Maps private memory of huge pages from the pool for `page_size`.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `NOMEM` | the pool has too few free pages |
    /// | `INVAL` | the kernel has no huge pages of this size |
    pub fn hugetlb(page_size: PageSize, len: Bytes) -> Result<Mapping, MapError> {
        Mapping::builder(len).hugetlb(page_size)
    }

    /// Maps `len` bytes of a file from `offset` on, private: what is written stays here.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `ACCESS` | the descriptor is not open for reading |
    /// | `INVAL` | `offset` is not at a page |
    /// | `NODEV` | the file cannot be mapped |
    /// | `NOMEM` | no room |
    pub fn file(fd: OwnedFd, offset: u64, len: Bytes) -> Result<Mapping, MapError> {
        Mapping::builder(len).file(fd, offset)
    }

    /// Returns the addresses of the memory.
    #[must_use]
    pub fn range(&self) -> VaRange {
        VaRange::of(Va(self.base.as_ptr().expose_provenance() as u64), self.len)
    }

    /// Returns the addresses of `len` bytes from `offset` on.
    ///
    /// # Panics
    /// If they leave the mapping.
    #[must_use]
    pub fn range_of(&self, offset: Bytes, len: Bytes) -> VaRange {
        self.check(offset, len);
        VaRange::of(self.range().start().add(offset), len)
    }

    /// Returns the length.
    #[must_use]
    pub fn len(&self) -> Bytes {
        self.len
    }

    /// Says whether the mapping holds nothing: never, the kernel makes no empty mappings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == Bytes::ZERO
    }

    /// Returns the size of its pages: that of the pool for hugetlb, the base page for all else.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Says whether writes reach the object behind the mapping, or children after a fork.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Returns a raw pointer to the first byte, for system calls. Everything that Rust says
    /// about pointers to memory that others change applies to its use.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    fn check(&self, offset: Bytes, len: Bytes) {
        let end = offset.0.checked_add(len.0);
        assert!(
            end.is_some_and(|end| end <= self.len.0),
            "{len:?} at {offset:?} of a mapping of {:?}",
            self.len
        );
    }

    /// Returns a pointer to the start of `range`, with the provenance of the mapping.
    fn pointer(&self, range: VaRange) -> *mut u8 {
        let own = self.range();
        assert!(own.covers(range), "{range} is not inside the mapping {own}");
        let offset = range.start().since(own.start());
        self.base.as_ptr().wrapping_add(offset.as_usize())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is owned and no reference into it exists (invariants).
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len.as_usize()) };
        // Taking a piece out of a merged kernel mapping can exceed the limit on their number.
        // Leaking the memory is then the only thing left to do.
        let _ = unmapped;
    }
}

#[cfg(test)]
mod tests;
