//! `cargo xtask fuzz`: every decoder of outside bytes, fed with damaged input.
//!
//! The targets and the driver are the workspace `fuzz/`; this builds it, shows that it finds a
//! defect that was put there, and lets it run. Called by [`crate::ci`] for a short time.

use anyhow::Result;

use crate::command::{cargo, run as run_command, target_dir, workspace_root};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u64,
    /// Repeat the choices of another run [default: from the clock]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Add inputs that went a new way to the corpus
    #[arg(long)]
    keep: bool,
    /// What to fuzz: handshake, replies, migration, image, core [default: all]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

impl Default for Args {
    fn default() -> Args {
        Args { seconds: 20, seed: None, keep: false, targets: Vec::new() }
    }
}

/// Fuzzes; `Ok(false)` if something was found, or nothing can be.
pub(crate) fn run(args: &Args) -> Result<bool> {
    if !run_command(drive()?.args(["--canary", "--seconds", "60"]))? {
        println!("the fuzzer did not find the defect it must find");
        return Ok(false);
    }
    let mut drive = drive()?;
    drive.args(["--seconds", &args.seconds.to_string()]);
    if let Some(seed) = args.seed {
        drive.args(["--seed", &seed.to_string()]);
    }
    if args.keep {
        drive.arg("--keep");
    }
    run_command(drive.args(&args.targets))
}

/// The driver, which is built as it is started.
fn drive() -> Result<std::process::Command> {
    let mut drive = cargo();
    // Beside the workspace's own: both build some of the same crates, with other flags.
    let built = target_dir()?.join("fuzz");
    drive
        .current_dir(workspace_root()?)
        .env("CARGO_TARGET_DIR", built)
        .args(["run", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--bin", "drive", "--"]);
    Ok(drive)
}
