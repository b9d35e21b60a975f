//! The categories a scan puts pages into.
//!
//! Since 7.3 what the one bit for protection tells hangs on the area: pages of areas registered
//! for WP are WRITTEN without it, those of areas registered for RWP are ACCESSED. Before, every
//! page was WRITTEN without it.

use faultless_uapi::mode::register;
use faultless_uapi::scan::category::*;

use crate::kernel::State;
use crate::machine::Owner;
use crate::process::{Area, Entry, Mapped, Marker};

/// What lies at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No page table: a range of pages nobody ever touched.
    NoTable,
    /// An entry of a page table, or an empty place in one.
    Page(Option<Entry>),
    /// A huge page.
    Huge(Entry),
}

impl State {
    /// The categories this kernel knows.
    pub(super) fn known_categories(&self) -> u64 {
        let guard = if self.profile.shows_guards { PAGE_IS_GUARD } else { 0 };
        let accessed = if self.profile.written_needs_wp { PAGE_IS_ACCESSED } else { 0 };
        (PAGE_IS_GUARD - 1) | guard | accessed
    }

    /// Says whether stores to an area are recorded on any page, so that a scan may protect it.
    pub(super) fn is_tracked(&self, area: &Area) -> bool {
        let context = area.registration.map(|registration| registration.context);
        context.is_some_and(|id| self.contexts[id].wp_is_async()) && self.marks(area)
    }

    /// The categories that every page of an area has.
    pub(super) fn area_categories(&self, area: &Area) -> u64 {
        if self.is_tracked(area) { PAGE_IS_WPALLOWED } else { 0 }
    }

    /// The categories of what was found in an area, beside those of the area.
    pub(super) fn page_categories(&self, area: &Area, found: Found) -> u64 {
        match found {
            Found::Page(None) if area.is_hugetlb() => PAGE_IS_HUGE,
            Found::NoTable if area.reports_wp() => PAGE_IS_WRITTEN,
            Found::NoTable => 0,
            Found::Page(None) => self.untouched(area) & PAGE_IS_WRITTEN,
            Found::Page(Some(entry)) => self.entry_categories(area, entry),
            Found::Huge(entry) => PAGE_IS_HUGE | self.entry_categories(area, entry),
        }
    }

    fn entry_categories(&self, area: &Area, entry: Entry) -> u64 {
        let guard = if self.profile.shows_guards { PAGE_IS_GUARD } else { 0 };
        let kind = match entry {
            Entry::Present(mapped) => PAGE_IS_PRESENT | self.file_category(&mapped),
            Entry::Zero { .. } => PAGE_IS_PRESENT | PAGE_IS_PFNZERO,
            Entry::Migrating(mapped) => PAGE_IS_SWAPPED | self.file_category(&mapped),
            Entry::Marker(Marker::Guard { .. }) => PAGE_IS_SWAPPED | guard,
            Entry::Swapped { .. } | Entry::Marker(_) => PAGE_IS_SWAPPED,
        };
        kind | if entry.uffd_wp() { 0 } else { self.untouched(area) }
    }

    /// What a page without protection is.
    fn untouched(&self, area: &Area) -> u64 {
        let scoped = self.profile.written_needs_wp;
        let accessed = if area.reports(register::RWP) { PAGE_IS_ACCESSED } else { 0 };
        let written = if area.reports_wp() || !scoped { PAGE_IS_WRITTEN } else { 0 };
        accessed | written
    }

    fn file_category(&self, mapped: &Mapped) -> u64 {
        let head = self.machine.frames.head(mapped.frame);
        let anonymous = matches!(self.machine.frames[head].owner, Owner::Anon { .. });
        if anonymous { 0 } else { PAGE_IS_FILE }
    }
}
