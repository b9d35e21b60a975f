//! From samples to what they say: ratios, findings and plot.
//!
//! [`Case`] is one size and page kind with the samples of every tool and of the disk; all that is
//! reported is a pure function of cases. Filled by `session`, read by the parent module once all is
//! measured. The figures themselves are in `rows`.

use std::collections::BTreeMap;

use faultless_pages::Bytes;

use crate::bench::plot::{Chart, Panel, Series};
use crate::bench::report::significant;
use crate::bench::stats::{PairedRatio, Summary, float, nanoseconds};

use super::PageKind;
use super::disk::Written;
use super::target::Interval;
use super::tools::{Dump, Settled, Tool};

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
    /// What became of the core.
    pub(super) core: Settled,
}

/// One size and page kind, with each tool's samples in round order.
#[derive(Debug)]
pub(super) struct Case {
    /// Memory of the target.
    pub(super) size: Bytes,
    /// Its pages.
    pub(super) pages: PageKind,
    /// The samples of each tool; paired by round.
    pub(super) samples: BTreeMap<Tool, Vec<Sample>>,
    /// What the disk did by itself; paired with them.
    pub(super) disk: Vec<Written>,
}

impl Sample {
    pub(super) fn pause_ns(&self) -> f64 {
        float(self.during.longest_stop_ns)
    }

    pub(super) fn gap_ns(&self) -> f64 {
        float(self.during.longest_gap_ns)
    }

    pub(super) fn throughput_share(&self) -> f64 {
        rate(&self.during) / rate(&self.before)
    }

    pub(super) fn total_ns(&self) -> f64 {
        nanoseconds(self.dump.total)
    }

    pub(super) fn synced_ns(&self) -> f64 {
        nanoseconds(self.dump.total + self.core.sync)
    }
}

impl Case {
    /// Starts one without samples.
    pub(super) fn new(size: Bytes, pages: PageKind) -> Case {
        Case { size, pages, samples: BTreeMap::new(), disk: Vec::new() }
    }

    /// Adds what a tool's next run showed.
    pub(super) fn add(&mut self, tool: Tool, sample: Sample) {
        self.samples.entry(tool).or_default().push(sample);
    }

    /// Adds what the disk's next turn showed.
    pub(super) fn add_disk(&mut self, written: Written) {
        self.disk.push(written);
    }

    /// Returns the room the last snapshot took on the disk.
    pub(super) fn stored_by_snapshot(&self) -> Option<Bytes> {
        self.of(Tool::Faultless).last().map(|sample| sample.core.stored)
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
        add("cached", self.cached_ratio().map(|ratio| ratio.median));
        add("synced", self.synced_ratio().map(|ratio| ratio.median));
        add("disk", self.disk_ratio().map(|ratio| ratio.median));
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
        if let (Some(total), Some(cached), Some(synced)) =
            (self.total_ratio(), self.cached_ratio(), self.synced_ratio())
        {
            let verdict = if total.median <= 1.0 { "as wanted" } else { "NOT the 1 wanted" };
            findings.push(format!(
                "{place}: it takes {} of gcore's total time, {verdict}; {} if it leaves the core \
                 to the page cache, as gcore does, {} until both cores are on the disk",
                significant(total.median),
                significant(cached.median),
                significant(synced.median),
            ));
        }
        if let Some(ratio) = self.disk_ratio() {
            let times = significant(ratio.median);
            let how = if all_direct(&self.disk) { "" } else { ", through the page cache" };
            findings.push(format!(
                "{place}: the core is on the disk in {times} times the time the disk itself \
                 needs for as many bytes{how}"
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

    /// Returns the share of gcore's total time that a snapshot takes which, as gcore's core, is
    /// left to the page cache.
    fn cached_ratio(&self) -> Option<PairedRatio> {
        self.paired(Tool::Cached, Tool::Gcore, &Sample::total_ns)
    }

    /// Returns the share until both cores are on the disk.
    fn synced_ratio(&self) -> Option<PairedRatio> {
        self.paired(Tool::Faultless, Tool::Gcore, &Sample::synced_ns)
    }

    /// Returns how many times as long as the disk needs a snapshot takes to be on the disk.
    fn disk_ratio(&self) -> Option<PairedRatio> {
        let ours = figures(self.of(Tool::Faultless), &Sample::synced_ns);
        PairedRatio::of(&ours, &figures(&self.disk, &Written::took_ns))
    }

    fn paired(&self, a: Tool, b: Tool, figure: &dyn Fn(&Sample) -> f64) -> Option<PairedRatio> {
        PairedRatio::of(&figures(self.of(a), figure), &figures(self.of(b), figure))
    }

    fn of(&self, tool: Tool) -> &[Sample] {
        self.samples.get(&tool).map_or(&[], Vec::as_slice)
    }

    fn label(&self) -> String {
        format!("{}_{}", size_label(self.size), self.pages.name())
    }
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

/// Returns one figure of each sample.
pub(super) fn figures<S>(samples: &[S], figure: &dyn Fn(&S) -> f64) -> Vec<f64> {
    samples.iter().map(figure).collect()
}

/// Returns the high-water mark of all runs.
pub(super) fn peak_rss(samples: &[Sample]) -> Option<Bytes> {
    samples.iter().map(|sample| sample.dump.peak_rss).max()
}

fn rate(interval: &Interval) -> f64 {
    float(interval.writes) / float(interval.elapsed_ns)
}

/// Says whether the disk took everything past the page cache.
pub(super) fn all_direct(disk: &[Written]) -> bool {
    disk.iter().all(|written| written.direct)
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
