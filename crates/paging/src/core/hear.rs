//! Messages: what changed in the address space first, then who waits.
//!
//! The kernel hands out waiting faults before any event, so within a batch the events are older
//! or at least no younger as far as anybody can tell: a thread that faults on a page *after* it was
//! given up does so after the event was read.

use std::collections::BTreeMap;

use faultless_pages::{Va, VaRange};

use super::job::Kind;
use super::{Core, Guard, Tell};
use crate::core::Action;
use crate::page::{PageIndex, PageRun, RegionId, State};
use crate::port::{Fault, FaultKind, Message, Urgency, What};

/// Faults by page: one for all threads that wait for it alike.
type Faults = BTreeMap<(RegionId, PageIndex, FaultKind), ()>;

impl Core {
    /// Deals with a batch that was read.
    pub(super) fn hear(&mut self, messages: &[Message]) {
        self.gate.reading = false;
        if self.stage.is_past_serving() {
            // Who waits is let go with the memory itself; but a child may have been forked before.
            messages.iter().for_each(|message| self.hear_event(message));
            return;
        }
        if !self.guards.has(Guard::EventsFirst) {
            for message in messages {
                self.hear_event(message);
                self.hear_faults(std::slice::from_ref(message));
                self.issue();
            }
            return;
        }
        for message in messages {
            self.hear_event(message);
        }
        self.hear_faults(messages);
    }

    fn hear_event(&mut self, message: &Message) {
        match *message {
            Message::Fault(_) => {}
            Message::Remove(range) => self.removed(range),
            Message::Unmap(range) => self.unmapped(range),
            Message::Remap { from, to, len } => {
                self.layout.remap(from, to, len);
                self.wake_removed(VaRange::of(from, len));
            }
            Message::Fork { child } => self.forked(child),
        }
    }

    /// Pages are about to be dropped, and are zeros from now on.
    fn removed(&mut self, range: VaRange) {
        if let Some(place) = self.evicted.iter().position(|evicted| *evicted == range) {
            // It is us who drop them.
            self.evicted.swap_remove(place);
            return;
        }
        for (region, pages) in self.layout.within(range) {
            self.forget(region, pages, State::Removed);
            self.observe(region, pages, What::Removed);
        }
        self.wake_removed(range);
    }

    fn unmapped(&mut self, range: VaRange) {
        for (region, pages) in self.layout.within(range) {
            self.forget(region, pages, State::Gone);
        }
        self.layout.unmap(range);
        self.wake_removed(range);
    }

    /// Takes pages out of everybody's hands.
    pub(super) fn forget(&mut self, region: RegionId, pages: PageRun, state: State) {
        let table = &self.regions[region.index()].table;
        for page in pages.pages() {
            table.change(page, |word| {
                let word = if state == State::Removed { word.discarded() } else { word };
                Some(word.taken(state).wanted(false).dirty(false))
            });
        }
    }

    /// Wakes whoever waits in a range that is not what it was. A thread that waits to write to a
    /// page is neither woken nor told of again when the page is dropped under it.
    pub(super) fn wake_removed(&mut self, range: VaRange) {
        if self.guards.has(Guard::WakesRemoved) {
            self.wake(range);
        }
    }

    /// Pages were given up, says the client.
    pub(super) fn discard(&mut self, region: RegionId, pages: PageRun) {
        self.forget(region, pages, State::Removed);
        self.observe(region, pages, What::Removed);
        if let Some(range) = self.layout.place(region, pages) {
            self.wake_removed(range);
        }
    }

    /// Makes the engine of a child, which has what this one has.
    fn forked(&mut self, child: u64) {
        let mut core = Core::new(self.policy, Box::new(crate::port::Quiet));
        core.guards = self.guards;
        core.layout = self.layout.clone();
        for region in &self.regions {
            core.regions.push(region.heir());
        }
        self.out.push(Action::Tell(Tell::Forked { child, core: Box::new(core) }));
    }

