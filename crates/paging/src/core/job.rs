//! Requests: when they may be made, and what came of them.
//!
//! A job holds pages, like a fetch, until it is done with them. It may be made in several pieces:
//! where its pages do not lie in one piece, where some were taken out of its hands, where the
//! kernel stopped half-way.
//!
//! # Invariants
//! - Every job is in exactly one place: ready, flying, on the agenda; and once for each counts in
//!   the fetch whose content it puts somewhere.

use faultless_pages::VaRange;

use super::ending::Stage;
use super::{Action, Core, Due, Ending, FetchId, Guard, JobId, Tell};
use crate::page::{Generation, PageIndex, PageRun, PageWord, RegionId, State};
use crate::port::{Again, Content, Outcome, Request, Stop, Supply, Time, What};

/// What a job does to its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Puts content there; the first page of the job is the one at `offset` of its fetch.
    Install { fetch: FetchId, offset: u64, content: Content, moves: bool },
    /// Puts zeros there.
    Zero,
    /// Maps what the page cache holds.
    Continue,
    /// Makes it a bus error.
    Poison,
    /// Lets it be written.
    Unprotect,
    /// Drops it.
    Evict,
    /// Makes memory a bus error that is no page of a region.
    PoisonStray(VaRange),
    /// Lets who waits go on.
    Wake(VaRange),
    /// Lets memory go.
    Unregister(VaRange),
    /// Asks whether an event is under way, by a request that does nothing to memory let go.
    Probe(VaRange),
}

/// Something to be asked of the kernel.
#[derive(Clone, Debug)]
pub(super) struct Job {
    region: RegionId,
    run: PageRun,
    /// In whose hands each page is.
    held: Vec<Generation>,
    pub(super) kind: Kind,
    /// Somebody waits.
    wake: bool,
    /// How often it was turned away in a row.
    parked: u32,
}

impl Kind {
    /// Says whether it must not be done while messages are read.
    fn is_install(self) -> bool {
        !matches!(self, Kind::Evict | Kind::Wake(_) | Kind::Unregister(_))
    }

    /// The states in which a page is still in the hands of such a job.
    fn fits(self, state: State) -> bool {
        match self {
            Kind::Install { .. } => state == State::Installing,
            Kind::Zero | Kind::Continue => state == State::Zeroing,
            Kind::Poison => state == State::Poisoning,
            Kind::Evict => state == State::Evicting,
            _ => true,
        }
    }
}

impl Core {
    /// Does something to a page that is in our hands.
    pub(super) fn put(&mut self, region: RegionId, page: PageIndex, kind: Kind) {
        self.put_run(region, PageRun::one(page), kind);
    }

    /// Does something to pages that are in our hands.
    pub(super) fn put_run(&mut self, region: RegionId, run: PageRun, kind: Kind) {
        let table = &self.regions[region.index()].table;
        let held = run.pages().map(|page| table.get(page).generation()).collect();
        self.keep(Job { region, run, held, kind, wake: false, parked: 0 });
    }

    /// Makes memory a bus error that is no page of a region.
    pub(super) fn put_stray(&mut self, range: VaRange) {
        self.put_range(Kind::PoisonStray(range));
    }

    /// Wakes whoever waits in a range.
    pub(super) fn wake(&mut self, range: VaRange) {
        self.put_range(Kind::Wake(range));
    }

    /// Asks whether an event is under way.
    pub(super) fn probe(&mut self, range: VaRange) {
        self.put_range(Kind::Probe(range));
    }

    /// Lets memory go.
    pub(super) fn unregister(&mut self, range: VaRange) {
        self.put_range(Kind::Unregister(range));
    }

    fn put_range(&mut self, kind: Kind) {
        let run = PageRun::new(0, 0);
        let job = Job { region: RegionId(0), run, held: Vec::new(), kind, wake: true, parked: 0 };
        match kind.is_install() {
            true => self.keep(job),
            false => self.make_of_range(job),
        }
    }

    /// Keeps a job until it may be made.
    fn keep(&mut self, job: Job) {
        self.count_in(job.kind);
        self.ready.push_back(job);
    }

    /// Counts a job in.
    fn count_in(&mut self, kind: Kind) {
        if let Kind::Install { fetch, .. } = kind
            && let Some(fetch) = self.fetches.get_mut(&fetch)
        {
            fetch.jobs += 1;
        }
    }

