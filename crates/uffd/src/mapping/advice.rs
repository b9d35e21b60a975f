//! What can be asked of mapped memory: advice, protection.

use faultless_pages::{Bytes, VaRange};
use rustix::mm::{MprotectFlags, ProtFlags, mprotect};

use super::{MapError, MapOp, Mapping};
use crate::sys::last_errno;

/// What may be done with memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protection {
    /// Nothing: any access raises `SIGSEGV`.
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    #[default]
    ReadWrite,
}

impl Protection {
    pub(super) fn map_flags(self) -> ProtFlags {
        match self {
            Protection::None => ProtFlags::empty(),
            Protection::Read => ProtFlags::READ,
            Protection::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        }
    }

    fn change_flags(self) -> MprotectFlags {
        match self {
            Protection::None => MprotectFlags::empty(),
            Protection::Read => MprotectFlags::READ,
            Protection::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
        }
    }
}

/// Advice to the kernel about a range, `madvise(2)`.
///
/// The numbers are Linux's on every architecture this crate builds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum Advice {
    /// Reads the pages ahead.
    WillNeed = 3,
    /// Drops the pages: private memory reads as zeros (or as its file) afterwards, shared memory
    /// is read from its object again. A userfaultfd sees a REMOVE event.
    DontNeed = 4,
    /// Lets the kernel drop private pages when it runs short, unless they are written before.
    Free = 8,
    /// Drops the pages and frees them in the object too.
    Remove = 9,
    /// Leaves the range out of children.
    DontFork = 10,
    /// Undoes [`DontFork`](Self::DontFork).
    DoFork = 11,
    /// Merges equal pages (needs `CONFIG_KSM`).
    Mergeable = 12,
    /// Undoes [`Mergeable`](Self::Mergeable).
    Unmergeable = 13,
    /// Prefers transparent huge pages.
    HugePage = 14,
    /// Forbids transparent huge pages.
    NoHugePage = 15,
    /// Leaves the range out of core dumps.
    DontDump = 16,
    /// Undoes [`DontDump`](Self::DontDump).
    DoDump = 17,
    /// Gives children zeros in place of the range.
    WipeOnFork = 18,
    /// Undoes [`WipeOnFork`](Self::WipeOnFork).
    KeepOnFork = 19,
    /// Makes the pages the next to be reclaimed (Linux 5.4).
    Cold = 20,
    /// Reclaims the pages now (Linux 5.4). A page goes to swap only if there is some.
    PageOut = 21,
    /// Faults every page in for reading, with errors (Linux 5.14).
    PopulateRead = 22,
    /// Faults every page in for writing, with errors (Linux 5.14).
    PopulateWrite = 23,
    /// Drops the pages, even locked ones (Linux 5.18).
    DontNeedLocked = 24,
    /// Joins the pages to huge ones, now (Linux 6.1).
    Collapse = 25,
    /// Makes any access raise `SIGSEGV`, without a mapping of its own (Linux 6.13).
    GuardInstall = 102,
    /// Undoes [`GuardInstall`](Self::GuardInstall): the pages read as zeros.
    GuardRemove = 103,
}

/// Asks for huge pages under memory of this process: [`Advice::HugePage`] for its whole pages,
/// whose content stays as it is.
///
/// # Errors
/// `INVAL`: this kernel has no transparent huge pages.
///
/// # Kernel
/// `madvise(2)`, `MADV_HUGEPAGE` (2.6.38).
pub fn prefer_huge_pages(memory: &mut [u8]) -> Result<(), MapError> {
    let page = rustix::param::page_size();
    let before = memory.as_ptr().align_offset(page).min(memory.len());
    let pages = &mut memory[before..];
    let len = pages.len() - pages.len() % page;
    let advice = Advice::HugePage;
    // SAFETY: the pages lie in memory the caller has for itself, and keep their content.
    match unsafe { libc::madvise(pages.as_mut_ptr().cast(), len, advice as i32) } {
        0 => Ok(()),
        _ => {
            Err(MapError { op: MapOp::Advise(advice), len: Bytes::from(len), errno: last_errno() })
        }
    }
}

impl Mapping {
    /// Gives `advice` for a range of the mapping, starting at a page.
    ///
    /// If the range is registered with a userfaultfd that wants REMOVE events, the advice that
    /// drops pages **blocks** until the event was read: some other thread must read it.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `INVAL` | not at a page; or advice this kernel or this kind of memory does not take |
    /// | `AGAIN` | no memory for it right now (`Collapse`: try again) |
    /// | `BUSY` | `Collapse`: a page is in use elsewhere |
    /// | `FAULT` | `Populate…`: a fault ended in a signal |
    /// | `NOMEM` | out of memory, or `Populate…` met memory without permission |
    ///
    /// # Panics
    /// If the range leaves the mapping.
    ///
    /// # Kernel
    /// `madvise(2)`; the version is named at each [`Advice`].
    pub fn advise(&self, range: VaRange, advice: Advice) -> Result<(), MapError> {
        let start = self.pointer(range);
        // SAFETY: the range is inside the mapping (`pointer`), and all advice leaves it mapped.
        // What the memory holds may change, as it may at any time.
        let answer = unsafe { libc::madvise(start.cast(), range.len().as_usize(), advice as i32) };
        if answer == 0 {
            Ok(())
        } else {
            Err(MapError { op: MapOp::Advise(advice), len: range.len(), errno: last_errno() })
        }
    }

    /// Changes what may be done with a range of the mapping, starting at a page.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `INVAL` | not at a page |
    /// | `ACCESS` | shared memory of an object not open for writing |
    /// | `NOMEM` | too many mappings (`vm.max_map_count`) |
    ///
    /// # Panics
    /// If the range leaves the mapping.
    pub fn protect(&self, range: VaRange, protection: Protection) -> Result<(), MapError> {
        let start = self.pointer(range).cast();
        // SAFETY: the range is inside the mapping (`pointer`) and no reference into it exists.
        unsafe { mprotect(start, range.len().as_usize(), protection.change_flags()) }
            .map_err(|errno| MapError { op: MapOp::Protect, len: range.len(), errno })
    }
}
