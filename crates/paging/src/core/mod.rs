//! The engine: from events to actions, and nothing else.
//!
//! A [`Core`] serves one address space. It is told [events](Event) and answers with
//! [actions](Action), in the order in which they are to be begun; whoever carries them out tells
//! what came of each. It reads no clock, knows no thread, calls nobody but its
//! [observer](crate::port::Observer) and allocates no page: what a fetch brings is kept by whoever
//! fetched it until [`Action::Release`].
//!
//! | file | holds |
//! |---|---|
//! | `event` | what goes in and what comes out |
//! | `policy` | what the user chooses |
//! | `region` | a range of memory and where its pages come from |
//! | `layout` | which page lies where, also after it was moved |
//! | `hear` | messages: events first, then faults |
//! | `fetch` | fetches: claims, answers, retries, what is lost |
//! | `job` | requests: when they may be made, and what came of them |
//! | `ahead` | what is fetched before anybody waits |
//! | `evict` | dropping pages that can be fetched again |
//! | `ending` | the end: complete, poisoned or handed over |
//! | `guard` | guards that can be left out, to prove that they are needed |
//!
//! # Invariants
//! - Who acts on a page holds it: its word was changed to say so, and no other party found it in
//!   the same state. Before a request is made the word is looked at again; pages that changed hands
//!   since are left out of it.
//! - While messages are being read, nothing is being installed, if the address space tells events.
//!   A REMOVE that was read therefore comes wholly before or wholly after each install, and the
//!   copy of the page words for a forked child is exact.
//! - A page that was removed is zeros; a page whose content cannot be had is poisoned. Nothing
//!   else ever becomes zeros.
//! - A page somebody waits for is fetched by itself: what is fetched along with it comes after.

mod ahead;
mod ending;
mod event;
mod evict;
mod fetch;
mod guard;
mod hear;
mod job;
mod layout;
mod policy;
mod region;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use faultless_pages::{PageSize, VaRange};

pub use ending::Ending;
pub use event::{Action, Event, FetchId, JobId, Tell};
#[cfg(feature = "removable-guards")]
pub use guard::Guard;
pub use policy::{Background, Patience, Policy, Retry};
pub use region::{RegionSpec, Ways};

#[cfg(not(feature = "removable-guards"))]
use guard::Guard;

use crate::page::{PageIndex, PageRun, PageTable, RegionId, State};
use crate::port::{Observation, Observer, Time, What};
use ending::Stage;
use fetch::Fetch;
use job::Job;
use layout::Layout;
use region::Region;

/// The engine of one address space.
pub struct Core {
    policy: Policy,
    regions: Vec<Region>,
    layout: Layout,
    observer: Box<dyn Observer>,
    now: Time,
    /// The number of the next fetch, job or thing on the agenda.
    next: u64,
    fetches: BTreeMap<FetchId, Fetch>,
    /// Requests that were made and not answered.
    flying: BTreeMap<JobId, Job>,
    /// Requests to be made as soon as nothing is being read.
    ready: VecDeque<Job>,
    /// What is to be done at some time.
    agenda: BTreeMap<(Time, u64), Due>,
    gate: Gate,
    /// Pages somebody is expected to want, the next first.
    wishes: VecDeque<(RegionId, PageRun)>,
    ahead: ahead::Ahead,
    /// Evictions whose REMOVE is still to come.
    evicted: Vec<VaRange>,
    stage: Stage,
    out: Vec<Action>,
    guards: guard::Guards,
}

/// Keeps reading and installing apart.
#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    /// Messages are being read.
    reading: bool,
    /// Messages are to be read.
    wanted: bool,
    /// Requests under way during which nothing may be read.
    installing: usize,
}

/// Something on the agenda.
#[derive(Debug)]
enum Due {
    /// A request that was turned away.
    Job(Job),
    /// A fetch that failed.
    Fetch(FetchId),
    /// Background work that was fast enough until then.
    Background,
}

impl Core {
    /// Makes the engine of an address space.
    #[must_use]
    pub fn new(policy: Policy, observer: Box<dyn Observer>) -> Core {
        Core {
            policy,
            regions: Vec::new(),
            layout: Layout::default(),
            observer,
            now: Time::default(),
            next: 0,
            fetches: BTreeMap::new(),
            flying: BTreeMap::new(),
            ready: VecDeque::new(),
            agenda: BTreeMap::new(),
            gate: Gate::default(),
            wishes: VecDeque::new(),
            ahead: ahead::Ahead::default(),
            evicted: Vec::new(),
            stage: Stage::Serving,
            out: Vec::new(),
            guards: guard::Guards::default(),
        }
    }

