//! Faults resolved by the thread that raises them.
//!
//! With the SIGBUS feature an access to a missing page raises a signal instead of waiting for
//! somebody else: its handler puts the page there and the access is made again. No thread is
//! woken, no message is read. That suits memory whose content is at hand: a source that
//! [lends](PageSource::lend) it from memory. System calls that touch a missing page fail with
//! EFAULT; memory for them is to be [brought](Inline::bring) first.
//!
//! # Invariants
//! - The handler makes no allocation, takes no lock and calls nothing that does: page words were
//!   prepared, and the source only lends.
//! - A page has one word here as everywhere; who finds it absent brings it, and whoever else finds
//!   it being brought has the access made again until it is there.
//! - A slot that a handler may be reading is freed only when no handler is in it.
#![expect(unsafe_code, reason = "installing a signal handler; the one place of this crate")]

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use faultless_pages::{Bytes, VaRange};
use faultless_uffd::signal::{
    FaultInfo, FaultSignal, Handled, SignalError, SignalHandler, install,
};
use faultless_uffd::{
    CopyMode, Features, Mapping, Modes, OpError, OwnedRegistration, PoisonMode, Situation, Uffd,
    ZeropageMode,
};

use crate::page::{PageIndex, PageRun, PageTable, State};
use crate::port::PageSource;

/// Memories served inline at once.
const SLOTS: usize = 64;

/// `si_code` of a bus error at a page that is not there.
const BUS_ADRERR: i32 = 2;

/// What is served inline, for the handler to find.
static SERVED: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

/// Keeps the handler installed, and whoever makes or ends inline memory alone.
static HANDLER: Mutex<Option<SignalHandler>> = Mutex::new(None);

struct Slot {
    memory: AtomicPtr<Memory>,
    /// Handlers that may be looking at it.
    readers: AtomicUsize,
}

impl Slot {
    const fn new() -> Slot {
        Slot { memory: AtomicPtr::new(std::ptr::null_mut()), readers: AtomicUsize::new(0) }
    }
}

/// Memory and where its pages come from.
struct Memory {
    registration: OwnedRegistration,
    table: Arc<PageTable>,
    source: Arc<dyn PageSource>,
    source_page: u64,
}

/// Why memory is not served inline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InlineError {
    /// The userfaultfd would have faults wait instead of raising a signal.
    #[error("the userfaultfd lacks the SIGBUS feature; ask for it in the handshake")]
    NoSigbus,
    /// The handler is not installed.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// The memory is not registered.
    #[error(transparent)]
    Register(#[from] OpError),
    /// As many memories are served already as there is room for.
    #[error("no more than {SLOTS} memories can be served inline")]
    Full,
}

/// Memory served inline. Dropping it makes what is missing bus errors, for good, before the memory
/// is let go; [`Inline::complete`] brings it instead.
#[derive(Debug)]
#[must_use = "dropping it ends serving"]
pub struct Inline {
    slot: usize,
    table: Arc<PageTable>,
}

impl Inline {
    /// Serves a mapping whose first page is this one of its source.
    ///
    /// # Errors
    /// See [`InlineError`].
    pub fn serve(
        uffd: Arc<Uffd>,
        mapping: Arc<Mapping>,
        source: Arc<dyn PageSource>,
        source_page: u64,
    ) -> Result<Inline, InlineError> {
        if !uffd.features().contains(Features::SIGBUS) {
            return Err(InlineError::NoSigbus);
        }
        let mut handler = HANDLER.lock().unwrap_or_else(PoisonError::into_inner);
        if handler.is_none() {
            // SAFETY: `on_fault` is async-signal-safe by the first invariant above, and does not
            // panic: it indexes nothing and unwraps nothing.
            *handler = Some(unsafe { install(FaultSignal::Bus, on_fault) }?);
        }
        let free = |slot: &Slot| slot.memory.load(Ordering::Acquire).is_null();
        let slot = SERVED.iter().position(free).ok_or(InlineError::Full)?;
        let table = Arc::new(PageTable::new(mapping.range().page_count(mapping.page_size())));
        table.prepare();
        let registration = OwnedRegistration::new(uffd, mapping, Modes::MISSING)?;
        let kept = Arc::clone(&table);
        let memory = Box::new(Memory { registration, table, source, source_page });
        SERVED[slot].memory.store(Box::into_raw(memory), Ordering::Release);
        Ok(Inline { slot, table: kept })
    }

    /// The words of its pages.
    #[must_use]
    pub fn table(&self) -> &Arc<PageTable> {
        &self.table
    }

    /// Brings pages before anybody touches them, as for a system call that will. Says whether all
    /// of them are there.
    pub fn bring(&self, pages: PageRun) -> bool {
        with(self.slot, |memory| pages.pages().all(|page| memory.bring(page))).unwrap_or(false)
    }

