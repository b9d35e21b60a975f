//! Reads every text file of the repository for what no compiler checks.
//!
//! Called by [`crate::ci`], and a test. Rules: lines of at most 100 characters, a `//!` header in
//! every Rust file, no leftovers of unfinished work, no text about one person's machine. Long files
//! are only reported: length is a smell, not an error.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::capture;

/// Longest line of code, in characters.
const LINE_LENGTH_MAX: usize = 100;

/// A file beyond this many lines is reported.
const FILE_LENGTH_COMFORTABLE: usize = 400;

/// What unfinished work leaves behind. Joined here, lest this file find itself.
const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("dbg", "!("),
    concat!("<<<<", "<<< "),
    concat!(">>>>", ">>> "),
];

/// Starts of paths that exist on one machine only.
const PRIVATE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

/// Checks all files git tracks under `root`; `Ok(false)` if a rule is broken.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let listed = capture(Command::new("git").current_dir(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut broken = 0;
    for path in listed.lines() {
        // Listed but deleted, or no text: nothing to read.
        let Ok(text) = std::fs::read_to_string(root.join(path)) else { continue };
        for complaint in check(path, &text) {
            println!("tidy: {complaint}");
            broken += 1;
        }
        let lines = text.lines().count();
        if path.ends_with(".rs") && lines > FILE_LENGTH_COMFORTABLE {
            println!("tidy: report: {path} has {lines} lines, over {FILE_LENGTH_COMFORTABLE}");
        }
    }
    println!("tidy: {broken} complaints");
    Ok(broken == 0)
}

/// Every broken rule of one file, as `path:line: what`.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let is_rust = path.ends_with(".rs");
    let is_code = is_rust || [".c", ".h", ".py", ".sh"].iter().any(|end| path.ends_with(end));
    if is_rust && !text.starts_with("//!") {
        complaints.push(format!("{path}:1: no `//!` header says what the file is for"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let mut complain = |what: String| complaints.push(format!("{path}:{number}: {what}"));
        if is_code && line.chars().count() > LINE_LENGTH_MAX {
            complain(format!("line longer than {LINE_LENGTH_MAX} characters"));
        }
        for word in LEFTOVERS.iter().filter(|word| line.contains(**word)) {
            complain(format!("leftover `{word}`"));
        }
        for start in PRIVATE_PATHS.iter().filter(|start| line.contains(**start)) {
            complain(format!("path on one machine, `{start}`"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::workspace_root;

    #[test]
    fn the_repository_is_tidy() {
        let root = workspace_root().unwrap();
        if !root.join(".git").exists() {
            println!("skipped: not a git checkout, which files belong to it is unknown");
            return;
        }
        assert!(run(&root).unwrap(), "the complaints are above");
    }

    #[test]
    fn a_tidy_file_has_no_complaints() {
        assert!(check("a.rs", "//! Purpose.\nfn a() {}\n").is_empty());
    }

    #[test]
    fn each_rule_finds_its_breach() {
        let long = "x".repeat(LINE_LENGTH_MAX + 1);
        for (path, text) in [
            ("a.rs", "fn a() {}".to_owned()),
            ("a.rs", format!("//! Purpose.\n{long}")),
            ("a.md", LEFTOVERS[0].to_owned()),
            ("a.md", format!("see {}me", PRIVATE_PATHS[0])),
        ] {
            assert_eq!(check(path, &text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn prose_may_have_long_lines() {
        assert!(check("a.md", &"x".repeat(LINE_LENGTH_MAX + 1)).is_empty());
    }
}
