//! What a file holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use faultless_pages::PageSize;

use super::{classify, offset};
use crate::port::{FetchError, Fetched, Order, PageSource};

/// A file as a source; behind its end, zeros.
///
/// Plain positioned reads: a fetch is one run, so there is nothing to submit in batches, and a
/// thread that waits for a cold page waits for the disk whichever way it asks.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    page_size: PageSize,
}

impl FileSource {
    /// Serves a file as pages of this size.
    #[must_use]
    pub fn new(file: File, page_size: PageSize) -> FileSource {
        FileSource { file, page_size }
    }
}

impl PageSource for FileSource {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        let at = offset(order.pages, self.page_size);
        let at = at.ok_or_else(|| FetchError::Final("a page beyond any file".to_owned()))?;
        fill(&self.file, room, at).map_err(|error| FetchError::Passing(error.to_string()))?;
        Ok(classify(room, self.page_size))
    }
}

/// Reads until the room is full or the file ends, and makes zeros of the rest.
fn fill(file: &File, room: &mut [u8], at: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < room.len() {
        let from = at.saturating_add(filled as u64);
        match file.read_at(&mut room[filled..], from) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    room[filled..].fill(0);
    Ok(())
}
