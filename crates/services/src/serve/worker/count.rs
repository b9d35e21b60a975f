//! What is counted of every client together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless_paging::port::{Observation, Observer, What};

use crate::serve::Figures;

/// Counters all observers add to.
#[derive(Debug, Default)]
pub(super) struct Counters {
    faults: AtomicU64,
    installed: AtomicU64,
    zeroed: AtomicU64,
    removed: AtomicU64,
    poisoned: AtomicU64,
    parked: AtomicU64,
    failed: AtomicU64,
    pub(super) fetched_bytes: AtomicU64,
}

impl Counters {
    /// Returns the numbers as they are.
    pub(super) fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            faults: read(&self.faults),
            installed: read(&self.installed),
            zeroed: read(&self.zeroed),
            removed: read(&self.removed),
            poisoned: read(&self.poisoned),
            parked: read(&self.parked),
            failed: read(&self.failed),
            fetched_bytes: read(&self.fetched_bytes),
            cached_bytes: 0,
        }
    }
}

/// Counts what one client's engine does.
#[derive(Debug)]
pub(super) struct Counting(pub(super) Arc<Counters>);

impl Observer for Counting {
    fn observe(&mut self, observation: Observation) {
        let counter = match observation.what {
            What::Faulted => &self.0.faults,
            What::Installed => &self.0.installed,
            What::Zeroed => &self.0.zeroed,
            What::Removed => &self.0.removed,
            What::Poisoned => &self.0.poisoned,
            What::Parked => &self.0.parked,
            What::FetchFailed => &self.0.failed,
            _ => return,
        };
        counter.fetch_add(observation.pages.count, Ordering::Relaxed);
    }
}
