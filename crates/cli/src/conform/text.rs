//! The report as text for people, in at most 100 columns.

use std::fmt::Write as _;

use faultless_pages::Bytes;
use faultless_uapi::feature::{HISTORY, KNOWN};

use super::report::{Abilities, Case, Host, Report, Resemblance, Verdict};
use crate::table::{Table, wrap};

/// Renders the whole report.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    out.push_str(&world(report));
    out.push('\n');
    out.push_str(&cases(&report.cases));
    let Report { passed, failed, skipped, .. } = report;
    let _ = writeln!(out, "\n{passed} passed, {failed} failed, {skipped} skipped");
    out.push_str(&failures(&report.cases));
    if let Some(resembles) = &report.resembles {
        let known = report.behaviours.iter().filter(|behaviour| behaviour.is_known()).count();
        out.push_str(&likeness(resembles, known));
    }
    out
}

fn world(report: &Report) -> String {
    let mut table = Table::new(0);
    table.row(["asked", &report.world]);
    if let Some(Host { kernel, architecture, page_bytes }) = &report.host {
        let page = Bytes(*page_bytes);
        table.row(["host".into(), format!("Linux {kernel}, {architecture}, pages of {page}")]);
    }
    table.row(["features".into(), features(&report.abilities)]);
    table.row(["abilities".into(), abilities(&report.abilities)]);
    for note in &report.notes {
        table.row(["note", note]);
    }
    table.render()
}

fn features(abilities: &Abilities) -> String {
    let bits = abilities.feature_bits;
    let lacking = HISTORY.iter().filter(|feature| bits & feature.mask() == 0);
    let names: Vec<&str> = lacking.map(|feature| feature.name).collect();
    let mut text = match names.as_slice() {
        [] => format!("{bits:#x}: all that are known"),
        names => format!("{bits:#x}: all that are known but {}", names.join(", ")),
    };
    if bits & !KNOWN != 0 {
        let _ = write!(text, "; unknown: {:#x}", bits & !KNOWN);
    }
    text
}

fn abilities(abilities: &Abilities) -> String {
    let bytes = |size: Option<u64>| size.map(|size| Bytes(size).to_string());
    let thp = bytes(abilities.transparent_huge_page_bytes);
    let hugetlb = bytes(abilities.hugetlb_page_bytes);
    let all = [
        (abilities.privileged, "privileges".to_owned()),
        (abilities.device, "/dev/userfaultfd".to_owned()),
        (abilities.pagemap_scan, "PAGEMAP_SCAN".to_owned()),
        (thp.is_some(), format!("transparent huge pages of {}", thp.unwrap_or_default())),
        (hugetlb.is_some(), format!("reserved huge pages of {}", hugetlb.unwrap_or_default())),
        (abilities.swap, "swap".to_owned()),
        (abilities.regular_files, "regular files".to_owned()),
        (abilities.pinning, "pinned buffers".to_owned()),
        (abilities.memory_failure, "memory errors".to_owned()),
    ];
    let there: Vec<String> =
        all.into_iter().filter_map(|(there, name)| there.then_some(name)).collect();
    if there.is_empty() { "none".to_owned() } else { there.join(", ") }
}

/// The behaviours by topic, each with its verdict.
fn cases(cases: &[Case]) -> String {
    let mut table = Table::new(0);
    let mut topic = "";
    for case in cases {
        let (of, name) = case.name.split_once("::").unwrap_or(("", &case.name));
        if of != topic {
            topic = of;
            table.row([topic]);
        }
        table.row([format!("  {name}"), verdict(case)]);
    }
    table.render()
}

fn verdict(case: &Case) -> String {
    let why = case.why.as_deref().unwrap_or_default();
    match case.verdict {
        Verdict::Passed => "passed".to_owned(),
        Verdict::Skipped => format!("skipped: {why}"),
        Verdict::Failed => format!("FAILED: {why}"),
    }
}

/// The names of what failed once more, where nobody has to look for them.
fn failures(cases: &[Case]) -> String {
    let failed = cases.iter().filter(|case| case.verdict == Verdict::Failed);
    failed.map(|case| format!("  failed: {}\n", case.name)).collect()
}

fn likeness(resembles: &Resemblance, known: usize) -> String {
    let release = &resembles.release;
    let compared = format!("every feature and {known} behaviours that tell releases apart");
    if resembles.differences.is_empty() {
        return format!("It is like Linux {release} in {compared}.\n");
    }
    let mut out = format!("It resembles Linux {release} most. Of {compared}, these differ:\n");
    for unlike in &resembles.differences {
        let line =
            format!("{}: {} in {release}, {} here", unlike.what, unlike.release, unlike.here);
        let _ = writeln!(out, "  {}", wrap(&line, 94).join("\n    "));
    }
    out
}
