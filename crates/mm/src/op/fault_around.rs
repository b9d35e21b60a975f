//! A load that faults in an object's mapping brings the neighbours along that the object has.
//!
//! The kernel does so before it looks for the page itself, so that neighbours come even where the
//! page is missing and a userfaultfd is told. Not so where write-protection or minor faults are
//! reported: nobody would learn of the neighbours.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::mode::register;

use crate::id::{FrameId, ObjectId, SpaceId};
use crate::kernel::{Kernel, State};
use crate::machine::{Cached, Kind};
use crate::op::access::Access;
use crate::process::{Area, Entry, Mapped};
use crate::sched::{Lock, Mode};

/// How far it looks: from where a window of this size, aligned, begins before the address, or the
/// area if that is later.
const WINDOW: Bytes = Bytes::kib(64);

impl Kernel {
    /// Maps what the object has around a load.
    pub(crate) async fn fault_around(&self, access: &Access, area: &Area, object: ObjectId) {
        let around = self.state().worth_a_look(access, area);
        let Some(window) = around else { return };
        let table = self.lock_table(access.space, access.at).await;
        let found = self.state().found_around(access, area, object, window);
        for (at, frame) in found {
            // Who holds a page may be about to take it out of the object.
            if let Some(_folio) = self.try_lock(Lock::Folio(frame), Mode::Exclusive) {
                self.state().map_beside(access.space, at, frame);
            }
        }
        table.release().await;
    }
}

impl State {
    fn worth_a_look(&self, access: &Access, area: &Area) -> Option<VaRange> {
        let pages = matches!(area.kind(), Some(Kind::Shmem | Kind::Regular));
        if access.write || !pages || area.reports(register::WP | register::MINOR | register::RWP) {
            return None;
        }
        let start = Va(access.at.0 & !(WINDOW.0 - 1)).max(area.range.start());
        let table = access.at.align_down(self.profile.table_span());
        let table = VaRange::of(table, self.profile.table_span().bytes());
        VaRange::of(start, WINDOW).intersect(table)?.intersect(area.range)
    }

    /// What the object has in a window and the table does not.
    fn found_around(
        &self,
        access: &Access,
        area: &Area,
        object: ObjectId,
        window: VaRange,
    ) -> Vec<(Va, FrameId)> {
        let object = &self.machine.objects[object];
        let found = |at: Va| {
            let offset = area.linear_of(at);
            let cached = object.pages.get(&offset).filter(|_| offset < object.size);
            match (cached, self.entry(access.space, at)) {
                (Some(Cached::Frame(frame)), None) => Some((at, *frame)),
                _ => None,
            }
        };
        window.chunks(self.profile.page()).filter_map(|piece| found(piece.start())).collect()
    }

    fn map_beside(&mut self, space: SpaceId, at: Va, frame: FrameId) {
        self.machine.frames.map(frame);
        let mapped = Mapped { accessed: false, ..Mapped::read_only(frame) };
        self.set(space, at, Entry::Present(mapped));
    }
}
