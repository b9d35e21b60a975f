//! Categories of pages.

use faultless_uapi::scan::category as bit;

bitflags::bitflags! {
    /// What a scan can tell about a page. A bit that the running kernel does not know makes a
    /// scan fail: see [`PagemapScan::known_categories`](super::PagemapScan::known_categories).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Category: u64 {
        /// Its mapping is registered for write protection with asynchronous resolution, so
        /// `WRITTEN` means something and the scan may protect it again.
        const WPALLOWED = bit::PAGE_IS_WPALLOWED;
        /// Not write-protected through a userfaultfd: written since it was protected, or never
        /// protected. Before Linux 7.3 every page of an unregistered mapping is in it.
        const WRITTEN = bit::PAGE_IS_WRITTEN;
        /// Belongs to a file or to shared memory.
        const FILE = bit::PAGE_IS_FILE;
        /// In memory.
        const PRESENT = bit::PAGE_IS_PRESENT;
        /// On swap; or nothing but a marker lies in its place (write-protect, poison, guard).
        const SWAPPED = bit::PAGE_IS_SWAPPED;
        /// The kernel's shared page of zeros.
        const PFNZERO = bit::PAGE_IS_PFNZERO;
        /// Part of a huge page, transparent or from the pool.
        const HUGE = bit::PAGE_IS_HUGE;
        /// Written since the soft-dirty bits were last cleared (needs `CONFIG_MEM_SOFT_DIRTY`).
        const SOFT_DIRTY = bit::PAGE_IS_SOFT_DIRTY;
        /// A guard region (Linux 6.15).
        const GUARD = bit::PAGE_IS_GUARD;
        /// Accessed since it was read-protected through a userfaultfd (Linux 7.3).
        const ACCESSED = bit::PAGE_IS_ACCESSED;
        // A kernel may report bits that are younger than this crate.
        const _ = !0;
    }
}
