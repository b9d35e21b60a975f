//! Whether what is kept twice agrees: the reverse map with the page tables, the uses of frames
//! and slots with what uses them, entries with areas, queues with themselves.
//!
//! Tests ask after every run. An embedder may ask at any moment when no operation is under way.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use crate::id::{FrameId, SlotId};
use crate::kernel::{Kernel, State};
use crate::machine::{Cached, Owner};
use crate::process::{Entry, FileKind};

/// What was found to use frames and slots.
#[derive(Default)]
struct Census {
    maps: BTreeMap<FrameId, u32>,
    uses: BTreeMap<FrameId, u32>,
    slots: BTreeMap<SlotId, u32>,
}

impl Kernel {
    /// Checks the invariants of the whole state.
    ///
    /// # Errors
    /// The first contradiction, in words.
    pub fn audit(&self) -> Result<(), String> {
        let state = self.state();
        let census = state.census()?;
        state.audit_frames(&census)?;
        state.audit_slots(&census)?;
        state.audit_queues()
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl State {
    /// Counts what uses frames and slots, and checks every entry on the way.
    fn census(&self) -> Result<Census, String> {
        let mut census = Census::default();
        for (id, space) in self.spaces.iter() {
            for (at, entry) in space.table.all() {
                let area = space.areas.find(at);
                ensure(area.is_some(), || format!("{at} of {id:?} has {entry:?} and no area"))?;
                self.count_entry(&mut census, entry);
                self.audit_places(id, at, entry)?;
            }
        }
        for (_, object) in self.machine.objects.iter() {
            for cached in object.pages.values() {
                match cached {
                    Cached::Frame(frame) => *census.uses.entry(*frame).or_default() += 1,
                    Cached::Swapped(slot) => *census.slots.entry(*slot).or_default() += 1,
                }
            }
        }
        for (_, file) in self.files.iter() {
            if let FileKind::Pins(frames) = &file.kind {
                for frame in frames {
                    let head = self.machine.frames.head(*frame);
                    *census.uses.entry(head).or_default() += 1;
                }
            }
        }
        Ok(census)
    }

    fn count_entry(&self, census: &mut Census, entry: Entry) {
        if let Some(frame) = entry.frame() {
            let head = self.machine.frames.head(frame);
            *census.maps.entry(head).or_default() += 1;
            *census.uses.entry(head).or_default() += 1;
        }
        if let Entry::Swapped { slot, .. } = entry {
            *census.slots.entry(slot).or_default() += 1;
        }
    }

    /// Checks that the reverse map finds a mapped frame here.
    fn audit_places(
        &self,
        space: crate::id::SpaceId,
        at: faultless_pages::Va,
        entry: Entry,
    ) -> Result<(), String> {
        let Some(frame) = entry.frame() else { return Ok(()) };
        if self.machine.frames[self.machine.frames.head(frame)].owner == Owner::Nobody {
            return Ok(());
        }
        let found = self.mappings(frame).contains(&(space, at));
        ensure(found, || format!("the reverse map of {frame:?} does not find {at} of {space:?}"))
    }

    fn audit_frames(&self, census: &Census) -> Result<(), String> {
        for (id, frame) in self.machine.frames.heads() {
            let maps = census.maps.get(&id).copied().unwrap_or(0);
            let cache = u32::from(frame.slot.is_some());
            let uses = census.uses.get(&id).copied().unwrap_or(0) + cache;
            ensure(frame.maps == maps, || {
                format!("{id:?} counts {} mappings and has {maps}", frame.maps)
            })?;
            ensure(frame.uses == uses, || {
                format!("{id:?} counts {} uses and has {uses}", frame.uses)
            })?;
        }
        Ok(())
    }

    fn audit_slots(&self, census: &Census) -> Result<(), String> {
        for (id, slot) in self.machine.swap.in_use() {
            let uses = census.slots.get(&id).copied().unwrap_or(0);
            ensure(slot.uses == uses, || {
                format!("{id:?} counts {} uses and has {uses}", slot.uses)
            })?;
        }
        Ok(())
    }

    fn audit_queues(&self) -> Result<(), String> {
        for (id, context) in self.contexts.iter() {
            let queued = context.pending.iter().chain(&context.delivered);
            let mut tickets: alloc::vec::Vec<u64> = queued.map(|waiter| waiter.ticket).collect();
            let count = tickets.len();
            tickets.sort_unstable();
            tickets.dedup();
            ensure(tickets.len() == count, || format!("a fault is queued twice in {id:?}"))?;
        }
        Ok(())
    }
}
