//! Steps of the same length, in either direction.

use super::Prefetch;
use crate::page::{PageIndex, PageRun};

/// Wishes for the next pages of a walk once two steps in a row were alike.
#[derive(Clone, Copy, Debug)]
pub struct Stride {
    depth: u64,
    last: Option<PageIndex>,
    step: i64,
}

impl Stride {
    /// Wishes for so many pages ahead.
    #[must_use]
    pub fn new(depth: u64) -> Stride {
        Stride { depth, last: None, step: 0 }
    }
}

impl Default for Stride {
    fn default() -> Stride {
        Stride::new(8)
    }
}

/// The step from one page to another.
pub(super) fn step(from: PageIndex, to: PageIndex) -> i64 {
    to.0.cast_signed().wrapping_sub(from.0.cast_signed())
}

/// Wishes for `depth` pages, a step apart; pages before the first are none.
pub(super) fn walk(from: PageIndex, step: i64, depth: u64, wishes: &mut Vec<PageRun>) {
    let mut page = from;
    for _ in 0..depth {
        let Some(next) = page.0.checked_add_signed(step) else { return };
        page = PageIndex(next);
        match wishes.last_mut() {
            Some(run) if run.end() == page => run.count += 1,
            _ => wishes.push(PageRun::one(page)),
        }
    }
}

impl Prefetch for Stride {
    fn faulted(&mut self, page: PageIndex, wishes: &mut Vec<PageRun>) {
        let Some(last) = self.last.replace(page) else { return };
        let taken = step(last, page);
        let alike = taken == self.step && taken != 0;
        self.step = taken;
        if alike {
            walk(page, taken, self.depth, wishes);
        }
    }

    fn heir(&self) -> Box<dyn Prefetch> {
        Box::new(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pages: &[u64]) -> Vec<PageRun> {
        let mut stride = Stride::new(2);
        let mut wishes = Vec::new();
        for page in pages {
            wishes.clear();
            stride.faulted(PageIndex(*page), &mut wishes);
        }
        wishes
    }

    #[test]
    fn two_equal_steps_are_a_stride() {
        assert_eq!(after(&[10, 13]), []);
        assert_eq!(
            after(&[10, 13, 16]),
            [PageRun::one(PageIndex(19)), PageRun::one(PageIndex(22))]
        );
        assert_eq!(after(&[10, 11, 12]), [PageRun::new(13, 2)]);
    }

    #[test]
    fn a_walk_down_stops_at_the_first_page() {
        assert_eq!(after(&[9, 5, 1]), []);
        assert_eq!(after(&[10, 6, 2]).len(), 0);
        assert_eq!(after(&[12, 8, 4]), [PageRun::one(PageIndex(0))]);
    }

    #[test]
    fn the_same_page_again_is_no_stride() {
        assert_eq!(after(&[4, 4, 4]), []);
    }
}