    /// Counts a job out: it is over, or became others.
    fn over(&mut self, kind: Kind) {
        if let Kind::Install { fetch: id, .. } = kind
            && let Some(fetch) = self.fetches.get_mut(&id)
        {
            fetch.jobs -= 1;
            self.release(id);
        }
    }

    /// Forgets a job without doing it.
    pub(super) fn abandon(&mut self, job: &Job) {
        self.let_go(job);
        self.over(job.kind);
    }

    /// Lets the pages of a job go, as if nothing had been done to them.
    fn let_go(&self, job: &Job) {
        let Some(region) = self.regions.get(job.region.index()) else { return };
        for (page, held) in job.run.pages().zip(&job.held) {
            region
                .table
                .change(page, |word| job.holds(word, *held).then(|| word.taken(word.given_back())));
        }
    }

    /// Asks for messages, or for all that is ready: never both at once.
    pub(super) fn issue(&mut self) {
        if matches!(self.stage, Stage::Ending(Ending::HandOver) | Stage::Ended) {
            return;
        }
        let alone = self.policy.events && self.guards.has(Guard::ReadsAlone);
        if self.gate.wanted && !self.gate.reading && !(alone && self.gate.installing > 0) {
            (self.gate.wanted, self.gate.reading) = (false, true);
            self.out.push(Action::Read);
        }
        // What is asked for next may only come after the messages, lest they never come.
        let closed = alone && (self.gate.reading || self.gate.wanted);
        if closed {
            return;
        }
        while let Some(job) = self.ready.pop_front() {
            self.make(&job);
            self.over(job.kind);
        }
    }

    /// Makes the requests of a job: one for each run of pages that are still in its hands and lie
    /// in one piece.
    fn make(&mut self, job: &Job) {
        if let Kind::Probe(_) = job.kind {
            return self.make_of_range(job.clone());
        }
        if let Kind::PoisonStray(range) = job.kind {
            // A thread may touch memory at its new place before it is told that it moved there.
            match self.layout.find(range.start()) {
                Some(_) => self.wake(range),
                None => self.make_of_range(job.clone()),
            }
            return;
        }
        let mut rest = job.clone();
        while rest.run.count > 0 {
            let count = self.alike(&rest);
            let (piece, behind) = rest.split(count.1);
            rest = behind;
            match count.0 {
                true => self.make_piece(piece),
                // Whoever took the pages wakes who waits for them. Only a writer waits for leave
                // alone.
                false if piece.kind == Kind::Unprotect => self.wake_pages(&piece),
                false => {}
            }
        }
    }

    /// Whether the first page of a job is still in its hands, and how many behind it are alike.
    fn alike(&self, job: &Job) -> (bool, u64) {
        let table = &self.regions[job.region.index()].table;
        let holds = |(page, held): (PageIndex, &Generation)| job.holds(table.get(page), *held);
        let mut each = job.run.pages().zip(&job.held).map(holds);
        let first = each.next().unwrap_or(false);
        (first, 1 + each.take_while(|one| *one == first).count() as u64)
    }

    fn wake_pages(&mut self, job: &Job) {
        if let Some(range) = self.place_of(job) {
            self.wake(range);
        }
    }

    /// Where the pages of a job lie, as far as they lie in one piece.
    pub(super) fn place_of(&self, job: &Job) -> Option<VaRange> {
        self.layout.place(job.region, job.run)
    }

    /// Notes that pages stay which a job was to drop, and wakes who waits for them.
    pub(super) fn settle_kept(&mut self, job: &Job) {
        self.settle_as(job, State::Present);
    }

    /// Makes the request of pages that are in the job's hands.
    fn make_piece(&mut self, job: Job) {
        let mut rest = job;
        while rest.run.count > 0 {
            let Some(range) = self.layout.place(rest.region, rest.run) else {
                // Nowhere: unmapped in the meantime, and its words say so soon.
                return;
            };
            let pages = range.page_count(self.regions[rest.region.index()].spec.page_size);
            let (mut piece, behind) = rest.split(pages);
            rest = behind;
            piece.wake |= self.take_wanted(&piece);
            let request = self.request(&piece, range);
            self.fly(piece, request);
        }
    }

