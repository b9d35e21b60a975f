//! How a scan fails.

use faultless_pages::VaRange;
use rustix::io::Errno;

use super::Category;
use crate::errno::Described;

/// A scan the kernel refused or broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// `NOTTY`: the kernel has no `PAGEMAP_SCAN`.
    #[error(
        "cannot scan the page table: this kernel has no PAGEMAP_SCAN; \
         use Linux 6.7 or newer, or read the pagemap entries"
    )]
    NotSupported,
    /// `INVAL`: the kernel does not know one of these categories.
    #[error(
        "cannot scan {range}: this kernel does not know all of the categories {categories:?}; \
         ask for known_categories only"
    )]
    UnknownCategory {
        /// What was to be scanned.
        range: VaRange,
        /// All categories named by the scan.
        categories: Category,
    },
    /// `PERM`: `check_wpasync` was asked for and does not hold.
    #[error(
        "cannot scan {range}: part of it is not registered for asynchronous write protection; \
         register it with a userfaultfd that has WP_ASYNC"
    )]
    NotTracked {
        /// What was to be scanned.
        range: VaRange,
    },
    /// `FAULT`: not addresses of user space.
    #[error("cannot scan {range}: it leaves the address space of user programs")]
    OutOfAddressSpace {
        /// What was to be scanned.
        range: VaRange,
    },
    /// `SRCH`: the process has ended, or runs another program since the page table was opened.
    #[error("cannot scan {range}: the memory of the process is gone; it has ended or called exec")]
    Gone {
        /// What was to be scanned.
        range: VaRange,
    },
    /// Anything else: `NOMEM`, `INTR` (the caller is being killed).
    #[error("cannot scan {range}: {}", Described(*errno))]
    Other {
        /// What was to be scanned.
        range: VaRange,
        /// What the kernel answered.
        #[source]
        errno: Errno,
    },
}

impl ScanError {
    pub(super) fn new(range: VaRange, categories: Category, errno: Errno) -> ScanError {
        match errno {
            Errno::NOTTY => ScanError::NotSupported,
            Errno::INVAL => ScanError::UnknownCategory { range, categories },
            Errno::PERM => ScanError::NotTracked { range },
            Errno::SRCH => ScanError::Gone { range },
            Errno::FAULT => ScanError::OutOfAddressSpace { range },
            errno => ScanError::Other { range, errno },
        }
    }
}
