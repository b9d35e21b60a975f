//! Which pages of a process hold something.
//!
//! `PAGEMAP_SCAN` (Linux 6.7) where there is one, the words of `/proc/PID/pagemap` before.

use std::fs::File;
use std::io;

use faultless_pages::{Bytes, RangeSet, VaRange};
use faultless_uffd::{Category, Pagemap, PagemapEntry, PagemapScan, ScanError, ScanRegion};
use rustix::fs::{SeekFrom, seek};

use crate::vma::Vma;

/// Looks at page tables.
pub(super) struct Census<'a> {
    pagemap: &'a Pagemap,
    /// The categories `PAGEMAP_SCAN` knows; `None` if there is no such call.
    known: Option<Category>,
}

/// Pages looked at in one go without `PAGEMAP_SCAN`: 2 GiB of address space.
const WINDOW: usize = 512 << 10;

impl<'a> Census<'a> {
    /// Finds out how this kernel can be asked.
    pub(super) fn new(pagemap: &'a Pagemap) -> Census<'a> {
        Census { pagemap, known: PagemapScan::known_categories(pagemap).ok() }
    }

    /// Returns the pages of `range` that hold something, in memory or swapped out; pages that
    /// are zero for certain are left out. Categories tell huge pages and unprotected ones
    /// (`WRITTEN`).
    pub(super) fn present(&self, range: VaRange) -> io::Result<Vec<ScanRegion>> {
        let Some(known) = self.known else {
            return self.words(range, |entry| {
                (entry.is_present() || entry.is_swapped()) && !entry.is_guard()
            });
        };
        // Guards look swapped out. Where the kernel cannot tell them, they are found out later.
        let without = Category::PFNZERO | (Category::GUARD & known);
        let found = PagemapScan::new()
            .anyof(Category::PRESENT | Category::SWAPPED)
            .inverted(without)
            .required(without)
            .return_mask(Category::HUGE | Category::WRITTEN);
        self.scan(found, range)
    }

    /// Returns the pages of a private file mapping that are the program's own: not the file's
    /// any more because it has written to them.
    pub(super) fn written(&self, range: VaRange) -> io::Result<Vec<VaRange>> {
        let found = if self.known.is_some() {
            let own = PagemapScan::new()
                .anyof(Category::PRESENT | Category::SWAPPED)
                .inverted(Category::FILE)
                .required(Category::FILE)
                .return_mask(Category::empty());
            self.scan(own, range)?
        } else {
            self.words(range, |entry| {
                (entry.is_present() || entry.is_swapped()) && !entry.is_file_or_shared()
            })?
        };
        Ok(found.into_iter().map(|region| region.range).collect())
    }

    /// Adds the pages of a shared memory object that are in memory or swapped out, whoever
    /// touched them; `false` if the object cannot be looked at.
    ///
    /// # Kernel
    /// `/proc/PID/map_files` needs `CAP_CHECKPOINT_RESTORE` (5.9) or `CAP_SYS_ADMIN`; shared
    /// memory answers `SEEK_DATA` since 3.1.
    pub(super) fn object(&self, pid: u32, vma: &Vma, held: &mut RangeSet) -> bool {
        let path = format!("/proc/{pid}/map_files/{}", vma.range);
        let Ok(file) = File::open(path) else { return false };
        let end = vma.offset.0 + vma.range.len().0;
        let mut at = vma.offset.0;
        while at < end {
            let Ok(data) = seek(&file, SeekFrom::Data(at)) else { break };
            let hole = seek(&file, SeekFrom::Hole(data)).unwrap_or(end);
            let (from, to) = (data.min(end), hole.min(end));
            let place = |offset: u64| vma.range.start().add(Bytes(offset - vma.offset.0));
            held.insert(VaRange::new(place(from), place(to)).widen(self.pagemap.page_size()));
            at = hole.max(at + 1);
        }
        true
    }

    fn scan(&self, scan: PagemapScan, range: VaRange) -> io::Result<Vec<ScanRegion>> {
        let mut found = Vec::new();
        match scan.scan_all(self.pagemap, range, &mut found) {
            Ok(()) => Ok(found),
            Err(ScanError::Gone { .. }) => Err(io::Error::from(rustix::io::Errno::SRCH)),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Reads page table words one by one and returns the runs that match.
    fn words(
        &self,
        range: VaRange,
        matches: impl Fn(PagemapEntry) -> bool,
    ) -> io::Result<Vec<ScanRegion>> {
        let page = self.pagemap.page_size();
        let mut entries = Vec::new();
        let mut found: Vec<ScanRegion> = Vec::new();
        for window in range.chunks(Bytes((WINDOW as u64) << page.shift())) {
            let pages = usize::try_from(window.page_count(page)).expect("pages of a window");
            entries.resize(pages, PagemapEntry::default());
            let read = self.pagemap.entries(window, &mut entries).map_err(io::Error::other)?;
            for (&entry, at) in entries[..read].iter().zip(window.chunks(page.bytes())) {
                if !matches(entry) {
                    continue;
                }
                let written = !entry.is_uffd_wp();
                let categories = if written { Category::WRITTEN } else { Category::empty() };
                let joins = |last: &&mut ScanRegion| {
                    last.range.end() == at.start() && last.categories == categories
                };
                match found.last_mut().filter(joins) {
                    Some(last) => last.range = VaRange::new(last.range.start(), at.end()),
                    None => found.push(ScanRegion { range: at, categories }),
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultless_uffd::Mapping;

    #[test]
    fn both_ways_of_asking_find_the_same_pages() {
        let memory = Mapping::anonymous(Bytes::mib(1)).expect("memory");
        for page in [0, 1, 2, 7, 100, 255] {
            memory.store_u64(Bytes::kib(4 * page), 1);
        }
        let pagemap = Pagemap::of_self().expect("/proc");
        let census = Census::new(&pagemap);
        let words = Census { pagemap: &pagemap, known: None };
        let ranges = |census: &Census<'_>| -> Vec<VaRange> {
            census.present(memory.range()).expect("a look").iter().map(|r| r.range).collect()
        };
        assert_eq!(ranges(&words).len(), 4);
        assert_eq!(ranges(&census), ranges(&words));
    }
}
