//! Why a bus error was raised.

use faultless_pages::{Bytes, VaRange};

use super::FaultInfo;
use crate::pagemap::{PageFlags, Pagemap};
use crate::process::ProcessError;
use crate::scan::{Category, PagemapScan};

/// Why an access raised `SIGBUS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BusCause {
    /// The page was poisoned, by a userfaultfd or by failing memory: no access will ever work
    /// until the page is dropped.
    Poison,
    /// The page is missing or write-protected, in the range of a userfaultfd in SIGBUS mode
    /// that can still resolve it; or it lies behind the end of a file, or no huge page is left.
    /// It may also be there by now: then the access only has to be made again.
    Unresolved,
}

/// Tells a poisoned page from one whose fault can be resolved, by the page table.
///
/// The signal's code does not tell: a kernel without `CONFIG_MEMORY_FAILURE` gives `BUS_ADRERR`
/// for both. Made to be called in a handler: it is async-signal-safe, with a [`Pagemap`] of the
/// own process opened before.
///
/// On a kernel before 6.7 a poisoned hugetlb page counts as [`BusCause::Unresolved`]: its
/// pagemap word is empty.
///
/// # Errors
/// As for [`Pagemap::entries`].
pub fn bus_cause(pagemap: &Pagemap, fault: &FaultInfo) -> Result<BusCause, ProcessError> {
    if fault.code == libc::BUS_MCEERR_AR {
        return Ok(BusCause::Poison);
    }
    let flags = pagemap.entry(fault.address)?.flags();
    // A page on swap is read in, not refused; so an entry of this kind at a refused access is a
    // marker, and one that is neither a write-protection nor a guard is a poison.
    let others = PageFlags::PRESENT | PageFlags::UFFD_WP | PageFlags::GUARD;
    let poisoned = match flags.contains(PageFlags::SWAPPED) {
        true => !flags.intersects(others),
        false => !flags.intersects(others) && is_poisoned_huge_page(pagemap, fault),
    };
    Ok(if poisoned { BusCause::Poison } else { BusCause::Unresolved })
}

/// Looks for a marker in the place of a hugetlb page, which pagemap words do not show.
fn is_poisoned_huge_page(pagemap: &Pagemap, fault: &FaultInfo) -> bool {
    let page = VaRange::of(fault.address, Bytes(1));
    let markers = PagemapScan::new().required(Category::HUGE | Category::SWAPPED);
    markers.finds_any(pagemap, page).unwrap_or(false)
}

#[cfg(test)]
mod tests;
