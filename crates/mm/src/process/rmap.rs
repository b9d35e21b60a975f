//! The reverse map: from a frame to the entries that map it.
//!
//! A frame knows its owner: a family of areas and a place in it, or an object and an offset. The
//! areas of the family, or of the object, that cover the place are looked at one by one.
//!
//! # Concurrency
//! MOVE changes the family of a frame. A walk therefore reads the family, locks it, and reads it
//! again: if it is another now, the walk begins anew.

use alloc::vec::Vec;

use faultless_pages::Va;

use crate::id::{FrameId, ObjectId, RootId, SpaceId};
use crate::kernel::{Guard, Kernel, State};
use crate::machine::Owner;
use crate::process::area::Area;
use crate::sched::{Lock, Mode};

impl State {
    /// Every place that may map a frame by its owner, whether it does or not.
    pub(crate) fn places(&self, frame: FrameId) -> Vec<(SpaceId, Va)> {
        let head = self.machine.frames.head(frame);
        // A part lies as far behind the place of its head as behind the head itself.
        let part = (frame.0 - head.0) as u64 * self.profile.page().0;
        match self.machine.frames[head].owner {
            Owner::Nobody => Vec::new(),
            Owner::Anon { root, linear } => self.places_in_family(root, linear + part),
            Owner::Cache { object, offset } => self.places_of_object(object, offset + part),
        }
    }

    /// The places that map a frame.
    pub(crate) fn mappings(&self, frame: FrameId) -> Vec<(SpaceId, Va)> {
        let head = self.machine.frames.head(frame);
        let maps = |(space, at): &(SpaceId, Va)| {
            let entry = self.entry(*space, *at).and_then(|entry| entry.frame());
            entry.is_some_and(|frame| self.machine.frames.head(frame) == head)
        };
        self.places(frame).into_iter().filter(maps).collect()
    }

    fn places_in_family(&self, root: RootId, linear: u64) -> Vec<(SpaceId, Va)> {
        let mut places = Vec::new();
        for space in &self.roots[root].spaces {
            let family = |area: &&Area| area.root == Some(root);
            let areas = self.spaces[*space].areas.all().filter(family);
            places.extend(areas.filter_map(|area| Some((*space, area.address_of(linear)?))));
        }
        places
    }

    /// The places that show an object at an offset.
    pub(crate) fn places_of_object(&self, object: ObjectId, offset: u64) -> Vec<(SpaceId, Va)> {
        let mut places = Vec::new();
        for (id, space) in self.spaces.iter() {
            let shows = |area: &&Area| area.object() == Some(object);
            let areas = space.areas.all().filter(shows);
            places.extend(areas.filter_map(|area| Some((id, area.address_of(offset)?))));
        }
        places
    }
}

impl Kernel {
    /// Locks the family of an anonymous frame against changes of who maps it; `None` when the
    /// frame has no family any more.
    pub(crate) async fn lock_family(&self, frame: FrameId) -> Option<Guard> {
        loop {
            let owner = self.state().machine.frames[frame].owner;
            let Owner::Anon { root, .. } = owner else { return None };
            let guard = self.lock(Lock::Root(root), Mode::Shared).await;
            let state = self.state();
            let same = matches!(state.machine.frames[frame].owner,
                Owner::Anon { root: now, .. } if now == root);
            if same || state.profile.bugs.walk_forgets_root_check {
                return Some(guard);
            }
        }
    }
}
