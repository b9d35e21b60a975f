//! Processes that come and go, and what of a program's descriptors each has.

use std::collections::BTreeMap;

use super::{Legacy, Role, Session, number};
use crate::conform::verdict::Verdict;
use crate::conform::{Call, Process, Thread, World};
use crate::differential::program::{PAGE, Span, THREADS};

impl<W: World + ?Sized> Session<'_, W> {
    /// Gives a process its part.
    pub(super) fn enter(&mut self, process: Process) -> Verdict {
        self.cast.push(Role { process, alive: true, pending: BTreeMap::new() });
        self.add_threads(process)
    }

    /// Gives a process its threads; the last only looks.
    fn add_threads(&mut self, process: Process) -> Verdict {
        for _ in 1..=THREADS {
            self.world.spawn_thread(Thread::first_of(process))?;
        }
        Ok(())
    }

    /// A fork ended well: what the child has, it has from then.
    pub(super) fn forked(&mut self, parent: u32, child: u64, [uffds, objects]: Legacy) -> Verdict {
        let child = Process(number(child)?.0);
        for (slots, legacy) in [(&mut self.uffds, uffds), (&mut self.objects, objects)] {
            for index in legacy {
                slots[index].holders.insert(child.0);
            }
        }
        let heap = self.heap_end(parent);
        self.heaps.insert(child.0, heap);
        self.enter(child)
    }

    /// What a child gets of a process that forks now.
    pub(super) fn legacy_of(&self, process: Process) -> Legacy {
        [&self.uffds, &self.objects].map(|slots| {
            let all = slots.iter().enumerate();
            let held = all.filter(|(_, slot)| slot.holders.contains(&process.0));
            held.map(|(index, _)| index).collect()
        })
    }

    /// Ends a process.
    pub(super) fn kill(&mut self, process: u32) -> Verdict {
        self.world.kill(Process(process))?;
        self.lose_descriptors(process);
        self.legacies.retain(|who, _| who.process.0 != process);
        let role = self.role_mut(Process(process))?;
        role.alive = false;
        role.pending.clear();
        Ok(())
    }

    /// A program was replaced: its descriptors are closed, its other threads are gone.
    pub(super) fn replaced(&mut self, process: Process) -> Verdict {
        self.lose_descriptors(process.0);
        self.role_mut(process)?.pending.clear();
        self.place_heap(process)?;
        self.add_threads(process)
    }

    fn lose_descriptors(&mut self, process: u32) {
        for slot in self.uffds.iter_mut().chain(&mut self.objects) {
            slot.holders.remove(&process);
        }
    }

    /// Gives a process an empty heap at the place where programs expect one.
    pub(super) fn place_heap(&mut self, process: Process) -> Verdict {
        let first = self.arena.heap().page;
        self.heaps.insert(process.0, first);
        if self.world.profile().places_heap {
            let at = Span::new(first, 1).start();
            self.expect(Thread::first_of(process), Call::PlaceHeap { at })?;
        }
        Ok(())
    }

    /// The page of the arena at which the heap of a process ends.
    #[must_use]
    pub fn heap_end(&self, process: u32) -> u64 {
        self.heaps.get(&process).copied().unwrap_or(self.arena.heap().page)
    }

    /// Takes note of what `brk` returned.
    pub(super) fn heap_ends(&mut self, process: Process, at: u64) {
        let page = at.saturating_sub(Span::new(0, 1).start()) / PAGE;
        self.heaps.insert(process.0, page);
    }
}
