//! Putting protection on the pages of a range, and taking it off: what WRITEPROTECT and RWPROTECT
//! have in common, and what a scan of the page table does to the pages it finds.
//!
//! # Invariants
//! - A page with protection is not writable.
//! - In an area registered for RWP the bit closes the page to every access.

use alloc::vec::Vec;

use faultless_pages::{Va, VaRange};
use faultless_uapi::UffdioRange;
use faultless_uapi::mode::register;

use crate::errno::{EAGAIN, EINVAL, ENOENT, Errno};
use crate::id::{ContextId, SpaceId};
use crate::kernel::{Kernel, State};
use crate::machine::Kind;
use crate::process::{Area, Entry, Mapped, Marker};
use crate::sched::{Lock, Mode};
use crate::userfaultfd::request::User;

/// Of both requests: protect; without it, unprotect.
const PROTECT: u64 = 1;
/// Of both requests: leave sleepers asleep after unprotecting.
const DONTWAKE: u64 = 2;

/// What a request wants protected, or not any more.
pub(super) struct Wish {
    pub(super) range: UffdioRange,
    pub(super) mode: u64,
    /// The [`register`] mode that the memory must have.
    pub(super) of: u64,
}

impl Kernel {
    /// Carries out what WRITEPROTECT and RWPROTECT ask for. Protecting never wakes.
    pub(super) async fn change_protection(&self, id: ContextId, wish: &Wish) -> Result<u64, Errno> {
        let range = self.state().possible(wish.range)?;
        let (on, dont_wake) = (wish.mode & PROTECT != 0, wish.mode & DONTWAKE != 0);
        if wish.mode & !(PROTECT | DONTWAKE) != 0 || (on && dont_wake) {
            return Err(EINVAL);
        }
        let space = self.state().contexts[id].space;
        self.state().get_space(space)?;
        let result = self.change_areas_protection(id, space, range, wish.of, on).await;
        self.put_space(space).await;
        result?;
        if !on && !dont_wake {
            self.wake_range(id, range);
        }
        Ok(0)
    }

    /// Goes through the areas of a range, passing over holes. Write-protection stops at an area
    /// that does not take it, with those before it changed; read-write-protection checks them all
    /// first.
    async fn change_areas_protection(
        &self,
        id: ContextId,
        space: SpaceId,
        range: VaRange,
        of: u64,
        on: bool,
    ) -> Result<(), Errno> {
        let map = self.lock(Lock::Mmap(space), Mode::Shared).await;
        let changing = self.lock(Lock::Changing(id), Mode::Shared).await;
        if self.state().contexts[id].changing > 0 {
            return Err(EAGAIN);
        }
        let (pieces, gapless) = self.state().pieces(space, range);
        let spans = self.state().profile.protection_spans_areas;
        let fits = if spans { !pieces.is_empty() } else { pieces.len() == 1 && gapless };
        let mut result = if fits { Ok(()) } else { Err(ENOENT) };
        if of == register::RWP {
            result = result.and(pieces.iter().try_for_each(|area| takes(area, range, of)));
        }
        for area in pieces {
            result = result.and_then(|()| takes(&area, range, of));
            if result.is_err() {
                break;
            }
            self.protect_area(space, &area, on).await;
        }
        changing.release().await;
        map.release().await;
        result
    }

    /// Protects an area, or a part of one, table by table; the caller holds the map.
    async fn protect_area(&self, space: SpaceId, area: &Area, on: bool) {
        let parts = self.state().parts_to_protect(space, area, on);
        for part in parts {
            let table = self.lock_table(space, part.start()).await;
            self.state().protect_part(space, area, part, on);
            table.release().await;
        }
    }

    /// Takes protection and its markers off the pages of an area, if it reports any.
    pub(super) async fn clear_protection(&self, space: SpaceId, area: &Area) {
        if area.reports(register::WP | register::RWP) {
            self.protect_area(space, area, false).await;
        }
    }

    /// Takes the argument of a request in, unless an event is pending.
    pub(super) async fn protect_argument<const N: usize>(
        &self,
        id: ContextId,
        user: &mut User<'_>,
    ) -> Result<[u8; N], Errno> {
        self.refuse_if_changing(id, user, None).await?;
        user.get(self).await
    }
}

