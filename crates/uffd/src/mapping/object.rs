//! The object behind a mapping: a second view of it, its seals, holes in it.

use std::os::fd::{AsFd, BorrowedFd};

use faultless_pages::{Bytes, VaRange};
use rustix::fs::{FallocateFlags, fallocate, fcntl_add_seals};
use rustix::io::Errno;

use super::{MapError, MapOp, Mapping};

/// What may no longer be done with a memfd, by anybody.
pub use rustix::fs::SealFlags as Seals;

impl Mapping {
    /// Returns the memfd or file behind the mapping; `None` for anonymous memory.
    #[must_use]
    pub fn object(&self) -> Option<BorrowedFd<'_>> {
        self.object.as_ref().map(|object| object.fd.as_fd())
    }

    /// Maps the same part of the same object once more, shared, at another address.
    ///
    /// A page written through one mapping is seen by the other; each has its own page table, so
    /// memory can be filled through the one while it is still missing in the other.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `BADF` | the mapping is anonymous |
    /// | `ACCESS` | the file is not open for writing |
    /// | `NOMEM` | no room |
    pub fn alias(&self) -> Result<Mapping, MapError> {
        let object = self.object_for(MapOp::Alias)?.clone();
        let builder = Mapping::builder(self.len).shared();
        builder.object(object, self.page_size)
    }

    /// Forbids operations on the memfd behind the mapping, for good and for everybody.
    ///
    /// Sealing against shrinking keeps whoever else holds the memfd from raising `SIGBUS` here.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `BADF` | the mapping is anonymous |
    /// | `INVAL` | not a memfd |
    /// | `BUSY` | against writing: a writable shared mapping exists |
    /// | `PERM` | sealed against sealing |
    pub fn seal(&self, seals: Seals) -> Result<(), MapError> {
        let object = self.object_for(MapOp::Seal)?;
        fcntl_add_seals(&object.fd, seals).map_err(|errno| self.error(MapOp::Seal, errno))
    }

    /// Frees the pages of a range in the object: every mapping of it reads zeros there.
    ///
    /// Unlike [`Advice::Remove`](super::Advice::Remove) no userfaultfd gets an event for it.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `BADF` | the mapping is anonymous, or not open for writing |
    /// | `OPNOTSUPP` | the file system cannot |
    /// | `PERM` | sealed against writing |
    ///
    /// # Panics
    /// If the range leaves the mapping.
    pub fn punch_hole(&self, range: VaRange) -> Result<(), MapError> {
        let object = self.object_for(MapOp::PunchHole)?;
        let within = self.pointer(range).addr() - self.base.addr().get();
        let offset = object.offset + Bytes::from(within).0;
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&object.fd, how, offset, range.len().0)
            .map_err(|errno| self.error(MapOp::PunchHole, errno))
    }

    fn object_for(&self, op: MapOp) -> Result<&super::Object, MapError> {
        self.object.as_ref().ok_or_else(|| self.error(op, Errno::BADF))
    }

    pub(super) fn error(&self, op: MapOp, errno: Errno) -> MapError {
        MapError { op, len: self.len, errno }
    }
}
