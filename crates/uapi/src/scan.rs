//! Bits of `PAGEMAP_SCAN` and of the entries of `/proc/PID/pagemap`.

/// Flags of a scan.
pub mod flag {
    /// Write-protect the pages that match and were written, in the same pass.
    pub const WP_MATCHING: u64 = 1 << 0;
    /// Fail with EPERM where write tracking without messages is not set up.
    pub const CHECK_WPASYNC: u64 = 1 << 1;
}

/// Categories of pages. All since 6.7 unless stated.
pub mod category {
    /// The page's mapping is registered for write tracking.
    pub const PAGE_IS_WPALLOWED: u64 = 1 << 0;
    /// The page was written since it was protected.
    pub const PAGE_IS_WRITTEN: u64 = 1 << 1;
    /// The page belongs to a file or to shared memory.
    pub const PAGE_IS_FILE: u64 = 1 << 2;
    /// The page is in memory.
    pub const PAGE_IS_PRESENT: u64 = 1 << 3;
    /// The page is in swap.
    pub const PAGE_IS_SWAPPED: u64 = 1 << 4;
    /// The page is the kernel's shared page of zeros.
    pub const PAGE_IS_PFNZERO: u64 = 1 << 5;
    /// The page is part of a huge page.
    pub const PAGE_IS_HUGE: u64 = 1 << 6;
    /// The page is soft-dirty.
    pub const PAGE_IS_SOFT_DIRTY: u64 = 1 << 7;
    /// The page is a guard installed by madvise. Since 6.15.
    pub const PAGE_IS_GUARD: u64 = 1 << 8;
    /// The page was accessed since it was read-write-protected. Since 7.3.
    pub const PAGE_IS_ACCESSED: u64 = 1 << 9;
}

/// Bits of a 64-bit entry of `/proc/PID/pagemap`.
pub mod pagemap {
    /// The page is soft-dirty.
    pub const SOFT_DIRTY: u64 = 1 << 55;
    /// The page is mapped by one process only.
    pub const EXCLUSIVE: u64 = 1 << 56;
    /// The page is write-protected by userfaultfd; from 7.3 on also read-write-protected.
    pub const UFFD_WP: u64 = 1 << 57;
    /// The page is a guard installed by madvise. Since 6.15.
    pub const GUARD: u64 = 1 << 58;
    /// The page belongs to a file or is shared anonymous memory.
    pub const FILE_OR_SHARED: u64 = 1 << 61;
    /// The page is in swap.
    pub const SWAPPED: u64 = 1 << 62;
    /// The page is in memory.
    pub const PRESENT: u64 = 1 << 63;
}
