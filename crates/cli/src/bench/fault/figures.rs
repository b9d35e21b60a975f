//! From samples to what is reported: rows, ratios to the minimal loop, grids and plot.
//!
//! Pure functions of the samples. Called by the parent module once all is measured.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::grid::Grid;
use crate::bench::host::Host;
use crate::bench::plot::{Chart, Panel, Series};
use crate::bench::report::{Report, significant, time};
use crate::bench::stats::{PairedRatio, Summary, float, quantile, sorted};

use super::THREADS as COUNTS;
use super::crowd::Touches;

/// The engine in the thread that faults.
pub(super) const INLINE: &str = "inline";
/// The engine in threads of its own.
pub(super) const THREADS: &str = "threads";
/// The engine for another process.
pub(super) const FOREIGN: &str = "foreign";
/// The minimal loop on the crate `userfaultfd`: what the others are compared with.
pub(super) const LOOP: &str = "loop";

/// One thing to measure: a contender by its index, with so many faulting threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) contender: usize,
    pub(super) threads: u64,
    /// Pages it fetches around a fault.
    pub(super) around: u64,
}

/// What one run over the memory was like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    p50_ns: f64,
    p99_ns: f64,
    pages_per_s: f64,
}

impl Sample {
    /// Summarises touches.
    pub(super) fn of(touches: &Touches) -> Sample {
        let each: Vec<f64> = touches.each_ns.iter().map(|ns| float(*ns)).collect();
        let each = sorted(&each);
        let at = |q| quantile(&each, q).unwrap_or_default();
        let pages = float(touches.each_ns.len() as u64);
        Sample {
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            pages_per_s: pages * 1e9 / float(touches.elapsed_ns.max(1)),
        }
    }
}

/// Against the minimal loop with as many threads, paired by round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ToLoop {
    p50: PairedRatio,
    p99: PairedRatio,
    throughput: PairedRatio,
}

/// One row of the report.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    contender: &'static str,
    threads: u64,
    /// Pages fetched around a fault; with any, not every page is a fault.
    around: u64,
    p50_ns: Summary,
    p99_ns: Summary,
    pages_per_s: Summary,
    to_loop: Option<ToLoop>,
}

