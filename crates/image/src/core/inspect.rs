//! What a core holds, as a report.

use serde::Serialize;

use faultless_pages::VaRange;

use super::read::{CoreFile, Segment};

/// A core in one page; serialises to the object `inspect --json` prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// The file.
    pub file: String,
    /// Whether it is compressed with zstd.
    pub compressed: bool,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Bytes it takes on the disk.
    pub file_allocated_bytes: u64,
    /// Length of the core in bytes, decompressed.
    pub core_bytes: u64,
    /// Processor as `uname -m` names it.
    pub arch: String,
    /// Process id, `None` if the core does not say.
    pub pid: Option<u32>,
    /// Command name.
    pub name: Option<String>,
    /// Command line, cut to 79 bytes.
    pub cmdline: Option<String>,
    /// The threads.
    pub threads: Vec<ThreadSummary>,
    /// The segments, by address.
    pub segments: Vec<SegmentSummary>,
    /// Bytes of memory the process had mapped.
    pub memory_bytes: u64,
    /// Bytes of memory the file holds, zeros included.
    pub dumped_bytes: u64,
    /// The mapped files.
    pub files: Vec<FileSummary>,
    /// The program that made the core, `None` if it was not ours.
    pub tool_version: Option<String>,
    /// When the core was cut: nanoseconds since the Unix epoch.
    pub cut_time_unix_ns: Option<u64>,
    /// Pages with content.
    pub data_pages: Option<u64>,
    /// Pages that read as zeros: the holes.
    pub zero_pages: Option<u64>,
    /// Pages freed before they were saved.
    pub freed_pages: Option<u64>,
    /// Pages other processes could write during the snapshot.
    pub shared_pages: Option<u64>,
    /// Ranges freed before they were saved.
    pub freed: Vec<RangeSummary>,
    /// Ranges other processes could write during the snapshot.
    pub shared: Vec<RangeSummary>,
}

/// One thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ThreadSummary {
    /// Thread id.
    pub tid: u32,
    /// The signal it was met with, 0 for none.
    pub signal: i32,
    /// Program counter.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
}

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SegmentSummary {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Bytes of it the file holds.
    pub dumped_bytes: u64,
    /// `r`, `w`, `x` or `-` each, as `/proc/PID/maps` prints them.
    pub access: String,
}

/// One mapped file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FileSummary {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Where in the file the mapping starts, in bytes.
    pub offset: u64,
    /// The file.
    pub path: String,
}

/// A range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct RangeSummary {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
}

impl From<&VaRange> for RangeSummary {
    fn from(range: &VaRange) -> RangeSummary {
        RangeSummary { start: range.start().0, end: range.end().0 }
    }
}

impl CoreFile {
    /// Says what the core holds; reads nothing beyond what opening read.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let process = self.process();
        let record = self.record();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let ranges = |ranges: &[VaRange]| ranges.iter().map(RangeSummary::from).collect();
        Summary {
            file: self.path().display().to_string(),
            compressed: self.compressed,
            file_bytes: self.file_len,
            file_allocated_bytes: self.file_allocated,
            core_bytes: self.reader.source.len(),
            arch: self.machine().to_string(),
            pid: process.map(|process| process.pid),
            name: process.map(|process| text(&process.name)),
            cmdline: process.map(|process| text(&process.cmdline)),
            threads: self.thread_summaries(),
            segments: self.segments().iter().map(segment_summary).collect(),
            memory_bytes: sum(self.segments(), |segment| segment.range.len().0),
            dumped_bytes: sum(self.segments(), |segment| segment.in_file.0),
            files: self.file_summaries(),
            tool_version: record.map(|record| record.tool_version.clone()),
            cut_time_unix_ns: record.map(|record| record.time_unix_ns),
            data_pages: record.map(|record| record.data_pages),
            zero_pages: record.map(|record| record.zero_pages),
            freed_pages: record.map(|record| record.freed_pages),
            shared_pages: record.map(|record| record.shared_pages),
            freed: ranges(self.freed()),
            shared: ranges(record.map_or(&[], |record| &record.shared)),
        }
    }

    fn thread_summaries(&self) -> Vec<ThreadSummary> {
        self.threads()
            .iter()
            .map(|thread| ThreadSummary {
                tid: thread.tid,
                signal: thread.signal,
                pc: thread.pc.0,
                sp: thread.sp.0,
            })
            .collect()
    }

    fn file_summaries(&self) -> Vec<FileSummary> {
        self.files()
            .iter()
            .map(|file| FileSummary {
                start: file.range.start().0,
                end: file.range.end().0,
                offset: file.offset.0,
                path: file.path.display().to_string(),
            })
            .collect()
    }
}

fn segment_summary(segment: &Segment) -> SegmentSummary {
    SegmentSummary {
        start: segment.range.start().0,
        end: segment.range.end().0,
        dumped_bytes: segment.in_file.0,
        access: segment.access.to_string(),
    }
}

/// Adds up without trusting the file: its numbers may be anything.
fn sum(segments: &[Segment], of: impl Fn(&Segment) -> u64) -> u64 {
    segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(of(segment)))
}
