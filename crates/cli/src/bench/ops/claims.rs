//! The two published claims about COPY and MOVE, judged on this run.
//!
//! (a) Where pages must be allocated, COPY has some 20 % lower latency than MOVE. (b) MOVE wins
//! where pages are recycled. Both come with the kernel's MOVE series of 2023. [`judge`] says
//! whether they hold here; it is a pure function of the measured ratios.

use crate::bench::report::significant;
use crate::bench::stats::PairedRatio;

use super::figures::{Load, Row};
use super::moving::{ALLOCATED, RECYCLED};

/// Says in words, one sentence a claim and load, whether each claim holds.
pub(super) fn judge(rows: &[Row]) -> Vec<String> {
    let mut findings = Vec::new();
    for load in [Load::Alone, Load::Busy] {
        findings.extend(allocated(&curve(rows, ALLOCATED, load)).map(|text| label(load, &text)));
    }
    for load in [Load::Alone, Load::Busy] {
        findings.extend(recycled(&curve(rows, RECYCLED, load)).map(|text| label(load, &text)));
    }
    findings
}

fn label(load: Load, text: &str) -> String {
    match load {
        Load::Alone => format!("{text} (alone)"),
        Load::Busy => format!("{text} (busy sibling thread)"),
    }
}

/// Returns an operation's ratios to COPY by rising batch size.
fn curve(rows: &[Row], name: &str, load: Load) -> Vec<(u64, PairedRatio)> {
    let of_operation = rows.iter().filter(|row| row.operation == name && row.load == load);
    of_operation.filter_map(|row| Some((row.pages_per_call, row.ratio_to_copy?))).collect()
}

/// Judges claim (a) at the smallest batch: latency is about a single fault.
fn allocated(curve: &[(u64, PairedRatio)]) -> Option<String> {
    let (batch, ratio) = curve.first()?;
    let verdict = if ratio.is_clearly_above_one() {
        "holds"
    } else if ratio.is_clearly_below_one() {
        "is refuted"
    } else {
        "is open"
    };
    Some(format!(
        "claim \"COPY has 20 % lower latency than allocate + MOVE\" {verdict} here: at {batch} \
         page a call COPY takes {} % less time, allocate + MOVE {} times COPY (quartiles {} to {})",
        percent(1.0 - 1.0 / ratio.median),
        significant(ratio.median),
        significant(ratio.p25),
        significant(ratio.p75),
    ))
}

/// Judges claim (b): finds the batch size from which on MOVE is cheaper at every size.
fn recycled(curve: &[(u64, PairedRatio)]) -> Option<String> {
    let (largest, at_largest) = curve.last()?;
    let wins = curve.iter().rev().take_while(|(_, ratio)| ratio.is_clearly_below_one());
    let figure = format!("{} times COPY at {largest} pages", significant(at_largest.median));
    Some(match wins.last() {
        Some((batch, ratio)) => format!(
            "claim \"MOVE wins where pages are recycled\" holds here from {batch} {} a call on: {} \
             times COPY there, {figure}",
            if *batch == 1 { "page" } else { "pages" },
            significant(ratio.median),
        ),
        None => format!(
            "claim \"MOVE wins where pages are recycled\" {} here: {figure}",
            if at_largest.is_clearly_above_one() { "is refuted" } else { "is open" },
        ),
    })
}

fn percent(share: f64) -> String {
    format!("{:.0}", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(median: f64) -> PairedRatio {
        PairedRatio { p25: median - 0.05, median, p75: median + 0.05 }
    }

    #[test]
    fn copy_ahead_of_allocate_and_move_upholds_the_first_claim() {
        let text = allocated(&[(1, ratio(1.25)), (512, ratio(0.5))]).expect("a verdict");
        assert!(text.contains("holds here: at 1 page a call COPY takes 20 % less time"), "{text}");
    }

    #[test]
    fn allocate_and_move_ahead_refutes_the_first_claim() {
        let text = allocated(&[(1, ratio(0.8))]).expect("a verdict");
        assert!(text.contains("is refuted"), "{text}");
        let text = allocated(&[(1, ratio(1.0))]).expect("a verdict");
        assert!(text.contains("is open"), "{text}");
    }

    #[test]
    fn the_second_claim_names_the_batch_from_which_move_always_wins() {
        // A win at 1 page that is lost again at 4 is no threshold.
        let curve = [(1, ratio(0.9)), (4, ratio(1.2)), (16, ratio(0.4)), (64, ratio(0.1))];
        let text = recycled(&curve).expect("a verdict");
        assert!(text.contains("holds here from 16 pages a call on: 0.400 times"), "{text}");
    }

    #[test]
    fn move_that_never_wins_refutes_the_second_claim() {
        let text = recycled(&[(1, ratio(2.0)), (4, ratio(1.5))]).expect("a verdict");
        assert!(text.contains("is refuted here"), "{text}");
    }

    #[test]
    fn a_kernel_without_move_gets_no_verdict() {
        assert_eq!(allocated(&[]), None);
        assert_eq!(recycled(&[]), None);
    }
}
