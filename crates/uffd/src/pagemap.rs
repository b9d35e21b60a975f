//! The page table of a process, as `/proc/PID/pagemap` shows it: one word a page.
//!
//! [`Pagemap`] is also what a [scan](crate::PagemapScan) asks; for ranges of more than a few
//! pages the scan is faster, where the kernel has it.

use std::fmt;
use std::mem::size_of_val;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use faultless_pages::{Bytes, PageSize, Va, VaRange};
use faultless_uapi::scan::pagemap as bit;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, pread};
use rustix::process::Pid;

use crate::process::{ProcessError, ProcessOp};

bitflags::bitflags! {
    /// What a pagemap word says about its page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PageFlags: u64 {
        /// The page is in memory.
        const PRESENT = bit::PRESENT;
        /// The page is on swap; or nothing but a marker lies in its place (write-protect, poison,
        /// guard): markers are swap entries to the kernel. Not set for poisoned hugetlb pages.
        const SWAPPED = bit::SWAPPED;
        /// The page belongs to a file or to shared memory; `PRESENT` pages only.
        const FILE_OR_SHARED = bit::FILE_OR_SHARED;
        /// A guard region (Linux 6.15): access raises `SIGSEGV`.
        const GUARD = bit::GUARD;
        /// Write-protected through a userfaultfd (Linux 5.13); from 7.3 on also read-protected.
        const UFFD_WP = bit::UFFD_WP;
        /// Mapped once only (Linux 4.2).
        const EXCLUSIVE = bit::EXCLUSIVE;
        /// Written since the soft-dirty bits were last cleared (needs `CONFIG_MEM_SOFT_DIRTY`).
        const SOFT_DIRTY = bit::SOFT_DIRTY;
    }
}

/// One word of the pagemap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct PagemapEntry(pub u64);

/// The low bits hold a frame number or a swap entry.
const FRAME_BITS: u64 = (1 << 55) - 1;
/// The low bits of a swap entry name the swap file.
const SWAP_FILE_BITS: u32 = 5;

impl PagemapEntry {
    /// Returns the flags, bits this crate does not know left out.
    #[must_use]
    pub fn flags(self) -> PageFlags {
        PageFlags::from_bits_truncate(self.0)
    }

    /// Says whether the page is in memory.
    #[must_use]
    pub fn is_present(self) -> bool {
        self.flags().contains(PageFlags::PRESENT)
    }

    /// Says whether the page is on swap or replaced by a marker: [`PageFlags::SWAPPED`].
    #[must_use]
    pub fn is_swapped(self) -> bool {
        self.flags().contains(PageFlags::SWAPPED)
    }

    /// Says whether the page belongs to a file or to shared memory.
    #[must_use]
    pub fn is_file_or_shared(self) -> bool {
        self.flags().contains(PageFlags::FILE_OR_SHARED)
    }

    /// Says whether the page is write-protected through a userfaultfd.
    #[must_use]
    pub fn is_uffd_wp(self) -> bool {
        self.flags().contains(PageFlags::UFFD_WP)
    }

    /// Says whether the page is a guard region.
    #[must_use]
    pub fn is_guard(self) -> bool {
        self.flags().contains(PageFlags::GUARD)
    }

    /// Says whether the page is mapped once only.
    #[must_use]
    pub fn is_exclusive(self) -> bool {
        self.flags().contains(PageFlags::EXCLUSIVE)
    }

    /// Says whether the page was written since soft-dirty bits were last cleared.
    #[must_use]
    pub fn is_soft_dirty(self) -> bool {
        self.flags().contains(PageFlags::SOFT_DIRTY)
    }

    /// Returns the number of the frame a present page lies in; `None` where the kernel hides it
    /// from callers without `CAP_SYS_ADMIN`.
    #[must_use]
    pub fn frame(self) -> Option<u64> {
        let frame = self.0 & FRAME_BITS;
        (self.is_present() && frame != 0).then_some(frame)
    }

    /// Returns the swap file's number and the offset in it, in pages; `None` where the kernel
    /// hides them from callers without `CAP_SYS_ADMIN`. Markers have a number of their own.
    #[must_use]
    pub fn swap_slot(self) -> Option<(u64, u64)> {
        let slot = self.0 & FRAME_BITS;
        let file = slot & ((1 << SWAP_FILE_BITS) - 1);
        (self.is_swapped() && slot != 0).then_some((file, slot >> SWAP_FILE_BITS))
    }
}

