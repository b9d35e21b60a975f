//! Help, man page, completions, usage errors.

use std::process::{Command, Stdio};

use crate::support::{Run, program};

#[test]
fn help_names_every_command_and_every_exit_code() {
    let help = Run::faultless(&["--help"]);
    assert_eq!(help.code, Some(0));
    for word in ["snapshot", "inspect", "doctor", "conform", "128+n"] {
        assert!(help.stdout.contains(word), "{word}: {}", help.stdout);
    }
    assert!(help.stdout.lines().all(|line| line.len() <= 100), "{}", help.stdout);
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [&["nonsense"][..], &["doctor", "--nonsense"], &[]] {
        let run = Run::faultless(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}");
        assert_eq!(run.stdout, "", "{arguments:?}");
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_man_page_of_every_command_is_made_from_its_help() {
    let page = Run::faultless(&["man", "doctor"]);
    assert_eq!(page.code, Some(0));
    assert!(page.stdout.contains(".TH faultless-doctor 1"), "{}", page.stdout);
    Run::faultless(&["man", "nonsense"]).expect_error(2, &["nonsense: no such command", "; see"]);
}

#[test]
fn completions_are_made_for_the_common_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Run::faultless(&["completions", shell]);
        assert_eq!(script.code, Some(0));
        assert!(script.stdout.contains("doctor"), "{shell}");
        assert!(!script.stdout.contains("__idle"), "{shell} offers what help hides");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = Command::new(program())
        .arg("doctor")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let end = child.wait_with_output().expect("the program ends");
    assert_eq!(end.stderr, b"");
    assert_eq!(end.status.code(), Some(128 + 13));
}