fn takes(area: &Area, range: VaRange, of: u64) -> Result<(), Errno> {
    if !area.reports(of) {
        return Err(ENOENT);
    }
    match area.kind() {
        Some(Kind::Hugetlb(size)) if !range.is_aligned(size) => Err(EINVAL),
        _ => Ok(()),
    }
}

impl State {
    /// Says whether pages of an area that are not there are protected by markers.
    pub(crate) fn marks(&self, area: &Area) -> bool {
        let Some(registration) = area.registration else { return false };
        let unpopulated = self.contexts[registration.context].wp_unpopulated();
        area.reports_wp() && (!area.is_anonymous() || unpopulated)
    }

    /// The parts of an area to go through, each in one table: where there is something to change,
    /// or everywhere.
    fn parts_to_protect(&self, space: SpaceId, area: &Area, on: bool) -> Vec<VaRange> {
        let table = &self.spaces[space].table;
        let everywhere = on && self.marks(area);
        if everywhere { table.parts_of(area.range) } else { table.tables_in(area.range) }
    }

    /// Protects the pages of a part of an area, which lies in one table, or takes that off.
    pub(crate) fn protect_part(&mut self, space: SpaceId, area: &Area, part: VaRange, on: bool) {
        let change =
            |entry: Entry| if on { Some(entry.with_uffd_wp(true)) } else { freed(area, entry) };
        self.change_part(space, part, change);
        if on && self.marks(area) {
            self.mark_missing(space, area, part);
        }
    }

    /// Protects the pages a scan met, those that are not there by markers.
    pub(crate) fn protect_scanned(&mut self, space: SpaceId, area: &Area, part: VaRange) {
        self.change_part(space, part, |entry| match entry {
            Entry::Marker(_) if area.is_hugetlb() => Some(entry),
            entry => Some(entry.scanned()),
        });
        self.mark_missing(space, area, part);
    }

    fn change_part(
        &mut self,
        space: SpaceId,
        part: VaRange,
        change: impl Fn(Entry) -> Option<Entry>,
    ) {
        self.split_huge_at(space, part.start());
        self.split_huge_at(space, part.end());
        let table = &mut self.spaces[space].table;
        for (at, entry) in table.list(part) {
            table.set(at, change(entry));
        }
        let huge: Vec<_> = table.huge_in(part).collect();
        for (at, entry) in huge {
            table.set_huge(at, change(entry));
        }
    }

    /// Puts a marker wherever there is no entry.
    fn mark_missing(&mut self, space: SpaceId, area: &Area, part: VaRange) {
        let marker = Some(Entry::Marker(Marker::WriteProtected));
        let step = self.page_of(area).bytes();
        let hugetlb = area.is_hugetlb();
        let table = &mut self.spaces[space].table;
        let missing: Vec<Va> = part
            .chunks(step)
            .map(|page| page.start())
            .filter(|at| table.get(*at).is_none())
            .collect();
        for at in missing {
            if hugetlb {
                table.set_huge(at, marker);
            } else {
                table.set(at, marker);
            }
        }
    }

    /// Takes protection off the page at an address.
    pub(super) fn open_page(&mut self, space: SpaceId, area: &Area, at: Va) {
        let table = &mut self.spaces[space].table;
        if let Some(entry) = table.small(at) {
            table.set(at, freed(area, entry));
        } else if let Some(entry) = table.huge(at) {
            table.set_huge(at, freed(area, entry));
        }
    }

    /// Does so where an area moved without telling, whatever it was registered for: there poison
    /// and guards lose theirs too.
    pub(crate) fn clear_protection_moved(&mut self, space: SpaceId, area: &Area) {
        self.change_part(space, area.range, |entry| match freed(area, entry) {
            Some(Entry::Marker(marker)) => Some(Entry::Marker(marker.fresh())),
            entry => entry,
        });
    }
}

/// The entry without protection; writable at once where that needs no fault.
fn freed(area: &Area, entry: Entry) -> Option<Entry> {
    match entry.with_uffd_wp(false) {
        Entry::Marker(Marker::WriteProtected) => None,
        Entry::Present(mapped) if !area.is_hugetlb() => {
            let own = if area.shared { mapped.dirty } else { mapped.exclusive };
            let writable = mapped.writable || (own && area.protection.write);
            Some(Entry::Present(Mapped { writable, ..mapped }))
        }
        entry => Some(entry),
    }
}
