//! A load that faults in an object's mapping brings the neighbours along that the object has.
//!
//! The kernel does so before it looks for the page itself, so that neighbours come even where the
//! page is missing and a userfaultfd is told. Not so where write-protection or minor faults are
//! reported: nobody would learn of the neighbours.

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::mode::register;

use crate::id::ObjectId;
use crate::kernel::{Kernel, State};
use crate::machine::{Cached, Kind};
use crate::op::access::Access;
use crate::process::{Area, Entry, Mapped};

/// How far it looks: the window of this size, aligned, that the address lies in.
const WINDOW: Bytes = Bytes::kib(64);

impl Kernel {
    /// Maps what the object has around a load.
    pub(crate) async fn fault_around(&self, access: &Access, area: &Area, object: ObjectId) {
        let around = self.state().worth_a_look(access, area);
        let Some(window) = around else { return };
        let table = self.lock_table(access.space, access.at).await;
        self.state().map_around(access, area, object, window);
        table.release().await;
    }
}

impl State {
    fn worth_a_look(&self, access: &Access, area: &Area) -> Option<VaRange> {
        let pages = matches!(area.kind(), Some(Kind::Shmem | Kind::Regular));
        if access.write || !pages || area.reports(register::WP | register::MINOR | register::RWP) {
            return None;
        }
        let start = Va(access.at.0 & !(WINDOW.0 - 1));
        VaRange::of(start, WINDOW).intersect(area.range)
    }

    fn map_around(&mut self, access: &Access, area: &Area, object: ObjectId, window: VaRange) {
        let page = self.profile.page();
        for piece in window.chunks(page) {
            let at = piece.start();
            let offset = area.linear_of(at);
            let object = &self.machine.objects[object];
            let cached = object.pages.get(&offset).filter(|_| offset < object.size).copied();
            if let (Some(Cached::Frame(frame)), None) = (cached, self.entry(access.space, at)) {
                self.machine.frames.map(frame);
                let mapped = Mapped { accessed: false, ..Mapped::read_only(frame) };
                self.set(access.space, at, Entry::Present(mapped));
            }
        }
    }
}
