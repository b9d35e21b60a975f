//! Feature bits of the handshake, and the kernel each came with.
//!
//! The bits are what a program must ask for; the kernel versions only explain an answer to a
//! person. Distributions backport, and two bits are announced by the manual for a kernel that
//! does not have them, so what a kernel can do is learnt from the handshake.

use crate::version::KernelVersion;

/// Bit 0: write-protect faults of anonymous memory are reported.
pub const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
/// Bit 1: fork is reported and hands over a descriptor for the child. Needs `CAP_SYS_PTRACE`.
pub const FEATURE_EVENT_FORK: u64 = 1 << 1;
/// Bit 2: mremap is reported, and keeps the registration.
pub const FEATURE_EVENT_REMAP: u64 = 1 << 2;
/// Bit 3: `MADV_DONTNEED`, `MADV_FREE` and `MADV_REMOVE` are reported before they drop pages.
pub const FEATURE_EVENT_REMOVE: u64 = 1 << 3;
/// Bit 4: hugetlb memory can be registered for missing faults.
pub const FEATURE_MISSING_HUGETLBFS: u64 = 1 << 4;
/// Bit 5: shared memory can be registered for missing faults.
pub const FEATURE_MISSING_SHMEM: u64 = 1 << 5;
/// Bit 6: munmap, and mappings made over old ones, are reported.
pub const FEATURE_EVENT_UNMAP: u64 = 1 << 6;
/// Bit 7: a fault raises SIGBUS in the faulting thread instead of sending a message.
pub const FEATURE_SIGBUS: u64 = 1 << 7;
/// Bit 8: fault messages name the faulting thread.
pub const FEATURE_THREAD_ID: u64 = 1 << 8;
/// Bit 9: hugetlb memory can be registered for minor faults.
pub const FEATURE_MINOR_HUGETLBFS: u64 = 1 << 9;
/// Bit 10: shared memory can be registered for minor faults.
pub const FEATURE_MINOR_SHMEM: u64 = 1 << 10;
/// Bit 11: fault messages carry the exact address, not the page's.
pub const FEATURE_EXACT_ADDRESS: u64 = 1 << 11;
/// Bit 12: shared and hugetlb memory can be write-protected.
pub const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
/// Bit 13: write-protection of anonymous memory also holds where no page is yet.
pub const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
/// Bit 14: POISON exists.
pub const FEATURE_POISON: u64 = 1 << 14;
/// Bit 15: the kernel resolves write-protect faults itself and only records them.
pub const FEATURE_WP_ASYNC: u64 = 1 << 15;
/// Bit 16: MOVE exists.
pub const FEATURE_MOVE: u64 = 1 << 16;
/// Bit 17: RWPROTECT exists: any access to a protected page faults.
pub const FEATURE_RWP: u64 = 1 << 17;
/// Bit 18: the kernel resolves read-write-protect faults itself. Only together with bit 17.
pub const FEATURE_RWP_ASYNC: u64 = 1 << 18;

/// A feature bit and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The bit's number.
    pub bit: u8,
    /// The name after `UFFD_FEATURE_`.
    pub name: &'static str,
    /// The first kernel that has it.
    pub since: KernelVersion,
    /// What works only with it, in a few words.
    pub gives: &'static str,
}

impl Feature {
    /// Returns the bit as a mask.
    #[must_use]
    pub const fn mask(&self) -> u64 {
        1 << self.bit
    }

    /// Returns the first kernel that has the feature on the architecture this is built for.
    ///
    /// [`HISTORY`] tells of x86-64, where most features came first. arm64 had no bit in its page
    /// table entries for write-protection before 6.10.
    #[must_use]
    pub fn since_here(&self) -> KernelVersion {
        const NEEDS_PAGE_TABLE_BIT: u64 = FEATURE_PAGEFAULT_FLAG_WP
            | FEATURE_WP_HUGETLBFS_SHMEM
            | FEATURE_WP_UNPOPULATED
            | FEATURE_WP_ASYNC;
        if cfg!(target_arch = "aarch64") && self.mask() & NEEDS_PAGE_TABLE_BIT != 0 {
            return self.since.max(KernelVersion::new(6, 10));
        }
        self.since
    }
}

const fn feature(
    mask: u64,
    name: &'static str,
    (major, minor): (u16, u16),
    gives: &'static str,
) -> Feature {
    #[expect(clippy::cast_possible_truncation, reason = "at most 63")]
    let bit = mask.trailing_zeros() as u8;
    Feature { bit, name, since: KernelVersion::new(major, minor), gives }
}

/// Every known feature, by bit.
///
/// The manual page dates bit 0 to 5.10 and bits 17 and 18 to 7.2; the kernel sources have them
/// from 5.7 (x86) and 7.3.
pub const HISTORY: &[Feature] = &[
    feature(
        FEATURE_PAGEFAULT_FLAG_WP,
        "PAGEFAULT_FLAG_WP",
        (5, 7),
        "write-protecting anonymous memory",
    ),
    feature(FEATURE_EVENT_FORK, "EVENT_FORK", (4, 11), "following fork into the child"),
    feature(FEATURE_EVENT_REMAP, "EVENT_REMAP", (4, 11), "following mremap"),
    feature(FEATURE_EVENT_REMOVE, "EVENT_REMOVE", (4, 11), "notice of madvise dropping pages"),
    feature(
        FEATURE_MISSING_HUGETLBFS,
        "MISSING_HUGETLBFS",
        (4, 11),
        "missing faults of hugetlb memory",
    ),
    feature(FEATURE_MISSING_SHMEM, "MISSING_SHMEM", (4, 11), "missing faults of shared memory"),
    feature(FEATURE_EVENT_UNMAP, "EVENT_UNMAP", (4, 11), "notice of munmap"),
    feature(FEATURE_SIGBUS, "SIGBUS", (4, 14), "faults answered by a signal handler"),
    feature(FEATURE_THREAD_ID, "THREAD_ID", (4, 14), "the faulting thread's id"),
    feature(FEATURE_MINOR_HUGETLBFS, "MINOR_HUGETLBFS", (5, 13), "minor faults of hugetlb memory"),
    feature(FEATURE_MINOR_SHMEM, "MINOR_SHMEM", (5, 14), "minor faults of shared memory"),
    feature(FEATURE_EXACT_ADDRESS, "EXACT_ADDRESS", (5, 18), "the exact faulting address"),
    feature(
        FEATURE_WP_HUGETLBFS_SHMEM,
        "WP_HUGETLBFS_SHMEM",
        (5, 19),
        "write-protecting shared and hugetlb memory",
    ),
    feature(
        FEATURE_WP_UNPOPULATED,
        "WP_UNPOPULATED",
        (6, 4),
        "write-protecting anonymous memory where no page is yet",
    ),
    feature(FEATURE_POISON, "POISON", (6, 6), "marking pages as lost"),
    feature(FEATURE_WP_ASYNC, "WP_ASYNC", (6, 7), "tracking writes without messages"),
    feature(FEATURE_MOVE, "MOVE", (6, 8), "moving pages without copying them"),
    feature(FEATURE_RWP, "RWP", (7, 3), "faults on any access to a protected page"),
    feature(FEATURE_RWP_ASYNC, "RWP_ASYNC", (7, 3), "tracking accesses without messages"),
];

/// Every known bit.
pub const KNOWN: u64 = (1 << HISTORY.len()) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_names_every_bit_once_in_order() {
        for (index, feature) in HISTORY.iter().enumerate() {
            assert_eq!(usize::from(feature.bit), index, "{}", feature.name);
        }
        assert_eq!(KNOWN, 0x7_ffff);
    }
}
