//! The features of a userfaultfd as a set.

use std::fmt;

use bitflags::bitflags;
use faultless_uapi::feature as bit;

bitflags! {
    /// Features of a userfaultfd. Bits of kernels yet to come are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Write-protect faults of anonymous memory (5.7).
        const PAGEFAULT_FLAG_WP = bit::FEATURE_PAGEFAULT_FLAG_WP;
        /// Report fork, with a descriptor for the child (4.11); needs `CAP_SYS_PTRACE`.
        const EVENT_FORK = bit::FEATURE_EVENT_FORK;
        /// Report mremap and keep the registration (4.11).
        const EVENT_REMAP = bit::FEATURE_EVENT_REMAP;
        /// Report madvise before it drops pages (4.11).
        const EVENT_REMOVE = bit::FEATURE_EVENT_REMOVE;
        /// Missing faults of hugetlb memory (4.11).
        const MISSING_HUGETLBFS = bit::FEATURE_MISSING_HUGETLBFS;
        /// Missing faults of shared memory (4.11).
        const MISSING_SHMEM = bit::FEATURE_MISSING_SHMEM;
        /// Report munmap (4.11).
        const EVENT_UNMAP = bit::FEATURE_EVENT_UNMAP;
        /// Raise SIGBUS instead of sending messages (4.14).
        const SIGBUS = bit::FEATURE_SIGBUS;
        /// Name the faulting thread (4.14).
        const THREAD_ID = bit::FEATURE_THREAD_ID;
        /// Minor faults of hugetlb memory (5.13).
        const MINOR_HUGETLBFS = bit::FEATURE_MINOR_HUGETLBFS;
        /// Minor faults of shared memory (5.14).
        const MINOR_SHMEM = bit::FEATURE_MINOR_SHMEM;
        /// Report the exact address (5.18).
        const EXACT_ADDRESS = bit::FEATURE_EXACT_ADDRESS;
        /// Write-protection of shared and hugetlb memory (5.19).
        const WP_HUGETLBFS_SHMEM = bit::FEATURE_WP_HUGETLBFS_SHMEM;
        /// Write-protection of anonymous memory where no page is yet (6.4).
        const WP_UNPOPULATED = bit::FEATURE_WP_UNPOPULATED;
        /// POISON (6.6).
        const POISON = bit::FEATURE_POISON;
        /// Track writes without messages (6.7).
        const WP_ASYNC = bit::FEATURE_WP_ASYNC;
        /// MOVE (6.8).
        const MOVE = bit::FEATURE_MOVE;
        /// Faults on any access to a protected page (7.3).
        const RWP = bit::FEATURE_RWP;
        /// Track accesses without messages (7.3); only together with `RWP`.
        const RWP_ASYNC = bit::FEATURE_RWP_ASYNC;
        const _ = !0;
    }
}

impl Features {
    /// The features that report events. While an event is unread, operations that fill pages are
    /// held back with EAGAIN.
    pub const EVENTS: Features = Features::EVENT_FORK
        .union(Features::EVENT_REMAP)
        .union(Features::EVENT_REMOVE)
        .union(Features::EVENT_UNMAP);

    /// Returns the features that come on when these are asked for.
    pub(crate) fn effective(self) -> Features {
        if self.contains(Features::WP_ASYNC) { self | Features::WP_UNPOPULATED } else { self }
    }

    /// Removes what the kernel refuses for the company it is in.
    pub(crate) fn consistent(self) -> Features {
        if self.contains(Features::RWP) { self } else { self - Features::RWP_ASYNC }
    }
}

/// Prints `EVENT_FORK, MOVE`; bits without a name as a number.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for feature in bit::HISTORY.iter().filter(|known| self.bits() & known.mask() != 0) {
            write!(f, "{separator}{} (Linux {})", feature.name, feature.since)?;
            separator = ", ";
        }
        match self.bits() & !bit::KNOWN {
            0 if self.is_empty() => f.write_str("none"),
            0 => Ok(()),
            unknown => write!(f, "{separator}{unknown:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_print_names_and_versions_and_keep_unknown_bits() {
        let features = Features::MOVE | Features::from_bits_retain(1 << 40);
        assert_eq!(features.to_string(), "MOVE (Linux 6.8), 0x10000000000");
        assert_eq!(Features::empty().to_string(), "none");
    }

    #[test]
    fn every_known_bit_has_a_name_here() {
        assert_eq!(Features::all().iter_names().count(), bit::HISTORY.len());
        for (name, feature) in Features::all().iter_names() {
            let known = &bit::HISTORY[feature.bits().trailing_zeros() as usize];
            assert_eq!(name, known.name);
        }
    }

    #[test]
    fn asynchronous_tracking_is_left_out_without_its_base() {
        assert_eq!(Features::RWP_ASYNC.consistent(), Features::empty());
        let both = Features::RWP | Features::RWP_ASYNC;
        assert_eq!(both.consistent(), both);
        assert!(Features::WP_ASYNC.effective().contains(Features::WP_UNPOPULATED));
    }
}
