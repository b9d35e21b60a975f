//! A sparse core file whose pages may be written in any order.
//!
//! # Concurrency
//! [`RawWriter::write_run`] takes `&self` and may be called from several threads: each page has
//! its own place in the file, and the ledger adds atomically.

use std::os::unix::fs::FileExt;
use std::path::Path;

use faultless_pages::{Bytes, Va};

use super::super::layout::Layout;
use super::super::ledger::{Ledger, Saved};
use super::super::notes::Notes;
use super::super::publish::PendingFile;
use super::super::record::CutRecord;
use super::super::tail::Tail;
use super::{WriteError, Written};

/// Writes a core of which nothing but zeros is there at first.
///
/// Dropping it without [`finish`](RawWriter::finish) leaves no file.
pub struct RawWriter {
    pending: PendingFile,
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
        pending
            .file()
            .set_len(layout.data_end().0)
            .map_err(|e| WriteError::io(pending.path(), "extend", e))?;
        let ledger = Ledger::new(layout);
        Ok(RawWriter { pending, ledger })
    }

    /// Returns the name the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.pending.path()
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
        self.ledger.save(address, run, |offset, bytes| self.write_at(offset, bytes))
    }

    /// Makes the kernel begin to write out what was saved so far, without waiting for it.
    ///
    /// Otherwise the disk idles until [`finish`](RawWriter::finish) syncs. What is already on the
    /// disk leaves the page cache, where a core would only push out what others need.
    pub fn begin_writeback(&self) {
        // Advice: where the file system takes none, the sync at the end does it all.
        let _ = rustix::fs::fadvise(self.pending.file(), 0, None, rustix::fs::Advice::DontNeed);
    }

    /// Writes notes and headers, brings all to the disk and gives the file its name.
    ///
    /// # Errors
    /// As [`RawWriter::write_run`] and [`PendingFile::publish`]; no file is left behind then.
    pub fn finish(self, notes: &Notes, cut: &CutRecord) -> Result<Written, WriteError> {
        let tail = Tail::new(&self.ledger, notes, cut)?;
        let data_end = self.ledger.layout.data_end().0;
        self.write_at(data_end, &tail.bytes)?;
        self.write_at(0, &tail.header)?;
        self.pending.publish()?;
        let len = Bytes(data_end + tail.bytes.len() as u64);
        Ok(Written { core_len: len, file_len: len, record: tail.record })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.pending
            .file()
            .write_all_at(bytes, offset)
            .map_err(|e| WriteError::io(self.pending.path(), "write", e))
    }
}
