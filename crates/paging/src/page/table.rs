//! The words of a region's pages.
//!
//! # Concurrency
//! Any thread may look at a word and [change](PageTable::change) it; a signal handler too, once
//! the table was [prepared](PageTable::prepare). Changes are compare-and-exchange of one word, so
//! of two parties that found the same word one wins and the other learns it.
//!
//! Words come into being in leaves of 4 KiB at the first change in them: a server of thousands of
//! large, sparsely touched memories pays for what is touched.

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

use super::{PageIndex, PageRun, PageWord};

/// Words of a leaf: 4 KiB of them, for 4 MiB of 4 KiB pages.
const LEAF: usize = 1024;

type Leaf = Box<[AtomicU32; LEAF]>;

/// One atomic word a page, all [`PageWord::FRESH`] at first.
#[derive(Debug)]
pub struct PageTable {
    leaves: Box<[OnceLock<Leaf>]>,
    pages: u64,
}

fn fresh_leaf() -> Leaf {
    Box::new([const { AtomicU32::new(PageWord::FRESH.bits()) }; LEAF])
}

impl PageTable {
    /// Makes the words of so many pages.
    ///
    /// # Panics
    /// If they do not fit the address space.
    #[must_use]
    pub fn new(pages: u64) -> PageTable {
        let leaves =
            usize::try_from(pages.div_ceil(LEAF as u64)).expect("pages of an address space");
        PageTable { leaves: (0..leaves).map(|_| OnceLock::new()).collect(), pages }
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// All pages.
    #[must_use]
    pub fn whole(&self) -> PageRun {
        PageRun::new(0, self.pages)
    }

    /// Makes every word, so that no later use allocates.
    pub fn prepare(&self) {
        for leaf in &self.leaves {
            leaf.get_or_init(fresh_leaf);
        }
    }

    /// The word of a page. One that does not exist is as nobody has touched it.
    #[must_use]
    pub fn get(&self, page: PageIndex) -> PageWord {
        let word = self.place(page).and_then(|(leaf, slot)| Some(&self.leaves[leaf].get()?[slot]));
        word.map_or(PageWord::FRESH, |word| PageWord::from_bits(word.load(Ordering::Acquire)))
    }

    /// Changes a word, if `change` still wants to at what is found; returns what was found then.
    ///
    /// `change` is asked again when somebody else was faster.
    pub fn change(
        &self,
        page: PageIndex,
        change: impl Fn(PageWord) -> Option<PageWord>,
    ) -> Option<PageWord> {
        let (leaf, slot) = self.place(page)?;
        let word = &self.leaves[leaf].get_or_init(fresh_leaf)[slot];
        let next = |bits| change(PageWord::from_bits(bits)).map(PageWord::bits);
        let found = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(PageWord::from_bits(found))
    }

    fn place(&self, page: PageIndex) -> Option<(usize, usize)> {
        let index = usize::try_from(page.0).ok().filter(|_| page.0 < self.pages)?;
        Some((index / LEAF, index % LEAF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::State;

    #[test]
    fn of_two_that_found_the_same_word_one_wins() {
        let table = PageTable::new(2000);
        let page = PageIndex(1999);
        let claim = |found: PageWord| {
            (found.state() == State::Absent).then(|| found.taken(State::Fetching))
        };
        assert_eq!(table.change(page, claim), Some(PageWord::FRESH));
        assert_eq!(table.change(page, claim), None);
        assert_eq!(table.get(page).state(), State::Fetching);
    }

    #[test]
    fn pages_that_do_not_exist_cannot_be_claimed() {
        let table = PageTable::new(3);
        assert_eq!(table.change(PageIndex(3), |word| Some(word.taken(State::Gone))), None);
        assert_eq!(table.get(PageIndex(u64::MAX)), PageWord::FRESH);
        assert_eq!(table.whole(), PageRun::new(0, 3));
    }

    #[test]
    fn threads_that_race_for_pages_share_them_out() {
        let table = PageTable::new(4096);
        let claim = || {
            let won = |page: &PageIndex| {
                table.change(*page, |word| {
                    (word.state() == State::Absent).then(|| word.taken(State::Fetching))
                })
            };
            table.whole().pages().filter(|page| won(page).is_some()).count()
        };
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(total, 4096);
    }
}