    /// Says whether somebody waits for any of the pages, and takes note that they will be woken.
    fn take_wanted(&self, job: &Job) -> bool {
        let table = &self.regions[job.region.index()].table;
        let mut wanted = false;
        for page in job.run.pages() {
            // Only where it is: a change is dearer than a look.
            if table.get(page).is_wanted() {
                table.change(page, |word| Some(word.wanted(false)));
                wanted = true;
            }
        }
        wanted
    }

    fn request(&self, job: &Job, range: VaRange) -> Request {
        let region = &self.regions[job.region.index()];
        let protects = self.guards.has(Guard::ProtectsAtOnce);
        let (wake, protect) = (job.wake, region.spec.tracked && protects);
        match job.kind {
            Kind::Install { fetch, offset, content, moves } => {
                let from = Supply::Fetched { fetch, offset: region.bytes(offset) };
                let request = region.install(range, content, from, wake, moves);
                if protects { request } else { request.unprotected() }
            }
            Kind::Zero => {
                let request = region.install(range, Content::Zeros, Supply::Zeros, wake, false);
                if protects { request } else { request.unprotected() }
            }
            Kind::Continue => Request::Continue { range, fill: None, protect, wake },
            Kind::Poison => Request::Poison { range, wake },
            Kind::Unprotect => Request::Unprotect { range },
            Kind::Evict => Request::Evict { range },
            Kind::PoisonStray(_) | Kind::Wake(_) | Kind::Unregister(_) | Kind::Probe(_) => {
                unreachable!("they are not of pages")
            }
        }
    }

    fn make_of_range(&mut self, job: Job) {
        let request = match job.kind {
            Kind::PoisonStray(range) => Request::Poison { range, wake: true },
            Kind::Unregister(range) => Request::Unregister { range },
            Kind::Wake(range) => Request::Wake { range },
            Kind::Probe(range) => {
                Request::Continue { range, fill: None, protect: false, wake: false }
            }
            _ => unreachable!("they are of pages"),
        };
        self.fly(job, request);
    }

    fn fly(&mut self, job: Job, request: Request) {
        let id = JobId(self.number());
        self.gate.installing += usize::from(job.kind.is_install());
        if job.kind == Kind::Evict && self.policy.events {
            self.evicted.push(request.range());
        }
        self.count_in(job.kind);
        self.flying.insert(id, job);
        self.out.push(Action::Perform { job: id, request });
    }

    /// A request was carried out.
    pub(super) fn done(&mut self, id: JobId, outcome: Outcome) {
        let Some(job) = self.flying.remove(&id) else { return };
        self.gate.installing -= usize::from(job.kind.is_install());
        let kind = job.kind;
        match kind {
            Kind::Wake(_) | Kind::Unregister(_) => {}
            Kind::PoisonStray(range) => self.poisoned_stray(job, range, outcome),
            Kind::Probe(_) => self.probed(job, outcome),
            _ => self.landed(job, outcome),
        }
        self.over(kind);
    }

    fn landed(&mut self, job: Job, outcome: Outcome) {
        let size = self.regions[job.region.index()].spec.page_size;
        let done = match outcome.stopped {
            None => job.run.count,
            Some(Stop::Again(Again::Partial)) if !self.guards.has(Guard::CountsPartial) => {
                job.run.count
            }
            Some(_) => outcome.done.pages(size),
        };
        let (done, rest) = job.split(done);
        self.settle(&done, false);
        let Some(stop) = outcome.stopped.filter(|_| rest.run.count > 0) else { return };
        if self.stage == Stage::Ended {
            self.let_go(&rest);
            return;
        }
        self.stopped(rest, stop);
    }

    /// Notes that pages are as their job wanted them, and wakes who began to wait meanwhile.
    fn settle(&mut self, job: &Job, found: bool) {
        if job.run.count == 0 {
            return;
        }
        let state = match job.kind {
            Kind::Poison => State::Poisoned,
            Kind::Evict => return self.settle_evicted(job),
            Kind::Unprotect => return,
            _ => State::Present,
        };
        let what = match (found, job.kind) {
            (true, _) => What::Found,
            (_, Kind::Poison) => What::Poisoned,
            (_, Kind::Zero) => What::Zeroed,
            _ => What::Installed,
        };
        self.observe(job.region, job.run, what);
        if what == What::Zeroed {
            self.begin_as_zeros(job);
        }
        self.settle_as(job, state);
    }