    /// Adds a region. Its range must not overlap that of another.
    pub fn add(&mut self, spec: RegionSpec) -> RegionId {
        let table = Arc::new(PageTable::new(spec.pages));
        self.add_with(spec, table)
    }

    /// Adds a region of whose pages something is known already, as after a predecessor died or
    /// handed over. Pages it had a hold on are as if it had let them go.
    ///
    /// Whoever waits is to be woken then: what was read by the predecessor is read by nobody else.
    /// [`Core::wake_all`] does it.
    ///
    /// # Panics
    /// If the table is of another size.
    pub fn add_with(&mut self, spec: RegionSpec, table: Arc<PageTable>) -> RegionId {
        assert_eq!(spec.pages, table.pages(), "a table of the region's size");
        let region = RegionId(u32::try_from(self.regions.len()).expect("few regions"));
        for page in table.whole().pages() {
            table.change(page, |word| {
                let held = word.state().is_held();
                held.then(|| word.taken(word.given_back()).wanted(false))
            });
        }
        self.layout.insert(region, &spec);
        self.regions.push(Region::new(spec, table));
        region
    }

    /// Notes that pages are there, as a look at the page table of their process shows.
    ///
    /// A successor must do so for memory that is filled through a second mapping: its predecessor
    /// may have died between mapping a page and noting it, and to fill a page again that its
    /// program has written to would undo that.
    pub fn found(&mut self, region: RegionId, pages: PageRun) {
        let table = &self.regions[region.index()].table;
        for page in pages.pages() {
            table.change(page, |word| {
                let unknown = matches!(word.state(), State::Absent | State::Gone);
                unknown.then(|| word.taken(State::Present).dirty(true))
            });
        }
    }

    /// Tells what happened at `now`, and puts what is to be done behind `actions`.
    pub fn step(&mut self, now: Time, event: Event<'_>, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Readable => self.gate.wanted |= self.stage != Stage::Ended,
            Event::Messages(messages) => self.hear(messages),
            Event::Fetched { fetch, result } => self.fetched(fetch, result),
            Event::Done { job, outcome } => self.done(job, outcome),
            Event::Tick => {}
            Event::Wish { region, pages } => self.wish(region, pages),
            Event::Discard { region, pages } => self.discard(region, pages),
            Event::Evict { region, pages } => self.evict(region, pages),
            Event::End(ending) => self.end(ending),
            Event::Dead => self.die(),
        }
        self.run_agenda();
        self.look_ahead();
        self.issue();
        self.advance_end();
        actions.append(&mut self.out);
    }

    /// When [`Event::Tick`] is to be told next.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// Says whether nothing is to be served any more, and no answer is awaited.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Ended && self.flying.is_empty()
    }

    /// The words of a region's pages.
    ///
    /// # Panics
    /// If there is no such region.
    #[must_use]
    pub fn table(&self, region: RegionId) -> &Arc<PageTable> {
        &self.regions[region.index()].table
    }

    /// How large a region's pages are.
    ///
    /// # Panics
    /// If there is no such region.
    #[must_use]
    pub fn page_size(&self, region: RegionId) -> PageSize {
        self.regions[region.index()].spec.page_size
    }

    /// The page at an address and its region, if it is served.
    #[must_use]
    pub fn find(&self, at: faultless_pages::Va) -> Option<(RegionId, PageIndex)> {
        self.layout.find(at)
    }

    /// Replaces the observer.
    pub fn watch(&mut self, observer: Box<dyn Observer>) {
        self.observer = observer;
    }

    /// Wakes whoever waits anywhere, to be told of again: the first thing a successor does.
    pub fn wake_all(&mut self, actions: &mut Vec<Action>) {
        for range in self.layout.ranges() {
            self.wake(range);
        }
        actions.append(&mut self.out);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn at(&mut self, when: Time, due: Due) {
        let number = self.number();
        self.agenda.insert((when, number), due);
    }

    fn observe(&mut self, region: RegionId, pages: PageRun, what: What) {
        self.observer.observe(Observation { at: self.now, region, pages, what });
    }

    /// Does what is due.
    fn run_agenda(&mut self) {
        while let Some(first) = self.agenda.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            match first.remove() {
                Due::Job(job) => self.ready.push_back(job),
                Due::Fetch(fetch) => self.ask_again(fetch),
                Due::Background => self.ahead.resting = false,
            }
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("stage", &self.stage)
            .field("gate", &self.gate)
            .field("fetches", &self.fetches)
            .field("flying", &self.flying)
            .field("ready", &self.ready)
            .field("agenda", &self.agenda)
            .finish_non_exhaustive()
    }
}
