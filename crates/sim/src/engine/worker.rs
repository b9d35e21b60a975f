//! Tasks that carry out what engines ask for.
//!
//! Readers wait for messages, workers take whatever is to be done next for any address space, and
//! drop out when their pool is stopped: as if they had been killed, whatever they were at is not
//! told to anybody.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use faultless_mm::{Advice, Kernel, ThreadId};
use faultless_pages::{Bytes, Va};
use faultless_paging::core::{Action, Core, Event, FetchId};
use faultless_paging::page::PageRun;
use faultless_paging::port::{Order, Outcome, Request, Supply};

use super::port::{Port, outcome};
use super::served::{Memory, PAGER, REGION, Served};
use super::source::Source;
use crate::check::What;
use crate::clock::{Span, Time};
use crate::environment::{Bell, Environment};

/// How long a reader leaves others to it before it looks for messages again.
const PAUSE: Span = Span::micros(20);
/// Pages at one place of the staging memory.
pub(super) const SLOT: u64 = 8;

/// Who serves, and what they share.
pub(super) struct Pool {
    pub(super) kernel: Kernel,
    pub(super) environment: Environment,
    pub(super) bell: Bell,
    pub(super) page_bytes: u64,
    pub(super) source: RefCell<Source>,
    /// Memory of the pager's process, by slots of [`SLOT`] pages that are free; the first of all is
    /// always zeros.
    pub(super) zeros: Cell<u64>,
    pub(super) slots: RefCell<Vec<u64>>,
    /// Where the pager sees shared memory.
    pub(super) second: Cell<Option<u64>>,
    pub(super) served: RefCell<Vec<Rc<Served>>>,
    /// Forked children whose memory nobody serves yet: what the pager calls its userfaultfd.
    pub(super) born: RefCell<VecDeque<(u64, Core)>>,
    /// The workers are dead or dismissed.
    pub(super) stopped: Cell<bool>,
}

impl Pool {
    /// A pool that has no memory and serves nobody yet.
    pub(super) fn new(kernel: Kernel, environment: Environment, source: Source) -> Pool {
        Pool {
            bell: environment.bell(),
            page_bytes: kernel.profile().page().0,
            kernel,
            environment,
            source: RefCell::new(source),
            zeros: Cell::default(),
            slots: RefCell::default(),
            second: Cell::default(),
            served: RefCell::default(),
            born: RefCell::default(),
            stopped: Cell::default(),
        }
    }

    /// Keeps the engine of a child until its memory is known.
    pub(super) fn adopt(&self, _: &Served, child: u64, core: Core) {
        self.born.borrow_mut().push_back((child, core));
    }

    fn port(&self, who: ThreadId, served: &Served) -> Port {
        Port { kernel: self.kernel.clone(), who, fd: served.fd.get() }
    }

    /// Looks for messages of an address space as long as it is served.
    pub(super) async fn read(self: Rc<Pool>, who: ThreadId, served: Rc<Served>) {
        while !self.stopped.get() && !served.ended.get() {
            // EINTR: looks whether it is still needed.
            let _ = self.kernel.poll_wait(who, served.fd.get()).await;
            if self.stopped.get() || served.ended.get() {
                break;
            }
            served.step(&self, Event::Readable);
            self.environment.sleep(who, PAUSE).await;
        }
        self.close(who, &served).await;
    }

    /// Closes a descriptor whose address space is served no more, when nothing uses it any more.
    async fn close(&self, who: ThreadId, served: &Served) {
        while !self.stopped.get() && !served.core.borrow().is_over() {
            self.environment.sleep(who, PAUSE).await;
        }
        if served.ended.get() && !self.stopped.get() {
            // EBADF would be a bug of the pager, which closes once.
            let _ = self.kernel.close(who, served.fd.get()).await;
            let (supervisor, kept) = served.kept;
            let _ = self.kernel.close(supervisor, kept).await;
            served.closed.set(true);
        }
    }

    /// Carries actions out until dismissed.
    pub(super) async fn work(self: Rc<Pool>, who: ThreadId) {
        while !self.stopped.get() {
            if let Some((served, action)) = self.next() {
                self.act(who, &served, action).await;
                continue;
            }
            match self.due() {
                Some(due) if due <= self.environment.now() => self.tick(),
                due => self.environment.rest(who, self.bell, due).await,
            }
        }
    }

    /// Drops pages, from inside the process they are of.
    pub(super) async fn drop_pages(self: Rc<Pool>, who: ThreadId) {
        while !self.stopped.get() {
            let next = self.all().into_iter().find_map(|served| {
                let job = served.evictions.borrow_mut().pop_front()?;
                Some((served, job))
            });
            let Some((served, (job, request))) = next else {
                self.environment.rest(who, self.bell, None).await;
                continue;
            };
            let (range, inside) = (request.range(), served.inside);
            let deeds = self.begin(&served, &request, What::Evict);
            let advised =
                self.kernel.advise(inside, range.start(), range.len(), Advice::DontNeed).await;
            let outcome = outcome(advised, Bytes::ZERO, range);
            end(&served.memory, &deeds, deeds.len());
            if self.stopped.get() {
                return;
            }
            served.step(&self, Event::Done { job, outcome });
        }
    }

