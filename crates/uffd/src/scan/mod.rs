//! `PAGEMAP_SCAN`: finding pages by category, and write-protecting them again in the same pass.
//!
//! A [`PagemapScan`] says which pages are looked for and what is reported about them; it is
//! applied to ranges of an open [`Pagemap`]. The kernel merges neighbouring pages of equal
//! categories into one [`ScanRegion`], so the answer is as long as memory is fragmented, not as
//! it is large.
//!
//! A page matches when, after inverting the `inverted` categories, it has all the `required`
//! ones and (if any are named) at least one of `anyof`.

mod category;
mod error;

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use faultless_pages::{Va, VaRange};
use faultless_uapi::scan::flag;
use faultless_uapi::{PageRegion, PmScanArg, ioctl};
use rustix::io::Errno;

use crate::pagemap::Pagemap;
use crate::sys::last_errno;

pub use category::Category;
pub use error::ScanError;

/// How many regions one call to the kernel returns at most.
// 24 KiB of stack. The kernel gathers 512 at a time; twice that halves the calls over sparse
// memory, more made no difference.
const REGIONS_PER_CALL: usize = 1024;

/// A run of pages in equal categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScanRegion {
    /// The pages.
    pub range: VaRange,
    /// Those of the categories asked for that they are in.
    pub categories: Category,
}

/// Which pages to find, and what to do with them.
///
/// ```
/// use faultless_pages::Bytes;
/// use faultless_uffd::{Category, Mapping, Pagemap, PagemapScan, ScanError};
///
/// let memory = Mapping::anonymous(Bytes::kib(64))?;
/// memory.store_u64(Bytes::kib(8), 1);
/// let present = PagemapScan::new().required(Category::PRESENT);
/// let mut found = Vec::new();
/// match present.scan_all(&Pagemap::of_self()?, memory.range(), &mut found) {
///     Ok(()) => assert!(found[0].range.covers(memory.range_of(Bytes::kib(8), Bytes(8)))),
///     Err(ScanError::NotSupported) => println!("before Linux 6.7"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct PagemapScan {
    required: Category,
    inverted: Category,
    anyof: Category,
    return_mask: Option<Category>,
    flags: u64,
    /// 0 is no limit.
    max_pages: u64,
}

impl PagemapScan {
    /// Begins a scan that matches every page and reports no categories.
    pub fn new() -> PagemapScan {
        PagemapScan::default()
    }

    /// Names categories a page must be in, all of them.
    pub fn required(self, required: Category) -> PagemapScan {
        PagemapScan { required, ..self }
    }

    /// Names categories whose meaning is turned round before matching: with `SWAPPED` both
    /// required and inverted, pages match that are *not* on swap. Reported is what is.
    pub fn inverted(self, inverted: Category) -> PagemapScan {
        PagemapScan { inverted, ..self }
    }

    /// Names categories of which a page must be in one at least.
    pub fn anyof(self, anyof: Category) -> PagemapScan {
        PagemapScan { anyof, ..self }
    }

    /// Names the categories to report; by default those that are required or any of which is.
    /// Fewer categories make longer regions.
    pub fn return_mask(self, mask: Category) -> PagemapScan {
        PagemapScan { return_mask: Some(mask), ..self }
    }

    /// Write-protects the pages that match and are `WRITTEN`, each in one step with looking at
    /// it: no write is lost between. Pages of mappings that are not `WPALLOWED` are reported
    /// but left alone.
    pub fn wp_matching(self) -> PagemapScan {
        PagemapScan { flags: self.flags | flag::WP_MATCHING, ..self }
    }

    /// Makes the scan fail with [`ScanError::NotTracked`] at a mapping that is not `WPALLOWED`.
    pub fn check_wpasync(self) -> PagemapScan {
        PagemapScan { flags: self.flags | flag::CHECK_WPASYNC, ..self }
    }

    /// Ends each [`scan`](Self::scan) after this many matching pages; 0 is no limit.
    pub fn max_pages(self, max_pages: u64) -> PagemapScan {
        PagemapScan { max_pages, ..self }
    }

    /// Scans the pages that `range` touches, once.
    ///
    /// Adds what it finds to `found`, in order, and returns where the walk ended: at the end of
    /// the range (rounded up to a page), or before it because `max_pages` were found or one
    /// call's room for regions was used up. Continue from there, or use
    /// [`scan_all`](Self::scan_all).
    ///
    /// Allocates only what `found` needs to grow.
    ///
    /// # Errors
    /// | error | errno | meaning |
    /// |---|---|---|
    /// | [`NotSupported`](ScanError::NotSupported) | `NOTTY` | kernel older than 6.7 |
    /// | [`UnknownCategory`](ScanError::UnknownCategory) | `INVAL` | a category too new for it |
    /// | [`NotTracked`](ScanError::NotTracked) | `PERM` | `check_wpasync` does not hold |
    /// | [`OutOfAddressSpace`](ScanError::OutOfAddressSpace) | `FAULT` | not user memory |
    /// | [`Gone`](ScanError::Gone) | `SRCH` | the process has ended or called `exec` |
    /// | [`Other`](ScanError::Other) | `NOMEM`, `INTR` | no memory; being killed |
    ///
    /// # Kernel
    /// Linux 6.7, `PAGEMAP_SCAN` on `/proc/PID/pagemap`.
    pub fn scan(
        &self,
        pagemap: &Pagemap,
        range: VaRange,
        found: &mut Vec<ScanRegion>,
    ) -> Result<Va, ScanError> {
        let mut regions = [const { MaybeUninit::uninit() }; REGIONS_PER_CALL];
        let range = pagemap.pages_of(range);
        let (regions, walk_end) = self.walk(pagemap, range, &mut regions)?;
        // Older kernels (6.12) find no pages where there is no process any more.
        if regions.is_empty() && !range.is_empty() && !pagemap.has_memory(range.start()) {
            return Err(ScanError::Gone { range });
        }
        found.reserve(regions.len());
        for region in regions {
            push(found, region);
        }
        Ok(walk_end)
    }

