//! What clients touch, recorded; and what earlier clients touched, fetched ahead.
//!
//! A recording is made of demand faults, so while one is made nothing else is fetched: neighbours
//! that came along would hide that they were wanted. A file holds the recordings of several
//! clients; what at least half of them touched is fetched ahead, in the order of first touch.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use faultless_paging::page::{PageIndex, PageRun};
use faultless_paging::port::{Observation, Observer, What};
use faultless_paging::prefetch::{Never, Prefetch, Recording, Replay, WorkingSet};
use faultless_wire::Region;

use super::count::Counting;

/// The share of recordings that must have a page, in per cent.
const SHARE: u64 = 50;
/// Pages fetched at a time.
const RUN_MAX: u64 = 64;
/// Pages first touched within as long count as touched at the same time.
const EPOCH_NS: u64 = 100_000_000;

/// Where recordings go, and what is fetched ahead.
#[derive(Debug, Default)]
pub(super) struct Tape {
    record: Option<(PathBuf, WorkingSet)>,
    plan: Vec<PageRun>,
}

impl Tape {
    /// Reads what there is. A file to record to need not be there yet.
    pub(super) fn open(record: Option<&Path>, replay: Option<&Path>) -> io::Result<Tape> {
        let plan = match replay {
            Some(path) => read(path)?.runs(SHARE, RUN_MAX),
            None => Vec::new(),
        };
        let record = match record.map(|path| (path.to_owned(), read(path))) {
            Some((path, Ok(set))) => Some((path, set)),
            Some((path, Err(error))) if error.kind() == io::ErrorKind::NotFound => {
                Some((path, WorkingSet::default()))
            }
            Some((_, Err(error))) => return Err(error),
            None => None,
        };
        Ok(Tape { record, plan })
    }

    /// Says whether what clients touch is recorded.
    pub(super) fn records(&self) -> bool {
        self.record.is_some()
    }

    /// Returns who fetches ahead for a region: the part of the plan that lies in it.
    pub(super) fn prefetch(&self, region: &Region) -> Box<dyn Prefetch> {
        let held = PageRun {
            first: PageIndex(region.offset.pages(region.page_size)),
            count: region.memory.page_count(region.page_size),
        };
        let within = |run: &PageRun| {
            let both = run.intersect(held)?;
            Some(PageRun::new(both.first.0 - held.first.0, both.count))
        };
        let plan: Vec<PageRun> = self.plan.iter().filter_map(within).collect();
        // Recordings are of base pages.
        let base = region.page_size == faultless_uffd::base_page_size();
        if plan.is_empty() || !base { Box::new(Never) } else { Box::new(Replay::new(plan)) }
    }

    /// Adds what a client touched, and writes the file anew.
    pub(super) fn add(&mut self, recording: &Recording) -> io::Result<()> {
        let Some((path, set)) = &mut self.record else { return Ok(()) };
        if recording.is_empty() {
            return Ok(());
        }
        set.add(recording);
        let fresh = path.with_extension("partial");
        fs::write(&fresh, set.to_bytes())?;
        fs::rename(&fresh, path)
    }
}

fn read(path: &Path) -> io::Result<WorkingSet> {
    let invalid = |error: faultless_paging::prefetch::WorkingSetError| {
        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
    };
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let bytes = fs::read(path).map_err(named)?;
    WorkingSet::from_bytes(&bytes).map_err(invalid).map_err(named)
}

/// What one client has touched so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched(Arc<Mutex<Recording>>);

impl Touched {
    /// Returns what was touched.
    pub(super) fn recording(&self) -> Recording {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counts, and records in pages of the image.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) counting: Counting,
    pub(super) touched: Touched,
    /// Of each region, in order, the page of the image it begins with.
    pub(super) firsts: Vec<u64>,
}

impl Observer for Recorder {
    fn observe(&mut self, observation: Observation) {
        if observation.what == What::Faulted
            && let Some(first) = self.firsts.get(observation.region.0 as usize)
        {
            let mut recording = self.touched.0.lock().unwrap_or_else(PoisonError::into_inner);
            for page in observation.pages.pages() {
                recording.touch(page.plus(*first), observation.at.0 / EPOCH_NS);
            }
        }
        self.counting.observe(observation);
    }
}
