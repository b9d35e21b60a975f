//! The pager: serves faults, takes note of what is written, and lets go when told to.
//!
//! # Invariants
//! - What a page is served with is decided when it is installed, after all that was read: pages
//!   that were given up are zeros.
//! - Where it tracks, a page is written only after the pager has taken note of it, for it comes
//!   protected.
//! - Work that a pending event turns away is tried again without waiting for a message: nothing
//!   tells when the event is over.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use faultless_mm::Errno;
use faultless_mm::errno::{EAGAIN, EEXIST};
use faultless_uapi::event::{PAGEFAULT, REMOVE, fault_flag};
use faultless_uapi::mode::{copy, writeprotect};
use faultless_uapi::{UffdMsg, UffdioRange};

use super::Flaw;
use super::calls::Calls;
use super::run::Order;
use super::source::Source;
use crate::check::{History, Page, What};
use crate::clock::Span;

/// How long the pager waits before it does again what a pending event turned away.
const RETRY: Span = Span::micros(100);
/// Who the pager is in a history.
pub(super) const PAGER: u32 = 0;

/// Where the pages are, and where what they are served with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The first page.
    pub(super) region: u64,
    /// What the first page holds; behind those of all pages, zeros.
    pub(super) source: u64,
    pub(super) pages: u64,
    pub(super) page_bytes: u64,
}

impl Layout {
    pub(super) fn at(&self, page: Page) -> u64 {
        self.region + page * self.page_bytes
    }

    pub(super) fn page(&self, at: u64) -> Page {
        (at - self.region) / self.page_bytes
    }

    fn range(&self, page: Page) -> UffdioRange {
        UffdioRange { start: self.at(page), len: self.page_bytes }
    }

    pub(super) fn source(&self, page: Page) -> u64 {
        self.source + page * self.page_bytes
    }
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// A missing page. Where what it is served with lies, if that was decided already.
    Install(Page, Option<u64>),
    /// A page to be written that is protected.
    Unprotect(Page),
}

/// A pager at work.
pub(super) struct Pager {
    pub(super) calls: Calls,
    pub(super) layout: Layout,
    pub(super) source: Source,
    pub(super) flaw: Option<Flaw>,
    /// It protects what it installs, to take note of what is written.
    pub(super) tracks: bool,
    pub(super) order: Rc<Cell<Order>>,
    pub(super) history: Rc<RefCell<History>>,
    pub(super) account: Account,
}

/// What a pager knows.
#[derive(Debug, Default)]
pub(super) struct Account {
    jobs: Vec<Job>,
    /// Pages that were given up, and are zeros from then on.
    dropped: BTreeSet<Page>,
    /// Pages that were written since they were installed.
    written: BTreeSet<Page>,
}

impl Pager {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Serves until told to finish.
    pub(super) async fn serve(mut self) {
        while self.order.get() == Order::Serve {
            self.rest().await;
            self.hear().await;
            self.work().await;
        }
        if !self.has(Flaw::ClosesEarly) {
            self.finish().await;
        }
        if self.order.get() != Order::Die {
            self.calls.close().await;
        }
    }

    async fn rest(&self) {
        if self.account.jobs.is_empty() || self.has(Flaw::PollsOnAgain) {
            self.calls.poll().await;
        } else {
            self.source.environment.sleep(self.calls.who, RETRY).await;
        }
    }

    /// Reads what there is. Events of a batch count before its faults, for they are older.
    async fn hear(&mut self) {
        let mut messages = self.calls.messages().await;
        if !self.has(Flaw::ServesInReadOrder) {
            messages.sort_by_key(|message| message.event == PAGEFAULT);
        }
        for message in messages {
            match message.event {
                PAGEFAULT => self.take_fault(&message),
                REMOVE => self.give_up(&message),
                _ => {}
            }
        }
    }

