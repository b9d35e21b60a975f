//! Nothing is believed that can be checked.

use faultless_pages::PageSize;

use crate::page::PageIndex;
use crate::port::{Content, FetchError, Fetched, Order, PageSource};

/// Knows what a page should be.
pub trait Verify: Send + Sync {
    /// Says whether this is what the page should be.
    fn is_right(&self, page: PageIndex, bytes: &[u8]) -> bool;

    /// Says whether the page should be zeros.
    fn is_zeros(&self, page: PageIndex) -> bool;
}

/// What a source brings, if it is what it should be; otherwise the fetch failed and may be made
/// again, of another source if there is one.
#[derive(Clone, Debug)]
pub struct Verified<S, V> {
    source: S,
    verify: V,
    page_size: PageSize,
}

impl<S: PageSource, V: Verify> Verified<S, V> {
    /// Checks each page that a source brings.
    #[must_use]
    pub fn new(source: S, verify: V, page_size: PageSize) -> Verified<S, V> {
        Verified { source, verify, page_size }
    }

    fn is_right(&self, page: PageIndex, content: Content, bytes: &[u8]) -> bool {
        match content {
            Content::Bytes => self.verify.is_right(page, bytes),
            Content::Zeros => self.verify.is_zeros(page),
            // It was checked by whoever put it there.
            Content::Cached => true,
        }
    }
}

impl<S: PageSource, V: Verify> PageSource for Verified<S, V> {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        let fetched = self.source.fetch(order, room)?;
        let contents = fetched.runs.iter().flat_map(|(count, content)| {
            std::iter::repeat_n(*content, usize::try_from(*count).unwrap_or(usize::MAX))
        });
        let pages = order.pages.pages().zip(room.chunks(self.page_size.bytes().as_usize()));
        for ((page, bytes), content) in pages.zip(contents) {
            if !self.is_right(page, content, bytes) {
                let what = format!("page {} of the source is not what it should be", page.0);
                return Err(FetchError::Passing(what));
            }
        }
        Ok(fetched)
    }
}
