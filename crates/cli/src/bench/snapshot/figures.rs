//! From samples to what is reported: rows, ratios, findings, grid and plot.
//!
//! [`Case`] is one size and page kind with the samples of every tool; everything here is a pure
//! function of cases. Called by the parent module once all is measured.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use faultless_pages::Bytes;

use crate::bench::grid::Grid;
use crate::bench::plot::{Chart, Panel, Series};
use crate::bench::report::{significant, time};
use crate::bench::stats::{PairedRatio, Summary, float, nanoseconds};

use super::PageKind;
use super::target::Interval;
use super::tools::{Dump, OwnReport, Tool};

/// What a snapshot may hold besides its buffer: the program itself, the list of the target's
/// mappings, one bit a page and the notes of the core.
const FIXED_OVERHEAD: Bytes = Bytes::mib(32);
/// The pause must be this many times shorter than gcore's ...
const PAUSE_WANTED: f64 = 50.0;
/// ... from this size on.
const PAUSE_WANTED_FROM: Bytes = Bytes::mib(512);

/// One tool's run on the target.
#[derive(Debug)]
pub(super) struct Sample {
    /// The target undisturbed, just before.
    pub(super) before: Interval,
    /// The target from the start to the exit of the tool.
    pub(super) during: Interval,
    /// Share of the target in huge pages, just before.
    pub(super) huge_share: f64,
    /// The tool's own side.
    pub(super) dump: Dump,
    /// How long the core took to the disk after the tool had ended.
    pub(super) sync: Duration,
    /// Length of the core.
    pub(super) core: Bytes,
}

/// One size and page kind, with each tool's samples in round order.
#[derive(Debug)]
pub(super) struct Case {
    /// Memory of the target.
    pub(super) size: Bytes,
    /// Its pages.
    pub(super) pages: PageKind,
    /// The samples of each tool; paired by round.
    pub(super) samples: Vec<(Tool, Vec<Sample>)>,
}

/// One row of the report: one tool on one case.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    tool: Tool,
    size_bytes: u64,
    pages: PageKind,
    rounds: usize,
    /// Longest time the ticker of the target was kept from running while the tool worked, other
    /// than by want of a processor.
    pause_ns: Summary,
    /// Longest time it did not run, want of a processor included.
    gap_ns: Summary,
    /// The same while no tool worked: what the scheduler alone does.
    idle_gap_ns: Summary,
    /// From start to exit of the tool.
    total_ns: Summary,
    /// From start until the core is on the disk.
    synced_ns: Summary,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<OwnRow>,
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

impl Sample {
    fn pause_ns(&self) -> f64 {
        float(self.during.longest_stop_ns)
    }

    fn gap_ns(&self) -> f64 {
        float(self.during.longest_gap_ns)
    }

    fn throughput_share(&self) -> f64 {
        rate(&self.during) / rate(&self.before)
    }

    fn total_ns(&self) -> f64 {
        nanoseconds(self.dump.total)
    }

    fn synced_ns(&self) -> f64 {
        nanoseconds(self.dump.total + self.sync)
    }
}

