//! The pager: serves faults, and lets go when told to.
//!
//! # Invariants
//! - What a page is served with is decided when it is installed, after all that was read: pages
//!   that were given up are zeros.
//! - Work that a pending event turns away is tried again without waiting for a message: nothing
//!   tells when the event is over.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use faultless_mm::Errno;
use faultless_mm::errno::{EAGAIN, EEXIST};
use faultless_uapi::event::{PAGEFAULT, REMOVE};
use faultless_uapi::mode::copy;
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

/// A missing page somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Job {
    page: Page,
    /// Where what it is served with lies, if that was decided already.
    content: Option<u64>,
}

/// A pager at work.
pub(super) struct Pager {
    pub(super) calls: Calls,
    pub(super) layout: Layout,
    pub(super) source: Source,
    pub(super) flaw: Option<Flaw>,
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
        let page = self.layout.page(message.pagefault().address);
        let content = self.has(Flaw::ServesInReadOrder).then(|| self.content(page));
        self.account.jobs.push(Job { page, content });
    }

    fn give_up(&mut self, message: &UffdMsg) {
        let range = message.remove();
        let pages = self.layout.page(range.start)..self.layout.page(range.end);
        self.account.dropped.extend(pages);
    }

    /// Where the content of a page is.
    fn content(&self, page: Page) -> u64 {
        let zeros = self.layout.pages;
        self.layout.source(if self.account.dropped.contains(&page) { zeros } else { page })
    }

    async fn work(&mut self) {
        for job in std::mem::take(&mut self.account.jobs) {
            if self.install(job.page, job.content).await == Err(EAGAIN) {
                self.account.jobs.push(job);
            }
        }
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
        let deed = self.history.borrow_mut().begin(PAGER, page, What::Install);
        let filled = self.calls.copy(self.layout.range(page), from, mode).await;
        match filled {
            Ok(()) => self.history.borrow_mut().end(deed),
            Err(_) => self.history.borrow_mut().strike(deed),
        }
        filled
    }

    /// Brings everything that is missing.
    async fn finish(&mut self) {
        let missing = (0..self.layout.pages).filter(|page| !self.account.dropped.contains(page));
        self.account.jobs.extend(missing.map(|page| Job { page, content: None }));
        while !self.account.jobs.is_empty() {
            if self.order.get() == Order::Die {
                return;
            }
            self.work().await;
            if !self.account.jobs.is_empty() {
                self.rest().await;
            }
            self.hear().await;
        }
    }
}
