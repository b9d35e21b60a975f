//! An address space in service: its engine, and what is to be done for it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use faultless_mm::ThreadId;
use faultless_paging::core::{Action, Core, Ending, Event, FetchId, JobId, Tell};
use faultless_paging::page::{PageIndex, PageTable, RegionId, State};
use faultless_paging::port::{self, Message, Request};

use super::worker::Pool;
use crate::check::{History, Page, Step, What};

/// The one region of every address space.
pub(super) const REGION: RegionId = RegionId(0);
/// Who the pager is in a history.
pub(super) const PAGER: u32 = 0;

/// Memory as its program sees it.
#[derive(Debug)]
pub(super) struct Memory {
    /// Where it begins; programs move it.
    pub(super) base: Cell<u64>,
    /// It is being moved.
    pub(super) moving: Cell<bool>,
    /// It is not moved any more. Memory that nobody serves reads as zeros at its old place while it
    /// is being moved, so that whoever touches it then is wrong, and not the pager.
    pub(super) settled: Cell<bool>,
    pub(super) pages: u64,
    pub(super) page_bytes: u64,
    /// Discarding takes the pages out of what lies behind the mapping.
    pub(super) shared: bool,
    pub(super) history: Rc<RefCell<History>>,
    /// Pages that were said to be lost, and may be bus errors.
    pub(super) lost: RefCell<BTreeSet<Page>>,
}

/// An address space in service.
pub(super) struct Served {
    pub(super) memory: Rc<Memory>,
    pub(super) tracked: bool,
    pub(super) core: RefCell<Core>,
    /// The page words, which outlive a worker.
    pub(super) table: Arc<PageTable>,
    /// The userfaultfd in the process of the workers, and in that of their supervisor.
    pub(super) fd: Cell<u32>,
    pub(super) kept: (ThreadId, u32),
    /// Who waits for messages.
    pub(super) reader: ThreadId,
    /// A thread of the process itself, to drop pages with.
    pub(super) inside: ThreadId,
    pub(super) queue: RefCell<VecDeque<Action>>,
    pub(super) evictions: RefCell<VecDeque<(JobId, Request)>>,
    /// Where what a fetch brought lies, and how many pages it has.
    pub(super) landed: RefCell<BTreeMap<FetchId, (u64, u64)>>,
    /// What a worker had read when it died.
    pub(super) unheard: RefCell<Vec<Message>>,
    /// Serving has ended in good order, and the descriptor is to be closed.
    pub(super) ended: Cell<bool>,
    pub(super) closed: Cell<bool>,
    /// Somebody else is to go on serving.
    pub(super) laid_down: Cell<bool>,
}

impl Memory {
    pub(super) fn at(&self, page: Page) -> u64 {
        self.base.get() + page * self.page_bytes
    }

    /// The memory of a child whose parent began to fork it at this step.
    pub(super) fn forked(&self, begun: Step, base: u64) -> Memory {
        let history = self.history.borrow().forked(begun);
        Memory {
            base: Cell::new(base),
            moving: Cell::default(),
            settled: Cell::new(true),
            history: Rc::new(RefCell::new(history)),
            lost: self.lost.clone(),
            ..*self
        }
    }

    pub(super) fn begin(&self, by: u32, page: Page, what: What) -> crate::check::DeedId {
        self.history.borrow_mut().begin(by, page, what)
    }
}

impl Served {
    /// Tells the engine something, and keeps what it wants done.
    pub(super) fn step(&self, pool: &Pool, event: Event<'_>) {
        let mut actions = Vec::new();
        let now = port::Time(pool.environment.now().0);
        self.core.borrow_mut().step(now, event, &mut actions);
        self.keep(pool, actions);
    }

    /// Keeps what is to be done; what is told is dealt with at once.
    pub(super) fn keep(&self, pool: &Pool, actions: Vec<Action>) {
        let lets_go = |action: &Action| {
            matches!(action, Action::Perform { request: Request::Unregister { .. }, .. })
        };
        if self.tracked && actions.iter().any(lets_go) {
            self.claim();
        }
        for action in actions {
            match action {
                Action::Tell(tell) => self.told(pool, tell),
                Action::Perform { job, request: request @ Request::Evict { .. } } => {
                    self.evictions.borrow_mut().push_back((job, request));
                }
                other => self.queue.borrow_mut().push_back(other),
            }
        }
        pool.environment.ring(pool.bell);
    }

    fn told(&self, pool: &Pool, tell: Tell) {
        match tell {
            Tell::Lost { pages, .. } => {
                self.memory.lost.borrow_mut().extend(pages.pages().map(|page| page.0));
            }
            Tell::Forked { child, core } => pool.adopt(self, child, *core),
            Tell::Ended(Ending::HandOver) => self.laid_down.set(true),
            Tell::Ended(_) | Tell::Gone => {
                self.ended.set(true);
                // It may sleep until a message comes.
                pool.kernel.interrupt(self.reader);
            }
            Tell::Stray(at) => panic!("memory that is served was taken for a stray: {at}"),
            Tell::Stuck { pages, .. } => panic!("the model can poison, but not {pages:?}"),
        }
    }

    /// Claims, before the memory is let go, that pages which were not written hold what they were
    /// served with.
    fn claim(&self) {
        let mut history = self.memory.history.borrow_mut();
        for page in 0..self.memory.pages {
            let word = self.table.get(PageIndex(page));
            if word.state() != State::Present || word.is_dirty() {
                continue;
            }
            let served = history.before.get(&page).copied().unwrap_or(0);
            let discarded =
                history.deeds().any(|deed| deed.page == page && deed.what == What::Discard);
            // Which of the two it is after a discard, the history cannot say; the loads do.
            if !discarded {
                let deed = history.begin(PAGER, page, What::Load(0));
                history.end_load(deed, served);
            }
        }
    }
}
