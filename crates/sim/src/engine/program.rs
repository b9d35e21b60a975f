//! The threads that are served: each does random things to random pages, one after the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use faultless_mm::{Advice, Kernel, RemapRequest, Stop, ThreadId};
use faultless_pages::{Bytes, Va};

use super::served::Memory;
use crate::check::{DeedId, What, Word};
use crate::clock::Span;
use crate::environment::Environment;
use crate::random::{Odds, Random};

/// What a load is taken to have brought that a signal ended: nothing that was ever stored.
const NOTHING: Word = Word::MAX;
/// How long a thread waits that finds its memory on the move.
const MOVING: Span = Span::micros(50);

/// A thread's plan.
pub(super) struct Program {
    pub(super) kernel: Kernel,
    pub(super) environment: Environment,
    pub(super) who: ThreadId,
    /// Its number in the history, above 0.
    pub(super) number: u32,
    pub(super) memory: Rc<Memory>,
    /// Its process was killed.
    pub(super) dead: Rc<Cell<bool>>,
    pub(super) random: Random,
    pub(super) deeds: u64,
    pub(super) stores: Odds,
    pub(super) discards: Odds,
    /// It moves the memory now and then; no two threads of a process do.
    pub(super) moves: Odds,
    /// It forks once, and the child is told of here with when it began to.
    pub(super) forks: Option<Rc<RefCell<Vec<Birth>>>>,
}

/// A child.
pub(super) struct Birth {
    pub(super) thread: ThreadId,
    pub(super) memory: Memory,
    /// It still has what its parent had open.
    pub(super) fresh: bool,
}

impl Birth {
    /// The child, the first time it is asked for.
    pub(super) fn clean(&mut self) -> Option<ThreadId> {
        std::mem::take(&mut self.fresh).then_some(self.thread)
    }
}

impl Program {
    /// Does everything, or what there is time for.
    pub(super) async fn run(mut self) {
        let fork_at = self.random.within(1..=self.deeds);
        for turn in 1..=self.deeds {
            if self.dead.get() {
                return;
            }
            let page = self.random.below(self.memory.pages);
            let discards = self.random.happens(self.discards);
            let stores = self.random.happens(self.stores);
            let moves = self.random.happens(self.moves);
            match (discards, stores) {
                _ if moves => self.relocate().await,
                (true, _) => self.discard(page).await,
                (false, true) => self.store(page, u64::from(self.number) << 32 | turn).await,
                (false, false) => self.load(page).await,
            }
            if turn == fork_at {
                self.fork().await;
            }
        }
    }

    async fn load(&self, page: u64) {
        let deed = self.begin(page, What::Load(0));
        let mut bytes = [0; 8];
        let loaded = loop {
            let at = Va(self.memory.at(page));
            let loaded = self.kernel.load(self.who, at, &mut bytes).await;
            if !self.moved(&loaded).await {
                break loaded;
            }
        };
        match loaded {
            Ok(()) => {
                self.memory.history.borrow_mut().end_load(deed, Word::from_ne_bytes(bytes));
            }
            Err(_) if self.excused(page) => self.memory.history.borrow_mut().strike(deed),
            Err(_) => self.memory.history.borrow_mut().end_load(deed, NOTHING),
        }
    }

    async fn store(&self, page: u64, word: Word) {
        let deed = self.begin(page, What::Store(word));
        let stored = loop {
            let at = Va(self.memory.at(page));
            let stored = self.kernel.store(self.who, at, &word.to_ne_bytes()).await;
            if !self.moved(&stored).await {
                break stored;
            }
        };
        let mut history = self.memory.history.borrow_mut();
        match stored {
            // What was not stored is not to be found.
            Err(_) if self.excused(page) => history.strike(deed),
            _ => history.end(deed),
        }
    }

    /// Says whether an access may have failed: the page is lost, or the process killed.
    fn excused(&self, page: u64) -> bool {
        self.dead.get() || self.memory.lost.borrow().contains(&page)
    }

    /// Says whether an access found nothing because another thread is moving the memory.
    async fn moved(&self, result: &Result<(), Stop>) -> bool {
        if !matches!(result, Err(Stop::Segv { .. })) || self.dead.get() {
            return false;
        }
        self.environment.sleep(self.who, MOVING).await;
        true
    }

    async fn discard(&self, page: u64) {
        let deed = self.begin(page, What::Discard);
        let len = Bytes(self.memory.page_bytes);
        let advice = if self.memory.shared { Advice::Remove } else { Advice::DontNeed };
        loop {
            let at = Va(self.memory.at(page));
            // Refused only where nothing is mapped, as while the memory moves.
            let advised = self.kernel.advise(self.who, at, len, advice).await;
            let still = at.0 == self.memory.at(page);
            if self.dead.get() || advised.is_ok() && still {
                break;
            }
            self.environment.sleep(self.who, MOVING).await;
        }
        self.memory.history.borrow_mut().end(deed);
    }

    /// Moves the memory to another place.
    async fn relocate(&self) {
        if self.memory.settled.get() {
            return;
        }
        self.memory.moving.set(true);
        let len = Bytes(self.memory.pages * self.memory.page_bytes);
        let from = self.memory.base.get();
        let request = RemapRequest {
            from: Va(from),
            len,
            new_len: len,
            may_move: true,
            // Far from everything else, and to and fro.
            to: Some(Va(from ^ 1 << 40)),
            dont_unmap: false,
        };
        if let Ok(at) = self.kernel.remap(self.who, request).await {
            self.memory.base.set(at.0);
        }
        self.memory.moving.set(false);
    }

    async fn fork(&self) {
        let Some(births) = &self.forks else { return };
        let begun = self.memory.history.borrow().now;
        let base = self.memory.base.get();
        if let Ok(thread) = self.kernel.fork(self.who).await {
            let memory = self.memory.forked(begun, base);
            births.borrow_mut().push(Birth { thread, memory, fresh: true });
        }
    }

    fn begin(&self, page: u64, what: What) -> DeedId {
        self.memory.begin(self.number, page, what)
    }
}