    /// Notes that pages began anew as zeros, which their source knows nothing of.
    fn begin_as_zeros(&self, job: &Job) {
        let table = &self.regions[job.region.index()].table;
        for (page, held) in job.run.pages().zip(&job.held) {
            table.change(page, |word| job.holds(word, *held).then(|| word.discarded()));
        }
    }

    fn settle_as(&mut self, job: &Job, state: State) {
        let table = std::sync::Arc::clone(&self.regions[job.region.index()].table);
        let mut late = Vec::new();
        for (page, held) in job.run.pages().zip(&job.held) {
            let settled = table.change(page, |word| {
                job.holds(word, *held).then(|| word.then(state).wanted(false))
            });
            late.extend(settled.filter(|word| word.is_wanted()).map(|_| page));
        }
        for run in crate::page::runs(late, u64::MAX) {
            if let Some(range) = self.layout.place(job.region, run) {
                self.wake(range);
            }
        }
    }

    fn settle_evicted(&mut self, job: &Job) {
        let table = std::sync::Arc::clone(&self.regions[job.region.index()].table);
        for (page, held) in job.run.pages().zip(&job.held) {
            table.change(page, |word| {
                job.holds(word, *held).then(|| word.taken(word.given_back()).wanted(false))
            });
        }
        self.observe(job.region, job.run, What::Evicted);
        // Whoever waits is told of again. A thread that waits to write to a page is not, by itself,
        // when the page goes.
        self.wake_pages(job);
    }

    /// A request stopped before the first page of `job`.
    fn stopped(&mut self, job: Job, stop: Stop) {
        if job.kind == Kind::Evict {
            return self.eviction_failed(&job, stop);
        }
        match stop {
            Stop::Present => self.found_one(job),
            Stop::Gone => self.die(),
            Stop::NotMapped => self.not_mapped(job),
            Stop::Busy => self.keep(job.by_copy()),
            Stop::Again(Again::Partial) => self.keep(Job { parked: 0, ..job }),
            Stop::Again(_) => self.park(job),
            Stop::Nothing => self.nothing_there(job),
            Stop::NoMemory => self.no_memory(job),
            Stop::Broken => self.broken(&job, "the memory is broken"),
            Stop::Refused => self.refused(job),
        }
    }

    /// The first page is there already, whoever put it there.
    fn found_one(&mut self, job: Job) {
        let (first, rest) = job.split(1);
        self.settle(&first, true);
        if self.guards.has(Guard::WakesExisting) {
            self.wake_pages(&first);
        }
        if rest.run.count > 0 {
            self.keep(rest);
        }
    }

    /// The range is not one piece of served memory, or not at all.
    fn not_mapped(&mut self, job: Job) {
        if job.run.count > 1 {
            // Something was put between: halves, down to the page.
            let half = job.run.count / 2;
            let (one, other) = job.split(half);
            self.keep(one);
            self.keep(other);
            return;
        }
        let table = &self.regions[job.region.index()].table;
        for (page, held) in job.run.pages().zip(&job.held) {
            table.change(page, |word| {
                // It may only have moved: zeros stay zeros.
                let zeros = word.given_back() == State::Removed;
                let state = if zeros { State::Removed } else { State::Gone };
                job.holds(word, *held).then(|| word.taken(state).wanted(false))
            });
        }
        self.wake_pages(&job);
    }

    /// An event is under way, or somebody else is at it.
    fn park(&mut self, mut job: Job) {
        self.observe(job.region, job.run, What::Parked);
        // The event may be unread, and its thread waits until it is.
        self.gate.wanted = true;
        let wait = self.policy.parked.after(job.parked);
        job.parked += 1;
        self.count_in(job.kind);
        let timer = self.guards.has(Guard::RetriesByTimer);
        let when = if timer { self.now + wait } else { Time(u64::MAX) };
        self.at(when, Due::Job(job));
    }

