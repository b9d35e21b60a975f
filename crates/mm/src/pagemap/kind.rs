//! What stands in a page table, in the words of a report.

use faultless_pages::Va;

use crate::id::ThreadId;
use crate::kernel::{Kernel, State};
use crate::machine::Owner;
use crate::process::{Entry, Mapped, Marker};

/// What there is at a page: every kind of entry operations tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageKind {
    /// No area.
    Unmapped,
    /// No entry, and nothing behind it.
    None,
    /// No entry; the object has the page.
    Behind,
    /// An anonymous page nobody else may have.
    Own,
    /// The same, write-protected by a userfaultfd.
    OwnProtected,
    /// An anonymous page others may have too.
    Shared,
    /// The same, write-protected.
    SharedProtected,
    /// A page of an object.
    Object,
    /// The same, write-protected.
    ObjectProtected,
    /// The page of zeros.
    Zero,
    /// The same, write-protected.
    ZeroProtected,
    /// A transparent huge page.
    Huge,
    /// The same, write-protected.
    HugeProtected,
    /// A page of the hugetlb pool.
    Hugetlb,
    /// The same, write-protected.
    HugetlbProtected,
    /// A page in swap nobody else may have.
    Swapped,
    /// The same, write-protected.
    SwappedProtected,
    /// A page in swap others may have too.
    SwappedShared,
    /// A marker that protects what will come.
    Marker,
    /// A lost page.
    Poison,
    /// A guard.
    Guard,
    /// A page on the move. It never outlasts an operation.
    Migrating,
}

impl PageKind {
    /// Every kind an operation can find.
    pub const ALL: &[PageKind] = &[
        PageKind::Unmapped,
        PageKind::None,
        PageKind::Behind,
        PageKind::Own,
        PageKind::OwnProtected,
        PageKind::Shared,
        PageKind::SharedProtected,
        PageKind::Object,
        PageKind::ObjectProtected,
        PageKind::Zero,
        PageKind::ZeroProtected,
        PageKind::Huge,
        PageKind::HugeProtected,
        PageKind::Hugetlb,
        PageKind::HugetlbProtected,
        PageKind::Swapped,
        PageKind::SwappedProtected,
        PageKind::SwappedShared,
        PageKind::Marker,
        PageKind::Poison,
        PageKind::Guard,
    ];
}

impl Kernel {
    /// Says what there is at a page of a thread's process.
    #[must_use]
    pub fn page_kind(&self, who: ThreadId, at: Va) -> PageKind {
        let state = self.state();
        let space = state.space_of(who);
        let Some(area) = state.area(space, at) else { return PageKind::Unmapped };
        let Some(entry) = state.entry(space, at) else {
            let offset = area.linear_of(at);
            let behind = area
                .object()
                .is_some_and(|object| state.machine.objects[object].pages.contains_key(&offset));
            return if behind { PageKind::Behind } else { PageKind::None };
        };
        let huge = state.spaces[space].table.huge(at).is_some();
        state.kind_of(entry, area.is_hugetlb(), huge)
    }
}

impl State {
    fn kind_of(&self, entry: Entry, hugetlb: bool, huge: bool) -> PageKind {
        let either = |protected: bool, yes, no| if protected { yes } else { no };
        let wp = entry.uffd_wp();
        match entry {
            Entry::Marker(Marker::WriteProtected) => PageKind::Marker,
            Entry::Marker(Marker::Poison { .. }) => PageKind::Poison,
            Entry::Marker(Marker::Guard { .. }) => PageKind::Guard,
            Entry::Zero { .. } => either(wp, PageKind::ZeroProtected, PageKind::Zero),
            Entry::Migrating(_) => PageKind::Migrating,
            Entry::Swapped { exclusive: false, .. } => PageKind::SwappedShared,
            Entry::Swapped { .. } => either(wp, PageKind::SwappedProtected, PageKind::Swapped),
            Entry::Present(_) if hugetlb => {
                either(wp, PageKind::HugetlbProtected, PageKind::Hugetlb)
            }
            Entry::Present(_) if huge => either(wp, PageKind::HugeProtected, PageKind::Huge),
            Entry::Present(mapped) => self.kind_of_page(&mapped),
        }
    }

    fn kind_of_page(&self, mapped: &Mapped) -> PageKind {
        let frame = &self.machine.frames[self.machine.frames.head(mapped.frame)];
        let anonymous = matches!(frame.owner, Owner::Anon { .. });
        match (anonymous, mapped.exclusive, mapped.uffd_wp) {
            (false, _, false) => PageKind::Object,
            (false, _, true) => PageKind::ObjectProtected,
            (true, true, false) => PageKind::Own,
            (true, true, true) => PageKind::OwnProtected,
            (true, false, false) => PageKind::Shared,
            (true, false, true) => PageKind::SharedProtected,
        }
    }
}
