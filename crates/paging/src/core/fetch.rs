//! Fetches: claims, answers, retries, and what is lost.
//!
//! A fetch holds the pages it claimed for as long as their words say so. Others may take pages from
//! it: a discard, or a thread that waits for a page which is fetched for later. What comes for a
//! page that was taken is not used.

use super::job::Kind;
use super::region::Region;
use super::{Action, Core, Due, FetchId, Guard, Tell};
use crate::core::ending::Stage;
use crate::page::{Generation, PageRun, PageWord, RegionId, State};
use crate::port::{FetchError, Fetched, Order, Urgency, What};

/// A fetch.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) region: RegionId,
    pub(super) run: PageRun,
    /// In whose hands each page is.
    pub(super) held: Vec<Generation>,
    pub(super) urgency: Urgency,
    attempt: u32,
    /// Requests that need what it brought.
    pub(super) jobs: usize,
    /// It came back.
    landed: bool,
}

impl Core {
    /// Fetches pages that were claimed.
    pub(super) fn ask(&mut self, region: RegionId, run: PageRun, urgency: Urgency) {
        self.ask_after(region, run, urgency, 0);
    }

    fn ask_after(&mut self, region: RegionId, run: PageRun, urgency: Urgency, attempt: u32) {
        let fetch = FetchId(self.number());
        let table = &self.regions[region.index()].table;
        let held = run.pages().map(|page| table.get(page).generation()).collect();
        let entry = Fetch { region, run, held, urgency, attempt, jobs: 0, landed: false };
        self.fetches.insert(fetch, entry);
        self.send(fetch);
    }

    fn send(&mut self, id: FetchId) {
        let Some(&Fetch { region, run, urgency, attempt, .. }) = self.fetches.get(&id) else {
            return;
        };
        self.observe(region, run, What::Asked(urgency));
        let pages = self.regions[region.index()].in_source(run);
        let order = Order { fetch: id, pages, urgency, attempt };
        self.out.push(Action::Fetch { region, order });
    }

    /// Makes a fetch again whose time has come, if anybody still needs it.
    pub(super) fn ask_again(&mut self, id: FetchId) {
        if self.still_held(id) { self.send(id) } else { drop(self.fetches.remove(&id)) }
    }

    fn still_held(&self, id: FetchId) -> bool {
        let Some(fetch) = self.fetches.get(&id) else { return false };
        let table = &self.regions[fetch.region.index()].table;
        fetch.run.pages().zip(&fetch.held).any(|(page, held)| is_held(table.get(page), *held))
    }

    /// A fetch came back.
    pub(super) fn fetched(&mut self, id: FetchId, result: Result<Fetched, FetchError>) {
        let Some(fetch) = self.fetches.get_mut(&id) else {
            self.out.push(Action::Release(id));
            return;
        };
        fetch.landed = true;
        let (region, run, urgency) = (fetch.region, fetch.run, fetch.urgency);
        if self.stage == Stage::Ended {
            self.release(id);
            return;
        }
        match result {
            // A source that brings nothing, or too little, failed for the rest.
            Ok(fetched) if fetched.pages() >= run.count => {
                self.observe(region, run, What::Fetched(urgency));
                self.place_all(id, &fetched);
            }
            Ok(fetched) => {
                let cause = format!("{} of {} pages came", fetched.pages(), run.count);
                self.failed(id, &FetchError::Passing(cause));
            }
            Err(error) => self.failed(id, &error),
        }
        self.release(id);
    }

    /// Puts what came where it is waited for; pages somebody waits for first.
    fn place_all(&mut self, id: FetchId, fetched: &Fetched) {
        let Some(fetch) = self.fetches.get(&id) else { return };
        let (region, mut rest, first) = (fetch.region, fetch.run, fetch.run.first);
        let mut pieces = Vec::new();
        for (count, content) in &fetched.runs {
            let (run, behind) = rest.split(*count);
            rest = behind;
            pieces.extend(self.held_pieces(id, run).into_iter().map(|piece| (piece, *content)));
        }
        let table = std::sync::Arc::clone(&self.regions[region.index()].table);
        let wanted = |run: &PageRun| run.pages().any(|page| table.get(page).is_wanted());
        pieces.sort_by_key(|(run, _)| !wanted(run));
        for (run, content) in pieces {
            for page in run.pages() {
                table.change(page, |word| Some(word.then(State::Installing)));
            }
            let offset = run.first.0 - first.0;
            self.put_run(region, run, Kind::Install { fetch: id, offset, content, moves: true });
        }
    }

