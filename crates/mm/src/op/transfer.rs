//! The pages of an area that `mremap` moves: entries go to the new place, table by table.
//!
//! # Concurrency
//! Both areas are locked, so that no fault comes in between; walks of the reverse map are kept
//! out, or one could miss what has moved. Accesses lock nothing: they may find one page at its new
//! place already and the next still at its old one.

use alloc::vec::Vec;

use faultless_pages::{Va, VaRange};

use crate::id::SpaceId;
use crate::kernel::{Guard, Kernel, State};
use crate::process::Area;
use crate::sched::{Lock, Mode};

/// What goes where.
#[derive(Clone, Copy)]
pub(super) struct Transfer {
    pub(super) space: SpaceId,
    /// The area moved from, which holds the old place.
    pub(super) area: Area,
    pub(super) old: VaRange,
    pub(super) new: VaRange,
    /// A userfaultfd is told. Else the area is no longer registered at the new place, and its
    /// pages lose what depends on that.
    pub(super) told: bool,
}

impl Transfer {
    /// Where an address goes.
    fn to(&self, at: Va) -> Va {
        self.new.start().add(at.since(self.old.start()))
    }

    fn forgets(&self) -> bool {
        self.area.registration.is_some() && !self.told
    }
}

impl Kernel {
    /// Makes the new area and moves every entry to it.
    pub(super) async fn transfer_area(&self, transfer: &Transfer) {
        let walks = self.keep_walks_out(&transfer.area).await;
        let new = self.state().begin_transfer(transfer);
        let guard = self.try_lock(Lock::Area(new), Mode::Exclusive);
        let parts = self.state().spaces[transfer.space].table.occupied(transfer.old);
        for part in parts {
            let tables = self.lock_tables_of(transfer, part).await;
            self.state().move_part(transfer, part);
            for table in tables.into_iter().rev() {
                table.release().await;
            }
        }
        self.state().end_transfer(transfer);
        drop(guard);
        drop(walks);
    }

    /// Locks the table that a part lies in and those it goes to, in the order of addresses.
    async fn lock_tables_of(&self, transfer: &Transfer, part: VaRange) -> Vec<Guard> {
        let (span, page) = {
            let state = self.state();
            (state.profile.table_span(), state.profile.page())
        };
        let last = Va(part.end().0 - page.0);
        let ends = [part.start(), transfer.to(part.start()), transfer.to(last)];
        let mut starts = ends.map(|at| at.align_down(span)).to_vec();
        starts.sort_unstable();
        starts.dedup();
        let mut tables = Vec::new();
        for start in starts {
            tables.push(self.lock_table(transfer.space, start).await);
        }
        tables
    }
}

impl State {
    /// Adds the area at the new place, apart from its neighbours as yet.
    fn begin_transfer(&mut self, transfer: &Transfer) -> crate::id::AreaId {
        let Transfer { space, area, old, new, .. } = *transfer;
        self.split_huge_at(space, old.start());
        self.split_huge_at(space, old.end());
        let unused = area.is_anonymous() && area.root.is_none();
        let linear = if unused { new.start().0 } else { area.linear_of(old.start()) };
        let moved = Area { id: self.new_area(), range: new, linear, ..area };
        self.insert_area(space, moved);
        moved.id
    }

    /// Moves what lies in a part of a table.
    fn move_part(&mut self, transfer: &Transfer, part: VaRange) {
        self.move_huge_entries(transfer, part);
        self.move_table_of(transfer, part);
        let table = &mut self.spaces[transfer.space].table;
        for (at, entry) in table.list(part) {
            table.set(at, None);
            table.set(transfer.to(at), Some(entry));
        }
        if transfer.forgets() && self.profile.moved_area_loses_wp {
            let range = VaRange::of(transfer.to(part.start()), part.len());
            let moved = Area { range, ..transfer.area };
            self.clear_protection_moved(transfer.space, &moved);
        }
    }

    /// Moves huge entries whole where the new place allows it, and splits the others.
    fn move_huge_entries(&mut self, transfer: &Transfer, part: VaRange) {
        let space = transfer.space;
        let span = self.spaces[space].table.span();
        let huge: Vec<_> = self.spaces[space].table.huge_in(part).collect();
        for (at, entry) in huge {
            if transfer.to(at).is_aligned(span) {
                let table = &mut self.spaces[space].table;
                table.set_huge(at, None);
                table.set_huge(transfer.to(at), Some(entry));
            } else {
                self.split_huge(space, at);
            }
        }
    }

    /// Makes a table at the new place for one at the old, be it empty. One that moves whole is
    /// taken along.
    fn move_table_of(&mut self, transfer: &Transfer, part: VaRange) {
        let page = self.profile.page();
        let table = &mut self.spaces[transfer.space].table;
        let span = table.span();
        let to = transfer.to(part.start());
        if !table.has_table(part.start()) {
            return;
        }
        if part.len() == span.bytes() && to.is_aligned(span) {
            table.move_table(part.start(), to);
        } else {
            table.add_table(to);
            table.add_table(transfer.to(Va(part.end().0 - page.0)));
        }
    }

    fn end_transfer(&mut self, transfer: &Transfer) {
        self.merge_areas(transfer.space, transfer.new);
        if transfer.forgets() {
            self.forget_registration(transfer.space, transfer.new);
        }
    }

    /// The new area has merged with neighbours by now, even with the one it comes from if that was
    /// never written to; they are no longer registered either.
    fn forget_registration(&mut self, space: SpaceId, new: VaRange) {
        if let Some(merged) = self.area(space, new.start()) {
            let areas = &mut self.spaces[space].areas;
            areas.change(merged.range, |area| area.registration = None);
        }
    }
}
