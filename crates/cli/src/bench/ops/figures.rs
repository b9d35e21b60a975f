//! From samples to what is reported: rows, ratios to COPY, grids and plot.
//!
//! Pure functions of the samples. Called by the parent module once all is measured.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::grid::Grid;
use crate::bench::host::Host;
use crate::bench::plot::{Chart, Panel, Series};
use crate::bench::report::{Report, significant};
use crate::bench::stats::{PairedRatio, Summary, float};

use super::claims;
use super::resolve::COPY;

/// What else the process does while an operation is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Load {
    /// Nothing.
    Alone,
    /// Another thread touches the same address space.
    Busy,
}

impl Load {
    const fn name(self) -> &'static str {
        match self {
            Load::Alone => "alone",
            Load::Busy => "busy",
        }
    }
}

/// One thing to measure: an operation by its index, at a batch size, under a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) operation: usize,
    pub(super) batch: u64,
    pub(super) load: Load,
}

/// One row of the report.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) operation: &'static str,
    pub(super) pages_per_call: u64,
    pub(super) load: Load,
    ns_per_page: Summary,
    /// Against COPY of the same batch under the same load, paired by round.
    pub(super) ratio_to_copy: Option<PairedRatio>,
}

/// Makes one row of each cell and its samples.
pub(super) fn rows(names: &[&'static str], cells: &[Cell], samples: &[Vec<f64>]) -> Vec<Row> {
    let copy_of = |cell: &Cell| {
        let is_base = |other: &Cell| {
            names[other.operation] == COPY && (other.batch, other.load) == (cell.batch, cell.load)
        };
        cells.iter().position(is_base).map(|at| &samples[at])
    };
    let row = |(cell, samples): (&Cell, &Vec<f64>)| {
        Some(Row {
            operation: names[cell.operation],
            pages_per_call: cell.batch,
            load: cell.load,
            ns_per_page: Summary::of(samples)?,
            ratio_to_copy: copy_of(cell).and_then(|copy| PairedRatio::of(samples, copy)),
        })
    };
    cells.iter().zip(samples).filter_map(row).collect()
}

/// Makes the report of the rows and of what the kernel lacks.
pub(super) fn report(rows: Vec<Row>, missing: &[&str]) -> Report<Row> {
    let mut findings = claims::judge(&rows);
    if !missing.is_empty() {
        findings.push(format!("not measured, this kernel lacks it: {}", missing.join(", ")));
    }
    Report { bench: "ops", host: Host::probe(), ratios: ratios(&rows), rows, findings }
}

/// Names the ratios to COPY: `move_recycled_16_alone`.
fn ratios(rows: &[Row]) -> BTreeMap<String, f64> {
    let named = |row: &Row| {
        let operation = key(row.operation);
        let name = format!("{operation}_{}_{}", row.pages_per_call, row.load.name());
        Some((name, row.ratio_to_copy?.median))
    };
    rows.iter().filter_map(named).collect()
}

/// Turns a name for people into one for programs.
fn key(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

/// Makes one grid a load: operations down, batch sizes across.
pub(super) fn grids(rows: &[Row]) -> Vec<Grid> {
    [Load::Alone, Load::Busy].map(|load| grid(rows, load)).into()
}

fn grid(rows: &[Row], load: Load) -> Grid {
    let header = super::BATCHES.map(|batch| format!("{batch} a call"));
    let columns: Vec<&str> =
        std::iter::once("operation").chain(header.iter().map(String::as_str)).collect();
    let mut grid = Grid::new(&columns).caption(match load {
        Load::Alone => "ns a page (ratio to COPY of the same batch), process otherwise idle",
        Load::Busy => "ns a page (ratio to COPY of the same batch), with a busy sibling thread",
    });
    for name in operations(rows) {
        let of_operation = |row: &&Row| row.operation == name && row.load == load;
        let cells = rows.iter().filter(of_operation).map(text);
        grid.row(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    grid
}

fn text(row: &Row) -> String {
    let ns = significant(row.ns_per_page.median);
    match row.ratio_to_copy {
        Some(ratio) => format!("{ns} ({:.2})", ratio.median),
        None => ns,
    }
}

/// Plots the cost over the batch size, one panel a load.
pub(super) fn chart(rows: &[Row]) -> Chart {
    let panel = |(load, title): (Load, &str)| Panel {
        title: title.to_owned(),
        series: operations(rows).into_iter().map(|name| series(rows, name, load)).collect(),
    };
    let loads = [(Load::Alone, "process otherwise idle"), (Load::Busy, "busy sibling thread")];
    Chart {
        title: "What does each operation cost?".to_owned(),
        x_label: "pages a call",
        y_label: "ns a page",
        panels: loads.map(panel).into(),
    }
}

fn series(rows: &[Row], name: &str, load: Load) -> Series {
    let of_operation = rows.iter().filter(|row| row.operation == name && row.load == load);
    Series {
        name: name.to_owned(),
        points: of_operation
            .map(|row| (float(row.pages_per_call), row.ns_per_page.median))
            .collect(),
    }
}

/// Returns each operation's name once, in the order measured.
fn operations(rows: &[Row]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for row in rows {
        if !names.contains(&row.operation) {
            names.push(row.operation);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::ops::BATCHES;

    /// COPY costs 100 ns alone and 200 ns next to the sibling, `MOVE, recycled` half of that.
    fn measured() -> Vec<Row> {
        let mut cells = Vec::new();
        let mut samples = Vec::new();
        for (load, copy) in [(Load::Alone, 100.0), (Load::Busy, 200.0)] {
            for batch in BATCHES {
                for (operation, cost) in [(0, copy), (1, copy / 2.0)] {
                    cells.push(Cell { operation, batch, load });
                    samples.push(vec![cost; 3]);
                }
            }
        }
        rows(&[COPY, "MOVE, recycled"], &cells, &samples)
    }

    #[test]
    fn ratios_are_to_copy_of_the_same_batch_and_load() {
        let ratios = ratios(&measured());
        assert_eq!(ratios.len(), 2 * 2 * BATCHES.len());
        assert!((ratios["move_recycled_512_busy"] - 0.5).abs() < 1e-9);
        assert!((ratios["copy_1_alone"] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_row_is_plain_json() {
        let value = serde_json::to_value(&measured()[0]).expect("expressible");
        assert_eq!(value["load"], "alone");
        assert_eq!(value["pages_per_call"], 1);
        assert_eq!(value["ns_per_page"]["median"], 100.0);
        assert_eq!(value["ratio_to_copy"]["median"], 1.0);
    }

    #[test]
    fn a_grid_has_a_line_for_each_operation() {
        let text = grids(&measured())[1].to_string();
        assert_eq!(text.lines().count(), 2 + 2);
        assert!(text.contains("100 (0.50)"), "{text}");
    }

    #[test]
    fn the_chart_has_a_line_for_each_operation_and_load() {
        let chart = chart(&measured());
        assert_eq!(chart.panels.len(), 2);
        assert!(chart.panels.iter().all(|panel| panel.series.len() == 2));
    }

    #[test]
    fn what_the_kernel_lacks_is_said() {
        let report = report(measured(), &["MOVE", "CONTINUE"]);
        let last = report.findings.last().expect("a finding");
        assert!(last.ends_with("MOVE, CONTINUE"), "{last}");
    }
}
