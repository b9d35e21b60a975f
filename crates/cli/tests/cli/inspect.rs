//! `faultless inspect`: whole cores, damaged ones, and what is no core.

use std::fs;

use crate::support::Run;
use crate::target::Folder;

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
