//! `cargo xtask miri`: the tests of what is below the system, interpreted by miri, which sees
//! undefined behaviour and leaks.
//!
//! Miri comes with nightly toolchains only, so this is a command of its own and no part of `ci`.
//! The tests cut themselves down under it (`cfg!(miri)`): it is hundreds of times slower.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{on_path, run as run_command, target_dir, workspace_root};

/// Aliasing is checked by the rules of tree borrows: tests of historic bugs take half as long again
/// as without any. By those of stacked borrows tests of the model that take seconds do not end in
/// minutes; there reborrows of a future, which may borrow from itself, seem to pile up.
const FLAGS: &str = "-Zmiri-tree-borrows";
/// What asks the system for nothing, and so can be interpreted.
const PACKAGES: [&str; 3] = ["faultless-pages", "faultless-uapi", "faultless-mm"];

/// Options of `cargo xtask miri`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to pass on to `cargo test`, for example `-- -p faultless-mm --lib`
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// Runs the tests; `Ok(false)` if one failed.
pub(crate) fn run(args: &Args) -> Result<bool> {
    if !on_path("rustup") {
        bail!("miri is run through rustup, which is not installed; see https://rustup.rs");
    }
    let version = miri().arg("--version").output()?;
    if !version.status.success() {
        bail!(
            "the nightly toolchain has no miri; `rustup toolchain install nightly --component \
             miri --component rust-src` adds it"
        );
    }
    let mut tests = miri();
    tests.current_dir(workspace_root()?).env("CARGO_TARGET_DIR", target_dir()?.join("miri"));
    tests.env("MIRIFLAGS", FLAGS).arg("test");
    if args.rest.is_empty() {
        tests.args(PACKAGES.iter().flat_map(|package| ["-p", package]));
    }
    run_command(tests.args(&args.rest))
}

fn miri() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "miri"]);
    command
}
