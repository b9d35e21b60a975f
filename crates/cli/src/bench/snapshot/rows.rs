//! The rows of the report, and the grid made of them for people.
//!
//! [`rows`] makes those of a case: one a tool, and one of the disk by itself. Called by the parent
//! module once all is measured.

use std::collections::BTreeMap;

use serde::Serialize;

use faultless_pages::Bytes;

use crate::bench::grid::Grid;
use crate::bench::report::{significant, time};
use crate::bench::stats::{Summary, float};

use super::PageKind;
use super::disk::Written;
use super::figures::{Case, Sample, all_direct, figures, peak_rss};
use super::tools::{OwnReport, Tool};

/// One row of the report: one tool on one case, or the disk.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// `faultless`, `--no-sync`, `gcore` or `disk`.
    tool: &'static str,
    size_bytes: u64,
    pages: PageKind,
    rounds: usize,
    /// From start until all is on the disk.
    synced_ns: Summary,
    #[serde(flatten)]
    dump: Option<DumpRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<OwnRow>,
    #[serde(flatten)]
    disk: Option<DiskRow>,
}

/// What a tool did to the target.
#[derive(Debug, Serialize)]
struct DumpRow {
    /// Longest time the ticker of the target was kept from running while the tool worked, other
    /// than by want of a processor.
    pause_ns: Summary,
    /// Longest time it did not run, want of a processor included.
    gap_ns: Summary,
    /// The same while no tool worked: what the scheduler alone does.
    idle_gap_ns: Summary,
    /// From start to exit of the tool.
    total_ns: Summary,
    /// Operations a second of the writer while the tool worked, over those before.
    throughput_share: Summary,
    /// 99th percentile of an operation of the writer before.
    write_p99_before_ns: Summary,
    /// 99th percentile of an operation of the writer while the tool worked.
    write_p99_ns: Summary,
    /// Slowest operation of the writer while the tool worked.
    write_max_ns: Summary,
    core_bytes: u64,
    huge_share: f64,
}

/// What only the snapshot itself can say.
#[derive(Debug, Serialize)]
struct OwnRow {
    pause_ns: Summary,
    /// Medians of what the pause was spent on.
    pause_parts_ns: BTreeMap<String, f64>,
    faults: Summary,
    peak_buffer_bytes: u64,
    peak_rss_bytes: u64,
}

/// What the disk was given by itself.
#[derive(Debug, Serialize)]
struct DiskRow {
    /// How much; as much as the snapshot of the same round wrote.
    written_bytes: u64,
    /// Past the page cache; otherwise through it, since the file system has no other way.
    direct: bool,
}

/// Makes the rows of a case.
pub(super) fn rows(case: &Case) -> Vec<Row> {
    let tools = case.samples.iter().map(|(tool, samples)| tool_row(case, *tool, samples));
    tools.chain([disk_row(case)]).flatten().collect()
}

/// Makes the grid for people.
pub(super) fn grid(rows: &[Row]) -> Grid {
    let header = [
        "target",
        "tool",
        "pause",
        "gap",
        "(idle gap)",
        "total",
        "on disk",
        "writer at",
        "p99 write",
        "(before)",
        "max write",
        "own pause",
        "faults",
        "resident",
    ];
    let mut grid = Grid::new(&header).caption(
        "medians; gap = longest time between two ticks of the target, pause = the same less \
         waiting for a processor, writer at = its throughput while the tool works over that \
         before, disk = the disk by itself, given as many bytes as the snapshot wrote",
    );
    for row in rows {
        grid.row(row.cells());
    }
    grid
}

