//! Reading ahead of a scan, ever further while it goes on.

use super::Prefetch;
use crate::page::{PageIndex, PageRun};

/// Wishes for the pages behind a fault that lies where the last window ended, or within it.
///
/// The window doubles with every hit and begins anew where a fault lies elsewhere, as the readahead
/// of files does it.
#[derive(Clone, Copy, Debug)]
pub struct Sequential {
    first: u64,
    most: u64,
    /// What was wished for last, and the page before it.
    window: PageRun,
}

impl Sequential {
    /// Begins with `first` pages ahead and goes up to `most`.
    #[must_use]
    pub fn new(first: u64, most: u64) -> Sequential {
        Sequential { first: first.max(1), most: most.max(first).max(1), window: PageRun::new(0, 0) }
    }
}

impl Default for Sequential {
    /// Up to 128 pages ahead, as the kernel reads files ahead.
    fn default() -> Sequential {
        Sequential::new(4, 128)
    }
}

impl Prefetch for Sequential {
    fn faulted(&mut self, page: PageIndex, wishes: &mut Vec<PageRun>) {
        let goes_on =
            self.window.count > 0 && (self.window.contains(page) || self.window.end() == page);
        // One fault is no scan; another in the window behind it would be.
        let count = if goes_on { (self.window.count * 2).min(self.most) } else { self.first };
        self.window = PageRun { first: page.plus(1), count };
        if goes_on {
            wishes.push(self.window);
        }
    }

    fn heir(&self) -> Box<dyn Prefetch> {
        Box::new(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(prefetch: &mut Sequential, page: u64) -> Vec<PageRun> {
        let mut wishes = Vec::new();
        prefetch.faulted(PageIndex(page), &mut wishes);
        wishes
    }

    #[test]
    fn the_window_doubles_while_the_scan_goes_on() {
        let mut ahead = Sequential::new(2, 8);
        assert_eq!(wishes(&mut ahead, 10), []);
        assert_eq!(wishes(&mut ahead, 11), [PageRun::new(12, 4)]);
        assert_eq!(wishes(&mut ahead, 16), [PageRun::new(17, 8)]);
        assert_eq!(wishes(&mut ahead, 25), [PageRun::new(26, 8)]);
    }

    #[test]
    fn a_jump_begins_anew() {
        let mut ahead = Sequential::new(2, 8);
        wishes(&mut ahead, 10);
        wishes(&mut ahead, 11);
        assert_eq!(wishes(&mut ahead, 500), []);
        assert_eq!(wishes(&mut ahead, 501), [PageRun::new(502, 4)]);
    }
}
