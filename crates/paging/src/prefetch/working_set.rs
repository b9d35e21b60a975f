//! What was touched in earlier runs: in which order, when first, how likely.
//!
//! A recording is the pages of one run in the order of their first touch, each with the epoch in
//! which that was. Several recordings of the same image make a working set, in which every page
//! has the share of runs that touched it.
//!
//! As bytes: `FLTW`, the version, the number of pages, then for each its number, its epoch, and how
//! many of the recordings have it; at the end a checksum of all before it. All numbers are 64-bit,
//! little-endian. Nothing is believed before the length was checked.

use std::collections::BTreeMap;

use crate::page::{PageIndex, PageRun};

/// Pages in the order of their first touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    pages: Vec<(PageIndex, u64)>,
    seen: std::collections::BTreeSet<PageIndex>,
}

impl Recording {
    /// Takes note that a page was touched; only the first touch counts.
    pub fn touch(&mut self, page: PageIndex, epoch: u64) {
        if self.seen.insert(page) {
            self.pages.push((page, epoch));
        }
    }

    /// How many pages were touched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Says whether nothing was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

/// A page of a working set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Touched {
    page: PageIndex,
    epoch: u64,
    /// How many recordings have it.
    runs: u64,
}

/// What several recordings have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkingSet {
    recordings: u64,
    /// In the order of the newest recording that has the page, by epoch.
    touched: Vec<Touched>,
}

/// Why bytes are no working set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkingSetError {
    /// They do not begin as one.
    #[error("not a working set, or of another version")]
    Foreign,
    /// Their length is not the one they name.
    #[error("the length is not what the header says")]
    Length,
    /// They were changed.
    #[error("the checksum does not match")]
    Checksum,
}

const MAGIC: [u8; 8] = *b"FLTW\x01\0\0\0";
const WORD: usize = size_of::<u64>();

impl WorkingSet {
    /// Adds a recording, newer than those before.
    pub fn add(&mut self, recording: &Recording) {
        let mut known: BTreeMap<PageIndex, Touched> =
            self.touched.drain(..).map(|touched| (touched.page, touched)).collect();
        let mut touched = Vec::new();
        for (page, epoch) in &recording.pages {
            let runs = known.remove(page).map_or(0, |before| before.runs) + 1;
            touched.push(Touched { page: *page, epoch: *epoch, runs });
        }
        touched.extend(known.into_values());
        touched.sort_by_key(|touched| touched.epoch);
        self.touched = touched;
        self.recordings += 1;
    }

    /// How many recordings it is made of.
    #[must_use]
    pub fn recordings(&self) -> u64 {
        self.recordings
    }

    /// The pages that at least `percent` of the recordings touched, in order of first touch,
    /// neighbours joined into runs of at most `most`.
    #[must_use]
    pub fn runs(&self, percent: u64, most: u64) -> Vec<PageRun> {
        let likely = |touched: &&Touched| touched.runs * 100 >= percent.min(100) * self.recordings;
        let mut runs: Vec<PageRun> = Vec::new();
        for Touched { page, .. } in self.touched.iter().filter(likely) {
            match runs.last_mut() {
                Some(run) if run.end() == *page && run.count < most => run.count += 1,
                _ => runs.push(PageRun::one(*page)),
            }
        }
        runs
    }

    /// Makes bytes of it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = [self.recordings, self.touched.len() as u64];
        let pages = self.touched.iter().flat_map(|page| [page.page.0, page.epoch, page.runs]);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(head.into_iter().chain(pages).flat_map(u64::to_le_bytes));
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// See [`WorkingSetError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<WorkingSet, WorkingSetError> {
        let body = bytes.strip_prefix(&MAGIC).ok_or(WorkingSetError::Foreign)?;
        let (words, rest) = body.as_chunks::<WORD>();
        let [recordings, count, pages @ .., sum] = words else {
            return Err(WorkingSetError::Length);
        };
        let triples = pages.as_chunks::<3>();
        let expected = u64::from_le_bytes(*count);
        if !rest.is_empty() || !triples.1.is_empty() || triples.0.len() as u64 != expected {
            return Err(WorkingSetError::Length);
        }
        if checksum(&bytes[..bytes.len() - WORD]) != u64::from_le_bytes(*sum) {
            return Err(WorkingSetError::Checksum);
        }
        let touched = |[page, epoch, runs]: &[[u8; WORD]; 3]| Touched {
            page: PageIndex(u64::from_le_bytes(*page)),
            epoch: u64::from_le_bytes(*epoch),
            runs: u64::from_le_bytes(*runs),
        };
        let touched = triples.0.iter().map(touched).collect();
        Ok(WorkingSet { recordings: u64::from_le_bytes(*recordings), touched })
    }
}

/// FNV-1a: finds what a disk or a copy does to a small file; nobody is kept from forging one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(pages: &[(u64, u64)]) -> Recording {
        let mut recording = Recording::default();
        for (page, epoch) in pages {
            recording.touch(PageIndex(*page), *epoch);
        }
        recording
    }

    #[test]
    fn pages_come_in_the_order_of_their_first_touch() {
        let mut set = WorkingSet::default();
        set.add(&recording(&[(7, 0), (3, 0), (4, 0), (7, 1), (9, 1)]));
        let runs = set.runs(100, 8);
        assert_eq!(runs, [PageRun::new(7, 1), PageRun::new(3, 2), PageRun::new(9, 1)]);
    }

    #[test]
    fn unlikely_pages_are_left_out() {
        let mut set = WorkingSet::default();
        set.add(&recording(&[(1, 0), (2, 0)]));
        set.add(&recording(&[(2, 0), (5, 0)]));
        assert_eq!(set.runs(100, 8), [PageRun::new(2, 1)]);
        assert_eq!(set.runs(50, 8).iter().map(|run| run.count).sum::<u64>(), 3);
    }

    #[test]
    fn bytes_are_read_back_and_every_damage_is_noticed() {
        let mut set = WorkingSet::default();
        set.add(&recording(&[(1, 0), (2, 3)]));
        let bytes = set.to_bytes();
        assert_eq!(WorkingSet::from_bytes(&bytes), Ok(set));
        for len in 0..bytes.len() {
            assert!(WorkingSet::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(WorkingSet::from_bytes(&damaged).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, u64::MAX, 0].into_iter().flat_map(u64::to_le_bytes));
        assert_eq!(WorkingSet::from_bytes(&bytes), Err(WorkingSetError::Length));
    }
}
