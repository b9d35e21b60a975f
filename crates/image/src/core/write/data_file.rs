//! The file pages go to: past the page cache where that can be done, through it elsewhere.
//!
//! A core is written once and read much later or never: kept in the page cache it costs a copy of
//! every page and pushes out what others need. So long stretches of whole pages are written
//! directly, and what is written through the cache is sent on its way soon.

use std::fs::File;
use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::Advice;
use rustix::io::Errno;

use super::super::publish::PendingFile;
use super::WriteError;

/// Where memory and places in the file must begin and end for direct writing: a multiple of what
/// any disk in use asks for.
const ALIGNMENT: usize = 4096;
/// Shorter stretches are cheaper through the cache, which joins them with their neighbours: a
/// direct write costs a turn of the disk, whatever its length.
const DIRECT_MIN: usize = 128 << 10;
/// So much is left to the page cache before the disk is set to work on it.
const WRITEBACK: u64 = 16 << 20;
/// Slices of one write: well below what the kernel takes (1024).
const SLICES_MAX: usize = 256;

/// A file without a name yet, with a second way into it.
pub(super) struct DataFile {
    pending: PendingFile,
    /// The same file, opened for direct writing; `None` where the file system has no such thing,
    /// and where the file is left to the page cache.
    direct: Option<File>,
    /// The file system wants something else than [`ALIGNMENT`].
    refused: AtomicBool,
    /// Bytes written through the page cache since the disk was last set to work.
    cached: AtomicU64,
}

impl DataFile {
    pub(super) fn new(pending: PendingFile) -> DataFile {
        let direct = if pending.is_synced() { pending.reopen_direct().ok() } else { None };
        DataFile { pending, direct, refused: AtomicBool::new(false), cached: AtomicU64::new(0) }
    }

    pub(super) fn path(&self) -> &Path {
        self.pending.path()
    }

    /// Says whether long stretches are written past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some() && !self.refused.load(Ordering::Relaxed)
    }

    /// Gives the file its length, as one hole.
    pub(super) fn set_len(&self, len: u64) -> Result<(), WriteError> {
        self.pending.file().set_len(len).map_err(|e| WriteError::io(self.path(), "extend", e))
    }

    /// Brings all to the disk and gives the file its name.
    pub(super) fn publish(self) -> Result<(), WriteError> {
        // A named temporary file still open for writing would be busy for who runs it.
        drop(self.direct);
        self.pending.publish()
    }

    /// Writes slices one behind the other through the page cache, with one call: the longer it is,
    /// the larger the folios that it makes.
    pub(super) fn write_cached(&self, offset: u64, slices: &[&[u8]]) -> Result<(), WriteError> {
        let written = write_all_vectored(self.pending.file(), offset, slices);
        written.map_err(|errno| WriteError::io(self.path(), "write", errno.into()))?;
        if !self.pending.is_synced() {
            return Ok(());
        }
        let len = slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        if self.cached.fetch_add(len, Ordering::Relaxed) + len >= WRITEBACK {
            self.cached.store(0, Ordering::Relaxed);
            self.begin_writeback();
        }
        Ok(())
    }

    /// Makes the kernel begin to write out what it has cached, without waiting for it; otherwise
    /// the disk idles until the sync at the end. What is on the disk leaves the cache.
    fn begin_writeback(&self) {
        // Advice: where the file system takes none, the sync does it all.
        let _ = rustix::fs::fadvise(self.pending.file(), 0, None, Advice::DontNeed);
    }

    /// Writes slices one behind the other, from `offset` on.
    fn write(&self, offset: u64, slices: &[&[u8]]) -> Result<(), WriteError> {
        let direct = self.direct.as_ref().filter(|_| self.is_direct());
        if let Some(file) = direct.filter(|_| suits_direct(offset, slices)) {
            match write_all_vectored(file, offset, slices) {
                Ok(()) => return Ok(()),
                // Nothing is lost by writing what was written before once more.
                Err(Errno::INVAL) => self.refused.store(true, Ordering::Relaxed),
                Err(errno) => return Err(WriteError::io(self.path(), "write", errno.into())),
            }
        }
        self.write_cached(offset, slices)
    }
}

