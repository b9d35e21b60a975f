//! The threads a pager serves: each does random things to random pages, one after the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use faultless_mm::{Advice, Kernel, ThreadId};
use faultless_pages::{Bytes, Va};

use super::pager::Layout;
use super::run::Order;
use crate::check::{DeedId, History, What, Word};
use crate::random::{Odds, Random};

/// What a load is taken to have brought that a signal ended: nothing that was ever stored.
const NOTHING: Word = Word::MAX;

/// A thread's plan.
pub(super) struct Program {
    pub(super) kernel: Kernel,
    pub(super) who: ThreadId,
    /// Its number in the history, above 0.
    pub(super) number: u32,
    pub(super) layout: Layout,
    pub(super) history: Rc<RefCell<History>>,
    pub(super) order: Rc<Cell<Order>>,
    pub(super) random: Random,
    pub(super) deeds: u64,
    pub(super) stores: Odds,
    pub(super) discards: Odds,
}

impl Program {
    /// Does everything, or what there is time for.
    pub(super) async fn run(mut self) {
        for turn in 1..=self.deeds {
            if self.order.get() == Order::Die {
                return;
            }
            let page = self.random.below(self.layout.pages);
            let discards = self.random.happens(self.discards);
            let stores = self.random.happens(self.stores);
            match (discards, stores) {
                (true, _) => self.discard(page).await,
                (false, true) => self.store(page, u64::from(self.number) << 32 | turn).await,
                (false, false) => self.load(page).await,
            }
        }
    }

    async fn load(&self, page: u64) {
        let deed = self.begin(page, What::Load(0));
        let mut bytes = [0; 8];
        let loaded = self.kernel.load(self.who, Va(self.layout.at(page)), &mut bytes).await;
        let word = if loaded.is_ok() { Word::from_ne_bytes(bytes) } else { NOTHING };
        match self.order.get() {
            Order::Die => self.history.borrow_mut().strike(deed),
            _ => self.history.borrow_mut().end_load(deed, word),
        }
    }

    async fn store(&self, page: u64, word: Word) {
        let deed = self.begin(page, What::Store(word));
        let at = Va(self.layout.at(page));
        // Only a kill ends a store here, and nobody looks at the memory after it.
        let _ = self.kernel.store(self.who, at, &word.to_ne_bytes()).await;
        self.history.borrow_mut().end(deed);
    }

    async fn discard(&self, page: u64) {
        let deed = self.begin(page, What::Discard);
        let (at, len) = (Va(self.layout.at(page)), Bytes(self.layout.page_bytes));
        // Refused only where nothing is mapped.
        let _ = self.kernel.advise(self.who, at, len, Advice::DontNeed).await;
        self.history.borrow_mut().end(deed);
    }

    fn begin(&self, page: u64, what: What) -> DeedId {
        self.history.borrow_mut().begin(self.number, page, what)
    }
}
