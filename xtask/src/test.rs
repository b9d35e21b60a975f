//! `cargo xtask test`: every test of the workspace, counted, with what was left out and why.
//!
//! Called by the command line and by [`crate::ci`].

use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, each_line, is_root, workspace_root};
use crate::debian::{self, Need};
use crate::tally::Tally;

/// Programs the tests use; a test that finds its program missing skips, loudly.
const NEEDS: &[Need] = &[
    Need { program: "gcc", packages: "gcc libc6-dev", used_for: "tests on C programs" },
    Need { program: "gdb", packages: "gdb", used_for: "tests that compare with gdb and gcore" },
    Need { program: "readelf", packages: "binutils", used_for: "tests that compare with readelf" },
    Need { program: "python3", packages: "python3", used_for: "tests on a Python program" },
    Need { program: "zstd", packages: "zstd", used_for: "tests that unpack compressed cores" },
    Need {
        program: "qemu-system-x86_64",
        packages: "qemu-system-x86",
        used_for: "tests on virtual machines",
    },
    Need { program: "redis-server", packages: "redis-server", used_for: "tests on redis" },
];

/// Optional features that are tested, too. Not all: `broken-order` of the snapshot service makes
/// snapshots wrong on purpose.
const FEATURES: &str = "faultless-uffd/tokio";

/// A run that takes longer than this hangs, and is better ended with its output at hand.
const TIMEOUT_S: u32 = 45 * 60;

/// Options of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Arguments for `cargo test`, such as `-p faultless-uffd` [default: the whole workspace]
    #[arg(last = true)]
    cargo_args: Vec<String>,
}

/// Runs the tests; `Ok(false)` if any failed. The count is the last line printed.
pub(crate) fn run(args: &Args) -> Result<bool> {
    run_after(&[], args)
}

/// Runs the tests after other steps, of which these have failed; they are counted, too.
pub(crate) fn run_after(failed_steps: &[&str], args: &Args) -> Result<bool> {
    let missing = debian::provide(NEEDS)?;
    if !is_root() {
        println!("not root: tests that need root skip themselves and say so");
    }
    for need in &missing {
        println!("left out: {}: {}", need.used_for, debian::advice(need));
    }
    let mut tally = Tally::default();
    for step in failed_steps {
        tally.fail(format!("{step}: see above, before the tests"));
    }
    let succeeded = each_line(&mut cargo_test(args)?, |line| {
        if tally.line(line) {
            println!("{line}");
        }
    })?;
    if succeeded && tally.is_empty() {
        tally.fail("no test ran".to_owned());
    }
    if !succeeded && tally.failed() == failed_steps.len() as u64 {
        tally.fail("cargo test: did not build, hung, or a test program died; see above".to_owned());
    }
    tally.print();
    Ok(tally.failed() == 0)
}

fn cargo_test(args: &Args) -> Result<Command> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &TIMEOUT_S.to_string()]).arg(cargo().get_program());
    command.current_dir(workspace_root()?).args(["test", "--no-fail-fast"]);
    if args.cargo_args.is_empty() {
        // Features only add; what they add is tested too.
        command.args(["--workspace", "--features", FEATURES]);
    }
    // The output of passing tests holds their skips and reasons.
    command.args(&args.cargo_args).args(["--", "--show-output"]);
    Ok(command)
}
