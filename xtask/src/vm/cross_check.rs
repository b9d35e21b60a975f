//! Checks that the workspace builds for the other architecture, where this machine can.
//!
//! Called by [`crate::ci`].

use anyhow::Result;

use super::arch::Arch;
use super::programs;
use crate::command::{cargo, run as run_command, workspace_root};
use crate::debian::{self, Need};

/// Runs `cargo check` for aarch64; says so if the means are missing.
pub(crate) fn run() -> Result<bool> {
    let arch = Arch::Aarch64;
    if !programs::target_installed(arch)? && programs::add_target(arch).is_err() {
        println!("left out: the aarch64 check: no standard library for {}", arch.target());
        return Ok(true);
    }
    let (program, packages) = arch.compiler_package();
    // Dependencies written in C are compiled even by a check.
    let need = Need { program, packages, used_for: "the aarch64 check" };
    if let Some(need) = debian::provide(&[need])?.first() {
        println!("left out: {}: {}", need.used_for, debian::advice(need));
        return Ok(true);
    }
    let mut check = cargo();
    check.current_dir(workspace_root()?).args(["check", "--workspace", "--all-targets"]);
    run_command(check.args(["--target", arch.target()]))
}
