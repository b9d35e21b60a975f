//! Mappings that grow, shrink and move.
//!
//! Both operations take the mapping exclusively: nothing that borrows it, such as a
//! registration, can live through a change of its address or length.

use std::ptr::NonNull;

use faultless_pages::Bytes;
use rustix::io::Errno;
use rustix::mm::{MremapFlags, mremap, mremap_fixed, munmap};

use super::builder::reserve;
use super::{MapError, MapOp, Mapping};

impl Mapping {
    /// Changes the length to `len`, rounded up to whole pages; the mapping may move for it.
    ///
    /// New anonymous memory reads as zeros. The size of an object does not change: memory
    /// behind its end raises `SIGBUS`.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `NOMEM` | no room |
    /// | `FAULT` | parts of the mapping differ, in protection or advice |
    /// | `INVAL` | no length, or a kernel that cannot do it for hugetlb memory |
    ///
    /// # Kernel
    /// `mremap(2)`. A userfaultfd that wants UNMAP or REMAP events blocks the call until they
    /// were read.
    pub fn resize(&mut self, len: Bytes) -> Result<(), MapError> {
        let mask = self.page_size.bytes().0 - 1;
        let len = Bytes(len.0.saturating_add(mask) & !mask);
        let (base, old) = (self.base.as_ptr().cast(), self.len.as_usize());
        // SAFETY: the range is owned, and borrowed exclusively, so nobody relies on its place.
        let moved = unsafe { mremap(base, old, len.as_usize(), MremapFlags::MAYMOVE) };
        self.base = self.moved_to(moved)?;
        self.len = len;
        Ok(())
    }

    /// Moves the mapping to another address, pages and all.
    ///
    /// # Errors
    /// As for [`resize`](Self::resize).
    ///
    /// # Kernel
    /// `mremap(2)`. A userfaultfd that wants REMAP events goes with the memory and gets the
    /// event; without that feature the memory leaves it.
    pub fn relocate(&mut self) -> Result<(), MapError> {
        let target =
            reserve(self.len, self.page_size).map_err(|errno| self.error(MapOp::Remap, errno))?;
        let (base, len) = (self.base.as_ptr().cast(), self.len.as_usize());
        let to = target.as_ptr().cast();
        // SAFETY: (1) the range is owned, and borrowed exclusively, so nobody relies on its
        // place; (2) the target is a reservation that nobody else knows of.
        let moved = unsafe { mremap_fixed(base, len, len, MremapFlags::MAYMOVE, to) };
        if moved.is_err() {
            // SAFETY: as (2); the kernel has not moved anything there.
            let freed = unsafe { munmap(to, len) };
            // A failure costs address space only; the caller learns of the first error.
            let _ = freed;
        }
        self.base = self.moved_to(moved)?;
        Ok(())
    }

    fn moved_to(
        &self,
        answer: Result<*mut core::ffi::c_void, Errno>,
    ) -> Result<NonNull<u8>, MapError> {
        answer
            .and_then(|base| NonNull::new(base.cast()).ok_or(Errno::NOMEM))
            .map_err(|errno| self.error(MapOp::Remap, errno))
    }
}