    /// Brings everything and lets the memory go. Says whether all of it is there; what is lost is a
    /// bus error from then on.
    pub fn complete(self) -> bool {
        self.bring(self.table.whole())
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        let _alone = HANDLER.lock().unwrap_or_else(PoisonError::into_inner);
        with(self.slot, |memory| memory.table.whole().pages().for_each(|page| memory.poison(page)));
        let slot = &SERVED[self.slot];
        let memory = slot.memory.swap(std::ptr::null_mut(), Ordering::SeqCst);
        // Handlers are short: they copy one page.
        while slot.readers.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        if !memory.is_null() {
            // SAFETY: it was made of a box by `serve`, was taken out of its slot by this one swap,
            // and no handler holds it any more: those that come later find the slot empty.
            drop(unsafe { Box::from_raw(memory) });
        }
    }
}

/// Looks at what is in a slot, if anything is.
fn with<T>(slot: usize, look: impl FnOnce(&Memory) -> T) -> Option<T> {
    let slot = SERVED.get(slot)?;
    // Most slots are empty, and counting costs two locked instructions each.
    if slot.memory.load(Ordering::Acquire).is_null() {
        return None;
    }
    // Counted before it is looked at, and both in one order for all threads: whoever empties the
    // slot sees the count, or the look sees the slot empty.
    slot.readers.fetch_add(1, Ordering::SeqCst);
    let memory = slot.memory.load(Ordering::SeqCst);
    // SAFETY: what a slot holds is freed only when no reader is counted, see `drop`.
    let result = unsafe { memory.as_ref() }.map(look);
    slot.readers.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Handles a bus error on the thread that raised it.
fn on_fault(fault: &FaultInfo) -> Handled {
    if fault.code != BUS_ADRERR {
        return Handled::No;
    }
    for slot in 0..SLOTS {
        if let Some(Some(handled)) = with(slot, |memory| memory.resolve(fault)) {
            return handled;
        }
    }
    Handled::No
}

impl Memory {
    /// Resolves a fault that is in this memory.
    fn resolve(&self, fault: &FaultInfo) -> Option<Handled> {
        let range = self.registration.range();
        if !range.contains(fault.address) {
            return None;
        }
        let size = self.registration.mapping().page_size();
        let page = PageIndex(fault.address.since(range.start()).pages(size));
        // A lost page raises the same signal: its access must not be made again for ever.
        Some(if self.bring(page) { Handled::Yes } else { Handled::No })
    }

    fn range_of(&self, page: PageIndex) -> VaRange {
        let size = self.registration.mapping().page_size();
        let offset = Bytes(page.0 << size.shift());
        VaRange::of(self.registration.range().start().add(offset), size.bytes())
    }

    /// Brings a page, unless somebody else does; says whether the access may be made again.
    fn bring(&self, page: PageIndex) -> bool {
        let claimed = self.table.change(page, |word| match word.state() {
            State::Absent => Some(word.taken(State::Installing)),
            State::Removed => Some(word.taken(State::Zeroing)),
            // It was there and is not: its program gave it up.
            State::Present => Some(word.taken(State::Zeroing)),
            _ => None,
        });
        match claimed.map(|word| word.state()) {
            Some(State::Absent) => self.put(page, self.install(page)),
            Some(_) => self.put(page, self.zero(page)),
            // Being brought: the access is made again until it is there.
            None => !matches!(self.table.get(page).state(), State::Poisoned | State::Poisoning),
        }
    }

    /// Notes what came of putting a page there.
    fn put(&self, page: PageIndex, stopped: Option<Situation>) -> bool {
        let state = match stopped {
            None | Some(Situation::AlreadyPresent) => State::Present,
            // Turned away for a moment: whoever touches it next tries again.
            Some(Situation::Retry(_)) => self.table.get(page).given_back(),
            Some(_) => State::Poisoned,
        };
        if state == State::Poisoned {
            let mode = PoisonMode { dontwake: true };
            // Where it cannot be poisoned the signal goes on to whoever handles it next.
            let _ = self.registration.poison(self.range_of(page), mode);
        }
        self.table.change(page, |word| Some(word.then(state)));
        state != State::Poisoned
    }

    fn install(&self, page: PageIndex) -> Option<Situation> {
        let there = PageRun::one(page.plus(self.source_page));
        let Some(bytes) = self.source.lend(there) else { return Some(Situation::Fault) };
        let mode = CopyMode { wp: false, dontwake: true };
        self.registration.copy(self.range_of(page).start(), bytes, mode).stopped
    }

    fn zero(&self, page: PageIndex) -> Option<Situation> {
        let mode = ZeropageMode { dontwake: true };
        self.registration.zeropage(self.range_of(page), mode).stopped
    }

    /// Makes a page a bus error that is not there.
    fn poison(&self, page: PageIndex) {
        let claimed = self.table.change(page, |word| {
            (word.state() == State::Absent).then(|| word.taken(State::Poisoning))
        });
        if claimed.is_some() {
            self.put(page, Some(Situation::Fault));
        }
    }
}

#[cfg(test)]
mod tests;
