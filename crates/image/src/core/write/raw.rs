//! A sparse core file whose pages may be written in any order.
//!
//! # Concurrency
//! [`RawWriter::write_run`] takes `&self` and may be called from several threads: each page has
//! its own place in the file, and the ledger adds atomically.

use std::path::Path;

use faultless_pages::{Bytes, Va};

use super::super::layout::Layout;
use super::super::ledger::{Ledger, Saved};
use super::super::notes::Notes;
use super::super::publish::PendingFile;
use super::super::record::CutRecord;
use super::super::tail::Tail;
use super::data_file::{DataFile, Gather};
use super::{WriteError, Written};

/// Writes a core of which nothing but zeros is there at first.
///
/// Dropping it without [`finish`](RawWriter::finish) leaves no file.
pub struct RawWriter {
    file: DataFile,
    ledger: Ledger,
}

impl RawWriter {
    /// Starts a core of the given layout in a file that is still empty.
    ///
    /// The file gets its length at once, as one hole, so that a core the file system cannot hold
    /// is refused before a page is copied.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`] if the file system or `ulimit -f` forbids the length.
    pub fn new(pending: PendingFile, layout: Layout) -> Result<RawWriter, WriteError> {
        let file = DataFile::new(pending);
        file.set_len(layout.data_end().0)?;
        let ledger = Ledger::new(layout);
        Ok(RawWriter { file, ledger })
    }

    /// Returns the name the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Says whether several threads write faster than one: past the page cache, where one waits
    /// for the disk. In the cache they only wait for each other, spinning on the file's lock.
    #[must_use]
    pub fn gains_from_threads(&self) -> bool {
        self.file.is_direct()
    }

    /// Returns where the pages lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.ledger.layout
    }

    /// Saves whole pages, each page once; zeros take no room. The run may reach over segments
    /// that touch.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`] when the disk is full, [`WriteError::OutsideLayout`] and
    /// [`WriteError::SavedTwice`] on misuse.
    pub fn write_run(&self, address: Va, run: &[u8]) -> Result<Saved, WriteError> {
        self.write_pieces(address, std::iter::once(run))
    }

    /// Saves a run that lies in several pieces of memory, each of whole pages.
    ///
    /// Pieces aligned to 4 KiB are written past the page cache, where the file system can.
    ///
    /// # Errors
    /// As [`RawWriter::write_run`].
    pub fn write_pieces<'a>(
        &'a self,
        address: Va,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Saved, WriteError> {
        let mut gather = Gather::new(&self.file);
        let mut saved = Saved::default();
        let mut at = address;
        for piece in pieces {
            saved += self.ledger.save(at, piece, |offset, bytes| gather.push(offset, bytes))?;
            at = at.add(Bytes::from(piece.len()));
        }
        gather.flush()?;
        Ok(saved)
    }

    /// Writes notes and headers, brings all to the disk and gives the file its name.
    ///
    /// # Errors
    /// As [`RawWriter::write_run`] and [`PendingFile::publish`]; no file is left behind then.
    pub fn finish(self, notes: &Notes, cut: &CutRecord) -> Result<Written, WriteError> {
        let tail = Tail::new(&self.ledger, notes, cut)?;
        let data_end = self.ledger.layout.data_end().0;
        self.file.write_cached(data_end, &[&tail.bytes])?;
        self.file.write_cached(0, &[&tail.header])?;
        self.file.publish()?;
        let len = Bytes(data_end + tail.bytes.len() as u64);
        Ok(Written { core_len: len, file_len: len, record: tail.record })
    }
}
