//! A snapshot's report as text for people: one line of totals, then what is worth knowing.

use faultless_pages::Bytes;
use faultless_services::snapshot::Report;

use crate::table::Table;
use crate::units::{duration, rate};

/// Renders the report.
pub(super) fn render(report: &Report) -> String {
    let mut table = Table::new(2);
    table.row(["threads", &report.threads.to_string()]);
    table.row(["pages".into(), pages(report)]);
    if report.faults > 0 {
        table.row(["writers".into(), writers(report)]);
    }
    table.row(["buffer".into(), buffer(report)]);
    if report.freed_pages > 0 {
        let meaning = "pages were freed by the process before they were saved; they are absent";
        table.row(["freed".into(), format!("{} {meaning}", report.freed_pages)]);
    }
    if report.shared_pages > 0 {
        let meaning = "pages could be written by other processes while they were saved";
        table.row(["shared".into(), format!("{} {meaning}", report.shared_pages)]);
    }
    if report.held_calls > 0 {
        let meaning = "calls that drop memory were held back until it was saved";
        table.row(["held".into(), format!("{} {meaning}", report.held_calls)]);
    }
    for warning in &report.warnings {
        table.row(["note", warning]);
    }
    format!("{}\n{}", totals(report), table.render())
}

fn totals(report: &Report) -> String {
    let core = Bytes(report.bytes);
    let file = match report.file_bytes {
        len if len < report.bytes => format!("{core} in {} compressed", Bytes(len)),
        _ => core.to_string(),
    };
    format!(
        "{}: {file} of process {}, paused {}, saved in {} ({})",
        report.file.display(),
        report.pid,
        duration(report.pause_ns),
        duration(report.total_ns),
        rate(core, report.total_ns)
    )
}

fn pages(report: &Report) -> String {
    match report.copied_in_pause {
        0 => report.pages.to_string(),
        copied => format!("{}, {copied} of them copied in the pause", report.pages),
    }
}

fn writers(report: &Report) -> String {
    let waited = &report.fault_latency_ns;
    let longest = duration(waited.max);
    match report.faults {
        1 => format!("1 write waited for its page, up to {longest}"),
        faults => format!(
            "{faults} writes waited for their page: half up to {}, 99 % up to {}, all up to \
             {longest}",
            duration(waited.p50),
            duration(waited.p99),
        ),
    }
}

fn buffer(report: &Report) -> String {
    let peak = format!("{} at most", Bytes(report.peak_buffer_bytes));
    match report.throttled {
        0 => peak,
        times => format!("{peak}; it was full {times} times, and writers waited for the disk"),
    }
}