    /// Nothing is behind the first page.
    fn nothing_there(&mut self, job: Job) {
        let (first, rest) = job.split(1);
        match first.kind {
            // What the page cache held was punched out: zeros.
            Kind::Continue => self.keep(Job { kind: Kind::Zero, ..first }),
            Kind::Install { content: Content::Cached, .. } => {
                self.broken(&first, "the page cache does not hold what its source put there");
            }
            // Behind the end of its file; touching it is a bus error by itself.
            _ => self.not_mapped(first),
        }
        if rest.run.count > 0 {
            self.keep(rest);
        }
    }

    fn no_memory(&mut self, job: Job) {
        if job.parked < self.policy.retry.attempts + NO_MEMORY_PATIENCE {
            self.park(job);
        } else {
            self.broken(&job, "there is no memory left");
        }
    }

    /// Pages cannot be put there.
    fn broken(&mut self, job: &Job, cause: &str) {
        let table = &self.regions[job.region.index()].table;
        for (page, held) in job.run.pages().zip(&job.held) {
            table.change(page, |word| {
                job.holds(word, *held).then(|| word.then(State::Poisoning).wanted(true))
            });
        }
        self.lose_pages(job.region, job.run, cause.to_owned());
    }

    /// The kernel does not do this to this memory: another way, if there is one.
    fn refused(&mut self, job: Job) {
        let ways = &mut self.regions[job.region.index()].spec.ways;
        match job.kind {
            // Refused once is refused for good: it is not asked for again.
            Kind::Install { content: Content::Bytes, moves: true, .. } if ways.moves.is_some() => {
                ways.moves = None;
                self.keep(job);
            }
            Kind::Zero | Kind::Install { content: Content::Zeros, .. } if ways.zero => {
                ways.zero = false;
                self.keep(job);
            }
            Kind::Poison => {
                let (region, pages) = (job.region, job.run);
                self.settle(&job, true);
                self.out.push(Action::Tell(Tell::Stuck { region, pages }));
            }
            Kind::Unprotect => self.wake_pages(&job),
            _ => self.broken(&job, "the kernel refuses to put pages there"),
        }
    }

    /// Makes a request again when an event may be over that is under way.
    fn wait_for_event(&mut self, job: Job) {
        // It may be unread, and its thread waits until it is.
        self.gate.wanted = true;
        let wait = self.policy.parked.after(job.parked);
        self.at(self.now + wait, Due::Job(Job { parked: job.parked + 1, ..job }));
    }

    fn probed(&mut self, job: Job, outcome: Outcome) {
        match outcome.stopped {
            Some(Stop::Again(_)) => self.wait_for_event(job),
            Some(Stop::Gone) => self.die(),
            _ => self.released(),
        }
    }

    fn poisoned_stray(&mut self, job: Job, range: VaRange, outcome: Outcome) {
        match outcome.stopped {
            None => self.out.push(Action::Tell(Tell::Stray(range.start()))),
            Some(Stop::Again(_)) => self.wait_for_event(job),
            Some(Stop::Gone) => self.die(),
            // Unmapped since, or served by now: whoever waits finds out by itself.
            Some(_) => self.wake(range),
        }
    }
}

/// Memory may be freed by whoever has it: waited for a little longer than for a source.
const NO_MEMORY_PATIENCE: u32 = 16;

impl Job {
    fn holds(&self, word: PageWord, held: Generation) -> bool {
        word.generation() == held && self.kind.fits(word.state())
    }

    /// The first `count` pages, and the rest.
    fn split(self, count: u64) -> (Job, Job) {
        let (first, behind) = self.run.split(count);
        let mut held = self.held.clone();
        let rest =
            held.split_off(usize::try_from(first.count).unwrap_or(usize::MAX).min(held.len()));
        let kind = match self.kind {
            Kind::Install { fetch, offset, content, moves } => {
                Kind::Install { fetch, offset: offset + first.count, content, moves }
            }
            other => other,
        };
        (Job { run: first, held, ..self.clone() }, Job { run: behind, held: rest, kind, ..self })
    }

    fn by_copy(self) -> Job {
        match self.kind {
            Kind::Install { fetch, offset, content, .. } => {
                Job { kind: Kind::Install { fetch, offset, content, moves: false }, ..self }
            }
            _ => self,
        }
    }
}

impl Request {
    /// The same without protection, as a pager does it that protects later.
    fn unprotected(self) -> Request {
        match self {
            Request::Copy { range, from, wake, .. } => {
                Request::Copy { range, from, wake, protect: false }
            }
            other => other,
        }
    }
}
