//! Holds this crate against bindings that others generate from the kernel's headers.
//!
//! The bindings lack, as of version 0.12: the numbers of MOVE, POISON, RWPROTECT, `SET_MODE`,
//! `PAGEMAP_SCAN` and `USERFAULTFD_IOC_NEW`, the modes of requests other than REGISTER, COPY and
//! ZEROPAGE, and everything new in 7.3. Those numbers follow from the struct sizes compared
//! here and from the packing, which the other numbers prove.

use std::mem::{offset_of, size_of};

use faultless_uapi as ours;
use linux_raw_sys::{general as theirs, ioctl as their_ioctl};
use ours::{event, feature, ioctl, mode, scan, structs};

type Pair = (&'static str, u64, u64);

/// Pairs each of our constants with theirs, by a common name.
macro_rules! pairs {
    ($($ours:path = $theirs:path,)+) => {
        &[$((stringify!($ours), $ours as u64, $theirs as u64),)+]
    };
}

const CONSTANTS: &[Pair] = pairs! {
    ours::UFFD_API = theirs::UFFD_API,
    ours::UFFD_USER_MODE_ONLY = theirs::UFFD_USER_MODE_ONLY,
    ours::syscall::SYS_USERFAULTFD = theirs::__NR_userfaultfd,
    ioctl::USERFAULTFD_IOC = theirs::USERFAULTFD_IOC,
    ioctl::nr::REGISTER = theirs::_UFFDIO_REGISTER,
    ioctl::nr::UNREGISTER = theirs::_UFFDIO_UNREGISTER,
    ioctl::nr::WAKE = theirs::_UFFDIO_WAKE,
    ioctl::nr::COPY = theirs::_UFFDIO_COPY,
    ioctl::nr::ZEROPAGE = theirs::_UFFDIO_ZEROPAGE,
    ioctl::nr::MOVE = theirs::_UFFDIO_MOVE,
    ioctl::nr::WRITEPROTECT = theirs::_UFFDIO_WRITEPROTECT,
    ioctl::nr::CONTINUE = theirs::_UFFDIO_CONTINUE,
    ioctl::nr::POISON = theirs::_UFFDIO_POISON,
    ioctl::nr::API = theirs::_UFFDIO_API,
    ioctl::UFFDIO_API = their_ioctl::UFFDIO_API,
    ioctl::UFFDIO_REGISTER = their_ioctl::UFFDIO_REGISTER,
    ioctl::UFFDIO_UNREGISTER = their_ioctl::UFFDIO_UNREGISTER,
    ioctl::UFFDIO_WAKE = their_ioctl::UFFDIO_WAKE,
    ioctl::UFFDIO_COPY = their_ioctl::UFFDIO_COPY,
    ioctl::UFFDIO_ZEROPAGE = their_ioctl::UFFDIO_ZEROPAGE,
    ioctl::UFFDIO_WRITEPROTECT = their_ioctl::UFFDIO_WRITEPROTECT,
    ioctl::UFFDIO_CONTINUE = their_ioctl::UFFDIO_CONTINUE,
    event::PAGEFAULT = theirs::UFFD_EVENT_PAGEFAULT,
    event::FORK = theirs::UFFD_EVENT_FORK,
    event::REMAP = theirs::UFFD_EVENT_REMAP,
    event::REMOVE = theirs::UFFD_EVENT_REMOVE,
    event::UNMAP = theirs::UFFD_EVENT_UNMAP,
    event::fault_flag::WRITE = theirs::UFFD_PAGEFAULT_FLAG_WRITE,
    event::fault_flag::WP = theirs::UFFD_PAGEFAULT_FLAG_WP,
    event::fault_flag::MINOR = theirs::UFFD_PAGEFAULT_FLAG_MINOR,
    feature::FEATURE_PAGEFAULT_FLAG_WP = theirs::UFFD_FEATURE_PAGEFAULT_FLAG_WP,
    feature::FEATURE_EVENT_FORK = theirs::UFFD_FEATURE_EVENT_FORK,
    feature::FEATURE_EVENT_REMAP = theirs::UFFD_FEATURE_EVENT_REMAP,
    feature::FEATURE_EVENT_REMOVE = theirs::UFFD_FEATURE_EVENT_REMOVE,
    feature::FEATURE_MISSING_HUGETLBFS = theirs::UFFD_FEATURE_MISSING_HUGETLBFS,
    feature::FEATURE_MISSING_SHMEM = theirs::UFFD_FEATURE_MISSING_SHMEM,
    feature::FEATURE_EVENT_UNMAP = theirs::UFFD_FEATURE_EVENT_UNMAP,
    feature::FEATURE_SIGBUS = theirs::UFFD_FEATURE_SIGBUS,
    feature::FEATURE_THREAD_ID = theirs::UFFD_FEATURE_THREAD_ID,
    feature::FEATURE_MINOR_HUGETLBFS = theirs::UFFD_FEATURE_MINOR_HUGETLBFS,
    feature::FEATURE_MINOR_SHMEM = theirs::UFFD_FEATURE_MINOR_SHMEM,
    feature::FEATURE_EXACT_ADDRESS = theirs::UFFD_FEATURE_EXACT_ADDRESS,
    feature::FEATURE_WP_HUGETLBFS_SHMEM = theirs::UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
    feature::FEATURE_WP_UNPOPULATED = theirs::UFFD_FEATURE_WP_UNPOPULATED,
    feature::FEATURE_POISON = theirs::UFFD_FEATURE_POISON,
    feature::FEATURE_WP_ASYNC = theirs::UFFD_FEATURE_WP_ASYNC,
    feature::FEATURE_MOVE = theirs::UFFD_FEATURE_MOVE,
    mode::register::MISSING = theirs::UFFDIO_REGISTER_MODE_MISSING,
    mode::register::WP = theirs::UFFDIO_REGISTER_MODE_WP,
    mode::register::MINOR = theirs::UFFDIO_REGISTER_MODE_MINOR,
    mode::copy::DONTWAKE = theirs::UFFDIO_COPY_MODE_DONTWAKE,
    mode::copy::WP = theirs::UFFDIO_COPY_MODE_WP,
    mode::zeropage::DONTWAKE = theirs::UFFDIO_ZEROPAGE_MODE_DONTWAKE,
    scan::flag::WP_MATCHING = theirs::PM_SCAN_WP_MATCHING,
    scan::flag::CHECK_WPASYNC = theirs::PM_SCAN_CHECK_WPASYNC,
    scan::category::PAGE_IS_WPALLOWED = theirs::PAGE_IS_WPALLOWED,
    scan::category::PAGE_IS_WRITTEN = theirs::PAGE_IS_WRITTEN,
    scan::category::PAGE_IS_FILE = theirs::PAGE_IS_FILE,
    scan::category::PAGE_IS_PRESENT = theirs::PAGE_IS_PRESENT,
    scan::category::PAGE_IS_SWAPPED = theirs::PAGE_IS_SWAPPED,
    scan::category::PAGE_IS_PFNZERO = theirs::PAGE_IS_PFNZERO,
    scan::category::PAGE_IS_HUGE = theirs::PAGE_IS_HUGE,
    scan::category::PAGE_IS_SOFT_DIRTY = theirs::PAGE_IS_SOFT_DIRTY,
    scan::category::PAGE_IS_GUARD = theirs::PAGE_IS_GUARD,
};

/// Pairs the size of a struct and the offsets of its fields with theirs.
macro_rules! layouts {
    ($($ours:ident = $theirs:ident { $($field:ident = $their_field:ident),+ },)+) => {
        &[$(
            (stringify!($ours), size_of::<structs::$ours>() as u64,
                size_of::<theirs::$theirs>() as u64),
            $((concat!(stringify!($ours), ".", stringify!($field)),
                offset_of!(structs::$ours, $field) as u64,
                offset_of!(theirs::$theirs, $their_field) as u64),)+
        )+]
    };
}

const LAYOUTS: &[Pair] = layouts! {
    UffdioApi = uffdio_api { api = api, features = features, ioctls = ioctls },
    UffdioRange = uffdio_range { start = start, len = len },
    UffdioRegister = uffdio_register { range = range, mode = mode, ioctls = ioctls },
    UffdioCopy = uffdio_copy { dst = dst, src = src, len = len, mode = mode, copy = copy },
    UffdioZeropage = uffdio_zeropage { range = range, mode = mode, zeropage = zeropage },
    UffdioWriteprotect = uffdio_writeprotect { range = range, mode = mode },
    UffdioContinue = uffdio_continue { range = range, mode = mode, mapped = mapped },
    UffdioPoison = uffdio_poison { range = range, mode = mode, updated = updated },
    UffdioMove = uffdio_move { dst = dst, src = src, len = len, mode = mode, move_ = move_ },
    PageRegion = page_region { start = start, end = end, categories = categories },
    PmScanArg = pm_scan_arg {
        size = size, flags = flags, start = start, end = end, walk_end = walk_end, vec = vec,
        vec_len = vec_len, max_pages = max_pages, category_inverted = category_inverted,
        category_mask = category_mask, category_anyof_mask = category_anyof_mask,
        return_mask = return_mask
    },
};

const MESSAGE: &[Pair] = &[
    ("UffdMsg", size_of::<ours::UffdMsg>() as u64, size_of::<theirs::uffd_msg>() as u64),
    (
        "UffdMsg.arg0",
        offset_of!(ours::UffdMsg, arg0) as u64,
        offset_of!(theirs::uffd_msg, arg) as u64,
    ),
];

const fn agree(pairs: &[Pair]) -> bool {
    let mut index = 0;
    while index < pairs.len() {
        if pairs[index].1 != pairs[index].2 {
            return false;
        }
        index += 1;
    }
    true
}

// At compile time too, so that checking for another architecture compares its numbers.
const _: () = assert!(agree(CONSTANTS));
const _: () = assert!(agree(LAYOUTS));
const _: () = assert!(agree(MESSAGE));

#[test]
fn constants_and_layouts_agree_with_the_generated_bindings() {
    for (name, ours, theirs) in CONSTANTS.iter().chain(LAYOUTS).chain(MESSAGE) {
        assert_eq!(ours, theirs, "{name}");
    }
}