/// Says whether a stretch may and should be written directly.
fn suits_direct(offset: u64, slices: &[&[u8]]) -> bool {
    let aligned = |slice: &&[u8]| {
        slice.as_ptr().addr().is_multiple_of(ALIGNMENT) && slice.len().is_multiple_of(ALIGNMENT)
    };
    offset.is_multiple_of(ALIGNMENT as u64)
        && slices.iter().map(|slice| slice.len()).sum::<usize>() >= DIRECT_MIN
        && slices.iter().all(aligned)
}

fn write_all_vectored(file: &File, offset: u64, slices: &[&[u8]]) -> Result<(), Errno> {
    let mut slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let mut rest = slices.as_mut_slice();
    let mut at = offset;
    while !rest.is_empty() {
        match rustix::io::pwritev(file, rest, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Joins slices that follow each other in the file.
pub(super) struct Gather<'a> {
    file: &'a DataFile,
    offset: u64,
    end: u64,
    slices: Vec<&'a [u8]>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(file: &'a DataFile) -> Gather<'a> {
        Gather { file, offset: 0, end: 0, slices: Vec::new() }
    }

    /// Adds bytes for this place of the file, and writes what they do not join.
    pub(super) fn push(&mut self, offset: u64, bytes: &'a [u8]) -> Result<(), WriteError> {
        if offset != self.end || self.slices.len() == SLICES_MAX {
            self.flush()?;
        }
        if self.slices.is_empty() {
            self.offset = offset;
        }
        self.slices.push(bytes);
        self.end = offset + bytes.len() as u64;
        Ok(())
    }

    /// Writes what was joined.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        let slices = std::mem::take(&mut self.slices);
        self.file.write(self.offset, &slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::OnExisting;

    #[test]
    fn joined_scattered_and_crooked_slices_all_arrive() {
        slices_all_arrive(|pending| pending);
        slices_all_arrive(PendingFile::without_sync);
    }

    #[test]
    fn without_a_sync_nothing_bypasses_the_page_cache() {
        let directory = tempfile::tempdir().unwrap();
        let pending = PendingFile::create(&directory.path().join("a.core"), OnExisting::Refuse);
        assert!(!DataFile::new(pending.unwrap().without_sync()).is_direct());
    }

    fn slices_all_arrive(prepare: impl FnOnce(PendingFile) -> PendingFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.core");
        let pending = PendingFile::create(&path, OnExisting::Refuse).unwrap();
        let file = DataFile::new(prepare(pending));
        file.set_len(2 << 20).unwrap();
        let memory: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[1] ^ 0x5a).collect();
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let aligned = &memory[start..start + (512 << 10)];
        let mut gather = Gather::new(&file);
        // Long and aligned; joined from three; short; aligned for the file but not in memory.
        gather.push(0, &aligned[..256 << 10]).unwrap();
        for third in 0..3 {
            let at = third * (64 << 10);
            gather.push((1 << 20) + at as u64, &aligned[at..at + (64 << 10)]).unwrap();
        }
        gather.push(600 << 10, &aligned[..4096]).unwrap();
        gather.push(1536 << 10, &aligned[8..8 + (256 << 10)]).unwrap();
        gather.flush().unwrap();
        file.publish().unwrap();
        let mut wanted = vec![0; 2 << 20];
        for (at, bytes) in [
            (0, &aligned[..256 << 10]),
            (1 << 20, &aligned[..192 << 10]),
            (600 << 10, &aligned[..4096]),
            (1536 << 10, &aligned[8..8 + (256 << 10)]),
        ] {
            wanted[at..at + bytes.len()].copy_from_slice(bytes);
        }
        assert!(std::fs::read(&path).unwrap() == wanted);
    }

    #[test]
    fn only_long_aligned_stretches_are_written_directly() {
        let memory = vec![1; 1 << 20];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let aligned = &memory[start..];
        assert!(suits_direct(4096, &[&aligned[..DIRECT_MIN]]));
        assert!(suits_direct(4096, &[&aligned[..DIRECT_MIN - 4096], &aligned[..4096]]));
        assert!(!suits_direct(512, &[&aligned[..DIRECT_MIN]]));
        assert!(!suits_direct(4096, &[&aligned[..DIRECT_MIN - 4096]]));
        assert!(!suits_direct(4096, &[&aligned[512..512 + DIRECT_MIN]]));
        assert!(!suits_direct(4096, &[&aligned[..DIRECT_MIN], &aligned[..512]]));
    }
}