    fn hear_faults(&mut self, messages: &[Message]) {
        let mut faults = Faults::new();
        let mut strays: Vec<Va> = Vec::new();
        for message in messages {
            let Message::Fault(Fault { at, kind, .. }) = *message else { continue };
            match self.layout.find(at) {
                Some((region, page)) => drop(faults.insert((region, page, kind), ())),
                None => strays.push(at),
            }
        }
        let mut absent: BTreeMap<RegionId, Vec<PageIndex>> = BTreeMap::new();
        for (region, page, kind) in faults.into_keys() {
            self.observe(region, PageRun::one(page), What::Faulted);
            let to_fetch = match kind {
                FaultKind::Protected => self.write_fault(region, page),
                FaultKind::Missing => self.missing_fault(region, page, Kind::Zero),
                FaultKind::Minor => self.missing_fault(region, page, Kind::Continue),
            };
            if to_fetch {
                absent.entry(region).or_default().push(page);
            }
        }
        for (region, pages) in absent {
            self.demand(region, pages);
        }
        for at in strays {
            self.stray(at);
        }
    }

    /// A page is missing, or not mapped; says whether it must be fetched. `again` is what a page
    /// needs that was there before.
    fn missing_fault(&mut self, region: RegionId, page: PageIndex, again: Kind) -> bool {
        let table = &self.regions[region.index()].table;
        let overtakes = self.guards.has(Guard::DemandOvertakes);
        let serves_again = self.guards.has(Guard::ServesAgain);
        let found = table.change(page, |word| {
            Some(match word.state() {
                // Fetched for later only: whoever waits now does not wait for that.
                State::Fetching if !word.is_wanted() && overtakes => {
                    word.taken(State::Fetching).wanted(true)
                }
                State::Absent | State::Gone => word.taken(State::Fetching).wanted(true),
                State::Removed => word.taken(State::Zeroing).wanted(true),
                State::Present if serves_again => word.taken(State::Zeroing).wanted(true),
                State::Poisoned => word.taken(State::Poisoning).wanted(true),
                _ => word.wanted(true),
            })
        });
        let Some(found) = found else { return false };
        match found.state() {
            State::Absent | State::Gone => return true,
            State::Fetching => return !found.is_wanted() && overtakes,
            State::Removed if !self.guards.has(Guard::RemovedIsZeros) => {
                table.change(page, |word| Some(word.then(State::Fetching)));
                return true;
            }
            State::Removed => self.put(region, page, Kind::Zero),
            // Two threads wait for it, or one was told of twice; then it turns out to be there. Or
            // it was dropped without an event: then its program gave it up, and it is zeros.
            State::Present if serves_again => self.put(region, page, again),
            State::Poisoned => self.put(region, page, Kind::Poison),
            // Whoever holds it finds that it is wanted.
            _ => {}
        }
        false
    }

    /// A page is to be written that is protected. Says that nothing is to be fetched.
    fn write_fault(&mut self, region: RegionId, page: PageIndex) -> bool {
        // Noted before anybody may write, whatever the page is: a protected page that is not known
        // to be there was just put there.
        let table = &self.regions[region.index()].table;
        let found = table.change(page, |word| match word.state() {
            // It is being dropped, and must not be written to any more; who waits is woken then.
            State::Evicting => Some(word.wanted(true)),
            _ => Some(word.dirty(true)),
        });
        if found.is_some_and(|word| word.state() == State::Evicting) {
            return false;
        }
        self.observe(region, PageRun::one(page), What::Written);
        self.put(region, page, Kind::Unprotect);
        false
    }

    /// Registered memory that is no part of a region: nobody knows what it holds.
    fn stray(&mut self, at: Va) {
        let size = self
            .regions
            .first()
            .map_or(faultless_pages::PageSize::KIB4, |region| region.spec.page_size);
        let range = VaRange::of(at.align_down(size), size.bytes());
        self.put_stray(range);
    }

    /// Fetches pages somebody waits for, which were claimed, and then what lies around them.
    fn demand(&mut self, region: RegionId, pages: Vec<PageIndex>) {
        let most = self.regions[region.index()].spec.run_max;
        let runs: Vec<PageRun> = crate::page::runs(pages, most).collect();
        for run in &runs {
            self.ask(region, *run, Urgency::Demand);
        }
        for run in runs {
            self.guess(region, run);
        }
    }
}
