//! The end: what becomes of pages that are not there yet.
//!
//! Closing a userfaultfd makes every missing page zeros, silently. So serving ends in one of the
//! ways of [`Ending`], chosen by whoever ends it, and memory is only let go once nothing is missing
//! that is not zeros.

use faultless_pages::{Bytes, VaRange};

use super::job::Kind;
use super::{Action, Core, Due, Guard, Tell};
use crate::page::{PageIndex, RegionId, State};
use crate::port::Span;

/// How long a page may be in the hands of a signal handler before it is looked at again.
const LOOK_AGAIN: Span = Span::millis(1);

/// What becomes of pages that are not there when serving ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// They are fetched, all of them; then the memory is let go.
    Complete,
    /// They become bus errors; then the memory is let go.
    Poison,
    /// They wait, and so do threads, for somebody else who has the userfaultfd too and goes on from
    /// the same page words.
    HandOver,
}

/// How far serving has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Faults are served.
    Serving,
    /// Faults are served until everything is as the ending wants it.
    Ending(Ending),
    /// The memory is being let go.
    Releasing(Ending),
    /// It was let go; events may be under way.
    Probing(Ending),
    /// Nothing is served.
    Ended,
}

impl Stage {
    /// Says whether the memory is not served any more.
    pub(super) fn is_past_serving(self) -> bool {
        matches!(self, Stage::Releasing(_) | Stage::Probing(_) | Stage::Ended)
    }
}

impl Core {
    /// Begins to end. A second wish replaces the first, as one who cannot wait any longer has it.
    pub(super) fn end(&mut self, ending: Ending) {
        if self.stage.is_past_serving() {
            return;
        }
        self.stage = Stage::Ending(ending);
        self.wishes.clear();
        match ending {
            Ending::Complete => self.rewind(),
            Ending::Poison => self.poison_missing(),
            Ending::HandOver => self.lay_down(),
        }
    }

    /// Makes every page a bus error that is neither there nor zeros.
    fn poison_missing(&mut self) {
        for index in 0..self.regions.len() {
            let region = &self.regions[index];
            let claim = |page: &PageIndex| {
                let claimed = region.table.change(*page, |word| {
                    let missing = matches!(word.state(), State::Absent | State::Fetching);
                    missing.then(|| word.taken(State::Poisoning))
                });
                claimed.is_some()
            };
            let pages: Vec<_> = region.table.whole().pages().filter(claim).collect();
            let runs: Vec<_> = crate::page::runs(pages, region.spec.run_max).collect();
            let id = RegionId(u32::try_from(index).unwrap_or(u32::MAX));
            for run in runs {
                self.put_run(id, run, Kind::Poison);
            }
        }
    }

    /// Lets go of everything that is not under way.
    fn lay_down(&mut self) {
        for job in std::mem::take(&mut self.ready) {
            self.abandon(&job);
        }
        for due in std::mem::take(&mut self.agenda).into_values() {
            match due {
                Due::Job(job) => self.abandon(&job),
                // Its time to be made again will not come.
                Due::Fetch(fetch) => {
                    self.give_back(fetch);
                    self.fetches.remove(&fetch);
                }
                Due::Background => self.ahead.resting = false,
            }
        }
    }

    /// Goes on to the next stage, if this one is done with.
    pub(super) fn advance_end(&mut self) {
        match self.stage {
            Stage::Ending(Ending::HandOver) if self.flying.is_empty() && !self.gate.reading => {
                self.lay_down();
                self.stage = Stage::Ended;
                self.out.push(Action::Tell(Tell::Ended(Ending::HandOver)));
            }
            Stage::Ending(Ending::HandOver) | Stage::Serving | Stage::Probing(_) | Stage::Ended => {
            }
            Stage::Ending(ending) if self.has_all(ending) => {
                self.stage = Stage::Releasing(ending);
                self.let_all_go();
                self.finish_release();
            }
            Stage::Ending(ending) if self.is_idle() && self.agenda.is_empty() => {
                self.look_again(ending);
            }
            Stage::Ending(_) => {}
            Stage::Releasing(_) => self.finish_release(),
        }
    }

    /// Looks at all pages again, and soon once more. Some may have come back meanwhile, as by an
    /// eviction that was under way; and a signal handler that has a page in its hands tells nobody
    /// when it is done.
    fn look_again(&mut self, ending: Ending) {
        match ending {
            Ending::Poison => self.poison_missing(),
            _ => self.rewind(),
        }
        self.at(self.now + LOOK_AGAIN, Due::Background);
    }

    /// Says whether nothing is missing that is not zeros, and nothing is under way.
    fn has_all(&self, ending: Ending) -> bool {
        if ending == Ending::Complete && !self.guards.has(Guard::CompletesFirst) {
            return true;
        }
        let parked = self.agenda.values().any(|due| matches!(due, Due::Job(_)));
        // A page that is poisoned needs no fetch to come back first.
        let fetched = self.fetches.is_empty() || ending == Ending::Poison;
        self.is_idle() && !parked && fetched && self.is_filled()
    }

    fn is_idle(&self) -> bool {
        self.flying.is_empty() && self.ready.is_empty() && !self.gate.reading
    }

    fn let_all_go(&mut self) {
        for range in self.layout.ranges() {
            self.unregister(range);
        }
    }

    /// Once the memory was let go: makes sure that no event is left unread, for its thread would
    /// wait for ever if anybody else, as a forked child, still has the userfaultfd when we close
    /// it.
    fn finish_release(&mut self) {
        if self.flying.values().any(|job| matches!(job.kind, Kind::Unregister(_))) {
            return;
        }
        match self.layout.ranges().first() {
            Some(range) if self.policy.events => {
                let page = VaRange::of(range.start(), self.page_bytes());
                self.stage = Stage::Probing(self.ending());
                self.probe(page);
                self.issue();
            }
            _ => self.released(),
        }
    }

    /// The size of some page that is served.
    fn page_bytes(&self) -> Bytes {
        self.regions.first().map_or(Bytes::ZERO, |region| region.bytes(1))
    }

    fn ending(&self) -> Ending {
        match self.stage {
            Stage::Ending(ending) | Stage::Releasing(ending) | Stage::Probing(ending) => ending,
            Stage::Serving | Stage::Ended => Ending::Complete,
        }
    }

    /// Wakes who still waits, once the memory was let go: letting go wakes only those who wait for
    /// a missing page.
    pub(super) fn released(&mut self) {
        let ending = self.ending();
        self.stage = Stage::Ended;
        for range in self.layout.ranges() {
            self.wake(range);
        }
        self.out.push(Action::Tell(Tell::Ended(ending)));
    }

    /// The process has ended: nothing is to be done any more.
    pub(super) fn die(&mut self) {
        if self.stage == Stage::Ended {
            return;
        }
        self.stage = Stage::Ended;
        self.lay_down();
        self.wishes.clear();
        self.out.push(Action::Tell(Tell::Gone));
    }
}
