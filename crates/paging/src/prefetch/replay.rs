//! Fetching what was touched in earlier runs, in that order.

use super::Prefetch;
use crate::page::{PageIndex, PageRun};
use std::sync::Arc;

/// Goes through a plan of pages, front to back, a run whenever there is room.
///
/// The plan is gone through lazily, so its length is no matter: a limit on plans would turn
/// prefetching off for the largest memories, which need it most.
#[derive(Clone, Debug)]
pub struct Replay {
    plan: Arc<[PageRun]>,
    next: usize,
}

impl Replay {
    /// Goes through these pages, as a [`WorkingSet`](super::WorkingSet) gives them.
    #[must_use]
    pub fn new(plan: impl Into<Arc<[PageRun]>>) -> Replay {
        Replay { plan: plan.into(), next: 0 }
    }
}

impl Prefetch for Replay {
    fn faulted(&mut self, _: PageIndex, _: &mut Vec<PageRun>) {}

    fn next(&mut self) -> Option<PageRun> {
        let run = self.plan.get(self.next).copied()?;
        self.next += 1;
        Some(run)
    }

    /// The child goes on where its parent was.
    fn heir(&self) -> Box<dyn Prefetch> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_longer_than_any_limit_is_gone_through_to_its_end() {
        let plan: Vec<_> = (0..3_100_000).map(|run| PageRun::new(run * 4, 3)).collect();
        let mut replay = Replay::new(plan);
        let mut pages = 0;
        while let Some(run) = replay.next() {
            pages += run.count;
        }
        assert_eq!(pages, 9_300_000);
    }
}
