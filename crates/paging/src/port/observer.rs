//! Who watches what the engine does.

use super::{Time, Urgency};
use crate::page::{PageRun, RegionId};

/// Something the engine did to pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub at: Time,
    /// Where.
    pub region: RegionId,
    /// To which pages.
    pub pages: PageRun,
    /// What.
    pub what: What,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A thread's fault was read.
    Faulted,
    /// A fetch was begun.
    Asked(Urgency),
    /// A fetch came back.
    Fetched(Urgency),
    /// A fetch failed.
    FetchFailed,
    /// Content was put there.
    Installed,
    /// Somebody else had put something there.
    Found,
    /// Zeros were put there.
    Zeroed,
    /// Whoever waited was let go.
    Woken,
    /// It had to wait for an event that is under way.
    Parked,
    /// A page may be written from now on.
    Written,
    /// Their program gave the pages up.
    Removed,
    /// The engine dropped the pages.
    Evicted,
    /// The pages are lost.
    Poisoned,
}

/// Watches. Called from within a step, so it shall be quick and never wait.
pub trait Observer: Send {
    /// Takes note of something.
    fn observe(&mut self, observation: Observation);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Observer for Quiet {
    fn observe(&mut self, _: Observation) {}
}
