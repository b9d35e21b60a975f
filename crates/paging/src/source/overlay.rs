//! One source over another.

use faultless_pages::PageSize;

use crate::page::{PageIndex, PageRun};
use crate::port::{FetchError, Fetched, Order, PageSource};

/// A source that has some pages only, and knows which.
pub trait Upper: PageSource {
    /// Says whether it has a page.
    fn has(&self, page: PageIndex) -> bool;
}

/// What the upper source has, and for the rest what the lower one has.
#[derive(Clone, Debug)]
pub struct Overlay<U, L> {
    upper: U,
    lower: L,
    page_size: PageSize,
}

impl<U: Upper, L: PageSource> Overlay<U, L> {
    /// Lays one over the other. Layers of more than two are overlays of overlays.
    #[must_use]
    pub fn new(upper: U, lower: L, page_size: PageSize) -> Overlay<U, L> {
        Overlay { upper, lower, page_size }
    }

    /// How many of the first pages are in the same layer, and whether it is the upper.
    fn first(&self, pages: PageRun) -> (bool, PageRun) {
        let upper = self.upper.has(pages.first);
        let count = pages.pages().take_while(|page| self.upper.has(*page) == upper).count() as u64;
        (upper, PageRun { first: pages.first, count })
    }
}

impl<U: Upper, L: PageSource> PageSource for Overlay<U, L> {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        let (mut rest, mut room) = (order.pages, room);
        let mut all = Fetched::default();
        while rest.count > 0 {
            let (upper, pages) = self.first(rest);
            rest = rest.split(pages.count).1;
            let len = usize::try_from(pages.count * self.page_size.bytes().0).unwrap_or(usize::MAX);
            let (front, behind) = room.split_at_mut(len.min(room.len()));
            room = behind;
            let part = Order { pages, ..*order };
            let fetched = match upper {
                true => self.upper.fetch(&part, front)?,
                false => self.lower.fetch(&part, front)?,
            };
            // What is too short in the middle would shift what follows.
            let complete = fetched.pages() == pages.count;
            fetched.runs.into_iter().for_each(|(count, content)| all.push(count, content));
            if !complete {
                return Ok(all);
            }
        }
        Ok(all)
    }
}
