//! `faultless inspect`: whole cores, damaged ones, and what is no core.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

use crate::support::{Run, need_some, snapshots_work};
use crate::target::{Folder, Target};

/// Takes a core of a small process, or says why it cannot be had.
fn take_core(file: &str, options: &[&str]) -> Result<(), String> {
    if !snapshots_work() {
        return Err("needs the right to take snapshots; see faultless doctor".into());
    }
    let target = Target::start(&["busy", "2"])?;
    let pid = target.pid();
    let arguments = [&["snapshot", &pid, "-o", file], options].concat();
    let run = Run::faultless(&arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    Ok(())
}

#[test]
fn a_fresh_core_is_whole_raw_or_compressed() {
    let folder = Folder::new("whole");
    for options in [&[][..], &["--compress"], &["--compress=1"], &["--exact"]] {
        let file = folder.file(&format!("core{}", options.concat()));
        need_some!(take_core(&file, options));
        let run = Run::faultless(&["inspect", &file, "--json"]);
        assert_eq!(run.code, Some(0), "{options:?}: {}{}", run.stdout, run.stderr);
        let report = run.json();
        assert_eq!(report["whole"], true, "{report}");
        assert_eq!(report["file"], file.as_str());
        assert_eq!(report["compressed"], options.concat().starts_with("--compress"));
        assert_eq!(report["name"], "target");
        assert_eq!(report["threads"].as_array().expect("a list").len(), 2, "{report}");
        assert!(report["tool_version"].as_str().is_some_and(|tool| tool.starts_with("faultless")));
        assert!(report["verification"]["checksums"].as_u64().is_some_and(|sums| sums > 0));
    }
}

#[test]
fn the_text_names_the_process_and_lists_everything_on_request() {
    let folder = Folder::new("text-inspect");
    let file = folder.file("core");
    need_some!(take_core(&file, &[]));
    let short = Run::faultless(&["inspect", &file]);
    assert_eq!(short.code, Some(0), "{}", short.stderr);
    assert!(short.stdout.contains("(target)"), "{}", short.stdout);
    assert!(short.stdout.contains("\nwhole: "), "{}", short.stdout);
    let long = Run::faultless(&["inspect", &file, "--all"]);
    for title in ["threads", "segments", "mapped pieces of files"] {
        assert!(long.stdout.contains(&format!("\n{title}\n")), "{title}: {}", long.stdout);
    }
}

#[test]
fn one_flipped_bit_of_memory_is_found() {
    let folder = Folder::new("flipped");
    let file = folder.file("core");
    need_some!(take_core(&file, &[]));
    let core = OpenOptions::new().read(true).write(true).open(&file).expect("our core");
    // Well inside the segments of a process that has written two mebibytes.
    let middle = core.metadata().expect("our core").len() / 2;
    let mut byte = [0];
    core.read_exact_at(&mut byte, middle).expect("inside the file");
    core.write_all_at(&[byte[0] ^ 1], middle).expect("inside the file");
    let run = Run::faultless(&["inspect", &file]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("\ndamaged: "), "{}", run.stdout);
}

#[test]
fn a_core_that_was_cut_off_is_refused() {
    let folder = Folder::new("cut-off");
    let file = folder.file("core");
    need_some!(take_core(&file, &[]));
    let core = OpenOptions::new().write(true).open(&file).expect("our core");
    core.set_len(100_000).expect("our core");
    Run::faultless(&["inspect", &file]).expect_error(4, &["core", "expected", "found", "; "]);
}

#[test]
fn what_is_no_core_is_refused_with_the_field_that_says_so() {
    let folder = Folder::new("no-core");
    let file = folder.file("text");
    fs::write(&file, "this is a letter, not a core\n".repeat(10)).expect("room for a letter");
    let run = Run::faultless(&["inspect", &file]);
    run.expect_error(4, &["text", "magic", "expected", "found", "; "]);
}

#[test]
fn a_file_that_is_not_there_or_not_a_file_is_named() {
    Run::faultless(&["inspect", "/nonexistent"]).expect_error(4, &["/nonexistent", "; check"]);
    Run::faultless(&["inspect", "/"]).expect_error(4, &["/ is not a regular file", "; "]);
}
