//! What memory holds.

use faultless_pages::PageSize;

use super::{classify, offset};
use crate::page::PageRun;
use crate::port::{FetchError, Fetched, Order, PageSource};

/// Bytes in memory as a source; behind them, zeros.
#[derive(Clone, Debug)]
pub struct Bytes<B> {
    bytes: B,
    page_size: PageSize,
}

impl<B: AsRef<[u8]>> Bytes<B> {
    /// Serves bytes as pages of this size.
    #[must_use]
    pub fn new(bytes: B, page_size: PageSize) -> Bytes<B> {
        Bytes { bytes, page_size }
    }
}

impl<B: AsRef<[u8]> + Send + Sync> PageSource for Bytes<B> {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        let bytes = self.bytes.as_ref();
        let start = offset(order.pages, self.page_size).and_then(|at| usize::try_from(at).ok());
        let there = start.and_then(|start| bytes.get(start..)).unwrap_or_default();
        let (front, behind) = room.split_at_mut(there.len().min(room.len()));
        front.copy_from_slice(&there[..front.len()]);
        behind.fill(0);
        Ok(classify(room, self.page_size))
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn lend(&self, pages: PageRun) -> Option<&[u8]> {
        let start = usize::try_from(offset(pages, self.page_size)?).ok()?;
        let len = usize::try_from(pages.count << self.page_size.shift()).ok()?;
        self.bytes.as_ref().get(start..start.checked_add(len)?)
    }
}
