//! Reports about images as text for people.

use std::fmt::Write as _;

use faultless_image::flt::{CheckReport, Summary};
use faultless_pages::{Bytes, Va, VaRange};

use super::{export, make};
use crate::inspect::utc;
use crate::table::{Table, wrap};
use crate::units::{duration, rate};

/// Says what was made, in one line of totals and one of chunks.
pub(super) fn made(report: &make::Report) -> String {
    let written = &report.written;
    let memory = Bytes(written.memory_bytes);
    let mut table = Table::new(2);
    let stored = Bytes(written.stored_bytes);
    table.row(["stored".into(), format!("{} chunks in {stored}", written.stored_chunks)]);
    table.row(["shared".into(), format!("{} chunks equal to others", written.shared_chunks)]);
    table.row(["filled".into(), format!("{} chunks of one word", written.filled_chunks)]);
    let left_out = "chunks of zeros, or as in the layer below";
    table.row(["left out".into(), format!("{} {left_out}", written.inherited_chunks)]);
    format!(
        "{}: {memory} of memory in {}, written in {} ({})\n{}",
        report.file,
        Bytes(written.object_bytes),
        duration(report.total_ns),
        rate(memory, report.total_ns),
        table.render()
    )
}

/// Says what was exported.
pub(super) fn exported(report: &export::Report) -> String {
    let memory = Bytes(report.memory_bytes);
    let (time, rate) = (duration(report.total_ns), rate(memory, report.total_ns));
    format!("{}: {memory} of memory, written in {time} ({rate})\n", report.file)
}

/// Says what an image holds; `all` lists what is otherwise only counted.
pub(super) fn summary(image: &Summary, all: bool) -> String {
    let mut facts = Table::new(2);
    facts.row(["made by".into(), format!("{} on {}", image.tool_version, utc(image.time_unix_ns))]);
    facts.row(["memory".into(), Bytes(image.memory_bytes).to_string()]);
    facts.row(["chunks".into(), Bytes(image.chunk_bytes).to_string()]);
    facts.row(["regions".into(), image.regions.len().to_string()]);
    let mut layers = Table::new(2);
    layers.row(["layer", "size", "stored", "shared", "filled", "id"]);
    for layer in &image.layers {
        layers.row([
            layer.object.clone(),
            Bytes(layer.object_bytes).to_string(),
            layer.stored_chunks.to_string(),
            layer.shared_chunks.to_string(),
            layer.filled_chunks.to_string(),
            layer.id.chars().take(16).collect(),
        ]);
    }
    let name = image.layers.first().map_or("", |layer| layer.object.as_str());
    let mut out = format!("{name}\n{}\n{}", facts.render(), layers.render());
    if all {
        let _ = write!(out, "\n{}", regions(image));
    }
    out
}

fn regions(image: &Summary) -> String {
    let mut table = Table::new(2);
    table.row(["addresses", "access", "offset", "held"]);
    for region in &image.regions {
        table.row([
            VaRange::new(Va(region.start), Va(region.end)).to_string(),
            region.access.clone(),
            format!("{:#x}", region.offset),
            Bytes(region.held_bytes).to_string(),
        ]);
    }
    table.render()
}

/// Says what checking found.
pub(super) fn checked(file: &str, checked: &CheckReport) -> String {
    let CheckReport { layers, chunks, problems } = checked;
    if checked.is_ok() {
        return format!("{file}: whole; {layers} layers, {chunks} stored chunks read\n");
    }
    let mut out = format!("{file}: damaged; {} checks failed\n", problems.len());
    for problem in problems {
        let _ = writeln!(out, "  {}", wrap(&problem.to_string(), 94).join("\n    "));
    }
    out
}