    pub(super) fn all(&self) -> Vec<Rc<Served>> {
        self.served.borrow().clone()
    }

    fn next(&self) -> Option<(Rc<Served>, Action)> {
        self.all().into_iter().find_map(|served| {
            let action = served.queue.borrow_mut().pop_front()?;
            Some((served, action))
        })
    }

    fn due(&self) -> Option<Time> {
        let due = self.all().into_iter().filter_map(|served| served.core.borrow().due()).min()?;
        (due.0 < u64::MAX).then_some(Time(due.0))
    }

    fn tick(&self) {
        for served in self.all() {
            served.step(self, Event::Tick);
        }
    }

    async fn act(&self, who: ThreadId, served: &Rc<Served>, action: Action) {
        match action {
            Action::Read => {
                let messages = self.port(who, served).messages().await;
                if self.stopped.get() {
                    // It lies where the next worker looks.
                    served.unheard.borrow_mut().extend(messages);
                    return;
                }
                served.step(self, Event::Messages(&messages));
            }
            Action::Fetch { order, .. } => self.fetch(who, served, &order).await,
            Action::Perform { job, request } => {
                let outcome = self.perform(who, served, &request).await;
                if !self.stopped.get() {
                    served.step(self, Event::Done { job, outcome });
                }
            }
            Action::Release(fetch) => self.release(served, fetch),
            Action::Tell(_) => unreachable!("told at once"),
        }
    }

    async fn fetch(&self, who: ThreadId, served: &Rc<Served>, order: &Order) {
        let delay = self.source.borrow_mut().delay();
        self.environment.sleep(who, delay).await;
        let answer = self.source.borrow_mut().answer(order);
        if self.stopped.get() {
            return;
        }
        let result = match answer {
            Ok((fetched, words)) => {
                let slot = self.slots.borrow_mut().pop().expect("room for what is fetched");
                served.landed.borrow_mut().insert(order.fetch, (slot, order.pages.count));
                for (place, word) in (0..).zip(words) {
                    let at = Va(slot + place * self.page_bytes);
                    // Only a kill ends a store to the pager's own memory.
                    let _ = self.kernel.store(who, at, &word.to_ne_bytes()).await;
                }
                Ok(fetched)
            }
            Err(error) => Err(error),
        };
        if !self.stopped.get() {
            served.step(self, Event::Fetched { fetch: order.fetch, result });
        }
    }

    fn release(&self, served: &Served, fetch: FetchId) {
        if let Some((slot, _)) = served.landed.borrow_mut().remove(&fetch) {
            self.slots.borrow_mut().push(slot);
        }
    }

    async fn perform(&self, who: ThreadId, served: &Served, request: &Request) -> Outcome {
        let from = match *request {
            Request::Copy { from, .. } | Request::Move { from, .. } => self.place(served, from),
            Request::Continue { range, fill: Some(from), .. } => {
                let from = self.place(served, from);
                self.fill(who, served, from, range).await;
                from
            }
            _ => 0,
        };
        let deeds = self.begin(served, request, What::Install);
        let outcome = self.port(who, served).perform(request, from).await;
        let done = usize::try_from(outcome.done.0 / self.page_bytes).unwrap_or(0);
        end(&served.memory, &deeds, done);
        outcome
    }

    fn place(&self, served: &Served, from: Supply) -> u64 {
        match from {
            Supply::Zeros => self.zeros.get(),
            Supply::Fetched { fetch, offset } => {
                let landed = served.landed.borrow();
                landed.get(&fetch).expect("kept until it is released").0 + offset.0
            }
        }
    }

    /// Writes content to shared memory where the program does not map it yet.
    async fn fill(
        &self,
        who: ThreadId,
        served: &Served,
        from: u64,
        range: faultless_pages::VaRange,
    ) {
        let second = self.second.get().expect("shared memory is mapped twice");
        let first = served.core.borrow().find(range.start()).map_or(0, |(_, page)| page.0);
        for page in 0..range.len().0 / self.page_bytes {
            let mut word = [0; 8];
            let (from, to) = (from + page * self.page_bytes, (first + page) * self.page_bytes);
            // Only a kill ends either.
            let _ = self.kernel.load(who, Va(from), &mut word).await;
            let _ = self.kernel.store(who, Va(second + to), &word).await;
        }
    }

    /// Writes down that pages are being put somewhere, or dropped.
    fn begin(&self, served: &Served, request: &Request, what: What) -> Vec<crate::check::DeedId> {
        let puts = !matches!(
            request,
            Request::Wake { .. }
                | Request::Unprotect { .. }
                | Request::Unregister { .. }
                | Request::Poison { .. }
        );
        let found = served.core.borrow().find(request.range().start());
        let Some((REGION, first)) = found.filter(|_| puts) else { return Vec::new() };
        let run = PageRun { first, count: request.range().len().0 / self.page_bytes };
        run.pages().map(|page| served.memory.begin(PAGER, page.0, what)).collect()
    }
}

/// Writes down that the first of these deeds came to something, and the others to nothing.
fn end(memory: &Memory, deeds: &[crate::check::DeedId], done: usize) {
    let mut history = memory.history.borrow_mut();
    for (place, deed) in deeds.iter().enumerate() {
        if place < done { history.end(*deed) } else { history.strike(*deed) }
    }
}
