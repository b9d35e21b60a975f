//! The bytes of one file: what readers see, and what a crash leaves.

use std::collections::BTreeSet;

use super::SECTOR;
use crate::random::Random;
use crate::swarm::{Fault, Swarm};

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What readers see.
    seen: Vec<u8>,
    /// What was synced.
    synced: Vec<u8>,
    /// Sectors written since.
    dirty: BTreeSet<usize>,
}

impl File {
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn read(&self, offset: usize, len: usize) -> &[u8] {
        let start = offset.min(self.seen.len());
        let end = offset.saturating_add(len).min(self.seen.len());
        &self.seen[start..end]
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        // A gap between the old end and the write is new too.
        let first = offset.min(self.seen.len());
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.dirty.extend(first / SECTOR..end.div_ceil(SECTOR));
    }

    pub(super) fn sync(&mut self) {
        self.synced.clone_from(&self.seen);
        self.dirty.clear();
    }

    /// Keeps what was synced; of each sector written since, where the crash tears, all, nothing,
    /// or the beginning.
    pub(super) fn crash(&mut self, swarm: &Swarm, random: &mut Random) {
        let written = std::mem::replace(&mut self.seen, self.synced.clone());
        for sector in std::mem::take(&mut self.dirty) {
            if !swarm.strikes(Fault::TornWrite, random) {
                continue;
            }
            let start = sector * SECTOR;
            let torn = random.index(2) == 0;
            let reached = if torn { random.index(SECTOR) } else { SECTOR };
            let end = (start + reached).min(written.len());
            if self.seen.len() < end {
                self.seen.resize(end, 0);
            }
            if start < end {
                self.seen[start..end].copy_from_slice(&written[start..end]);
            }
        }
        // What a crash left is what the next one finds.
        self.synced.clone_from(&self.seen);
    }
}
