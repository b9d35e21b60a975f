//! `cargo xtask ci`: everything that must hold before a change lands, and the tests last.
//!
//! `.ci/run` is this command. Each step runs even if an earlier one failed, so that one run tells
//! all there is to mend.

use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, on_path, run as run_command, workspace_root};
use crate::vm::cross_check;
use crate::{fuzz, test, tidy};

/// Runs all steps; `Ok(false)` if any failed: those before the tests count as failures there.
pub(crate) fn run() -> Result<bool> {
    let root = workspace_root()?;
    let mut failed = Vec::new();
    let mut step = |name: &'static str, passed: bool| {
        if !passed {
            failed.push(name);
        }
    };
    if component("rustfmt", "cargo-fmt") {
        step("fmt", run_command(cargo_in(&root).args(["fmt", "--all", "--check"]))?);
    }
    if component("clippy", "cargo-clippy") {
        let clippy = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "--deny",
            "warnings",
        ];
        step("clippy", run_command(cargo_in(&root).args(clippy))?);
    }
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    step("doc", run_command(cargo_in(&root).env("RUSTDOCFLAGS", "-D warnings").args(doc))?);
    step("tidy", tidy::run(&root)?);
    step("aarch64", cross_check::run()?);
    step("fuzz", fuzz::run(&fuzz::Args::default())?);
    test::run_after(&failed, &test::Args::default())
}

fn cargo_in(root: &std::path::Path) -> Command {
    let mut command = cargo();
    command.current_dir(root);
    command
}

/// Whether a component of the toolchain is there; adds it through rustup, or says it is missing.
fn component(name: &str, program: &str) -> bool {
    let works = || {
        let check = Command::new(program).arg("--version").output();
        check.is_ok_and(|out| out.status.success())
    };
    if !works() && on_path("rustup") {
        let _ = run_command(Command::new("rustup").args(["component", "add", name]));
    }
    if !works() {
        println!("left out: {name} is not installed (rustup component add {name})");
        return false;
    }
    true
}
