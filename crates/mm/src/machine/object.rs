//! Objects that can be mapped, and the pages they hold.

use alloc::collections::BTreeMap;

use faultless_pages::PageSize;

use crate::id::{FrameId, SlotId};

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Shared memory.
    Shmem,
    /// Huge pages of a pool.
    Hugetlb(PageSize),
    /// A file on a disk.
    Regular,
    /// Raw frames the kernel maps into every process.
    Special,
}

/// Where an object has a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// In memory.
    Frame(FrameId),
    /// In swap; never for hugetlb or regular files.
    Swapped(SlotId),
}

/// An object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    /// Bytes.
    pub(crate) size: u64,
    /// Pages by offset, a multiple of the object's page.
    pub(crate) pages: BTreeMap<u64, Cached>,
    /// No writes, for ever.
    pub(crate) sealed: bool,
    /// Open files and areas.
    pub(crate) uses: u32,
}

impl Object {
    pub(crate) fn new(kind: Kind, size: u64) -> Object {
        Object { kind, size, pages: BTreeMap::new(), sealed: false, uses: 1 }
    }
}
