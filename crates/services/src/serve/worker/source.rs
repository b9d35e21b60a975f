//! The image as the engine asks for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use faultless_pages::PageSize;
use faultless_paging::port::{Content, FetchError, Fetched, Order, PageSource};

use super::count::Counters;
use crate::serve::memory::{Memory, PieceError};

/// The image in pages of one size.
pub(super) struct Pages {
    pub(super) memory: Arc<Memory>,
    pub(super) page_size: PageSize,
    pub(super) counters: Arc<Counters>,
}

impl PageSource for Pages {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        let offset = order.pages.first.0 << self.page_size.shift();
        self.memory.read(offset, room).map_err(|error| match error {
            PieceError::Passing(why) => FetchError::Passing(why),
            PieceError::Corrupt(why) => FetchError::Final(why),
        })?;
        self.counters.fetched_bytes.fetch_add(room.len() as u64, Ordering::Relaxed);
        Ok(contents(room, self.page_size.bytes().as_usize()))
    }
}

/// Tells pages of zeros from the others: the kernel has them cheaper.
fn contents(bytes: &[u8], page: usize) -> Fetched {
    let mut fetched = Fetched::default();
    for content in bytes.chunks(page) {
        let zeros = content.iter().all(|byte| *byte == 0);
        fetched.push(1, if zeros { Content::Zeros } else { Content::Bytes });
    }
    fetched
}
