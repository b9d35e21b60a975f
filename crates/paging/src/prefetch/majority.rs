//! The step most faults make, in the noise of others.
//!
//! Several threads, or one with several buffers, mix their patterns; no two steps in a row are
//! alike then. The step that more than half of the last faults made still shows (Maruf and
//! Chowdhury, "Effectively Prefetching Remote Memory with Leap", 2020): first among few faults,
//! where a fresh pattern shows soonest, then among more.

use std::collections::VecDeque;

use super::Prefetch;
use super::stride::{step, walk};
use crate::page::{PageIndex, PageRun};

/// The smallest number of steps that are looked at.
const LEAST: usize = 4;

/// Wishes for pages along the majority's step.
#[derive(Clone, Debug)]
pub struct Majority {
    depth: u64,
    history: usize,
    /// The last steps, the newest first.
    steps: VecDeque<i64>,
    last: Option<PageIndex>,
}

impl Majority {
    /// Looks at up to `history` steps and wishes for `depth` pages ahead.
    #[must_use]
    pub fn new(history: usize, depth: u64) -> Majority {
        Majority { depth, history: history.max(LEAST), steps: VecDeque::new(), last: None }
    }

    /// The step that more than half of the newest steps made.
    fn trend(&self) -> Option<i64> {
        let mut window = LEAST;
        while window <= self.steps.len() {
            let found = majority(self.steps.iter().take(window).copied());
            if found.is_some() {
                return found;
            }
            window *= 2;
        }
        None
    }
}

impl Default for Majority {
    fn default() -> Majority {
        Majority::new(32, 8)
    }
}

/// The value more than half of them have: the vote of Boyer and Moore, and a count.
fn majority(values: impl Iterator<Item = i64> + Clone) -> Option<i64> {
    let mut candidate = (0, 0_usize);
    for value in values.clone() {
        candidate = match candidate {
            (_, 0) => (value, 1),
            (leader, lead) if leader == value => (leader, lead + 1),
            (leader, lead) => (leader, lead - 1),
        };
    }
    let votes = values.clone().filter(|value| *value == candidate.0).count();
    (votes * 2 > values.count()).then_some(candidate.0)
}

impl Prefetch for Majority {
    fn faulted(&mut self, page: PageIndex, wishes: &mut Vec<PageRun>) {
        let Some(last) = self.last.replace(page) else { return };
        self.steps.push_front(step(last, page));
        self.steps.truncate(self.history);
        match self.trend() {
            Some(0) | None => {}
            Some(trend) => walk(page, trend, self.depth, wishes),
        }
    }

    fn heir(&self) -> Box<dyn Prefetch> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pages: impl IntoIterator<Item = u64>) -> Vec<PageRun> {
        let mut prefetch = Majority::new(8, 2);
        let mut wishes = Vec::new();
        for page in pages {
            wishes.clear();
            prefetch.faulted(PageIndex(page), &mut wishes);
        }
        wishes
    }

    #[test]
    fn a_trend_shows_through_noise() {
        let wishes = after([10, 12, 14, 900, 16, 18, 20, 22]);
        assert_eq!(wishes, [PageRun::one(PageIndex(24)), PageRun::one(PageIndex(26))]);
    }

    #[test]
    fn without_a_majority_nothing_is_wished_for() {
        assert_eq!(after([5, 900, 17, 3, 44, 1000, 7]), []);
        assert_eq!(after([5, 6, 7]), []);
    }

    #[test]
    fn a_vote_needs_more_than_half() {
        assert_eq!(majority([1, 2, 1, 2].into_iter()), None);
        assert_eq!(majority([1, 2, 1].into_iter()), Some(1));
        assert_eq!(majority([].into_iter()), None);
    }
}
