//! Builds the statically linked programs a guest runs: tests, `faultless`, targets and ourselves.
//!
//! Called by [`super::run`]. Cargo is asked for its machine-readable messages, because the file
//! names of test executables carry a hash.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::Value;

use super::arch::Arch;
use crate::command::{capture, cargo, workspace_root};

/// The tests that speak to the kernel and therefore run in a guest, as cargo is asked for them.
const TESTED: &[&[&str]] = &[
    &["--package", "faultless-uffd"],
    // What this package asks of the model alone has the same answer everywhere. Its random programs
    // still find the model's older profiles unlike their kernels (`mremap` before 6.17, pinning).
    &["--package", "faultless-sim", "--test=conformance", "--test=conformance_proof"],
];

/// An executable and the name it goes by in the guest.
#[derive(Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Builds the test executables of the kernel-facing packages.
pub(crate) fn tests(arch: Arch) -> Result<Vec<Program>> {
    let mut messages = String::new();
    for tested in TESTED {
        let mut command = cargo_for(arch, "test")?;
        messages += &capture(command.arg("--no-run").args(*tested))?;
    }
    Ok(parse_executables(&messages))
}

/// Builds the programs of some packages.
pub(crate) fn binaries(arch: Arch, packages: &[&str]) -> Result<Vec<Program>> {
    let mut command = cargo_for(arch, "build")?;
    command.arg("--bins");
    for package in packages {
        command.args(["--package", package]);
    }
    Ok(parse_executables(&capture(&mut command)?))
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

/// Reads cargo's JSON lines for the executables of this workspace.
fn parse_executables(messages: &str) -> Vec<Program> {
    let mut programs: Vec<Program> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| executable_of(&message))
        .collect();
    // Two packages may both have a test of one name; the guest's files may not.
    for i in 1..programs.len() {
        if programs[..i].iter().any(|earlier| earlier.name == programs[i].name) {
            programs[i].name.push_str(&format!("-{i}"));
        }
    }
    programs
}

fn executable_of(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let target = message["target"]["name"].as_str()?;
    let is_unit_test = message["profile"]["test"] == true && message["target"]["kind"][0] != "test";
    let name = if is_unit_test { format!("{target}-unit") } else { target.to_owned() };
    Some(Program { name, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, kind: &str, test: bool, executable: &str) -> String {
        serde_json::json!({
            "reason": "compiler-artifact",
            "target": { "name": name, "kind": [kind] },
            "profile": { "test": test },
            "executable": executable,
        })
        .to_string()
    }

    #[test]
    fn executables_are_named_after_their_target_and_told_apart() {
        let messages = [
            artifact("faultless", "bin", false, "/t/faultless"),
            artifact("uffd", "lib", true, "/t/uffd-1"),
            artifact("attach", "test", true, "/t/attach-1"),
            artifact("attach", "test", true, "/t/attach-2"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        let names: Vec<String> =
            parse_executables(&messages).into_iter().map(|program| program.name).collect();
        assert_eq!(names, ["faultless", "uffd-unit", "attach", "attach-3"]);
    }
}
