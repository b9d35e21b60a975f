//! `faultless vm` on a real QEMU, in emulation: a guest that checks its own memory is saved,
//! restored lazily, and must go on where it was with every byte right, whatever is killed
//! meanwhile.
//!
//! The guest is `tests/targets/guest.s`, a few hundred bytes that boot in a second.
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

mod lasting;
mod qemu;
mod refused;
mod restored;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// What a command is given before it counts as hung.
const PATIENCE_S: &str = "120";

/// Runs `faultless vm`.
fn vm(args: &[&str], folder: &Path, monitor: &Path) -> Output {
    Command::new("timeout")
        .args(["--signal=KILL", PATIENCE_S, env!("CARGO_BIN_EXE_faultless"), "vm"])
        .args(args)
        .arg(folder)
        .arg("--qmp")
        .arg(monitor)
        .output()
        .expect("timeout starts")
}

/// Runs it, and returns its report.
fn report(args: &[&str], folder: &Path, monitor: &Path) -> Value {
    let output = vm(&[args, &["--json"]].concat(), folder, monitor);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {}: {told}", output.status);
    serde_json::from_slice(&output.stdout).expect("a report")
}