    /// Scans the pages that `range` touches, to the end.
    ///
    /// # Errors
    /// As for [`scan`](Self::scan); what was found before stays in `found`.
    pub fn scan_all(
        &self,
        pagemap: &Pagemap,
        range: VaRange,
        found: &mut Vec<ScanRegion>,
    ) -> Result<(), ScanError> {
        let mut rest = pagemap.pages_of(range);
        while !rest.is_empty() {
            let walk_end = self.scan(pagemap, rest, found)?;
            rest = VaRange::new(walk_end, rest.end());
        }
        Ok(())
    }

    /// Write-protects the matching pages that `range` touches and reports nothing: the first
    /// pass of write tracking.
    ///
    /// # Errors
    /// As for [`scan`](Self::scan).
    pub fn protect_all(&self, pagemap: &Pagemap, range: VaRange) -> Result<(), ScanError> {
        let mut rest = pagemap.pages_of(range);
        let scan = self.wp_matching();
        while !rest.is_empty() {
            let (_, walk_end) = scan.walk(pagemap, rest, &mut [])?;
            rest = VaRange::new(walk_end, rest.end());
        }
        Ok(())
    }

    /// Says whether any page that `range` touches matches. Async-signal-safe.
    ///
    /// # Errors
    /// As for [`scan`](Self::scan).
    pub fn finds_any(&self, pagemap: &Pagemap, range: VaRange) -> Result<bool, ScanError> {
        let mut room = [MaybeUninit::uninit()];
        let (regions, _) = self.max_pages(1).walk(pagemap, pagemap.pages_of(range), &mut room)?;
        Ok(!regions.is_empty())
    }

    /// Asks the kernel which categories it knows.
    ///
    /// # Errors
    /// [`ScanError::NotSupported`] before Linux 6.7.
    pub fn known_categories(pagemap: &Pagemap) -> Result<Category, ScanError> {
        // The checks come before the walk, so a range without a mapping does.
        let page = pagemap.page_size().bytes();
        let nowhere = VaRange::of(Va(page.0), page);
        let mut known = Category::empty();
        for (_, category) in Category::all().iter_names() {
            let probe = PagemapScan::new().return_mask(category);
            match probe.walk(pagemap, nowhere, &mut []) {
                Ok(_) => known |= category,
                Err(ScanError::UnknownCategory { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    /// Makes one call, into `room`; with no room nothing is reported.
    fn walk<'r>(
        &self,
        pagemap: &Pagemap,
        range: VaRange,
        room: &'r mut [MaybeUninit<PageRegion>],
    ) -> Result<(&'r [PageRegion], Va), ScanError> {
        let mut arg = self.argument(range);
        if !room.is_empty() {
            arg.vec = room.as_mut_ptr().expose_provenance() as u64;
            arg.vec_len = room.len() as u64;
        }
        let count = call(pagemap, &mut arg)
            .map_err(|errno| ScanError::new(range, self.categories(), errno))?;
        let walk_end = Va(arg.walk_end);
        if walk_end < range.start() || range.end() < walk_end {
            // aarch64 looks past the top byte of an address and has walked other pages.
            return Err(ScanError::OutOfAddressSpace { range });
        }
        // SAFETY: the kernel has filled in as many regions as it says [K1].
        let filled = unsafe { room[..count.min(room.len())].assume_init_ref() };
        // The kernel gathers 512 regions at a time. If a later lot ends with the range it leaves
        // the end of an earlier one in `walk_end`: what it found since would be found again.
        let found_end = filled.last().map_or(walk_end, |last| Va(last.end));
        Ok((filled, walk_end.max(found_end)))
    }

    fn argument(&self, range: VaRange) -> PmScanArg {
        PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            flags: self.flags,
            start: range.start().0,
            end: range.end().0,
            max_pages: self.max_pages,
            category_inverted: self.inverted.bits(),
            category_mask: self.required.bits(),
            category_anyof_mask: self.anyof.bits(),
            return_mask: self.reported().bits(),
            ..PmScanArg::default()
        }
    }

    fn reported(&self) -> Category {
        self.return_mask.unwrap_or(self.required | self.anyof)
    }

    fn categories(&self) -> Category {
        self.required | self.inverted | self.anyof | self.reported()
    }
}

/// Makes the ioctl; `arg.vec` is null or points to `arg.vec_len` regions nobody else uses.
fn call(pagemap: &Pagemap, arg: &mut PmScanArg) -> Result<usize, Errno> {
    let fd = pagemap.as_fd().as_raw_fd();
    // SAFETY: the request takes a `PmScanArg`, and writes to it and to the regions it points to
    // only [K3].
    let count = unsafe { libc::ioctl(fd, ioctl::PAGEMAP_SCAN.into(), ptr::from_mut(arg)) };
    usize::try_from(count).map_err(|_| last_errno())
}

/// Adds a region, to the last one if the two are one that the end of a call has cut.
fn push(found: &mut Vec<ScanRegion>, region: &PageRegion) {
    let range = VaRange::new(Va(region.start), Va(region.end));
    let categories = Category::from_bits_retain(region.categories);
    match found.last_mut() {
        Some(last) if last.range.end() == range.start() && last.categories == categories => {
            last.range = VaRange::new(last.range.start(), range.end());
        }
        _ => found.push(ScanRegion { range, categories }),
    }
}

#[cfg(test)]
mod tests;
