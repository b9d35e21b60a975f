//! Numbers of pages and regions.

use core::fmt;

/// A region of an address space, by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u32);

/// A page, counted from the start of its region in pages of the region's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageIndex(pub u64);

/// Pages one behind the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageRun {
    /// The first.
    pub first: PageIndex,
    /// How many.
    pub count: u64,
}

impl PageIndex {
    /// The page so many pages on.
    #[must_use]
    pub const fn plus(self, count: u64) -> PageIndex {
        PageIndex(self.0.saturating_add(count))
    }
}

impl PageRun {
    /// So many pages from the first on.
    #[must_use]
    pub const fn new(first: u64, count: u64) -> PageRun {
        PageRun { first: PageIndex(first), count }
    }

    /// One page.
    #[must_use]
    pub const fn one(page: PageIndex) -> PageRun {
        PageRun { first: page, count: 1 }
    }

    /// The page behind the last.
    #[must_use]
    pub const fn end(self) -> PageIndex {
        self.first.plus(self.count)
    }

    /// Says whether a page is one of them.
    #[must_use]
    pub const fn contains(self, page: PageIndex) -> bool {
        self.first.0 <= page.0 && page.0 < self.end().0
    }

    /// Each page, in order.
    pub fn pages(self) -> impl DoubleEndedIterator<Item = PageIndex> + use<> {
        (self.first.0..self.end().0).map(PageIndex)
    }

    /// The pages both hold, `None` if there are none.
    #[must_use]
    pub fn intersect(self, other: PageRun) -> Option<PageRun> {
        let first = self.first.max(other.first);
        let end = self.end().min(other.end());
        (first < end).then(|| PageRun { first, count: end.0 - first.0 })
    }

    /// The first `count` pages, and the rest.
    #[must_use]
    pub fn split(self, count: u64) -> (PageRun, PageRun) {
        let count = count.min(self.count);
        let rest = PageRun { first: self.first.plus(count), count: self.count - count };
        (PageRun { first: self.first, count }, rest)
    }
}

/// Prints as `[3, 7)`.
impl fmt::Debug for PageRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.first.0, self.end().0)
    }
}

/// Joins neighbouring pages of an ascending sequence into runs of at most `most`.
pub(crate) fn runs(
    pages: impl IntoIterator<Item = PageIndex>,
    most: u64,
) -> impl Iterator<Item = PageRun> {
    let mut pages = pages.into_iter().peekable();
    core::iter::from_fn(move || {
        let mut run = PageRun::one(pages.next()?);
        while run.count < most && pages.next_if_eq(&run.end()).is_some() {
            run.count += 1;
        }
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_up_to_the_limit() {
        let pages = [1, 2, 3, 4, 7, 9, 10].map(PageIndex);
        let joined: Vec<_> = runs(pages, 3).collect();
        assert_eq!(joined, [(1, 3), (4, 1), (7, 1), (9, 2)].map(|(f, n)| PageRun::new(f, n)));
    }

    #[test]
    fn runs_meet_in_the_pages_both_hold() {
        let run = PageRun::new(4, 4);
        assert_eq!(run.intersect(PageRun::new(6, 9)), Some(PageRun::new(6, 2)));
        assert_eq!(run.intersect(PageRun::new(8, 1)), None);
        assert_eq!(run.split(1), (PageRun::new(4, 1), PageRun::new(5, 3)));
        assert!(run.contains(PageIndex(7)));
        assert!(!run.contains(PageIndex(8)));
    }
}
