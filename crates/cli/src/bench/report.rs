//! What a bench hands back: one object with the same outline for every bench.
//!
//! [`Report`] is printed as JSON (`bench, host, rows[], ratios{}, findings[]`) or as a table for
//! people. Built by every bench, printed by the parent module.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::units;

use super::grid::Grid;
use super::host::Host;

/// The result of one bench run; `R` is the row type of that bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report<R> {
    /// The bench's name, as typed after `faultless bench`.
    pub(crate) bench: &'static str,
    /// Where it ran: a figure without its host means nothing.
    pub(crate) host: Host,
    /// One row for each thing measured.
    pub(crate) rows: Vec<R>,
    /// Named ratios of paired rounds; what a regression test should look at.
    pub(crate) ratios: BTreeMap<String, f64>,
    /// What the figures say, in words.
    pub(crate) findings: Vec<String>,
}

impl<R> Report<R> {
    /// Renders the report for people: the host, `grids` made of the rows, the findings.
    pub(crate) fn text(&self, grids: &[Grid]) -> String {
        let mut text = format!("{}\n", self.host);
        for grid in grids {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{grid}");
        }
        if !self.findings.is_empty() {
            text.push('\n');
        }
        for finding in &self.findings {
            let _ = writeln!(text, "{finding}");
        }
        text
    }
}

/// Rounds to three significant digits: what a bench on a shared host can stand for.
pub(crate) fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a handful of digits"
    )]
    let decimals = (2.0 - magnitude).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

/// Prints a time given in nanoseconds as statistics know it.
pub(crate) fn time(ns: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time is not negative, and a cast of a float ends at the bounds"
    )]
    let whole = ns.round() as u64;
    units::duration(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report<u64> {
        Report {
            bench: "ops",
            host: Host::for_test(),
            rows: vec![1, 2],
            ratios: BTreeMap::from([("zeropage_1_alone".to_owned(), 0.35)]),
            findings: vec!["copy is cheaper".to_owned()],
        }
    }

    #[test]
    fn json_is_one_object_with_the_promised_members() {
        let value = serde_json::to_value(report()).expect("expressible");
        assert_eq!(value["bench"], "ops");
        for member in ["kernel", "cpu", "cores", "thp"] {
            assert!(!value["host"][member].is_null(), "host.{member}");
        }
        assert_eq!(value["rows"].as_array().map(Vec::len), Some(2));
        assert_eq!(value["ratios"]["zeropage_1_alone"], 0.35);
    }

    #[test]
    fn text_ends_with_the_findings() {
        let text = report().text(&[Grid::new(&["op"])]);
        assert!(text.ends_with("\ncopy is cheaper\n"));
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(time(12_345_678.4), "12.3 ms");
        assert_eq!(significant(1234.4), "1234");
        assert_eq!(significant(0.071_23), "0.0712");
        assert_eq!(significant(0.0), "0");
    }
}
