//! What a snapshot is asked for, tells on the way, and reports at the end.

use std::path::PathBuf;

use faultless_image::flt::{Codec, Parent};
use faultless_pages::Bytes;
use serde::Serialize;

/// How a snapshot is to be taken.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the core goes.
    pub output: PathBuf,
    /// Replace an existing file.
    pub force: bool,
    /// Be done only when all of it is on the disk; otherwise it is left to the page cache, where a
    /// crash of the machine loses it.
    pub sync: bool,
    /// What is made.
    pub format: Format,
    /// The most memory that saved pages may take on their way to the disk.
    pub buffer: Bytes,
    /// Hold the program back from dropping memory that is not saved yet.
    pub exact: bool,
    /// Who makes the core, for its notes.
    pub tool_version: String,
}

/// What a snapshot makes.
#[derive(Clone, Debug)]
pub enum Format {
    /// An ELF core.
    Core,
    /// An ELF core, compressed with zstd at this level.
    CompressedCore(i32),
    /// An image in chunks, over the layer below if there is one.
    Image(Codec, Option<Parent>),
}

/// What a snapshot is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening a userfaultfd on the process and registering its memory; it runs.
    Attaching,
    /// All threads stand still.
    Cutting,
    /// The process runs; its memory of the cut is being saved.
    Saving,
    /// Headers, sync and the final name.
    Finishing,
}

/// Who wants to know how a snapshot goes.
pub trait Observer {
    /// Tells the phase, and how much of the memory of the cut is on its way to the disk.
    fn progress(&self, phase: Phase, done: Bytes, total: Bytes);
}

/// Nobody.
impl Observer for () {
    fn progress(&self, _: Phase, _: Bytes, _: Bytes) {}
}

/// How long waiting writers waited, in nanoseconds.
///
/// Upper bounds: counted from the last look that found nobody waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// Sums up samples, which it sorts.
    pub(super) fn of(samples: &mut [u64]) -> Latency {
        samples.sort_unstable();
        let at = |percent: usize| {
            samples.get((samples.len() * percent / 100).min(samples.len().saturating_sub(1)))
        };
        let of = |percent| at(percent).copied().unwrap_or_default();
        Latency { p50: of(50), p99: of(99), max: samples.last().copied().unwrap_or_default() }
    }
}

/// How the pause was spent, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Until every thread stood still.
    pub stop: u64,
    /// Reading the memory map and registering what was new in it.
    pub map: u64,
    /// Finding the pages that hold something.
    pub scan: u64,
    /// Write-protecting them.
    pub protect: u64,
    /// Copying what cannot be protected.
    pub copy: u64,
    /// Reading registers.
    pub registers: u64,
    /// Letting every thread go.
    pub resume: u64,
}

/// What a snapshot was.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The process.
    pub pid: u32,
    /// The core.
    pub file: PathBuf,
    /// How long all threads stood still, from the first request to stop to the last resumption.
    pub pause_ns: u64,
    /// How that time was spent.
    pub pause: Pause,
    /// From the start to the file under its final name.
    pub total_ns: u64,
    /// Length of the core, holes included.
    pub bytes: u64,
    /// Length of the file: less than `bytes` if it is compressed.
    pub file_bytes: u64,
    /// Pages of the cut in the core.
    pub pages: u64,
    /// Of these, pages that cannot be protected and were copied while the process stood still.
    pub copied_in_pause: u64,
    /// Pages the program freed before they were saved: recorded as freed, not as zeros.
    pub freed_pages: u64,
    /// Pages that other processes could write during the snapshot.
    pub shared_pages: u64,
    /// Writes that had to wait for their page to be saved.
    pub faults: u64,
    /// How long they waited.
    pub fault_latency_ns: Latency,
    /// Looks at a waiting writer that found the buffer full.
    pub throttled: u64,
    /// Changes of the memory map that were followed.
    pub events: u64,
    /// Memory-dropping calls that were held back until their pages were saved (`--exact`).
    pub held_calls: u64,
    /// The most memory that saved pages took on their way to the disk.
    pub peak_buffer_bytes: u64,
    /// Threads in the core.
    pub threads: u64,
    /// What the reader of the core should know.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_percentiles_of_the_samples() {
        let mut samples: Vec<u64> = (1..=1000).rev().collect();
        assert_eq!(Latency::of(&mut samples), Latency { p50: 501, p99: 991, max: 1000 });
        assert_eq!(Latency::of(&mut []), Latency::default());
        assert_eq!(Latency::of(&mut [7]), Latency { p50: 7, p99: 7, max: 7 });
    }
}
