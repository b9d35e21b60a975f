//! Looking at everything after a step, without a fault.

use std::collections::BTreeMap;

use faultless_uapi::scan::pagemap::{EXCLUSIVE, FILE_OR_SHARED, GUARD, PRESENT, SWAPPED, UFFD_WP};

use super::Session;
use crate::conform::call::ACCESS_MAX;
use crate::conform::verdict::{Failure, Verdict};
use crate::conform::{Call, Process, Thread, World};
use crate::differential::program::{ARENA, Arena, HUGE, PAGE, THREADS};
use crate::differential::seen::{Memory, Seen};

/// Bits of a pagemap word that every world can tell.
const COMPARED: u64 = PRESENT | SWAPPED | FILE_OR_SHARED | GUARD | UFFD_WP | EXCLUSIVE;

impl<W: World + ?Sized> Session<'_, W> {
    pub(super) fn look(&mut self, seen: &mut Seen) -> Verdict {
        seen.blocked = self.waiting();
        let alive: Vec<_> = self.cast.iter().filter(|role| role.alive).map(|r| r.process).collect();
        for process in alive {
            let memory = self.memory(Thread { process, index: THREADS })?;
            self.last.insert(process.0, memory.pagemap.clone());
            seen.memory.insert(process.0, memory);
        }
        for index in 0..self.uffds.len() {
            let slot = &self.uffds[index];
            let Some(holder) = slot.holders.first().copied() else { continue };
            let looker = Thread { process: Process(holder), index: THREADS };
            let done = self.expect(looker, Call::Fdinfo { fd: slot.fd })?;
            seen.queues.insert(index, queue_lines(&done.bytes));
        }
        Ok(())
    }

    /// Looks at the memory of a process without a fault: only present pages are read.
    fn memory(&mut self, looker: Thread) -> Verdict<Memory> {
        let pages = self.arena.pages();
        let done = self.expect(looker, Call::Pagemap { at: ARENA, pages })?;
        let words = done.bytes.as_chunks::<8>().0.iter().map(|raw| u64::from_ne_bytes(*raw));
        let pagemap: Vec<u64> = words.map(|word| word & COMPARED).collect();
        let mut content = BTreeMap::new();
        for (page, count) in self.runs(&pagemap) {
            let call = Call::Load { at: ARENA + page * PAGE, len: count * PAGE };
            self.world.start(looker, call)?;
            let Some(done) = self.world.settle(looker)? else {
                return Err(Failure::Broken(format!("a load of present page {page} blocks")));
            };
            match done.result {
                Ok(_) => content.extend((page..).zip(pages_of(&done.bytes).map(Ok))),
                Err(stop) => drop(content.insert(page, Err(stop))),
            }
        }
        let mut huge = Vec::new();
        if self.arena == Arena::Huge {
            for page in (0..pages).step_by(usize::try_from(HUGE).unwrap_or(1)) {
                let done = self.expect(looker, Call::HugeBytes { at: ARENA + page * PAGE })?;
                huge.push(done.result.unwrap_or(0));
            }
        }
        Ok(Memory { pagemap, content, huge })
    }

    /// Runs of present pages that are worth a look, as first page and count.
    fn runs(&self, pagemap: &[u64]) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (page, word) in (0..).zip(pagemap) {
            if word & PRESENT == 0 || !self.arena.shows(page) {
                continue;
            }
            match runs.last_mut() {
                Some((first, count)) if *first + *count == page && *count < ACCESS_MAX / PAGE => {
                    *count += 1;
                }
                _ => runs.push((page, 1)),
            }
        }
        runs
    }
}

fn pages_of(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.chunks(usize::try_from(PAGE).unwrap_or(1)).map(<[u8]>::to_vec)
}

/// What fdinfo says about the queues.
fn queue_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let told = |line: &&str| ["pending:", "total:", "API:"].iter().any(|k| line.starts_with(k));
    text.lines().filter(told).collect::<Vec<_>>().join("; ")
}
