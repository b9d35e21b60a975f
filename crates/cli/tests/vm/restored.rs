//! Saved, restored, and right.

use crate::qemu::{Qemu, RAM, Ram, Round, scratch};
use crate::report;

/// Checks that a restored guest went on where it was, with its memory as it was.
pub(crate) fn expect_continues(before: &[Round], after: &[Round]) {
    let (last, first) = (before.last().unwrap(), after.first().unwrap());
    // It may have been saved anywhere within a round.
    assert!(first.number <= last.number + 1, "{first:?} after {last:?}");
    assert!(first.number > 0, "it has begun anew: {first:?}");
    for (index, round) in after.iter().enumerate() {
        assert_eq!(round.sum, last.sum, "{after:?}");
        assert_eq!(round.number, first.number + index as u64, "{after:?}");
    }
}

#[test]
fn a_guest_goes_on_where_it_was_saved_and_so_does_its_source() {
    let Some(scratch) = scratch() else { return };
    let saved = scratch.path().join("vm");
    let source = Qemu::boot(scratch.path(), "source", RAM);
    let before = source.wait_for(2);

    let report_of_save = report(&["save"], &saved, &source.monitor);
    assert_eq!(report_of_save["memory_bytes"], 64 << 20);
    assert!(report_of_save["state_bytes"].as_u64().unwrap() < 4 << 20, "{report_of_save}");
    let later = source.wait_for(before.len() + 2);
    expect_continues(&before, &later[before.len()..]);

    // Twice from one folder: it stays as it is.
    for name in ["first", "second"] {
        let restored = Qemu::waiting(scratch.path(), name, RAM);
        let report = report(&["restore"], &saved, &restored.monitor);
        assert_eq!(report["running"], true);
        let there = report["on_pages_there"].as_u64().unwrap();
        assert!(there < 16384 / 2, "the guest waited for its memory: {report}");
        assert!(!restored.is_paged());
        assert!(!restored.holds_userfaultfd());
        expect_continues(&later, &restored.wait_for(2));
    }
}

#[test]
fn a_guest_saved_to_end_and_restored_stopped_goes_on_when_it_is_told_to() {
    let Some(scratch) = scratch() else { return };
    let saved = scratch.path().join("vm");
    // A QEMU from 8.1 on does not leave memfds out of its state, and says so.
    let ram = Ram { backend: "memfd", ..RAM };
    let mut source = Qemu::boot(scratch.path(), "source", ram);
    let before = source.wait_for(1);
    let output = crate::vm(&["save", "--quit"], &saved, &source.monitor);
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("memory-backend-file"), "{told}");
        println!("skipped: {told}");
        return;
    }
    source.wait_end();
    let restored = Qemu::waiting(scratch.path(), "restored", ram);
    let report = report(&["restore", "--paused"], &saved, &restored.monitor);
    assert_eq!(report["running"], false);
    assert_eq!(restored.rounds(), []);
    restored.command("cont");
    expect_continues(&before, &restored.wait_for(2));
}
