//! Reports about virtual machines as text for people.

use faultless_pages::Bytes;
use faultless_services::vm::{Restored, Saved};

use crate::table::Table;
use crate::units::duration;

/// Says what was saved.
pub(super) fn saved(report: &Saved) -> String {
    let mut table = Table::new(2);
    let (memory, image) = (Bytes(report.memory_bytes), Bytes(report.image_bytes));
    table.row(["RAM".into(), format!("{memory} in an image of {image}")]);
    let (state, took) = (Bytes(report.state_bytes), duration(report.state_ns));
    table.row(["devices".into(), format!("{state}, in {took}")]);
    format!(
        "{}: {} of QEMU {}, stopped for {}, saved in {}\n{}",
        report.folder,
        report.machine,
        report.qemu,
        duration(report.pause_ns),
        duration(report.total_ns),
        table.render()
    )
}

/// Says what was restored.
pub(super) fn restored(report: &Restored) -> String {
    let mut table = Table::new(2);
    let (attached, loaded) = (duration(report.attach_ns), duration(report.load_ns));
    table.row([
        if report.running { "went on" } else { "loaded" }.to_owned(),
        format!(
            "after {} (attached in {attached}, {} of state in {loaded}), with {} pages; {} were \
             waited for",
            duration(report.on_ns),
            Bytes(report.state_bytes),
            report.on_pages_there,
            report.on_pages_waited_for
        ),
    ]);
    let waited = report.pages_waited_for;
    let total = duration(report.total_ns);
    table.row(["whole".to_owned(), format!("after {total}; {waited} pages were waited for")]);
    if report.workers_replaced > 0 {
        table.row(["replaced".to_owned(), format!("{} workers", report.workers_replaced)]);
    }
    format!(
        "process {}: {} restored into QEMU {}\n{}",
        report.pid,
        Bytes(report.memory_bytes),
        report.qemu,
        table.render()
    )
}
