//! What stands in a page table, in the words of a report.

use faultless_pages::Va;

use crate::id::{SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::{Cached, Owner};
use crate::process::{Area, Entry, Mapped, Marker};

/// What there is at a page: every kind of entry operations tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageKind {
    /// No area.
    Unmapped,
    /// No entry, no table it could stand in, and nothing behind it.
    NoTable,
    /// No entry, and nothing behind it.
    None,
    /// No entry; the object has the page.
    Behind,
    /// No entry; the object has the page in swap.
    BehindSwapped,
    /// An anonymous page nobody else may have.
    Own,
    /// The same, write-protected by a userfaultfd.
    OwnProtected,
    /// An anonymous page nobody else may have, pinned.
    Pinned,
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
    /// A transparent huge page others may have too.
    HugeShared,
    /// The same, write-protected.
    HugeSharedProtected,
    /// The huge page of zeros.
    HugeZero,
    /// The same, write-protected.
    HugeZeroProtected,
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
    /// The same, write-protected.
    SwappedSharedProtected,
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
        PageKind::NoTable,
        PageKind::None,
        PageKind::Behind,
        PageKind::BehindSwapped,
        PageKind::Own,
        PageKind::OwnProtected,
        PageKind::Pinned,
        PageKind::Shared,
        PageKind::SharedProtected,
        PageKind::Object,
        PageKind::ObjectProtected,
        PageKind::Zero,
        PageKind::ZeroProtected,
        PageKind::Huge,
        PageKind::HugeProtected,
        PageKind::HugeShared,
        PageKind::HugeSharedProtected,
        PageKind::HugeZero,
        PageKind::HugeZeroProtected,
        PageKind::Hugetlb,
        PageKind::HugetlbProtected,
        PageKind::Swapped,
        PageKind::SwappedProtected,
        PageKind::SwappedShared,
        PageKind::SwappedSharedProtected,
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
        let huge = state.spaces[space].table.huge(at).is_some();
        match state.entry(space, at) {
            Some(entry) => state.kind_of(entry, area.is_hugetlb(), huge),
            None => state.kind_behind(space, &area, at),
        }
    }
}

impl State {
    /// What there is where an area has no entry.
    fn kind_behind(&self, space: SpaceId, area: &Area, at: Va) -> PageKind {
        let offset = area.linear_of(self.page_at(area, at));
        let object = area.object().map(|object| &self.machine.objects[object]);
        match object.and_then(|object| object.pages.get(&offset)) {
            Some(Cached::Frame(_)) => PageKind::Behind,
            Some(Cached::Swapped(_)) => PageKind::BehindSwapped,
            None if self.spaces[space].table.has_table(at) || area.is_hugetlb() => PageKind::None,
            None => PageKind::NoTable,
        }
    }

    fn kind_of(&self, entry: Entry, hugetlb: bool, huge: bool) -> PageKind {
        let either = |protected: bool, yes, no| if protected { yes } else { no };
        let wp = entry.uffd_wp();
        match entry {
            Entry::Marker(Marker::WriteProtected) => PageKind::Marker,
            Entry::Marker(Marker::Poison { .. }) => PageKind::Poison,
            Entry::Marker(Marker::Guard { .. }) => PageKind::Guard,
            Entry::Zero { .. } if huge => {
                either(wp, PageKind::HugeZeroProtected, PageKind::HugeZero)
            }
            Entry::Zero { .. } => either(wp, PageKind::ZeroProtected, PageKind::Zero),
            Entry::Migrating(_) => PageKind::Migrating,
            Entry::Swapped { exclusive: false, .. } => {
                either(wp, PageKind::SwappedSharedProtected, PageKind::SwappedShared)
            }
            Entry::Swapped { .. } => either(wp, PageKind::SwappedProtected, PageKind::Swapped),
            Entry::Present(_) if hugetlb => {
                either(wp, PageKind::HugetlbProtected, PageKind::Hugetlb)
            }
            Entry::Present(mapped) if huge && !mapped.exclusive => {
                either(wp, PageKind::HugeSharedProtected, PageKind::HugeShared)
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
            (true, true, _) if frame.pins > 0 => PageKind::Pinned,
            (true, true, false) => PageKind::Own,
            (true, true, true) => PageKind::OwnProtected,
            (true, false, false) => PageKind::Shared,
            (true, false, true) => PageKind::SharedProtected,
        }
    }
}
