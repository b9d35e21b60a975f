//! What cannot be saved or restored is refused by name, with the next step, and nothing is harmed.

use std::fs;
use std::path::Path;

use crate::qemu::{Qemu, RAM, Ram, scratch};
use crate::{report, vm};

/// Runs what must be refused with words for a person.
fn refused(args: &[&str], folder: &Path, qemu: &Qemu, code: i32, words: &[&str]) {
    let output = vm(args, folder, &qemu.monitor);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{word:?} in {told:?}");
    }
}

#[test]
fn ram_that_nobody_else_can_have_is_refused_and_no_folder_is_left() {
    let Some(scratch) = scratch() else { return };
    let saved = scratch.path().join("vm");
    let private = Qemu::boot(scratch.path(), "private", Ram { share: "off", ..RAM });
    let words = ["RAM backend `ram` is private", "memory-backend-file", "share=on"];
    refused(&["save"], &saved, &private, 4, &words);
    let anonymous = Qemu::boot(scratch.path(), "anonymous", Ram { backend: "ram", ..RAM });
    let words = ["memory-backend-ram, which has no file", "share=on"];
    refused(&["save"], &saved, &anonymous, 4, &words);
    assert!(!saved.exists());
    // Both go on as before.
    private.wait_for(1);
    anonymous.wait_for(1);
}

#[test]
fn what_does_not_fit_what_was_saved_is_refused_and_left_alone() {
    let Some(scratch) = scratch() else { return };
    let saved = scratch.path().join("vm");
    let source = Qemu::boot(scratch.path(), "source", RAM);
    source.wait_for(1);
    report(&["save"], &saved, &source.monitor);

    refused(&["save"], &saved, &source, 2, &["exists", "--force"]);
    let words = ["state `running`", "-incoming defer"];
    refused(&["restore"], &saved, &source, 4, &words);
    let larger = Qemu::waiting(scratch.path(), "larger", Ram { size: "96M", ..RAM });
    let words = ["the RAM differs: saved with ram of 64 MiB", "ram of 96 MiB"];
    refused(&["restore"], &saved, &larger, 4, &words);

    let waiting = Qemu::waiting(scratch.path(), "waiting", RAM);
    let words = ["has nothing to save yet"];
    refused(&["save"], &scratch.path().join("other"), &waiting, 4, &words);
    let state = fs::read(saved.join("state")).unwrap();
    fs::write(saved.join("state"), &state[1..]).unwrap();
    refused(&["restore"], &saved, &waiting, 4, &["state is damaged", "copy the folder again"]);
    fs::write(saved.join("state"), state).unwrap();
    let image = fs::read(saved.join("ram.flt")).unwrap();
    fs::write(saved.join("ram.flt"), &image[..image.len() / 2]).unwrap();
    refused(&["restore"], &saved, &waiting, 4, &["ram.flt", "faultless image check"]);
    fs::write(saved.join("ram.flt"), image).unwrap();
    refused(&["restore"], scratch.path(), &waiting, 4, &["vm.json", "vm save has written"]);
    assert!(!waiting.is_paged());

    // Refusals have harmed neither.
    report(&["restore"], &saved, &waiting.monitor);
    waiting.wait_for(1);
    let rounds = source.rounds().len();
    source.wait_for(rounds + 1);
}

#[test]
fn ram_that_another_qemu_runs_on_is_not_emptied() {
    let Some(scratch) = scratch() else { return };
    let saved = scratch.path().join("vm");
    let source = Qemu::boot(scratch.path(), "source", RAM);
    let before = source.wait_for(1);
    report(&["save"], &saved, &source.monitor);
    // Its own monitor, but the file of the one that runs.
    fs::hard_link(scratch.path().join("source.ram"), scratch.path().join("same.ram")).unwrap();
    let same = Qemu::waiting(scratch.path(), "same", RAM);
    let pid = source.pid().to_string();
    refused(&["restore"], &saved, &same, 4, &["in use by process", &pid, "mem-path of its own"]);
    let after = source.wait_for(before.len() + 2);
    assert!(after.iter().all(|round| round.sum == before[0].sum), "{after:?}");
}