impl Case {
    /// Makes the rows of the report.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |(tool, samples): &(Tool, Vec<Sample>)| self.row(*tool, samples);
        self.samples.iter().filter_map(row).collect()
    }

    fn row(&self, tool: Tool, samples: &[Sample]) -> Option<Row> {
        let summary = |figure: &dyn Fn(&Sample) -> f64| Summary::of(&figures(samples, figure));
        let last = samples.last()?;
        Some(Row {
            tool,
            size_bytes: self.size.0,
            pages: self.pages,
            rounds: samples.len(),
            pause_ns: summary(&Sample::pause_ns)?,
            gap_ns: summary(&Sample::gap_ns)?,
            idle_gap_ns: summary(&|sample| float(sample.before.longest_gap_ns))?,
            total_ns: summary(&Sample::total_ns)?,
            synced_ns: summary(&Sample::synced_ns)?,
            throughput_share: summary(&Sample::throughput_share)?,
            write_p99_before_ns: summary(&|sample| float(sample.before.write_p99_ns))?,
            write_p99_ns: summary(&|sample| float(sample.during.write_p99_ns))?,
            write_max_ns: summary(&|sample| float(sample.during.write_max_ns))?,
            core_bytes: last.core.0,
            huge_share: last.huge_share,
            own: own_row(samples),
        })
    }

    /// Adds the case's ratios under names such as `pause_512m_4k`.
    pub(super) fn add_ratios(&self, buffer: Bytes, ratios: &mut BTreeMap<String, f64>) {
        let mut add = |name: &str, ratio: Option<f64>| {
            if let Some(ratio) = ratio {
                ratios.insert(format!("{name}_{}", self.label()), ratio);
            }
        };
        add("pause", self.pause_ratio().map(|ratio| ratio.median));
        let gap = self.paired(Tool::Gcore, Tool::Faultless, &Sample::gap_ns);
        add("gap", gap.map(|ratio| ratio.median));
        add("total", self.total_ratio().map(|ratio| ratio.median));
        add("synced", self.synced_ratio().map(|ratio| ratio.median));
        let ours = self.of(Tool::Faultless);
        let median = |figure: &dyn Fn(&Sample) -> f64| {
            Summary::of(&figures(ours, figure)).map(|summary| summary.median)
        };
        add("throughput", median(&Sample::throughput_share));
        add(
            "write_p99",
            median(&|sample| float(sample.during.write_p99_ns) / float(sample.before.write_p99_ns)),
        );
        let allowed = float(buffer.0 + FIXED_OVERHEAD.0);
        add("memory", peak_rss(ours).map(|peak| float(peak.0) / allowed));
    }

    /// Says in words what the ratios mean.
    pub(super) fn findings(&self, buffer: Bytes) -> Vec<String> {
        let place = format!("{} of {} pages", self.size, self.pages.name());
        let mut findings = Vec::new();
        if let Some(ratio) = self.pause_ratio() {
            let verdict = match self.size >= PAUSE_WANTED_FROM {
                true if ratio.median >= PAUSE_WANTED => ", as wanted (50 and more)",
                true => ", NOT the 50 wanted",
                false => "",
            };
            let times = significant(ratio.median);
            findings.push(format!("{place}: the pause is {times} times shorter{verdict}"));
        }
        if let (Some(total), Some(synced)) = (self.total_ratio(), self.synced_ratio()) {
            let verdict = if total.median <= 1.0 { "as wanted" } else { "NOT the 1 wanted" };
            let (total, synced) = (significant(total.median), significant(synced.median));
            findings.push(format!(
                "{place}: it takes {total} of gcore's total time, {verdict}; {synced} until both \
                 cores are on the disk"
            ));
        }
        if let Some(peak) = peak_rss(self.of(Tool::Faultless)) {
            let allowed = Bytes(buffer.0 + FIXED_OVERHEAD.0);
            let verdict = if peak <= allowed { "within" } else { "NOT within" };
            findings.push(format!(
                "{place}: at most {peak} resident, {verdict} the {buffer} of --buffer and \
                 {FIXED_OVERHEAD} besides"
            ));
        }
        findings
    }

    /// Returns how many times longer gcore's pause is.
    fn pause_ratio(&self) -> Option<PairedRatio> {
        self.paired(Tool::Gcore, Tool::Faultless, &Sample::pause_ns)
    }

    /// Returns the share of gcore's total time that the snapshot takes.
    fn total_ratio(&self) -> Option<PairedRatio> {
        self.paired(Tool::Faultless, Tool::Gcore, &Sample::total_ns)
    }

    /// Returns the same share until both cores are on the disk.
    fn synced_ratio(&self) -> Option<PairedRatio> {
        self.paired(Tool::Faultless, Tool::Gcore, &Sample::synced_ns)
    }

    fn paired(&self, a: Tool, b: Tool, figure: &dyn Fn(&Sample) -> f64) -> Option<PairedRatio> {
        PairedRatio::of(&figures(self.of(a), figure), &figures(self.of(b), figure))
    }

    fn of(&self, tool: Tool) -> &[Sample] {
        let found = self.samples.iter().find(|(other, _)| *other == tool);
        found.map_or(&[], |(_, samples)| samples)
    }

    fn label(&self) -> String {
        format!("{}_{}", size_label(self.size), self.pages.name())
    }
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
         waiting for a processor, writer at = its throughput while the tool works over that before",
    );
    for row in rows {
        let own = |text: &dyn Fn(&OwnRow) -> String| row.own.as_ref().map_or("-".to_owned(), text);
        grid.row(vec![
            format!("{} {}", Bytes(row.size_bytes), row.pages.name()),
            row.tool.name().to_owned(),
            time(row.pause_ns.median),
            time(row.gap_ns.median),
            time(row.idle_gap_ns.median),
            time(row.total_ns.median),
            time(row.synced_ns.median),
            format!("{} %", significant(row.throughput_share.median * 100.0)),
            time(row.write_p99_ns.median),
            time(row.write_p99_before_ns.median),
            time(row.write_max_ns.median),
            own(&|own| time(own.pause_ns.median)),
            own(&|own| significant(own.faults.median)),
            own(&|own| Bytes(own.peak_rss_bytes).to_string()),
        ]);
    }
    grid
}

/// Plots the pause over the size, one panel for each kind of page.
pub(super) fn chart(cases: &[Case]) -> Chart {
    let mut kinds: Vec<PageKind> = cases.iter().map(|case| case.pages).collect();
    kinds.dedup();
    let panels = kinds.iter().map(|&kind| Panel {
        title: format!("{} pages", kind.name()),
        series: [Tool::Gcore, Tool::Faultless].map(|tool| series(cases, kind, tool)).into(),
    });
    Chart {
        title: "How long does a core dump stop the process?".to_owned(),
        x_label: "memory of the process, MiB",
        y_label: "pause, ms",
        panels: panels.collect(),
    }
}

fn series(cases: &[Case], kind: PageKind, tool: Tool) -> Series {
    let point = |case: &Case| {
        let pause = Summary::of(&figures(case.of(tool), &Sample::pause_ns))?;
        Some((float(case.size.0) / float(Bytes::mib(1).0), pause.median / 1e6))
    };
    Series {
        name: tool.name().to_owned(),
        points: cases.iter().filter(|case| case.pages == kind).filter_map(point).collect(),
    }
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

fn figures(samples: &[Sample], figure: &dyn Fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(figure).collect()
}

fn peak_rss(samples: &[Sample]) -> Option<Bytes> {
    samples.iter().map(|sample| sample.dump.peak_rss).max()
}

fn rate(interval: &Interval) -> f64 {
    float(interval.writes) / float(interval.elapsed_ns)
}

/// Names a size as it was typed: `64m`, `2g`.
fn size_label(size: Bytes) -> String {
    match size.0 {
        bytes if bytes % Bytes::gib(1).0 == 0 => format!("{}g", bytes >> 30),
        bytes if bytes % Bytes::mib(1).0 == 0 => format!("{}m", bytes >> 20),
        bytes => format!("{}k", bytes >> 10),
    }
}

#[cfg(test)]
mod tests;