impl Row {
    /// Returns one cell for each column of the grid; what does not apply is a dash.
    pub(super) fn cells(&self) -> Vec<String> {
        let dump = |text: &dyn Fn(&DumpRow) -> String| cell(self.dump.as_ref(), text);
        let own = |text: &dyn Fn(&OwnRow) -> String| cell(self.own.as_ref(), text);
        let cached = self.disk.as_ref().is_some_and(|disk| !disk.direct);
        vec![
            format!("{} {}", Bytes(self.size_bytes), self.pages.name()),
            format!("{}{}", self.tool, if cached { " (cached)" } else { "" }),
            dump(&|dump| time(dump.pause_ns.median)),
            dump(&|dump| time(dump.gap_ns.median)),
            dump(&|dump| time(dump.idle_gap_ns.median)),
            dump(&|dump| time(dump.total_ns.median)),
            time(self.synced_ns.median),
            dump(&|dump| format!("{} %", significant(dump.throughput_share.median * 100.0))),
            dump(&|dump| time(dump.write_p99_ns.median)),
            dump(&|dump| time(dump.write_p99_before_ns.median)),
            dump(&|dump| time(dump.write_max_ns.median)),
            own(&|own| time(own.pause_ns.median)),
            own(&|own| significant(own.faults.median)),
            own(&|own| Bytes(own.peak_rss_bytes).to_string()),
        ]
    }
}

fn cell<T>(side: Option<&T>, text: &dyn Fn(&T) -> String) -> String {
    side.map_or("-".to_owned(), text)
}

fn tool_row(case: &Case, tool: Tool, samples: &[Sample]) -> Option<Row> {
    let synced = figures(samples, &Sample::synced_ns);
    Some(Row {
        dump: Some(dump_row(samples)?),
        own: own_row(samples),
        ..plain_row(case, tool.name(), &synced)?
    })
}

fn disk_row(case: &Case) -> Option<Row> {
    let took = figures(&case.disk, &Written::took_ns);
    let disk = DiskRow { written_bytes: case.disk.last()?.bytes.0, direct: all_direct(&case.disk) };
    Some(Row { disk: Some(disk), ..plain_row(case, "disk", &took)? })
}

fn plain_row(case: &Case, tool: &'static str, synced_ns: &[f64]) -> Option<Row> {
    Some(Row {
        tool,
        size_bytes: case.size.0,
        pages: case.pages,
        rounds: synced_ns.len(),
        synced_ns: Summary::of(synced_ns)?,
        dump: None,
        own: None,
        disk: None,
    })
}

fn dump_row(samples: &[Sample]) -> Option<DumpRow> {
    let summary = |figure: &dyn Fn(&Sample) -> f64| Summary::of(&figures(samples, figure));
    let last = samples.last()?;
    Some(DumpRow {
        pause_ns: summary(&Sample::pause_ns)?,
        gap_ns: summary(&Sample::gap_ns)?,
        idle_gap_ns: summary(&|sample| float(sample.before.longest_gap_ns))?,
        total_ns: summary(&Sample::total_ns)?,
        throughput_share: summary(&Sample::throughput_share)?,
        write_p99_before_ns: summary(&|sample| float(sample.before.write_p99_ns))?,
        write_p99_ns: summary(&|sample| float(sample.during.write_p99_ns))?,
        write_max_ns: summary(&|sample| float(sample.during.write_max_ns))?,
        core_bytes: last.core.length.0,
        huge_share: last.huge_share,
    })
}

fn own_row(samples: &[Sample]) -> Option<OwnRow> {
    let own: Vec<_> = samples.iter().filter_map(|sample| sample.dump.own.as_ref()).collect();
    let pauses: Vec<f64> = own.iter().map(|own| float(own.pause_ns)).collect();
    let faults: Vec<f64> = own.iter().map(|own| float(own.faults)).collect();
    Some(OwnRow {
        pause_ns: Summary::of(&pauses)?,
        pause_parts_ns: pause_parts(&own),
        faults: Summary::of(&faults)?,
        peak_buffer_bytes: own.iter().map(|own| own.peak_buffer_bytes).max()?,
        peak_rss_bytes: peak_rss(samples)?.0,
    })
}

/// Returns the median of each part of the pause.
fn pause_parts(own: &[&OwnReport]) -> BTreeMap<String, f64> {
    let parts = own.iter().flat_map(|own| own.pause.keys());
    let median = |part: &String| {
        let of_part = own.iter().filter_map(|own| own.pause.get(part));
        let spent: Vec<f64> = of_part.map(|&ns| float(ns)).collect();
        Some((part.clone(), Summary::of(&spent)?.median))
    };
    parts.filter_map(median).collect()
}