impl fmt::Debug for PagemapEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x} [", self.0)?;
        bitflags::parser::to_writer(&self.flags(), &mut *f)?;
        f.write_str("]")
    }
}

/// The open page table of a process.
///
/// It stays bound to the memory the process had when this was opened: after an `exec` it shows
/// nothing, rather than the new program.
#[derive(Debug)]
pub struct Pagemap {
    fd: OwnedFd,
    pid: Pid,
    page_size: PageSize,
}

impl Pagemap {
    /// Opens the page table of process `pid`.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `NOENT` | no such process, or no `/proc` |
    /// | `ACCESS`, `PERM` | no `PTRACE_MODE_READ` right over it |
    /// | `MFILE`, `NFILE` | no descriptor free |
    pub fn open(pid: Pid) -> Result<Pagemap, ProcessError> {
        Pagemap::open_path(&format!("/proc/{}/pagemap", pid.as_raw_nonzero()), pid)
    }

    /// Opens the page table of the calling process.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn of_self() -> Result<Pagemap, ProcessError> {
        Pagemap::open_path("/proc/self/pagemap", rustix::process::getpid())
    }

    fn open_path(path: &str, pid: Pid) -> Result<Pagemap, ProcessError> {
        match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Pagemap { fd, pid, page_size: base_page_size() }),
            Err(errno) => Err(error(pid, errno)),
        }
    }

    /// Returns the process whose page table this is.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns the size of the pages the words stand for. A huge page has one word for each base
    /// page in it.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Reads the words of all pages that `range` touches into the front of `into`.
    ///
    /// Returns how many were read. Fewer than there are pages means that the address space ends
    /// there: at its top, or because the process is gone. Unmapped pages read as zero words.
    ///
    /// Makes no allocation and is async-signal-safe.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `NOMEM` | no memory for the kernel's own buffer |
    /// | `INTR` | the caller is being killed |
    ///
    /// # Panics
    /// If `into` is shorter than the range's pages.
    pub fn entries(
        &self,
        range: VaRange,
        into: &mut [PagemapEntry],
    ) -> Result<usize, ProcessError> {
        let range = self.pages_of(range);
        let pages = Bytes(range.page_count(self.page_size)).as_usize();
        let bytes = as_bytes_mut(&mut into[..pages]);
        let mut done = 0;
        while done < bytes.len() {
            let offset = range.start().0 / self.page_size.bytes().0 * 8 + done as u64;
            match pread(&self.fd, &mut bytes[done..], offset) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(errno) => return Err(error(self.pid, errno)),
            }
        }
        Ok(done / size_of::<PagemapEntry>())
    }

    /// Says whether the process still has the memory this page table was opened for; `address`
    /// is any that a program may have.
    pub(crate) fn has_memory(&self, address: Va) -> bool {
        let page = VaRange::of(address, Bytes(1));
        self.entries(page, &mut [PagemapEntry::default()]) != Ok(0)
    }

    /// Returns all pages that `range` touches; an empty range touches none.
    pub(crate) fn pages_of(&self, range: VaRange) -> VaRange {
        if range.is_empty() {
            let start = range.start().align_down(self.page_size);
            return VaRange::new(start, start);
        }
        range.widen(self.page_size)
    }

    /// Reads the word of the page at `address`; of no page at all, if the process is gone.
    ///
    /// # Errors
    /// As for [`entries`](Self::entries).
    pub fn entry(&self, address: Va) -> Result<PagemapEntry, ProcessError> {
        let mut entry = [PagemapEntry::default()];
        self.entries(VaRange::of(address, Bytes(1)), &mut entry)?;
        Ok(entry[0])
    }
}

impl AsFd for Pagemap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Returns the size of the pages this system pages in.
#[must_use]
pub fn base_page_size() -> PageSize {
    PageSize::new(Bytes::from(rustix::param::page_size())).expect("a page of at least 4 KiB")
}

fn as_bytes_mut(entries: &mut [PagemapEntry]) -> &mut [u8] {
    let len = size_of_val(entries);
    // SAFETY: an entry is a `repr(transparent)` word: no padding, every bit pattern valid; the
    // borrow of `entries` passes on to the result.
    unsafe { std::slice::from_raw_parts_mut(entries.as_mut_ptr().cast(), len) }
}

