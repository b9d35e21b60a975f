//! A core's summary as text for people.

use std::fmt::Write as _;

use faultless_image::core::{RangeSummary, Summary, Verification};
use faultless_pages::{Bytes, Va, VaRange};

use super::date::utc;
use crate::table::{Table, wrap};

/// Renders the whole report; `all` lists what is otherwise only counted.
pub(super) fn render(core: &Summary, checked: &Verification, all: bool) -> String {
    let mut out = format!("{}\n{}", core.file, facts(core));
    let lists = [
        ("threads", core.threads.len(), threads(core)),
        ("segments", core.segments.len(), segments(core)),
        ("mapped pieces of files", core.files.len(), files(core)),
        ("freed before they were saved", core.freed.len(), ranges(&core.freed)),
        ("shared with other processes", core.shared.len(), ranges(&core.shared)),
    ];
    for (title, count, list) in lists {
        if all && count > 0 {
            let _ = write!(out, "\n{title}\n{list}");
        }
    }
    let _ = write!(out, "\n{}", verdict(checked));
    out
}

fn facts(core: &Summary) -> String {
    let mut table = Table::new(2);
    let name = core.name.as_deref().unwrap_or("not named");
    let pid = core.pid.map_or("unknown".to_owned(), |pid| pid.to_string());
    table.row(["process".into(), format!("{pid} ({name}), {}", core.arch)]);
    if let Some(command) = &core.cmdline {
        table.row(["command", command]);
    }
    if let (Some(tool), Some(time)) = (&core.tool_version, core.cut_time_unix_ns) {
        table.row(["made by".into(), format!("{tool} on {}", utc(time))]);
    }
    table.row(["file".into(), file(core)]);
    let (mapped, dumped) = (Bytes(core.memory_bytes), Bytes(core.dumped_bytes));
    table.row(["memory".into(), format!("{mapped} mapped, {dumped} of it in the core")]);
    if let (Some(data), Some(zero)) = (core.data_pages, core.zero_pages) {
        table.row(["pages".into(), format!("{data} with content, {zero} of zeros")]);
    }
    table.row(["threads".into(), core.threads.len().to_string()]);
    table.row(["segments".into(), core.segments.len().to_string()]);
    table.row(["file pieces".into(), format!("{} mapped", core.files.len())]);
    caveats(core, &mut table);
    table.render()
}

/// Names what a reader of the core must know before trusting every page of it.
fn caveats(core: &Summary, table: &mut Table) {
    if let Some(pages @ 1..) = core.freed_pages {
        let meaning = "pages were freed by the program before they were saved; they are absent";
        table.row(["freed".into(), format!("{pages} {meaning}")]);
    }
    if let Some(pages @ 1..) = core.shared_pages {
        let meaning = "pages could be written by other processes while they were saved";
        table.row(["shared".into(), format!("{pages} {meaning}")]);
    }
}

fn file(core: &Summary) -> String {
    let (len, disk) = (Bytes(core.file_bytes), Bytes(core.file_allocated_bytes));
    match core.compressed {
        true => format!("{len}, {disk} on disk; {} decompressed", Bytes(core.core_bytes)),
        false => format!("{len}, {disk} on disk"),
    }
}

fn threads(core: &Summary) -> String {
    let mut table = Table::new(2);
    table.row(["id", "program counter", "stack pointer", "signal"]);
    for thread in &core.threads {
        let (pc, sp) = (format!("{:#x}", thread.pc), format!("{:#x}", thread.sp));
        let signal = match thread.signal {
            0 => "none".to_owned(),
            signal => signal.to_string(),
        };
        table.row([thread.tid.to_string(), pc, sp, signal]);
    }
    table.render()
}

fn segments(core: &Summary) -> String {
    let mut table = Table::new(2);
    for segment in &core.segments {
        let dumped = format!("{} in the core", Bytes(segment.dumped_bytes));
        table.row([range(segment.start, segment.end), segment.access.clone(), dumped]);
    }
    table.render()
}

fn files(core: &Summary) -> String {
    let mut table = Table::new(2);
    for file in &core.files {
        let offset = format!("{:#x}", file.offset);
        table.row([range(file.start, file.end), offset, file.path.clone()]);
    }
    table.render()
}

fn ranges(ranges: &[RangeSummary]) -> String {
    let mut table = Table::new(2);
    for piece in ranges {
        let len = Bytes(piece.end.saturating_sub(piece.start));
        table.row([range(piece.start, piece.end), len.to_string()]);
    }
    table.render()
}

/// Prints a range; a damaged core may hold inverted ones.
fn range(start: u64, end: u64) -> String {
    VaRange::new(Va(start), Va(end.max(start))).to_string()
}

fn verdict(checked: &Verification) -> String {
    let Verification { data_pages, checksums, problems } = checked;
    if checked.is_ok() {
        let sums = match checksums {
            0 => "it carries no checksums".to_owned(),
            sums => format!("{sums} checksums agree"),
        };
        return format!("whole: {data_pages} pages with content read, {sums}\n");
    }
    let mut out = format!("damaged: {} checks failed\n", problems.len());
    for problem in problems {
        let _ = writeln!(out, "  {}", wrap(&problem.to_string(), 94).join("\n    "));
    }
    out
}