/// Makes one row of each cell and its samples.
pub(super) fn rows(names: &[&'static str], cells: &[Cell], samples: &[Vec<Sample>]) -> Vec<Row> {
    let loop_of = |cell: &Cell| {
        let is_loop =
            |other: &Cell| names[other.contender] == LOOP && other.threads == cell.threads;
        cells.iter().position(is_loop).map(|at| &samples[at])
    };
    let row = |(cell, samples): (&Cell, &Vec<Sample>)| {
        let of = |part: fn(&Sample) -> f64| Summary::of(&column(samples, part));
        Some(Row {
            contender: names[cell.contender],
            threads: cell.threads,
            around: cell.around,
            p50_ns: of(|sample| sample.p50_ns)?,
            p99_ns: of(|sample| sample.p99_ns)?,
            pages_per_s: of(|sample| sample.pages_per_s)?,
            to_loop: loop_of(cell).and_then(|peer| to_loop(samples, peer)),
        })
    };
    cells.iter().zip(samples).filter_map(row).collect()
}

fn column(samples: &[Sample], part: fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(part).collect()
}

fn to_loop(samples: &[Sample], peer: &[Sample]) -> Option<ToLoop> {
    let ratio =
        |part: fn(&Sample) -> f64| PairedRatio::of(&column(samples, part), &column(peer, part));
    Some(ToLoop {
        p50: ratio(|sample| sample.p50_ns)?,
        p99: ratio(|sample| sample.p99_ns)?,
        throughput: ratio(|sample| sample.pages_per_s)?,
    })
}

/// Makes the report of the rows and of who is not there.
pub(super) fn report(rows: Vec<Row>, missing: &[String]) -> Report<Row> {
    let mut findings: Vec<String> = [INLINE, THREADS, FOREIGN]
        .iter()
        .filter_map(|name| finding(&rows, name))
        .chain(parts(&rows))
        .collect();
    if !missing.is_empty() {
        findings.push(format!("not measured: {}", missing.join(", ")));
    }
    Report { bench: "fault", host: Host::probe(), ratios: ratios(&rows), rows, findings }
}

/// Names the ratios to the loop: `threads_p50` with one faulting thread, `threads_p50_4` with four,
/// `threads_around_throughput_4` with pages fetched around.
fn ratios(rows: &[Row]) -> BTreeMap<String, f64> {
    let mut ratios = BTreeMap::new();
    for row in rows {
        let Some(to_loop) = row.to_loop.filter(|_| row.is_compared()) else { continue };
        let around = if row.around > 0 { "_around" } else { "" };
        let parts =
            [("p50", to_loop.p50), ("p99", to_loop.p99), ("throughput", to_loop.throughput)];
        // Where pages are fetched around, a touch is no fault: its latency compares with nothing.
        for (part, ratio) in
            parts.into_iter().filter(|(part, _)| row.around == 0 || *part == "throughput")
        {
            let name = format!("{}{around}_{part}", row.contender);
            if row.threads == 1 {
                ratios.insert(name.clone(), ratio.median);
            }
            ratios.insert(format!("{name}_{}", row.threads), ratio.median);
        }
    }
    ratios
}

impl Row {
    fn is_compared(&self) -> bool {
        [INLINE, THREADS, FOREIGN].contains(&self.contender)
    }

    fn label(&self) -> String {
        match self.around {
            0 => self.contender.to_owned(),
            around => format!("{}, {around} around", self.contender),
        }
    }
}

/// Says in words how a way of the engine compares with the loop.
fn finding(rows: &[Row], name: &str) -> Option<String> {
    let ratios = |part: fn(&ToLoop) -> PairedRatio| -> Vec<String> {
        let own = rows.iter().filter(|row| row.contender == name && row.around == 0);
        own.filter_map(|row| Some(significant(part(&row.to_loop?).median))).collect()
    };
    let (p50, p99) = (ratios(|ratio| ratio.p50), ratios(|ratio| ratio.p99));
    (!p50.is_empty()).then(|| {
        format!(
            "{name}: {} of the loop's p50, {} of its p99, with {} faulting threads",
            p50.join(", "),
            p99.join(", "),
            COUNTS.map(|count| count.to_string()).join(", ")
        )
    })
}

/// Says how far an answer from another thread is from its parts.
fn parts(rows: &[Row]) -> Option<String> {
    let p50 = |name| Some(rows.iter().find(|row| row.contender == name)?.p50_ns.median);
    let (own, wakes, copy) = (p50(THREADS)?, p50("two wake-ups")?, p50("COPY alone")?);
    Some(format!(
        "an answer of threads takes {}; two wake-ups alone take {}, a COPY {}",
        time(own),
        time(wakes),
        time(copy)
    ))
}

/// Makes three grids: contenders down, faulting threads across.
pub(super) fn grids(rows: &[Row]) -> Vec<Grid> {
    vec![
        grid(rows, "p50 of a touch (ratio to the loop), by faulting threads", |row| {
            (time(row.p50_ns.median), row.to_loop.map(|ratio| ratio.p50))
        }),
        grid(rows, "p99 of a touch (ratio to the loop)", |row| {
            (time(row.p99_ns.median), row.to_loop.map(|ratio| ratio.p99))
        }),
        grid(rows, "pages a second, all threads together (ratio to the loop)", |row| {
            (significant(row.pages_per_s.median), row.to_loop.map(|ratio| ratio.throughput))
        }),
    ]
}

fn grid(rows: &[Row], caption: &str, cell: impl Fn(&Row) -> (String, Option<PairedRatio>)) -> Grid {
    let header = COUNTS.map(|count| count.to_string());
    let columns: Vec<&str> =
        std::iter::once("answered by").chain(header.iter().map(String::as_str)).collect();
    let mut grid = Grid::new(&columns).caption(caption);
    for label in labels(rows) {
        let text = |threads: u64| {
            let row = rows.iter().find(|row| row.label() == label && row.threads == threads);
            row.map(&cell).map_or(String::new(), |(figure, ratio)| match ratio {
                Some(ratio) => format!("{figure} ({:.2})", ratio.median),
                None => figure,
            })
        };
        grid.row(std::iter::once(label.clone()).chain(COUNTS.map(text)).collect());
    }
    grid
}

/// Plots latencies over the number of faulting threads, one panel a percentile.
pub(super) fn chart(rows: &[Row]) -> Chart {
    let panel = |title: &str, part: fn(&Row) -> f64| Panel {
        title: title.to_owned(),
        series: labels(rows).into_iter().map(|label| series(rows, label, part)).collect(),
    };
    Chart {
        title: "How long does a thread wait for a missing page?".to_owned(),
        x_label: "faulting threads",
        y_label: "ns a touch",
        panels: vec![panel("p50", |row| row.p50_ns.median), panel("p99", |row| row.p99_ns.median)],
    }
}

fn series(rows: &[Row], label: String, part: fn(&Row) -> f64) -> Series {
    let own = rows.iter().filter(|row| row.label() == label);
    Series { points: own.map(|row| (float(row.threads), part(row))).collect(), name: label }
}

/// Returns each label once, in the order measured.
fn labels(rows: &[Row]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for label in rows.iter().map(Row::label) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loop takes 100 ns and 200 ns, `threads` half of that; with 16 around a tenth.
    fn measured() -> Vec<Row> {
        let (mut cells, mut samples) = (Vec::new(), Vec::new());
        for threads in COUNTS {
            for (contender, around, factor) in [(0, 0, 1.0), (1, 0, 0.5), (1, 16, 0.1)] {
                cells.push(Cell { contender, threads, around });
                let sample = Sample {
                    p50_ns: 100.0 * factor,
                    p99_ns: 200.0 * factor,
                    pages_per_s: 1.0 / factor,
                };
                samples.push(vec![sample; 3]);
            }
        }
        rows(&[LOOP, THREADS], &cells, &samples)
    }

    #[test]
    fn ratios_are_to_the_loop_with_as_many_threads() {
        let ratios = ratios(&measured());
        for name in ["threads_p50", "threads_p99", "threads_p50_16", "threads_p99_4"] {
            assert!((ratios[name] - 0.5).abs() < 1e-9, "{name}");
        }
        assert!((ratios["threads_throughput_2"] - 2.0).abs() < 1e-9);
        assert!((ratios["threads_around_throughput"] - 10.0).abs() < 1e-9);
        assert!(ratios.keys().all(|name| !name.starts_with("loop") && !name.contains("around_p")));
    }

    #[test]
    fn samples_know_their_percentiles_and_their_rate() {
        let touches = Touches { each_ns: (1..=101).collect(), elapsed_ns: 1_000_000_000 };
        let sample = Sample::of(&touches);
        assert_eq!((sample.p50_ns, sample.p99_ns, sample.pages_per_s), (51.0, 100.0, 101.0));
    }

    #[test]
    fn a_grid_has_a_line_for_each_contender() {
        let text = grids(&measured())[0].to_string();
        assert_eq!(text.lines().count(), 2 + 3);
        assert!(text.contains("threads, 16 around"), "{text}");
        assert!(text.contains("50 ns (0.50)"), "{text}");
    }

    #[test]
    fn findings_say_who_is_not_there() {
        let report = report(measured(), &["loop (built without it)".to_owned()]);
        assert!(report.findings[0].starts_with("threads: 0.500, 0.500"), "{:?}", report.findings);
        assert!(report.findings.last().is_some_and(|last| last.contains("built without it")));
    }
}