fn error(pid: Pid, errno: Errno) -> ProcessError {
    ProcessError { op: ProcessOp::Pagemap, pid, errno }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BEYOND_USER, skip};
    use crate::{Advice, Mapping, Protection};

    const PAGE: Bytes = Bytes::kib(4);

    fn entries(pagemap: &Pagemap, range: VaRange) -> Vec<PagemapEntry> {
        let pages = Bytes(range.page_count(pagemap.page_size())).as_usize();
        let mut entries = vec![PagemapEntry(u64::MAX); pages];
        assert_eq!(pagemap.entries(range, &mut entries), Ok(pages));
        entries
    }

    #[test]
    fn a_touched_page_is_present_and_an_untouched_one_is_not() {
        let mapping = Mapping::builder(Bytes(4 * 4096)).huge_pages(false).anonymous().unwrap();
        mapping.store_u64(PAGE, 1);
        let pagemap = Pagemap::of_self().unwrap();

        let [none, written, ..] = entries(&pagemap, mapping.range())[..] else {
            panic!("four pages");
        };

        // Where there are soft-dirty bits, a new mapping counts as written.
        assert_eq!(none.flags() - PageFlags::SOFT_DIRTY, PageFlags::empty());
        assert!(written.is_present());
        assert!(written.is_exclusive());
        assert!(!written.is_file_or_shared());
        assert_eq!(written.swap_slot(), None);
    }

    #[test]
    fn shared_memory_is_told_from_private_memory() {
        let mapping = Mapping::memfd(PAGE).unwrap();
        mapping.store_u64(Bytes::ZERO, 1);
        let entry = Pagemap::of_self().unwrap().entry(mapping.range().start()).unwrap();
        assert!(entry.is_file_or_shared(), "{entry:?}");
        assert!(entry.is_present());
    }

    #[test]
    fn two_mappings_of_a_page_are_not_exclusive() {
        let mapping = Mapping::memfd(PAGE).unwrap();
        let alias = mapping.alias().unwrap();
        mapping.store_u64(Bytes::ZERO, 1);
        assert_eq!(alias.load_u64(Bytes::ZERO), 1);
        let pagemap = Pagemap::of_self().unwrap();
        let entry = pagemap.entry(alias.range().start()).unwrap();
        assert!(!entry.is_exclusive(), "{entry:?}");
    }

    #[test]
    fn a_guard_region_shows_where_the_kernel_has_them() {
        let mapping = Mapping::anonymous(PAGE).unwrap();
        if let Err(error) = mapping.advise(mapping.range(), Advice::GuardInstall) {
            skip(error);
            return;
        }
        let pagemap = Pagemap::of_self().unwrap();
        let entry = pagemap.entry(mapping.range().start()).unwrap();
        assert!(entry.is_guard(), "{entry:?}");
        assert!(!entry.is_present());
    }

    #[test]
    fn unmapped_and_forbidden_memory_has_words_too() {
        let mapping = Mapping::anonymous(PAGE).unwrap();
        mapping.store_u64(Bytes::ZERO, 1);
        mapping.protect(mapping.range(), Protection::None).unwrap();
        let pagemap = Pagemap::of_self().unwrap();
        assert!(pagemap.entry(mapping.range().start()).unwrap().is_present());
        assert_eq!(pagemap.entry(Va(0)), Ok(PagemapEntry(0)));
    }

    #[test]
    fn the_address_space_ends_with_a_short_count() {
        let pagemap = Pagemap::of_self().unwrap();
        let beyond = VaRange::of(BEYOND_USER, PAGE);
        assert_eq!(pagemap.entries(beyond, &mut [PagemapEntry(7)]), Ok(0));
    }

    #[test]
    fn debug_names_the_flags() {
        let entry = PagemapEntry(1 << 63 | 1 << 57 | 0xabc);
        assert_eq!(format!("{entry:?}"), "0x8200000000000abc [PRESENT | UFFD_WP]");
        assert_eq!(entry.frame(), Some(0xabc));
        assert_eq!(PagemapEntry(1 << 62 | 2 << 5 | 31).swap_slot(), Some((31, 2)));
    }
}
