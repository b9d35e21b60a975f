//! What programs are drawn from: what two worlds have in common.

use super::deed::Deed;
use crate::conform::Profile;

/// What programs may use.
#[derive(Clone, Debug)]
pub struct Palette {
    /// Kinds of operation that do not come.
    pub left_out: Vec<Deed>,
    /// Feature bits that may be asked for.
    pub features: u64,
    /// There are transparent huge pages.
    pub transparent_huge_pages: bool,
    /// There are hugetlb pages.
    pub hugetlb: bool,
    /// There are regular files.
    pub regular_files: bool,
}

impl Palette {
    /// What both worlds can do.
    #[must_use]
    pub fn of(ours: &Profile, theirs: &Profile) -> Palette {
        let mut left_out = Vec::new();
        let mut without = |lacking: bool, deeds: &[Deed]| {
            if lacking {
                left_out.extend(deeds);
            }
        };
        without(!(ours.has_swap && theirs.has_swap), &[Deed::Pageout]);
        without(!(ours.has_scan && theirs.has_scan), &[Deed::Scan]);
        without(!(ours.has_pinning && theirs.has_pinning), &[Deed::Pin]);
        without(!(ours.places_heap && theirs.places_heap), &[Deed::Brk]);
        let guards = ours.has_guards() && theirs.has_guards();
        without(!guards, &[Deed::GuardInstall, Deed::GuardRemove]);
        let both = |ask: fn(&Profile) -> bool| ask(ours) && ask(theirs);
        Palette {
            left_out,
            features: ours.features & theirs.features,
            transparent_huge_pages: both(|p| p.transparent_huge_page.is_some()),
            hugetlb: both(|p| p.hugetlb_page.is_some()),
            regular_files: both(|p| p.has_regular_files),
        }
    }

    /// Keeps to a few kinds of operation, on base pages: for a search that knows what for.
    #[must_use]
    pub fn about(self, theme: &[Deed]) -> Palette {
        let left_out = Deed::ALL.iter().filter(|deed| !theme.contains(deed)).copied().collect();
        let (transparent_huge_pages, hugetlb, regular_files) = (false, false, false);
        Palette { left_out, transparent_huge_pages, hugetlb, regular_files, ..self }
    }
}
