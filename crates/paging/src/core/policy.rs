//! What the user of a core chooses.

use crate::port::Span;

/// How an address space is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The userfaultfd tells events: REMOVE, UNMAP, REMAP or FORK. Costs that reading waits for
    /// installs under way.
    pub events: bool,
    /// How a request that was turned away is made again.
    pub parked: Patience,
    /// How a failed fetch is made again.
    pub retry: Retry,
    /// Most fetches under way that nobody waits for.
    pub prefetches: usize,
    /// What is fetched when there is nothing better to do.
    pub background: Option<Background>,
}

/// How long something is waited for, ever longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The first time.
    pub first: Span,
    /// At most.
    pub most: Span,
}

/// How often something that fails is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often in all.
    pub attempts: u32,
    /// How long in between.
    pub patience: Patience,
}

/// Filling all memory in the background, to completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Background {
    /// Pages of a fetch.
    pub pages: u64,
    /// Fetches under way.
    pub fetches: usize,
    /// The least time from the beginning of a fetch to that of the next.
    pub pace: Span,
}

impl Patience {
    /// How long to wait after having waited `times` times.
    #[must_use]
    pub fn after(self, times: u32) -> Span {
        self.first.doubled(times, self.most)
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            events: true,
            // The first is about the time a thread takes to go on after its event was read, the
            // last keeps a thread that is stopped by a debugger from costing a processor.
            parked: Patience { first: Span::micros(50), most: Span::millis(2) },
            // Three attempts within a second: a page server that restarts is back by then, and a
            // guest's watchdog has not struck.
            retry: Retry {
                attempts: 4,
                patience: Patience { first: Span::millis(50), most: Span::millis(500) },
            },
            prefetches: 4,
            background: None,
        }
    }
}

impl Default for Background {
    fn default() -> Background {
        // 256 pages: one request installs 1 MiB, of which the call itself is a few per cent.
        Background { pages: 256, fetches: 2, pace: Span::ZERO }
    }
}
