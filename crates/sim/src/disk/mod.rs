//! A disk with files, and what a crash leaves of them.
//!
//! What was written is seen by every reader at once and survives a crash only when it was synced:
//! a file's bytes by [`Disk::sync`], what the folder calls it by [`Disk::sync_folder`]. The rest is
//! gone after [`Disk::crash`], or, where [`Fault::TornWrite`] strikes, partly there.
//!
//! | file | holds |
//! |---|---|
//! | `file` | the bytes of a file, as seen and as synced |
//! | `folder` | names, as seen and as synced |
//!
//! # Invariants
//! - After a crash every sector holds what was synced, what was written last, or a mixture of the
//!   two; nothing else.

mod file;
mod folder;

use std::collections::BTreeMap;

use crate::clock::Span;
use crate::random::Random;
use crate::swarm::{Fault, Swarm};
use file::File;
use folder::Folder;

/// Bytes the disk writes at once, or not at all unless a crash tears them.
pub const SECTOR: usize = 512;

/// How long an operation takes without trouble, in microseconds.
const USUAL_MICROS: std::ops::RangeInclusive<u64> = 20..=200;
/// A slow one takes this many times as long.
const SLOW: std::ops::RangeInclusive<u64> = 50..=5_000;

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u64);

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// No room is left, or the disk says so.
    #[error("no space left on the disk")]
    Full,
    /// No file has this name.
    #[error("no such file")]
    Absent,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    swarm: Swarm,
    random: Random,
    capacity: usize,
    files: BTreeMap<FileId, File>,
    folder: Folder,
    made: u64,
}

impl Disk {
    /// Makes an empty disk for `capacity` bytes.
    #[must_use]
    pub fn new(seed: u64, swarm: Swarm, capacity: usize) -> Disk {
        Disk {
            swarm,
            random: Random::stream(seed, "disk"),
            capacity,
            files: BTreeMap::new(),
            folder: Folder::default(),
            made: 0,
        }
    }

    /// How long the next operation takes, for whoever lets its caller wait.
    pub fn delay(&mut self) -> Span {
        let usual = Span::micros(self.random.within(USUAL_MICROS));
        let times = self.random.within(SLOW);
        if self.swarm.strikes(Fault::SlowDisk, &mut self.random) { usual * times } else { usual }
    }

    /// Makes a file, in place of one that had the name.
    pub fn create(&mut self, name: &str) -> FileId {
        let id = FileId(self.made);
        self.made += 1;
        self.files.insert(id, File::default());
        self.folder.enter(name, id);
        id
    }

    /// Finds a file by name.
    ///
    /// # Errors
    /// [`DiskError::Absent`].
    pub fn open(&self, name: &str) -> Result<FileId, DiskError> {
        self.folder.find(name).ok_or(DiskError::Absent)
    }

    /// The names of all files, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.folder.names()
    }

    /// Writes bytes, which may stop half way; returns how many were written.
    ///
    /// # Errors
    /// [`DiskError::Full`], with nothing written.
    pub fn write(&mut self, file: FileId, offset: usize, bytes: &[u8]) -> Result<usize, DiskError> {
        let full = self.swarm.strikes(Fault::DiskFull, &mut self.random);
        let stops = self.swarm.strikes(Fault::ShortWrite, &mut self.random);
        let at_most = self.random.index(bytes.len()).max(1);
        let named = self.files.iter().filter(|(id, _)| self.folder.holds(**id));
        let used: usize = named.map(|(_, file)| file.len()).sum();
        let file = self.files.get_mut(&file).ok_or(DiskError::Absent)?;
        let room = (self.capacity.saturating_sub(used) + file.len()).saturating_sub(offset);
        let wanted = if stops { bytes.len().min(at_most) } else { bytes.len() };
        let count = wanted.min(room);
        if full || (count == 0 && !bytes.is_empty()) {
            return Err(DiskError::Full);
        }
        file.write(offset, &bytes[..count]);
        Ok(count)
    }

    /// Reads up to `len` bytes; fewer at the end of the file.
    ///
    /// # Errors
    /// [`DiskError::Absent`] for a file a crash took.
    pub fn read(&self, file: FileId, offset: usize, len: usize) -> Result<&[u8], DiskError> {
        self.files.get(&file).map(|file| file.read(offset, len)).ok_or(DiskError::Absent)
    }

    /// Makes the bytes of a file survive a crash; not its name.
    ///
    /// # Errors
    /// [`DiskError::Absent`] for a file a crash took.
    pub fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        self.files.get_mut(&file).map(File::sync).ok_or(DiskError::Absent)
    }

    /// Gives a file another name, in place of one that had it.
    ///
    /// # Errors
    /// [`DiskError::Absent`].
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let file = self.open(from)?;
        self.folder.enter(to, file);
        self.folder.leave(from);
        Ok(())
    }

    /// Removes a name.
    ///
    /// # Errors
    /// [`DiskError::Absent`].
    pub fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.open(name)?;
        self.folder.leave(name);
        Ok(())
    }

    /// Makes all names survive a crash.
    pub fn sync_folder(&mut self) {
        self.folder.sync();
    }

    /// Crashes: what was not synced is gone, or torn.
    pub fn crash(&mut self) {
        self.folder.crash(&self.swarm, &mut self.random);
        for file in self.files.values_mut() {
            file.crash(&self.swarm, &mut self.random);
        }
        let Disk { files, folder, .. } = self;
        files.retain(|id, _| folder.holds(*id));
    }
}

#[cfg(test)]
mod tests;
