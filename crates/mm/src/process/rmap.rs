//! The reverse map: from a frame to the entries that map it.
//!
//! A frame knows its owner: a family of areas and a place in it, or an object and an offset. The
//! areas of the family, or of the object, that cover the place are looked at one by one.
//!
//! Nothing is locked here; `op::walk` does that.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va, VaRange};

use crate::id::{FrameId, ObjectId, RootId, SpaceId};
use crate::kernel::State;
use crate::machine::Owner;
use crate::process::area::Area;

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

    /// The ranges in which areas of a family show `len` bytes from a place on.
    pub(crate) fn ranges_in_family(
        &self,
        root: RootId,
        linear: u64,
        len: Bytes,
    ) -> Vec<(SpaceId, VaRange)> {
        let mut ranges = Vec::new();
        for space in self.spaces_of(root) {
            let areas = self.spaces[*space].areas.all();
            let family = areas.filter(|area| area.root == Some(root));
            let shown = family.filter_map(|area| area.show(linear, len));
            ranges.extend(shown.map(|range| (*space, range)));
        }
        ranges
    }

    /// The ranges in which areas show `len` bytes of an object from an offset on.
    pub(crate) fn ranges_of_object(
        &self,
        object: ObjectId,
        offset: u64,
        len: Bytes,
    ) -> Vec<(SpaceId, VaRange)> {
        let mut ranges = Vec::new();
        for (id, space) in self.spaces.iter() {
            let areas = space.areas.all().filter(|area| area.object() == Some(object));
            let shown = areas.filter_map(|area| area.show(offset, len));
            ranges.extend(shown.map(|range| (id, range)));
        }
        ranges
    }

    /// The address spaces with areas of a family; none once it is gone, which a frame in the swap
    /// cache may outlive.
    fn spaces_of(&self, root: RootId) -> impl Iterator<Item = &SpaceId> {
        self.roots.get(root).into_iter().flat_map(|root| &root.spaces)
    }

    fn places_in_family(&self, root: RootId, linear: u64) -> Vec<(SpaceId, Va)> {
        let mut places = Vec::new();
        for space in self.spaces_of(root) {
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
