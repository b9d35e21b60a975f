//! Bodies the model does not pass yet. The list only shrinks: a body named here that passes fails
//! the run until its name is taken off.

/// Topic and name of each.
pub(super) const PENDING: &[&str] = &[
    "hugetlb::missing_page_is_filled_whole",
    "hugetlb::minor_faults_are_continued",
    "hugetlb::huge_page_is_poisoned",
    "hugetlb::punched_pages_are_missing_again",
    "hugetlb::sigbus_works_too",
    "hugetlb_wp::missing_pages_are_protected",
];