    fn take_fault(&mut self, message: &UffdMsg) {
        let fault = message.pagefault();
        let page = self.layout.page(fault.address);
        let content = self.has(Flaw::ServesInReadOrder).then(|| self.content(page));
        let protected = fault.flags & fault_flag::WP != 0;
        let job = if protected { Job::Unprotect(page) } else { Job::Install(page, content) };
        self.account.jobs.push(job);
    }

    fn give_up(&mut self, message: &UffdMsg) {
        let range = message.remove();
        let pages = self.layout.page(range.start)..self.layout.page(range.end);
        for page in pages {
            self.account.dropped.insert(page);
            self.account.written.remove(&page);
        }
    }

    /// Where the content of a page is.
    fn content(&self, page: Page) -> u64 {
        let zeros = self.layout.pages;
        self.layout.source(if self.account.dropped.contains(&page) { zeros } else { page })
    }

    async fn work(&mut self) {
        for job in std::mem::take(&mut self.account.jobs) {
            let done = match job {
                Job::Install(page, content) => self.install(page, content).await,
                Job::Unprotect(page) => self.unprotect(page).await,
            };
            if done == Err(EAGAIN) {
                self.account.jobs.push(job);
            }
        }
    }

    /// Takes note that a page is written, and lets who writes go on.
    async fn unprotect(&mut self, page: Page) -> Result<(), Errno> {
        self.account.written.insert(page);
        self.calls.protect(self.layout.range(page), 0).await
    }

    /// Brings a page somebody waits for, and the one behind it.
    async fn install(&mut self, page: Page, content: Option<u64>) -> Result<(), Errno> {
        match self.fill(page, content, 0).await {
            // It may have come without a wake-up, as the page behind another does.
            Err(EEXIST) if !self.has(Flaw::IgnoresExisting) => {
                self.calls.wake(self.layout.range(page)).await
            }
            Ok(()) if page + 1 < self.layout.pages => {
                // Nobody is known to wait for it, and whoever does will be read of.
                let _ = self.fill(page + 1, None, copy::DONTWAKE).await;
                Ok(())
            }
            other => other,
        }
    }

    async fn fill(&mut self, page: Page, content: Option<u64>, mode: u64) -> Result<(), Errno> {
        let from = content.unwrap_or_else(|| self.content(page));
        if from == self.layout.source(page) {
            self.source.bring(&self.calls, page).await;
        }
        let (range, later) = (self.layout.range(page), self.has(Flaw::ProtectsLater));
        let mode = if self.tracks && !later { mode | copy::WP } else { mode };
        let deed = self.history.borrow_mut().begin(PAGER, page, What::Install);
        let filled = self.calls.copy(range, from, mode).await;
        match filled {
            Ok(()) => self.history.borrow_mut().end(deed),
            Err(_) => self.history.borrow_mut().strike(deed),
        }
        if self.tracks && later && filled.is_ok() {
            self.calls.protect(range, writeprotect::WP).await?;
        }
        filled
    }

    /// Brings everything that is missing, and says what was not written.
    async fn finish(&mut self) {
        let missing = (0..self.layout.pages).filter(|page| !self.account.dropped.contains(page));
        self.account.jobs.extend(missing.map(|page| Job::Install(page, None)));
        while !self.account.jobs.is_empty() && self.order.get() != Order::Die {
            self.work().await;
            if !self.account.jobs.is_empty() {
                self.rest().await;
            }
            self.hear().await;
        }
        // The dead make no claims.
        if self.tracks && self.order.get() != Order::Die {
            self.claim();
        }
    }

    /// Claims that pages which were not written hold what they were served with.
    fn claim(&self) {
        let mut history = self.history.borrow_mut();
        for page in (0..self.layout.pages).filter(|page| !self.account.written.contains(page)) {
            let word = match self.account.dropped.contains(&page) {
                true => 0,
                false => history.before.get(&page).copied().unwrap_or(0),
            };
            let deed = history.begin(PAGER, page, What::Load(0));
            history.end_load(deed, word);
        }
    }
}
