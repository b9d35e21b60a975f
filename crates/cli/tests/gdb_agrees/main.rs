//! gdb sees in our cores what it sees in gcore's.
//!
//! A C, a Rust and a Python process hold still ([`still`]); gcore dumps each, then faultless does.
//! gdb must show the same threads, registers, backtraces and globals in both ([`gdb`]), and every
//! byte of memory both files hold must be the same ([`compare`]).
#![expect(clippy::print_stdout, reason = "a test says why it skips, and what it compared")]

mod compare;
mod gdb;
mod still;

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;
use still::Still;

/// Skips, and says so, unless all these programs are there and snapshots can be taken.
fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_missing =
        |name: &&&str| !std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing: Vec<&str> = programs.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        println!("skipped: {} is missing", missing.join(" and "));
    }
    if !geteuid().is_root() {
        println!("skipped: snapshots of other processes need root");
    }
    missing.is_empty() && geteuid().is_root()
}

/// The program under test; `FAULTLESS_BIN` names another one.
fn faultless() -> PathBuf {
    std::env::var_os("FAULTLESS_BIN").unwrap_or(env!("CARGO_BIN_EXE_faultless").into()).into()
}

fn run(command: &mut Command) -> String {
    let out = command.output().expect("the program starts");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{stdout}{stderr}", out.status);
    stdout.into_owned()
}

fn dump_with_gcore(still: &Still) -> PathBuf {
    let prefix = still.dir().join("gcore");
    run(Command::new("gcore").arg("-o").arg(&prefix).arg(still.pid().to_string()));
    prefix.with_extension(still.pid().to_string())
}

fn dump_with_faultless(still: &Still, extra: &[&str]) -> PathBuf {
    let core = still.dir().join("faultless.core");
    let pid = still.pid().to_string();
    run(Command::new(faultless()).args(["snapshot", &pid, "-o"]).arg(&core).args(extra));
    core
}

/// Holds both cores of a process against each other.
fn assert_agreement(still: &Still, questions: &[&str]) {
    let gcore = dump_with_gcore(still);
    let ours = dump_with_faultless(still, &[]);
    let program = still.program();
    compare::assert_same_memory(&gcore, &ours);
    assert_same_view(&program, &gcore, &ours, questions);
}

fn assert_same_view(program: &Path, gcore: &Path, ours: &Path, questions: &[&str]) {
    let (expected, found) =
        (gdb::threads(program, gcore, questions), gdb::threads(program, ours, questions));
    assert!(!expected.is_empty(), "gdb shows no thread in gcore's core");
    let tids = |view: &gdb::View| view.keys().copied().collect::<Vec<_>>();
    assert_eq!(tids(&found), tids(&expected), "the threads differ");
    for (tid, expected) in &expected {
        let lines = expected.lines().zip(found[tid].lines());
        let different: Vec<_> = lines
            .filter(|(expected, found)| expected != found && !is_misplaced_avx512(found))
            .collect();
        assert!(different.is_empty(), "thread {tid}: gcore and we differ in {different:#?}");
        assert_eq!(expected.lines().count(), found[tid].lines().count(), "thread {tid}");
    }
}

/// Says whether gdb does not find an AVX-512 register.
///
/// Before version 14 gdb knows only where Intel's processors keep them. AMD's keep them elsewhere
/// and in less room, so gdb finds neither the kernel's own cores nor ours to hold them there.
fn is_misplaced_avx512(line: &str) -> bool {
    let name = line.split(' ').next().unwrap_or("");
    let mask = name.strip_prefix('k').is_some_and(|number| number.parse::<u8>().is_ok());
    line.contains("<unavailable>") && (mask || name.starts_with("zmm"))
}

#[test]
fn on_a_c_process() {
    if !have(&["gcc", "gdb", "gcore"]) {
        return;
    }
    let still = Still::c();
    let questions = [
        "print still_number",
        "print still_real",
        "print still_text",
        "print still_points",
        "print *still_heap",
        "print still_zeros[1023]",
        "print still_own",
        "print $xmm7",
    ];
    assert_agreement(&still, &questions);
}

#[test]
fn on_a_rust_process() {
    if !have(&["rustc", "gdb", "gcore"]) {
        return;
    }
    assert_agreement(&Still::rust(), &["print still::NUMBER", "print still::TABLE"]);
}

#[test]
fn on_a_python_process() {
    if !have(&["python3", "gdb", "gcore"]) {
        return;
    }
    assert_agreement(&Still::python(), &["info auxv", "info symbol $pc", "x/64xg $sp"]);
}