    /// The pages of a run this fetch still holds, cut where somebody begins or ceases to wait: who
    /// waits shall not wait for more than needed.
    fn held_pieces(&self, id: FetchId, run: PageRun) -> Vec<PageRun> {
        let Some(fetch) = self.fetches.get(&id) else { return Vec::new() };
        let Region { table, spec, .. } = &self.regions[fetch.region.index()];
        let held = |page: &crate::page::PageIndex| {
            let offset = usize::try_from(page.0 - fetch.run.first.0).unwrap_or(usize::MAX);
            let generation = fetch.held.get(offset);
            let word = table.get(*page);
            let checks = self.guards.has(Guard::ChecksGeneration);
            generation.is_some_and(|generation| is_held(word, *generation)) || !checks
        };
        let mut pieces: Vec<(PageRun, bool)> = Vec::new();
        for page in run.pages().filter(held) {
            let wanted = table.get(page).is_wanted();
            match pieces.last_mut() {
                Some((last, alike))
                    if last.end() == page && *alike == wanted && last.count < spec.run_max =>
                {
                    last.count += 1;
                }
                _ => pieces.push((PageRun::one(page), wanted)),
            }
        }
        pieces.into_iter().map(|(run, _)| run).collect()
    }

    /// A fetch brought nothing: again, page by page, or never.
    fn failed(&mut self, id: FetchId, error: &FetchError) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        let (region, run, urgency) = (fetch.region, fetch.run, fetch.urgency);
        let passing = matches!(error, FetchError::Passing(_));
        let attempt = fetch.attempt + 1;
        self.observe(region, run, What::FetchFailed);
        if !self.guards.has(Guard::RetriesFetches) && passing {
            return;
        }
        if urgency == Urgency::Prefetch && !self.anybody_waits(id) {
            // A guess is given up; who needs the page will say so.
            self.give_back(id);
        } else if passing && attempt < self.policy.retry.attempts {
            let wait = self.policy.retry.patience.after(attempt - 1);
            if let Some(fetch) = self.fetches.get_mut(&id) {
                (fetch.attempt, fetch.landed) = (attempt, false);
            }
            self.at(self.now + wait, Due::Fetch(id));
        } else if run.count > 1 {
            // One page may be lost, and the others not.
            for piece in self.held_pieces(id, run) {
                for page in piece.pages() {
                    self.ask_after(region, PageRun::one(page), urgency, attempt);
                }
            }
        } else {
            self.lose(id, error);
        }
    }

    fn anybody_waits(&self, id: FetchId) -> bool {
        let Some(fetch) = self.fetches.get(&id) else { return false };
        let table = &self.regions[fetch.region.index()].table;
        let waits = |(page, held): (_, &Generation)| {
            let word: PageWord = table.get(page);
            is_held(word, *held) && word.is_wanted()
        };
        fetch.run.pages().zip(&fetch.held).any(waits)
    }

    /// Lets pages go that a fetch holds.
    pub(super) fn give_back(&mut self, id: FetchId) {
        let Some(fetch) = self.fetches.get(&id) else { return };
        let table = &self.regions[fetch.region.index()].table;
        for (page, held) in fetch.run.pages().zip(&fetch.held) {
            table.change(page, |word| is_held(word, *held).then(|| word.taken(State::Absent)));
        }
        self.rewind();
    }

    /// The pages of a fetch are lost.
    fn lose(&mut self, id: FetchId, error: &FetchError) {
        let run = self.fetches.get(&id).map(|fetch| fetch.run);
        for piece in run.map(|run| self.held_pieces(id, run)).unwrap_or_default() {
            self.lose_pages(self.fetches[&id].region, piece, error.to_string());
        }
    }

    /// Makes pages bus errors that are in our hands.
    pub(super) fn lose_pages(&mut self, region: RegionId, pages: PageRun, cause: String) {
        let table = std::sync::Arc::clone(&self.regions[region.index()].table);
        let poisons = self.guards.has(Guard::PoisonsLost);
        let (state, kind) = match poisons {
            true => (State::Poisoning, Kind::Poison),
            false => (State::Zeroing, Kind::Zero),
        };
        for page in pages.pages() {
            table.change(page, |word| Some(word.then(state)));
        }
        self.put_run(region, pages, kind);
        self.out.push(Action::Tell(Tell::Lost { region, pages, cause }));
    }

    /// Lets go what a fetch brought if nobody needs it any more.
    pub(super) fn release(&mut self, id: FetchId) {
        if self.fetches.get(&id).is_some_and(|fetch| fetch.landed && fetch.jobs == 0) {
            self.fetches.remove(&id);
            self.out.push(Action::Release(id));
        }
    }
}

/// Says whether a page is still on its way for whoever claimed it.
fn is_held(word: PageWord, held: Generation) -> bool {
    word.state() == State::Fetching && word.generation() == held
}
