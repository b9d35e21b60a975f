//! Sources of pages, and what is put together from them.
//!
//! | source | brings |
//! |---|---|
//! | [`Zeros`] | zeros |
//! | [`Bytes`] | what memory holds |
//! | [`FileSource`] | what a file holds, its holes as zeros |
//! | [`Overlay`] | what the upper of two sources has, else what the lower has |
//! | [`Mirror`] | what the first of several brings that can |
//! | [`Verified`] | what another brings, if it is what it should be |
//!
//! All of them count bytes behind their end as zeros, up to the end of the page: the last page of a
//! memory is rarely full of file.

mod bytes;
mod file;
mod mirror;
mod overlay;
mod verified;
mod zeros;

pub use bytes::Bytes;
pub use file::FileSource;
pub use mirror::Mirror;
pub use overlay::{Overlay, Upper};
pub use verified::{Verified, Verify};
pub use zeros::Zeros;

use faultless_pages::PageSize;

use crate::page::PageRun;
use crate::port::{Content, Fetched};

/// Where pages lie among the bytes of a source; `None` beyond what can be counted.
fn offset(pages: PageRun, size: PageSize) -> Option<u64> {
    pages.first.0.checked_mul(size.bytes().0)
}

/// Tells pages of zeros from others, so that they cost no memory where they go.
pub(crate) fn classify(room: &[u8], size: PageSize) -> Fetched {
    let mut fetched = Fetched::default();
    for page in room.chunks(size.bytes().as_usize()) {
        fetched.push(1, if is_zero(page) { Content::Zeros } else { Content::Bytes });
    }
    fetched
}

/// Says whether all bytes are zero. Ends at the first that is not, mostly within a cache line.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    rest.iter().all(|byte| *byte == 0) && words.iter().all(|word| u128::from_ne_bytes(*word) == 0)
}

#[cfg(test)]
mod tests;
