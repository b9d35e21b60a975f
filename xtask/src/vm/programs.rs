//! Builds the statically linked programs a guest runs: tests, `faultless`, targets and ourselves.
//!
//! Called by [`super::run`]. Cargo is asked for its machine-readable messages, because the file
//! names of test executables carry a hash.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::arch::Arch;
use crate::command::{capture, cargo, workspace_root};
use crate::test_program::{Program, executables};

/// The tests that speak to the kernel and therefore run in a guest, as cargo is asked for them.
const TESTED: &[&[&str]] = &[
    &["--package", "faultless-uffd"],
    // What this package asks of the model alone has the same answer everywhere.
    &[
        "--package",
        "faultless-sim",
        "--test=conformance",
        "--test=conformance_proof",
        "--test=differential",
    ],
];

/// Builds the test executables of the kernel-facing packages.
pub(crate) fn tests(arch: Arch) -> Result<Vec<Program>> {
    let mut messages = String::new();
    for tested in TESTED {
        let mut command = cargo_for(arch, "test")?;
        messages += &capture(command.arg("--no-run").args(*tested))?;
    }
    Ok(executables(&messages))
}

/// Builds the programs of some packages.
pub(crate) fn binaries(arch: Arch, packages: &[&str]) -> Result<Vec<Program>> {
    let mut command = cargo_for(arch, "build")?;
    command.arg("--bins");
    for package in packages {
        command.args(["--package", package]);
    }
    Ok(executables(&capture(&mut command)?))
}

/// A cargo command that builds static programs for `arch` and reports them as JSON lines.
fn cargo_for(arch: Arch, subcommand: &str) -> Result<Command> {
    add_target(arch)?;
    let target = arch.target();
    let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
    let compiler = format!("CC_{}", target.replace('-', "_"));
    let mut command = cargo();
    command
        .current_dir(workspace_root()?)
        // The guest has no shared libraries. Build scripts and macros are for the host and do not
        // see these flags, because a target is named.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env(linker, arch.c_compiler())
        .env(compiler, arch.c_compiler())
        .args([subcommand, "--release", "--target", target])
        .arg("--message-format=json-render-diagnostics");
    Ok(command)
}

/// Makes sure the standard library of `arch` is there.
pub(crate) fn add_target(arch: Arch) -> Result<()> {
    let target = arch.target();
    if target_installed(arch)? {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", target]).status();
    if !added.is_ok_and(|status| status.success()) {
        bail!("Rust's standard library for {target} is missing; run `rustup target add {target}`");
    }
    Ok(())
}

/// Whether Rust can build for `arch` here.
pub(crate) fn target_installed(arch: Arch) -> Result<bool> {
    let dir = capture(Command::new("rustc").current_dir(workspace_root()?).args([
        "--print",
        "target-libdir",
        "--target",
        arch.target(),
    ]))?;
    Ok(Path::new(dir.trim()).is_dir())
}
